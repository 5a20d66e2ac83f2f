// One cell of the viewer: a viewport that shows one frame of one stack, with its text and its troubles.
import { Enums, eventTarget, utilities } from '@cornerstonejs/core';

import { explain, reasonOf } from './archive.js';
import { captureCanvas } from './capture.js';
import { el, icon } from './dom.js';
import { drawsOnCpu, forgetFrame, loadFrame, registerStack } from './engine.js';
import { completePalette } from './palette.js';
import { prefetchAround } from './prefetch.js';
import { readView, setOneToOne, writeView } from './view.js';

const { Events, ViewportType } = Enums;
const { toLowHighRange, toWindowLevel } = utilities.windowLevel;

export class Cell {
  /** `host`: {engine, hands, t, iconsUrl, identity, retry, onActive, onChange, onSet} of the viewer that owns the cell. */
  constructor(host, id) {
    this.host = host;
    this.id = id;
    this.set = null;
    this.index = 0;
    this.pending = 0;
    this.shown = null; // the image id that is really on screen
    this.turn = 0; // counts requests, so that only the newest one speaks
    this.#build();
  }

  #build() {
    const { t, iconsUrl } = this.host;
    // The upper corners say what the file says, in whatever language it was written.
    const corner = (place) => el('div', { class: `vw-corner vw-${place}`, 'data-user': place.startsWith('t') });
    this.corners = { tl: corner('tl'), tr: corner('tr'), bl: corner('bl'), br: corner('br') };
    this.screen = el('div', { class: 'vw-screen' });
    this.message = el('div', { class: 'vw-message', role: 'status', 'aria-live': 'polite', hidden: true });
    this.retry = el('button', { type: 'button', class: 'vw-text-button', hidden: true }, icon(iconsUrl, 'refresh-cw'), t('重试'));
    this.retry.addEventListener('click', () => this.#again());
    this.messageText = el('p');
    this.message.append(this.messageText, this.retry);
    this.root = el(
      'div',
      { class: 'vw-cell', tabindex: '0', role: 'group', 'aria-label': t('图像窗格') },
      this.screen,
      ...Object.values(this.corners),
      this.message,
    );
    this.#say(t('从下面选一个序列'));
    this.root.addEventListener('pointerdown', () => this.host.onActive(this), true);
    this.root.addEventListener('focusin', () => this.host.onActive(this));
    this.root.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  /** Join the engine; the element must be in the page. */
  enable() {
    const { engine, hands } = this.host;
    engine.enableElement({
      viewportId: this.id,
      type: ViewportType.STACK,
      element: this.screen,
      defaultOptions: { background: [0, 0, 0] },
    });
    this.viewport = engine.getViewport(this.id);
    hands.addViewport(this.id, engine.id);
    this.listeners = [
      [Events.STACK_NEW_IMAGE, (event) => queueMicrotask(() => this.#onImage(event.detail))],
      [Events.VOI_MODIFIED, () => this.#changed()],
      [Events.CAMERA_MODIFIED, () => this.#changed()],
      [Events.PRE_STACK_NEW_IMAGE, (event) => this.#onAsked(event.detail)],
    ];
    for (const [name, listener] of this.listeners) this.screen.addEventListener(name, listener);
    this.onLoadError = (event) => this.#onLoadError(event.detail);
    eventTarget.addEventListener(Events.IMAGE_LOAD_ERROR, this.onLoadError);
  }

  disable() {
    this.turn += 1;
    this.stopPrefetch?.();
    for (const [name, listener] of this.listeners ?? []) this.screen.removeEventListener(name, listener);
    eventTarget.removeEventListener(Events.IMAGE_LOAD_ERROR, this.onLoadError);
    this.host.hands.removeViewport(this.id, this.host.engine.id);
    this.host.engine.disableElement(this.id);
    this.root.remove();
  }

  /** Show a stack, from frame `index` on. Failures are told in the cell and never thrown. */
  async show(set, index = 0) {
    const turn = ++this.turn;
    this.stopPrefetch?.();
    this.set = set;
    this.index = Math.max(0, Math.min(index, set.frames.length - 1));
    this.shown = null;
    this.host.onSet(this);
    this.#say(this.host.t('正在读取影像…'));
    const { imageId } = set.frames[this.index];
    this.pending += 1;
    try {
      await Promise.all(set.frames.filter((one) => one.frame === 1).map((one) => completePalette(one.instance)));
      registerStack(set);
      await loadFrame(imageId);
      if (turn !== this.turn) return;
      await this.viewport.setStack(set.frames.map((frame) => frame.imageId), this.index);
      if (turn !== this.turn) return;
      this.viewport.resetCamera();
      this.viewport.render();
      this.shown = imageId;
      this.#say(null);
      this.#overlay();
      this.#changed();
      this.stopPrefetch = prefetchAround(set, () => this.index);
    } catch (error) {
      if (turn === this.turn) this.#fail(error, imageId);
    } finally {
      this.pending -= 1;
    }
  }

  /** Go to frame `index` (0-based) of the stack; out of range stops at the end. */
  async goTo(index) {
    if (!this.set) return;
    const wanted = Math.max(0, Math.min(index, this.set.frames.length - 1));
    if (wanted === this.index && this.shown) return;
    if (!this.shown && !this.viewport.getImageIds?.().length) {
      await this.show(this.set, wanted);
      return;
    }
    this.index = wanted;
    this.pending += 1;
    try {
      await this.viewport.setImageIdIndex(wanted);
    } catch (error) {
      if (this.index === wanted) this.#fail(error, this.set.frames[wanted].imageId);
    } finally {
      this.pending -= 1;
    }
  }

  step(delta, wrap = false) {
    if (!this.set) return Promise.resolve();
    const count = this.set.frames.length;
    const next = this.index + delta;
    return this.goTo(wrap ? ((next % count) + count) % count : next);
  }

  /** The window in the units of the file's rescale, or null before the first image. */
  window() {
    const range = this.set && this.shown ? this.viewport.getProperties().voiRange : null;
    if (!range) return null;
    const { windowWidth, windowCenter } = toWindowLevel(range.lower, range.upper);
    return { center: round(windowCenter), width: round(windowWidth) };
  }

  /** Set the window; null takes the file's own. */
  setWindow(window) {
    if (!this.shown) return;
    if (window) {
      const { lower, upper } = toLowHighRange(window.width, window.center);
      this.viewport.setProperties({ voiRange: { lower, upper } });
    } else {
      const keep = { invert: this.viewport.getProperties().invert };
      this.viewport.resetProperties();
      this.viewport.setProperties(keep);
    }
    this.viewport.render();
    this.#changed();
  }

  invert() {
    if (!this.shown) return;
    this.viewport.setProperties({ invert: !this.viewport.getProperties().invert });
    this.viewport.render();
    this.#changed();
  }

  /** Turn by quarter turns, clockwise. */
  rotate(quarters = 1) {
    if (!this.shown) return;
    const now = Math.round(this.viewport.getRotation() / 90) * 90;
    this.viewport.setRotation((((now + quarters * 90) % 360) + 360) % 360);
    this.viewport.render();
    this.#changed();
  }

  flip() {
    if (!this.shown) return;
    this.viewport.setCamera({ flipHorizontal: !this.viewport.flipHorizontal });
    this.viewport.render();
    this.#changed();
  }

  /** Window, orientation, zoom and place as when the stack was opened. */
  reset() {
    if (!this.shown) return;
    const camera = { flipHorizontal: false, flipVertical: false };
    if (this.viewport.flipHorizontal || this.viewport.flipVertical) this.viewport.setCamera(camera);
    this.viewport.setRotation(0);
    this.viewport.resetProperties();
    this.viewport.resetCamera();
    this.viewport.render();
    this.#changed();
  }

  zoomBy(factor) {
    if (!this.shown) return;
    this.viewport.setZoom(this.viewport.getZoom() * factor);
    this.viewport.render();
  }

  /** One image pixel on one device pixel, sharp: what is on screen is what is in the file. */
  oneToOne() {
    if (!this.shown) return;
    setOneToOne(this.viewport);
    this.viewport.render();
    this.#changed();
  }

  /** What is on screen, or null: identifiers, place in the stack, size, window. */
  image() {
    if (!this.set || !this.shown) return null;
    const { studyUid, seriesUid, modality, frames } = this.set;
    const place = frames.findIndex((frame) => frame.imageId === this.shown);
    const { sopUid, frame } = frames[place];
    const { dimensions } = this.viewport.getImageData();
    return {
      studyUid, seriesUid, sopUid, frame, modality,
      index: place, count: frames.length, columns: dimensions[0], rows: dimensions[1],
      window: this.window(), invert: Boolean(this.viewport.getProperties().invert),
    };
  }

  /** The view in image coordinates, for another screen of any size. */
  view() {
    return this.shown ? readView(this.viewport) : null;
  }

  applyView(presentation) {
    if (!this.shown || !presentation) return;
    if (typeof presentation.invert === 'boolean') this.viewport.setProperties({ invert: presentation.invert });
    writeView(this.viewport, presentation);
    this.viewport.render();
    this.#overlay();
  }

  /** The rendered canvas's RGBA, device pixels, row by row. */
  pixels() {
    const { canvas } = this.viewport;
    const { width, height, data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return { width, height, data };
  }

  /** The image as shown, cut to the image, with its measurements; PNG data URL of at most `side` pixels. */
  capture(side) {
    return captureCanvas(this.viewport, this.shown, side, this.host.t);
  }

  /** True when nothing is on its way. */
  settled() {
    const asked = this.set?.frames[this.index]?.imageId;
    return this.pending === 0 && (!this.set || this.shown === asked || this.failed === asked);
  }

  #onAsked({ imageIdIndex }) {
    // The wheel and the scrolling tool move the viewport by themselves.
    this.index = imageIdIndex;
    clearTimeout(this.slow);
    const asked = this.set?.frames[imageIdIndex]?.imageId;
    this.slow = setTimeout(() => {
      if (this.set?.frames[this.index]?.imageId === asked && this.shown !== asked) this.#say(this.host.t('正在读取影像…'));
    }, 200);
  }

  #onImage({ imageId, imageIdIndex }) {
    // Told before the engine is done with the image, hence the microtask; by then the cell may have moved on.
    if (this.set?.frames[imageIdIndex]?.imageId !== imageId) return;
    clearTimeout(this.slow);
    this.failed = null;
    this.shown = imageId;
    this.index = imageIdIndex;
    this.#say(null);
    this.#overlay();
    this.#changed();
  }

  #onLoadError(detail) {
    const failed = [detail].flat().find((item) => item?.imageId === this.set?.frames[this.index]?.imageId);
    if (failed) this.#fail(failed.error, failed.imageId);
  }

  #fail(error, imageId) {
    clearTimeout(this.slow);
    this.failed = imageId;
    this.error = error;
    this.#say(explain(reasonOf(error), this.host.t), true);
    this.host.onSet(this);
  }

  async #again() {
    forgetFrame(this.failed);
    this.failed = null;
    await this.host.retry(this.error, () => this.show(this.set, this.index));
    this.root.focus();
  }

  #say(text, retry = false) {
    this.message.hidden = text === null;
    this.message.classList.toggle('vw-failed', retry);
    this.retry.hidden = !retry;
    this.messageText.textContent = text ?? '';
  }

  #changed() {
    if (!this.shown) return;
    this.#overlay();
    this.host.onChange(this);
  }

  #overlay() {
    const { t, identity } = this.host;
    const { set, corners } = this;
    const window = this.window();
    const view = this.view();
    const lines = {
      tl: identity,
      tr: [[set.modality, set.number === undefined ? '' : t('序列 {n}', { n: set.number })].filter(Boolean).join(' · '), set.description, set.date],
      bl: [
        set.frames.length > 1 ? t(set.multiframe ? '第 {n} / {total} 帧' : '第 {n} / {total} 幅', { n: this.index + 1, total: set.frames.length }) : '',
        set.detectorPlane ? t('长度按探测器平面计') : '',
      ],
      br: [
        window && !set.color ? t('窗宽 {width} 窗位 {center}', { width: Math.round(window.width), center: Math.round(window.center) }) : '',
        view ? t('缩放 {percent}%', { percent: Math.round(view.scale * 100) }) : '',
        drawsOnCpu() ? t('软件绘图') : '',
      ],
    };
    for (const [place, texts] of Object.entries(lines)) {
      const wanted = texts.filter(Boolean).join('\n');
      if (corners[place].textContent !== wanted) corners[place].textContent = wanted;
    }
  }
}

function round(figure) {
  return Math.round(figure * 1000) / 1000;
}
