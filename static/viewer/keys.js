// The keys. They act while the viewer has the focus, or on the whole page where the viewer is the page.
import { showHelp } from './help.js';
import { PRESETS } from './presets.js';

const TEXT = new Set(['INPUT', 'TEXTAREA', 'SELECT']);
const LAYOUTS = { '1x1': [1, 2], '1x2': [2, 2], '2x2': [1, 1] };

/** Every key and what it does, for the listener and for the help. */
export const KEYS = [
  { keys: ['ArrowDown', 'ArrowRight', 'PageDown'], shown: '↓ → PgDn', text: '下一幅', act: (v) => v.active.step(1) },
  { keys: ['ArrowUp', 'ArrowLeft', 'PageUp'], shown: '↑ ← PgUp', text: '上一幅', act: (v) => v.active.step(-1) },
  { keys: ['Home'], shown: 'Home', text: '第一幅', act: (v) => v.active.goTo(0) },
  { keys: ['End'], shown: 'End', text: '最后一幅', act: (v) => v.active.goTo(Infinity) },
  { keys: [' '], shown: '␣', text: '播放或暂停', act: (v) => v.cine.toggle() },
  { keys: ['[', ']'], shown: '[ ]', text: '播放慢一点、快一点', act: (v, key) => v.cine.setRate(v.cine.rate() + (key === ']' ? 1 : -1)) },
  { keys: ['w'], shown: 'W', text: '调窗', act: (v) => v.hold('window') },
  { keys: ['s'], shown: 'S', text: '翻页', act: (v) => v.hold('scroll') },
  { keys: ['z'], shown: 'Z', text: '缩放', act: (v) => v.hold('zoom') },
  { keys: ['p'], shown: 'P', text: '移动', act: (v) => v.hold('pan') },
  { keys: ['l'], shown: 'L', text: '测长度', act: (v) => v.hold('length') },
  { keys: ['h'], shown: 'H', text: '看数值', act: (v) => v.hold('probe') },
  { keys: ['1', '2', '3', '4', '5', '6'], shown: '1–6', text: 'CT 窗：肺、骨、脑、腹、软组织、纵隔', act: preset },
  { keys: ['0'], shown: '0', text: '文件自带的窗', act: (v) => v.active.setWindow(null) },
  { keys: ['+', '=', '-'], shown: '+ −', text: '放大、缩小', act: (v, key) => v.active.zoomBy(key === '-' ? 0.8 : 1.25) },
  { keys: ['x'], shown: 'X', text: '1:1 实际像素', act: (v) => v.active.oneToOne() },
  { keys: ['i'], shown: 'I', text: '反色', act: (v) => v.active.invert() },
  { keys: ['o'], shown: 'O', text: '顺时针旋转', act: (v) => v.active.rotate(1) },
  { keys: ['f'], shown: 'F', text: '左右翻转', act: (v) => v.active.flip() },
  { keys: ['r'], shown: 'R', text: '复位', act: (v) => v.active.reset() },
  { keys: ['Delete'], shown: 'Del', text: '清除本图测量', act: (v) => v.clearMeasures() },
  { keys: ['g'], shown: 'G', text: '布局 1×1、1×2、2×2', act: (v) => v.setLayout(...LAYOUTS[`${v.layout.rows}x${v.layout.columns}`]) },
  { keys: ['k'], shown: 'K', text: '放入报告', act: (v) => v.keyImage() },
  { keys: ['?'], shown: '?', text: '按键说明', act: (v) => showHelp(v) },
];

function preset(viewer, key) {
  if (viewer.active.set?.modality === 'CT') viewer.active.setWindow(PRESETS[Number(key) - 1]);
}

/** Listen; returns the function that stops listening. */
export function installKeys(viewer, target) {
  const onKey = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const from = event.target instanceof Element ? event.target : null;
    if (from && (TEXT.has(from.tagName) || from.isContentEditable || from.closest('dialog'))) return;
    // A tracing has keys of its own; buttons keep the space bar.
    if (viewer.openPanel || (event.key === ' ' && from?.closest('button, a'))) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const entry = KEYS.find((one) => one.keys.includes(name));
    if (!entry) return;
    event.preventDefault();
    entry.act(viewer, name);
  };
  target.addEventListener('keydown', onKey);
  return () => target.removeEventListener('keydown', onKey);
}
