// Starts cornerstone3D once per page, and gives each viewer a tool group of its own.
import * as core from '@cornerstonejs/core';
import { init as initLoader, wadors } from '@cornerstonejs/dicom-image-loader';
import * as tools from '@cornerstonejs/tools';

const {
  LengthTool,
  PanTool,
  ProbeTool,
  StackScrollTool,
  ToolGroupManager,
  WindowLevelTool,
  ZoomTool,
  Enums: { MouseBindings, KeyboardBindings },
} = tools;

/** The tools a hand can hold, by the viewer's own names. */
export const TOOLS = {
  scroll: StackScrollTool.toolName,
  window: WindowLevelTool.toolName,
  zoom: ZoomTool.toolName,
  pan: PanTool.toolName,
  length: LengthTool.toolName,
  probe: ProbeTool.toolName,
};
export const MEASURING = ['length', 'probe'];

const CACHE_BYTES = 768 * 1024 * 1024;
let started = false;

/**
 * Cornerstone asks WebGL what it can do as it reads the first image, also when it will not draw with it, and keeps the
 * answer. Where the processor draws WebGL that question holds the page for seconds: it is asked here, answered "none".
 */
function askWithoutWebgl() {
  const { getContext } = HTMLCanvasElement.prototype;
  HTMLCanvasElement.prototype.getContext = function plain(kind, ...more) {
    return kind.includes('webgl') ? null : getContext.call(this, kind, ...more);
  };
  try {
    core.canRenderFloatTextures();
  } finally {
    HTMLCanvasElement.prototype.getContext = getContext;
  }
}

/** Start the engine. Without WebGL, or with `cpu`, images are drawn by the processor: slower, same pixels. */
export function startEngine({ cpu = false } = {}) {
  if (cpu && !core.getShouldUseCPURendering()) {
    askWithoutWebgl();
    core.setUseCPURendering(true); // before init, which then asks nothing either
  }
  if (!started) {
    core.init({ rendering: { webGlContextCount: 2 } });
    core.cache.setMaxCacheSize(CACHE_BYTES);
    const workers = Math.max(1, Math.min(4, Math.floor((navigator.hardwareConcurrency ?? 2) / 2)));
    initLoader({ maxWebWorkers: workers, strict: false });
    tools.init();
    for (const tool of [LengthTool, PanTool, ProbeTool, StackScrollTool, WindowLevelTool, ZoomTool]) {
      tools.addTool(tool);
    }
    tools.annotation.config.style.setDefaultToolStyles({
      global: {
        color: 'rgb(255, 214, 92)',
        colorHighlighted: 'rgb(120, 220, 255)',
        colorSelected: 'rgb(255, 214, 92)',
        lineWidth: '1.5',
        lineDash: '',
        textBoxVisibility: true,
        textBoxBackground: 'rgba(13, 16, 20, 0.75)',
        textBoxMargin: '4',
        shadow: true,
        textBoxFontFamily: 'system-ui, sans-serif',
        textBoxFontSize: '14px',
        textBoxColor: 'rgb(255, 214, 92)',
        textBoxColorHighlighted: 'rgb(120, 220, 255)',
        textBoxColorSelected: 'rgb(255, 214, 92)',
        textBoxLinkLineWidth: '1',
        textBoxLinkLineDash: '2,3',
      },
    });
    started = true;
  }
}

/** True when the processor draws (no WebGL, or asked for). */
export function drawsOnCpu() {
  return core.getShouldUseCPURendering();
}

/** Tell the loader what the archive said about a stack's instances. */
export function registerStack(displaySet) {
  for (const frame of displaySet.frames) {
    if (frame.frame === 1) wadors.metaDataManager.add(frame.imageId, frame.instance);
  }
}

/** Load one frame into the cache, with the options the viewport itself would use. */
export function loadFrame(imageId, prefetch = false) {
  return core.imageLoader.loadAndCacheImage(imageId, {
    useRGBA: drawsOnCpu(),
    requestType: prefetch ? core.Enums.RequestType.Prefetch : core.Enums.RequestType.Interaction,
    priority: prefetch ? 5 : -5,
  });
}

/** Forget a frame that failed, so that "try again" asks the archive once more. */
export function forgetFrame(imageId) {
  if (core.cache.getImageLoadObject(imageId)) core.cache.removeImageLoadObject(imageId, { force: true });
}

/** What a length reads: millimetres; centimetres of ultrasound regions become millimetres; pixels say so. */
export function lengthText(stats, t) {
  if (!stats || !Number.isFinite(stats.length)) return null;
  const unit = String(stats.unit ?? '').split(' ')[0];
  if (unit === 'mm') return `${stats.length.toFixed(1)} mm`;
  if (unit === 'cm') return `${(stats.length * 10).toFixed(1)} mm`;
  return t('{n} 像素', { n: stats.length.toFixed(0) });
}

/** What a probe reads: the stored value through the rescale of the file (HU for CT), or the colour. */
export function probeText(stats, t) {
  if (!stats || stats.value === undefined || stats.value === null || !stats.index) return null;
  const place = `(${stats.index[0]}, ${stats.index[1]})`;
  if (stats.value instanceof Array || ArrayBuffer.isView(stats.value)) {
    const parts = Array.from(stats.value).slice(0, 3);
    return [place, `RGB ${parts.map((part) => Math.round(part)).join(' ')}`];
  }
  const unit = stats.modalityUnit === 'HU' ? 'HU' : t('像素值');
  const shown = Math.round(stats.value * 100) / 100;
  return [place, unit === 'HU' ? `${shown} HU` : `${unit} ${shown}`];
}

/** The tool group of one viewer: the standard mouse map with `active` on the left button and one finger. */
export class HandTools {
  constructor(id, t) {
    this.id = id;
    this.group = ToolGroupManager.createToolGroup(id);
    for (const name of Object.values(TOOLS)) {
      const settings = {};
      if (name === TOOLS.length) {
        settings.getTextLines = (data, target) => {
          const text = lengthText(data.cachedStats[target], t);
          return text ? [text] : undefined;
        };
      }
      if (name === TOOLS.probe) {
        settings.getTextLines = (data, target) => probeText(data.cachedStats[target], t) ?? undefined;
      }
      this.group.addTool(name, settings);
    }
    this.hold('window');
  }

  addViewport(viewportId, engineId) {
    this.group.addViewport(viewportId, engineId);
  }

  removeViewport(viewportId, engineId) {
    this.group.removeViewports(engineId, viewportId);
  }

  /** Put a tool into the hand. Wheel scrolls, right button windows, middle pans, Ctrl+wheel and two fingers zoom. */
  hold(active) {
    this.active = active;
    const bindings = {
      scroll: [{ mouseButton: MouseBindings.Wheel }],
      window: [{ mouseButton: MouseBindings.Secondary }],
      pan: [{ mouseButton: MouseBindings.Auxiliary }],
      zoom: [
        { mouseButton: MouseBindings.Secondary, modifierKey: KeyboardBindings.Shift },
        { mouseButton: MouseBindings.Wheel, modifierKey: KeyboardBindings.Ctrl },
        { numTouchPoints: 2 },
      ],
      length: [],
      probe: [],
    };
    bindings[active].push({ mouseButton: MouseBindings.Primary }, { numTouchPoints: 1 });
    for (const [name, toolName] of Object.entries(TOOLS)) {
      this.group.setToolPassive(toolName, { removeAllBindings: true });
      if (bindings[name].length) this.group.setToolActive(toolName, { bindings: bindings[name] });
    }
  }

  destroy() {
    ToolGroupManager.destroyToolGroup(this.id);
  }
}
