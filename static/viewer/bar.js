// The palette of tools at the left edge and the bar beneath the images.
import { el, icon } from './dom.js';
import { showHelp } from './help.js';
import { PRESETS } from './presets.js';

const LAYOUTS = [
  [1, 1],
  [1, 2],
  [2, 2],
];

/** Build both; they follow the viewer by themselves. */
export function mountBar(viewer) {
  const { t, iconsUrl } = viewer;
  const button = (name, text, key, action, options = {}) => {
    const hint = key ? `${text} (${key})` : text;
    // Who says the visible words to a voice control must be understood (WCAG 2.5.3).
    const shown = typeof options.label === 'string' ? options.label : '';
    const named = text.includes(shown) ? text : `${shown} ${text}`;
    const node = el(
      'button',
      { type: 'button', class: 'vw-tool', title: hint, 'aria-label': named, 'aria-keyshortcuts': key || null, ...options },
      options.label ?? icon(iconsUrl, name),
    );
    node.addEventListener('click', action);
    return node;
  };

  const hands = [
    ['window', 'sun', t('调窗'), 'W'],
    ['scroll', 'layers', t('翻页'), 'S'],
    ['zoom', 'zoom-in', t('缩放'), 'Z'],
    ['pan', 'move', t('移动'), 'P'],
    ['length', 'ruler', t('测长度'), 'L'],
    ['probe', 'crosshair', t('看数值'), 'H'],
  ].map(([tool, name, text, key]) => {
    const node = button(name, text, key, () => viewer.hold(tool), { 'aria-pressed': 'false' });
    node.dataset.tool = tool;
    return node;
  });

  const acts = [
    button('contrast', t('反色'), 'I', () => viewer.active.invert()),
    button('rotate-cw', t('顺时针旋转'), 'O', () => viewer.active.rotate(1)),
    button('flip-horizontal', t('左右翻转'), 'F', () => viewer.active.flip()),
    button('', t('1:1 实际像素'), 'X', () => viewer.active.oneToOne(), { label: '1:1' }),
    button('trash-2', t('清除本图测量'), 'Delete', () => viewer.clearMeasures()),
    button('undo-2', t('复位'), 'R', () => viewer.active.reset()),
  ];

  const presets = PRESETS.map((preset, at) => {
    const node = button('', t(preset.name), String(at + 1), () => viewer.active.setWindow(preset), { label: t(preset.name) });
    node.classList.add('vw-preset', ...(preset.wide ? ['vw-preset-wide'] : []));
    return node;
  });
  const own = button('', t('文件自带的窗'), '0', () => viewer.active.setWindow(null), { label: t('默认窗') });
  own.classList.add('vw-preset', 'vw-preset-wide');

  const layouts = LAYOUTS.map(([rows, columns]) => {
    const node = button('', t('{rows} 行 {columns} 列', { rows, columns }), 'G', () => viewer.setLayout(rows, columns), {
      label: `${rows}×${columns}`,
      'aria-pressed': 'false',
    });
    node.dataset.layout = `${rows}x${columns}`;
    return node;
  });

  const group = (label, ...nodes) => el('div', { class: 'vw-group', role: 'group', 'aria-label': label }, ...nodes);
  const windows = group(t('窗预设'), ...presets, own);
  viewer.palette.append(group(t('手中的工具'), ...hands), group(t('图像操作'), ...acts), windows);
  let keep = null;
  if (viewer.options.onKeyImage) {
    keep = button('image-plus', t('放入报告'), 'K', () => viewer.keyImage(), {});
    keep.classList.add('vw-key-image');
    keep.append(el('span', {}, t('放入报告')));
    viewer.palette.append(keep);
  }

  const play = button('play', t('播放'), t('空格'), () => viewer.cine.toggle());
  const playing = [icon(iconsUrl, 'play'), icon(iconsUrl, 'pause')];
  const slider = el('input', { type: 'range', class: 'vw-slider', min: '1', max: '1', value: '1', 'aria-label': t('图像位置') });
  slider.addEventListener('input', () => {
    viewer.cine.stop();
    viewer.active.goTo(Number(slider.value) - 1);
  });
  const place = el('span', { class: 'vw-place' });
  const rate = el('output', { class: 'vw-rate' });
  const slower = button('', t('慢一点'), '[', () => viewer.cine.setRate(viewer.cine.rate() - 1), { label: '−' });
  const faster = button('', t('快一点'), ']', () => viewer.cine.setRate(viewer.cine.rate() + 1), { label: '+' });
  viewer.bar.append(
    play, slider, place, slower, rate, faster,
    group(t('布局'), ...layouts),
    button('keyboard', t('按键说明'), '?', () => showHelp(viewer)),
  );

  viewer.watch(() => {
    const { set, index } = viewer.active ?? {};
    const frames = set?.kind === 'image' ? set.frames.length : 0;
    const still = frames < 2;
    viewer.root.classList.toggle('vw-single', still);
    for (const node of hands) node.setAttribute('aria-pressed', String(node.dataset.tool === viewer.hands.active));
    for (const node of layouts) {
      node.setAttribute('aria-pressed', String(node.dataset.layout === `${viewer.layout?.rows}x${viewer.layout?.columns}`));
    }
    windows.hidden = set?.modality !== 'CT';
    for (const node of viewer.palette.querySelectorAll('button')) node.disabled = !frames || Boolean(viewer.openPanel);
    if (keep) keep.disabled ||= !viewer.active.shown; // there is nothing on screen yet to be kept
    for (const node of [play, slider, slower, faster]) node.disabled = still || Boolean(viewer.openPanel);
    slider.max = String(Math.max(1, frames));
    slider.value = String((index ?? 0) + 1);
    slider.setAttribute('aria-valuetext', frames ? `${(index ?? 0) + 1} / ${frames}` : '');
    place.textContent = frames ? `${(index ?? 0) + 1} / ${frames}` : '';
    rate.textContent = t('{n} 帧/秒', { n: viewer.cine.rate() });
    play.replaceChildren(playing[viewer.cine.running ? 1 : 0]);
    play.setAttribute('aria-label', viewer.cine.running ? t('暂停') : t('播放'));
  });
}
