// The ECG viewer: paper, tracings, caliper. Plain module, no bundling; `mountEcg` puts it into any element.
import { SKINS, caliper, drawCaliper, drawGrid, drawTraces, measure } from './paper.js';
import { Recording, arrange } from './signal.js';
import { buildFace, headerText } from './face.js';
import { millimetresPerPixel } from './physical.js';

const WINDOW_MS = 10000;
const SPEEDS = [25, 50];
const GAINS = [5, 10, 20];
const LAYOUTS = ['3x4', '6x2', '12x1'];
const KEY_IMAGE_SIDE = 1024;
const CLICK = 4; // CSS pixels of movement that still make a click

function plainText(message, places = {}) {
  return message.replace(/\{(\w+)\}/g, (whole, name) => (name in places ? String(places[name]) : whole));
}

/**
 * Mount a viewer of one ECG into `element`.
 *
 * Options: `url` of the archive's waveform answer ({samplingHz, leads: [{name, unit, scale, offset, samples}],
 * acquired, annotations, measurements}); `t` translates; `banner` the lines that say whose tracing this is;
 * `onKeyImage({studyUid, seriesUid, sopUid, frame, window: null, dataUrl})`; `signIn()` lets an expired session be
 * renewed before a retry.
 *
 * Returns the controller: geometry, readPixels, setLayout, setSpeed, setGain, measureBetween, settled, destroy.
 */
export function mountEcg(element, options) {
  const ecg = new Ecg(element, { t: plainText, iconsUrl: '/static/dist/icons.svg', ...options });
  const ready = ecg.load();
  return {
    /** Device pixels: {pxPerMv, pxPerMs, ratio, width, height, leads: [{name, x0, x1, baseline, from, to}], pulse}. */
    geometry: () => ecg.geometry(),
    /** RGBA of the tracings alone (no grid): {width, height, data}. */
    readPixels: () => ecg.pixels(),
    setLayout: (layout) => ecg.set({ layout, one: null }),
    setSpeed: (speed) => ecg.set({ speed }),
    setGain: (gain) => ecg.set({ gain }),
    /** Place the caliper (device pixels) and return {ms, mv, bpm}. */
    measureBetween: (a, b) => ecg.placeCaliper([a, b]),
    settled: () => ready,
    destroy: () => ecg.destroy(),
  };
}

class Ecg {
  constructor(element, options) {
    this.options = options;
    this.t = options.t;
    this.state = { layout: '3x4', speed: 25, gain: 10, cabrera: false, skin: 'dark', one: null, start: 0, calipers: false, life: false };
    this.points = null;
    this.held = 1;
    this.abort = new AbortController();
    this.face = buildFace(this, element);
    this.#listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.face.scroll);
  }

  async load() {
    this.face.say(this.t('正在读取心电图…'));
    try {
      const response = await fetch(this.options.url, { headers: { Accept: 'application/json' }, signal: this.abort.signal });
      if (!response.ok) throw Object.assign(new Error('ecg'), { status: response.status });
      this.recording = new Recording(await response.json());
      this.face.say(null);
      this.face.header.textContent = headerText(this.recording, this.options, this.t);
      this.draw();
    } catch (error) {
      if (this.abort.signal.aborted) return;
      const again = async () => {
        if (error.status === 401) await this.options.signIn?.();
        return this.load();
      };
      this.face.say(explain(error, this.t), again);
    }
  }

  /** Change settings and draw again. */
  set(change) {
    Object.assign(this.state, change);
    if ('calipers' in change && !change.calipers) this.points = null;
    this.draw();
  }

  cycle(name, choices) {
    this.set({ [name]: choices[(choices.indexOf(this.state[name]) + 1) % choices.length] });
  }

  /** Milliseconds on one sheet. */
  span() {
    return Math.min(WINDOW_MS, this.recording.duration);
  }

  draw() {
    if (!this.recording || this.abort.signal.aborted) return;
    const { state, face } = this;
    const ratio = window.devicePixelRatio || 1;
    const layout = state.one ? 'one' : this.recording.twelve ? state.layout : '12x1';
    const span = this.span();
    state.start = Math.max(0, Math.min(state.start, this.recording.duration - span));
    const rows = state.one
      ? [[{ lead: state.one, from: state.start, to: state.start + span }]]
      : arrange(this.recording, layout, state.cabrera, state.start, span);
    const box = { width: face.scroll.clientWidth, height: face.scroll.clientHeight };
    if (!box.width || !box.height) return;
    const scale = state.life ? millimetresPerPixel() : 'fit';
    this.sheet = measure({ rows, layout, speed: state.speed, gain: state.gain, span, box, ratio, scale });
    for (const canvas of face.canvases) {
      canvas.width = this.sheet.width;
      canvas.height = this.sheet.height;
      canvas.style.width = `${this.sheet.width / ratio}px`;
      canvas.style.height = `${this.sheet.height / ratio}px`;
    }
    face.sheet.style.width = `${this.sheet.width / ratio}px`;
    face.sheet.style.height = `${this.sheet.height / ratio}px`;
    drawGrid(face.grid.getContext('2d'), this.sheet, SKINS[state.skin]);
    drawTraces(face.trace.getContext('2d'), this.sheet, this.recording, SKINS[state.skin], this.t('未记录'));
    this.drawMarks();
    face.update();
  }

  drawMarks() {
    const { marks, live } = this.face;
    const pen = marks.getContext('2d');
    pen.clearRect(0, 0, marks.width, marks.height);
    if (!this.points) {
      live.textContent = '';
      return;
    }
    const lines = this.figures();
    drawCaliper(pen, this.sheet, this.points, lines, SKINS[this.state.skin], this.held);
    live.textContent = lines.join(' · ');
  }

  figures() {
    const { ms, mv, bpm } = caliper(this.sheet, this.points);
    const lines = [`${Math.round(ms)} ms`, `${mv >= 0 ? '' : '−'}${Math.abs(mv).toFixed(2)} mV`];
    if (bpm) lines.splice(1, 0, this.t('{n} 次/分', { n: Math.round(bpm) }));
    return lines;
  }

  placeCaliper(points) {
    this.state.calipers = true;
    this.points = points;
    this.drawMarks();
    this.face.update();
    return caliper(this.sheet, points);
  }

  geometry() {
    const { sheet } = this;
    if (!sheet) return null;
    const leads = sheet.cells.map(({ lead, x0, x1, baseline, from, to, row }) => ({ name: lead, x0, x1, baseline, from, to, row }));
    const end = sheet.left - 2 * sheet.mm;
    const pulse = { x0: end - 200 * sheet.pxPerMs, x1: end, height: sheet.pxPerMv };
    return { pxPerMv: sheet.pxPerMv, pxPerMs: sheet.pxPerMs, mm: sheet.mm, ratio: sheet.ratio, width: sheet.width, height: sheet.height, leads, pulse };
  }

  pixels() {
    const { trace } = this.face;
    const { width, height, data } = trace.getContext('2d').getImageData(0, 0, trace.width, trace.height);
    return { width, height, data };
  }

  /** The sheet as on paper, with the caliper, for the report. */
  async keyImage() {
    if (!this.sheet || !this.options.onKeyImage) return;
    const { sheet } = this;
    const page = document.createElement('canvas');
    page.width = sheet.width;
    page.height = sheet.height;
    const pen = page.getContext('2d');
    drawGrid(pen, sheet, SKINS.paper);
    drawTraces(pen, sheet, this.recording, SKINS.paper, this.t('未记录'));
    if (this.points) drawCaliper(pen, sheet, this.points, this.figures(), SKINS.paper, this.held);
    const shrink = Math.min(1, KEY_IMAGE_SIDE / Math.max(page.width, page.height));
    const small = document.createElement('canvas');
    small.width = Math.round(page.width * shrink);
    small.height = Math.round(page.height * shrink);
    const brush = small.getContext('2d');
    brush.imageSmoothingQuality = 'high';
    brush.drawImage(page, 0, 0, small.width, small.height);
    const [, studyUid, seriesUid, sopUid] = /studies\/([^/]+)\/series\/([^/]+)\/instances\/([^/]+)/.exec(this.options.url) ?? [];
    const dataUrl = small.toDataURL('image/png');
    try {
      await this.options.onKeyImage({ studyUid, seriesUid, sopUid, frame: 1, window: null, dataUrl });
      this.face.live.textContent = this.t('图像已放入报告。');
    } catch {
      this.face.live.textContent = this.t('图像没有放进报告，请重试。');
    }
  }

  #listen() {
    const { sheet, root } = this.face;
    let drag = null;
    const point = (event) => {
      const box = sheet.getBoundingClientRect();
      const ratio = this.sheet.ratio;
      return { x: Math.round((event.clientX - box.left) * ratio), y: Math.round((event.clientY - box.top) * ratio) };
    };
    sheet.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !this.sheet) return;
      drag = { from: point(event), moved: false, x: event.clientX, y: event.clientY };
      if (this.state.calipers) sheet.setPointerCapture(event.pointerId);
    });
    sheet.addEventListener('pointermove', (event) => {
      if (!drag) return;
      drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > CLICK;
      if (!this.state.calipers || !drag.moved) return;
      this.points = [drag.from, point(event)];
      this.held = 1;
      this.drawMarks();
    });
    sheet.addEventListener('pointerup', (event) => {
      if (drag && !drag.moved && !this.state.calipers) this.#zoomAt(point(event));
      drag = null;
    });
    sheet.addEventListener('pointercancel', () => {
      drag = null;
    });
    root.addEventListener('keydown', (event) => this.#key(event));
  }

  /** A click enlarges the lead under it; a click on the enlarged lead goes back. */
  #zoomAt({ x, y }) {
    if (this.state.one) {
      this.set({ one: null });
      return;
    }
    const cell = this.sheet.cells.find((one) => x >= one.x0 && x <= one.x1 && y >= one.top && y <= one.bottom);
    if (cell && this.recording.lead(cell.lead)) this.set({ one: cell.lead });
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.recording) return;
    if (['INPUT', 'SELECT', 'TEXTAREA'].includes(event.target.tagName)) return;
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const acts = {
      1: () => this.set({ layout: LAYOUTS[0], one: null }),
      2: () => this.set({ layout: LAYOUTS[1], one: null }),
      3: () => this.set({ layout: LAYOUTS[2], one: null }),
      s: () => this.cycle('speed', SPEEDS),
      g: () => this.cycle('gain', GAINS),
      c: () => this.toggleCalipers(),
      v: () => this.set({ cabrera: !this.state.cabrera }),
      b: () => this.set({ skin: this.state.skin === 'dark' ? 'paper' : 'dark' }),
      k: () => this.keyImage(),
      PageDown: () => this.set({ start: this.state.start + this.span() / 2 }),
      PageUp: () => this.set({ start: this.state.start - this.span() / 2 }),
    };
    if (this.points && moves[event.key]) {
      const [dx, dy] = moves[event.key];
      const held = this.points[this.held];
      const clamp = (value, limit) => Math.max(0, Math.min(limit, value));
      this.points[this.held] = { x: clamp(held.x + dx, this.sheet.width), y: clamp(held.y + dy, this.sheet.height) };
      this.drawMarks();
    } else if (this.points && event.key === 'Enter' && !event.target.closest('button')) {
      this.held = 1 - this.held;
      this.drawMarks();
    } else if (event.key === 'Escape' && (this.points || this.state.one)) {
      this.set(this.points ? { calipers: false } : { one: null });
    } else if (acts[key]) {
      acts[key]();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** On: a caliper of one second stands ready in the first row, for the keyboard and as a hint. */
  toggleCalipers() {
    if (this.state.calipers) {
      this.set({ calipers: false });
      return;
    }
    const [cell] = this.sheet.cells;
    const x = Math.round(cell.x0 + 200 * this.sheet.pxPerMs);
    this.held = 1;
    this.points = [
      { x, y: cell.baseline },
      { x: Math.round(x + 1000 * this.sheet.pxPerMs), y: Math.round(cell.baseline - this.sheet.pxPerMv) },
    ];
    this.set({ calipers: true });
    this.face.sheet.focus();
  }

  destroy() {
    this.abort.abort();
    this.observer.disconnect();
    this.face.root.remove();
  }
}

function explain(error, t) {
  if (error.status === 401) return t('登录已过期，请重新登录后重试。');
  if (error.status === 403 || error.status === 404) return t('找不到这份心电图，或您没有查看它的权限。');
  if (error instanceof TypeError) return t('网络中断，心电图没有取到。请检查网络后重试。');
  return t('这份心电图无法显示，数据可能已损坏。');
}
