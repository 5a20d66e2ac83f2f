// The image viewer. `mountViewer` puts it into any element of any page; `destroy` takes everything away again.
import { mountBar } from './bar.js';
import { plainText } from './dom.js';
import { startEngine } from './engine.js';
import { installKeys } from './keys.js';
import { Viewer } from './viewer.js';

/**
 * Mount a viewer of one study into `element`.
 *
 * Options: `studyUid`; `baseUrl` of DICOMweb; `t(text, places)` translates; `identity` the lines that say whose
 * images these are; `onKeyImage({studyUid, seriesUid, sopUid, frame, window, dataUrl})` (the button is absent
 * without it); `onState(state)` after every change of the active view; `cpu` draws without WebGL; `globalKeys`
 * listens to keys on the whole page; `initialSeries` opens that series first; `signIn()` lets an expired session be
 * renewed before a retry.
 *
 * Returns the controller: readPixels, currentImage, setOneToOne, viewerState, applyState, goTo, setWindow,
 * setLayout, hold, ecg, openSeries, settled, destroy.
 */
export function mountViewer(element, options) {
  const { cpu = false, t = plainText, baseUrl = '/dicom-web', globalKeys = false } = options;
  startEngine({ cpu });
  const viewer = new Viewer(element, { ...options, t, baseUrl });
  mountBar(viewer);
  const removeKeys = installKeys(viewer, globalKeys ? document : viewer.root);
  viewer.start();
  return {
    /** RGBA of what is drawn: {width, height, data}; `cell` is 0-based, default the active one. */
    readPixels: (cell) => viewer.cell(cell).pixels(),
    /** What is on screen, or null: {studyUid, seriesUid, sopUid, frame, index, count, rows, columns, window, …}. */
    currentImage: (cell) => viewer.cell(cell).image(),
    /** 1:1, one image pixel on one device pixel. */
    setOneToOne: () => viewer.active.oneToOne(),
    viewerState: () => viewer.state(),
    applyState: (state) => viewer.applyState(state),
    goTo: (index) => viewer.active.goTo(index),
    setWindow: (window) => viewer.active.setWindow(window),
    setLayout: (rows, columns) => viewer.setLayout(rows, columns),
    hold: (tool) => viewer.hold(tool),
    /** The controller of the tracing that is open (static/ecg/ecg.js), else null. */
    ecg: () => viewer.ecg,
    openSeries: (seriesUid, index) => viewer.openSeries(seriesUid, index),
    /** Index (column, row) → CSS pixel in the cell's canvas; for tests and for pointers shared between screens. */
    canvasPoint: (column, row, cell) => viewer.canvasPoint(column, row, cell),
    /** Resolves when every cell shows what it was asked for. */
    settled: () => viewer.settled(),
    destroy: () => {
      removeKeys();
      viewer.destroy();
    },
  };
}

/** The view of a mounted viewer as data: {image, presentation, window}; null before the first image. */
export function viewerState(controller) {
  return controller.viewerState();
}

/** Show on a mounted viewer what `viewerState` of another described. */
export function applyState(controller, state) {
  return controller.applyState(state);
}
