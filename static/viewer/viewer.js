// One viewer: cells, series, the tool in the hand. The pieces of its face stand in bar, strip, keys.
import { RenderingEngine } from '@cornerstonejs/core';
import { annotation } from '@cornerstonejs/tools';

import { StudyArchive, explain, reasonOf } from './archive.js';
import { Cell } from './cell.js';
import { Cine } from './cine.js';
import { el } from './dom.js';
import { HandTools, MEASURING, TOOLS } from './engine.js';
import { displaySets, seriesList } from './objects.js';
import { Strip } from './strip.js';
import { indexToCanvas } from './view.js';

const KEY_IMAGE_SIDE = 1024;
let count = 0;

export class Viewer {
  constructor(element, options) {
    this.options = options;
    this.t = options.t;
    this.iconsUrl = options.iconsUrl ?? '/static/dist/icons.svg';
    this.identity = [options.identity ?? []].flat().filter(Boolean);
    this.archive = new StudyArchive(options.baseUrl, options.studyUid);
    this.name = `viewer-${(count += 1)}`;
    this.engine = new RenderingEngine(this.name);
    this.hands = new HandTools(this.name, this.t);
    this.abort = new AbortController();
    this.cells = [];
    this.sets = [];
    this.watchers = new Set();
    this.cellCount = 0;
    this.#build(element);
    this.strip = new Strip(this);
    this.cine = new Cine(this);
    this.setLayout(1, 1);
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.grid);
  }

  #build(element) {
    this.palette = el('div', { class: 'vw-palette', role: 'toolbar', 'aria-label': this.t('影像工具'), 'aria-orientation': 'vertical' });
    this.grid = el('div', { class: 'vw-grid' });
    this.panel = el('div', { class: 'vw-panel', hidden: true });
    this.bar = el('div', { class: 'vw-bar' });
    this.stripRoot = el('nav', { class: 'vw-strip', 'aria-label': this.t('序列') });
    this.notice = el('div', { class: 'vw-notice', role: 'status', 'aria-live': 'polite' });
    this.root = el(
      'div',
      { class: 'vw-root', lang: document.documentElement.lang || 'zh-CN' },
      this.palette,
      el('div', { class: 'vw-stage' }, this.grid, this.panel, this.notice),
      this.bar,
      this.stripRoot,
    );
    element.append(this.root);
  }

  /** Ask the archive for the study; the first image shows as soon as its series is known. */
  async start() {
    this.strip.say(this.t('正在读取序列…'));
    let list;
    try {
      list = seriesList(await this.archive.series(this.abort.signal));
    } catch (error) {
      if (!this.abort.signal.aborted) this.strip.say(explain(reasonOf(error), this.t), () => this.retry(error, () => this.start()));
      return;
    }
    if (!list.length) {
      this.strip.say(this.t('这次检查里还没有影像。'));
      return;
    }
    this.strip.show(list);
    const wanted = list.findIndex((series) => series.uid === this.options.initialSeries);
    const order = wanted > 0 ? [list[wanted], ...list.filter((_, at) => at !== wanted)] : list;
    for (const series of order) {
      if (this.abort.signal.aborted) return;
      await this.#readSeries(series);
    }
    // Nothing but documents and tracings: open the first that this viewer can open itself.
    const ecg = this.sets.find((set) => set.kind === 'ecg');
    if (ecg && !this.sets.some((set) => set.kind === 'image')) this.openSet(ecg);
  }

  async #readSeries(series) {
    try {
      const instances = await this.archive.metadata(series.uid, this.abort.signal);
      const sets = displaySets(this.archive, series, instances);
      this.sets.push(...sets);
      this.strip.fill(series, sets);
      const first = sets.find((set) => set.kind === 'image');
      if (first && !this.cells.some((cell) => cell.set) && !this.ecg) this.openSet(first);
      else this.#fillEmpty();
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.strip.fail(series, explain(reasonOf(error), this.t), () => this.retry(error, () => this.#readSeries(series)));
    }
  }

  /** Try again after `error`; an expired session is renewed first where the page knows how. */
  async retry(error, act) {
    if (reasonOf(error) === 'session') await this.options.signIn?.();
    await act();
  }

  /** The cell of a 0-based place, or the active one. */
  cell(place) {
    return place === undefined || place === null ? this.active : this.cells[place];
  }

  /** Rows × columns of cells; cells that stay keep what they show. */
  setLayout(rows, columns) {
    this.layout = { rows, columns };
    const wanted = rows * columns;
    while (this.cells.length > wanted) this.cells.pop().disable();
    while (this.cells.length < wanted) {
      const cell = new Cell(this.#host(), `${this.name}-cell-${(this.cellCount += 1)}`);
      this.cells.push(cell);
      this.grid.append(cell.root);
    }
    this.grid.dataset.layout = `${rows}x${columns}`;
    for (const cell of this.cells) if (!cell.viewport) cell.enable();
    this.engine.resize(true, true);
    if (!this.cells.includes(this.active)) this.activate(this.cells[0]);
    this.#fillEmpty();
    this.#tell();
  }

  /** New cells open the stacks that are not on screen yet. */
  #fillEmpty() {
    const shown = new Set(this.cells.map((cell) => cell.set));
    if (![...shown].some(Boolean)) return;
    const rest = this.sets.filter((set) => set.kind === 'image' && !shown.has(set));
    for (const cell of this.cells) if (!cell.set && rest.length) cell.show(rest.shift());
  }

  #host() {
    return {
      engine: this.engine,
      hands: this.hands,
      t: this.t,
      iconsUrl: this.iconsUrl,
      identity: this.identity,
      retry: (error, act) => this.retry(error, act),
      onActive: (cell) => this.activate(cell),
      onSet: () => this.#tell(),
      onChange: (cell) => {
        if (cell !== this.active) return;
        this.#tell();
        this.#tellState();
      },
    };
  }

  activate(cell) {
    if (this.active === cell) return;
    this.active = cell;
    for (const other of this.cells) other.root.classList.toggle('vw-active', other === cell);
    this.cine.stop();
    this.#tell();
    this.#tellState();
  }

  hold(tool) {
    this.hands.hold(tool);
    this.#tell();
  }

  /** Open a card: a stack in the active cell, an ECG in its panel. Documents open by their own link. */
  openSet(set, index = 0) {
    this.cine.stop();
    if (set.kind === 'image') {
      this.closePanel();
      return this.active.show(set, index);
    }
    if (set.kind === 'ecg') return this.#openEcg(set);
    return Promise.resolve();
  }

  /** Open a series by its UID; false when the study has none of that UID (yet). */
  async openSeries(seriesUid, index = 0) {
    const set = this.sets.find((one) => one.seriesUid === seriesUid && one.kind !== 'other');
    if (!set) return false;
    await this.openSet(set, index);
    return true;
  }

  async #openEcg(set) {
    this.closePanel();
    const { mountEcg } = await import(/* @vite-ignore */ this.options.ecgModule ?? '/static/ecg/ecg.js');
    if (this.abort.signal.aborted) return;
    this.panel.hidden = false;
    this.grid.classList.add('vw-behind');
    const url = this.archive.waveformUrl(set.seriesUid, set.sopUid);
    this.ecg = mountEcg(this.panel, { url, t: this.t, banner: this.identity, onKeyImage: this.options.onKeyImage, signIn: this.options.signIn, iconsUrl: this.iconsUrl });
    this.openPanel = set;
    this.#tell();
  }

  closePanel() {
    this.ecg?.destroy();
    this.ecg = null;
    this.openPanel = null;
    this.panel.hidden = true;
    this.grid.classList.remove('vw-behind');
    this.#tell();
  }

  /** Put the image on screen into the report. */
  async keyImage() {
    const image = this.active.image();
    if (!this.options.onKeyImage) return;
    if (!image) {
      this.say(this.t('图像还没有显示出来，请稍候。'));
      return;
    }
    const { studyUid, seriesUid, sopUid, frame, window } = image;
    const dataUrl = this.active.capture(KEY_IMAGE_SIDE);
    try {
      await this.options.onKeyImage({ studyUid, seriesUid, sopUid, frame, window, dataUrl });
      this.say(this.t('图像已放入报告。'));
    } catch {
      this.say(this.t('图像没有放进报告，请重试。'));
    }
  }

  /** Take away the measurements of the image on screen. */
  clearMeasures() {
    for (const name of MEASURING) {
      for (const item of [...(annotation.state.getAnnotations(TOOLS[name], this.active.screen) ?? [])]) {
        if (item.metadata.referencedImageId === this.active.shown) annotation.state.removeAnnotation(item.annotationUID);
      }
    }
    this.active.viewport.render();
  }

  say(text) {
    this.notice.textContent = text;
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => {
      this.notice.textContent = '';
    }, 4000);
  }

  /** The active view as data in image coordinates; null before the first image. */
  state() {
    const image = this.active.image();
    if (!image) return null;
    const { studyUid, seriesUid, sopUid, frame, window } = image;
    const { scale, ...presentation } = this.active.view();
    return { image: { studyUid, seriesUid, sopUid, frame }, presentation, window };
  }

  /** Show what another viewer's state describes; false when this study does not hold that image. */
  async applyState(state) {
    const { seriesUid, sopUid, frame } = state.image;
    const set = this.sets.find((one) => one.kind === 'image' && one.seriesUid === seriesUid && one.frames.some((f) => f.sopUid === sopUid));
    if (!set) return false;
    const index = set.frames.findIndex((f) => f.sopUid === sopUid && f.frame === frame);
    this.following = true;
    try {
      if (this.openPanel) this.closePanel();
      if (this.active.set !== set) await this.active.show(set, index);
      else await this.active.goTo(index);
      if (state.window) this.active.setWindow(state.window);
      this.active.applyView(state.presentation);
    } finally {
      this.following = false;
    }
    return true;
  }

  /** CSS pixel, within the page, of an image's (column, row). */
  canvasPoint(column, row, place) {
    const { viewport, screen } = this.cell(place);
    const [x, y] = indexToCanvas(viewport, [column, row]);
    const box = screen.getBoundingClientRect();
    return [box.left + x, box.top + y];
  }

  async settled() {
    while (!this.abort.signal.aborted) {
      const waiting = this.cells.some((cell) => !cell.settled());
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      if (!waiting && this.cells.every((cell) => cell.settled())) return;
    }
  }

  /** Call `watcher` after every change that the face shows. */
  watch(watcher) {
    this.watchers.add(watcher);
    watcher();
  }

  #tell() {
    for (const watcher of this.watchers) watcher();
  }

  /** At most once a frame, only the newest, and never an echo of what was applied. */
  #tellState() {
    if (!this.options.onState || this.following || this.stateAsked) return;
    this.stateAsked = requestAnimationFrame(() => {
      this.stateAsked = null;
      const state = this.following ? null : this.state();
      const text = JSON.stringify(state);
      if (!state || text === this.lastState) return;
      this.lastState = text;
      this.options.onState(state);
    });
  }

  #resized() {
    cancelAnimationFrame(this.resizeAsked);
    this.resizeAsked = requestAnimationFrame(() => {
      if (this.abort.signal.aborted || !this.grid.clientWidth) return;
      this.engine.resize(true, true);
    });
  }

  destroy() {
    this.abort.abort();
    this.observer.disconnect();
    this.cine.stop();
    this.ecg?.destroy();
    clearTimeout(this.noticeTimer);
    cancelAnimationFrame(this.stateAsked);
    cancelAnimationFrame(this.resizeAsked);
    for (const cell of this.cells) {
      for (const name of MEASURING) annotation.state.removeAnnotations?.(TOOLS[name], cell.screen);
      cell.disable();
    }
    this.hands.destroy();
    this.engine.destroy();
    this.root.remove();
  }
}

