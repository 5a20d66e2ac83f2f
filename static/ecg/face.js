// The ECG viewer's elements: header, controls, three canvases on one sheet, the physical-size dialog.
import { millimetresPerPixel } from './physical.js';

const SVG = 'http://www.w3.org/2000/svg';
const CARD_MM = 85.6; // ISO/IEC 7810 ID-1: every bank or identity card
const LEADS_LIMIT = 64;

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, setting] of Object.entries(attributes)) {
    if (setting === undefined || setting === null || setting === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), setting);
    else node.setAttribute(name, setting === true ? '' : setting);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function icon(iconsUrl, name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'ecg-icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${iconsUrl}#${name}`);
  svg.append(use);
  return svg;
}

/** One line above the tracing: whose, when, and the device's own measurements where the file has them. */
export function headerText(recording, options, t) {
  const m = recording.measurements;
  const figure = (text, value, unit) => (value === undefined || value === null ? null : `${text} ${Math.round(value)}${unit}`);
  const when = recording.acquired ? String(recording.acquired).slice(0, 16).replace('T', ' ') : null;
  const intervals = [
    figure(t('心率'), m.heartRate, t(' 次/分')),
    figure('PR', m.pr, ' ms'),
    figure('QRS', m.qrs, ' ms'),
    figure('QT', m.qt, ' ms'),
    figure('QTc', m.qtc, ' ms'),
    figure(t('电轴'), m.axis, '°'),
  ].filter(Boolean);
  const said = (note) => [note.text, note.value ?? null, note.unit ?? null].filter((part) => part !== null).join(' ');
  const statements = recording.annotations
    .filter((note) => note.text && !note.lead && (note.sample ?? null) === null && note.value !== 0) // not the marks on single beats
    .map(said);
  const machine = [...intervals, ...statements];
  return [
    ...[options.banner ?? []].flat(),
    when,
    machine.length ? `${machine.join('  ')} (${t('仪器测量，仅供参考')})` : null,
  ].filter(Boolean).join('  ·  ');
}

/** Build everything for `ecg` inside `element`. */
export function buildFace(ecg, element) {
  const { t, options } = ecg;
  const { iconsUrl } = options;
  const choice = (name, value, label, key, text) => {
    const node = el('button', { type: 'button', class: 'ecg-button', title: `${text} (${key})`, 'aria-label': text.includes(label) ? text : `${label} ${text}`, 'aria-pressed': 'false' }, label);
    node.addEventListener('click', () => ecg.set({ [name]: value, ...(name === 'layout' ? { one: null } : {}) }));
    return [node, () => String(ecg.state[name] === value && (name !== 'layout' || !ecg.state.one))];
  };
  const toggle = (label, key, text, act, pressed) => {
    const node = el('button', { type: 'button', class: 'ecg-button', title: `${text} (${key})`, 'aria-label': text.includes(label) ? text : `${label} ${text}`, 'aria-pressed': 'false' }, label);
    node.addEventListener('click', act);
    return [node, () => String(Boolean(pressed()))];
  };
  const layouts = [
    choice('layout', '3x4', '3×4', '1', t('三行四列加节律条')),
    choice('layout', '6x2', '6×2', '2', t('六行两列')),
    choice('layout', '12x1', '12×1', '3', t('十二行')),
  ];
  const speeds = [25, 50].map((speed) => choice('speed', speed, String(speed), 'S', t('走纸速度 {n} mm/s', { n: speed })));
  const gains = [5, 10, 20].map((gain) => choice('gain', gain, String(gain), 'G', t('增益 {n} mm/mV', { n: gain })));
  const others = [
    toggle(el('span', {}, icon(iconsUrl, 'ruler'), t('卡尺')), 'C', t('卡尺：拖动测时间和电压'), () => ecg.toggleCalipers(), () => ecg.state.calipers),
    toggle('Cabrera', 'V', t('Cabrera 导联顺序'), () => ecg.set({ cabrera: !ecg.state.cabrera }), () => ecg.state.cabrera),
    toggle(t('白纸'), 'B', t('白底显示'), () => ecg.set({ skin: ecg.state.skin === 'dark' ? 'paper' : 'dark' }), () => ecg.state.skin === 'paper'),
    toggle(t('实际大小'), '1 mm = 1 mm', t('按屏幕实际尺寸显示'), () => ecg.set({ life: !ecg.state.life }), () => ecg.state.life),
  ];
  const single = el('select', { class: 'ecg-select', 'aria-label': t('放大一个导联') });
  single.addEventListener('change', () => ecg.set({ one: single.value || null }));
  const calibrate = el('button', { type: 'button', class: 'ecg-button', title: t('校准屏幕尺寸'), 'aria-label': t('校准屏幕尺寸') }, icon(iconsUrl, 'settings'));
  const earlier = el('button', { type: 'button', class: 'ecg-button', 'aria-label': t('往前'), title: `${t('往前')} (PgUp)`, onclick: () => ecg.set({ start: ecg.state.start - ecg.span() / 2 }) }, icon(iconsUrl, 'chevron-left'));
  const later = el('button', { type: 'button', class: 'ecg-button', 'aria-label': t('往后'), title: `${t('往后')} (PgDn)`, onclick: () => ecg.set({ start: ecg.state.start + ecg.span() / 2 }) }, icon(iconsUrl, 'chevron-right'));
  const pager = el('span', { class: 'ecg-group', hidden: true }, earlier, later);
  const keep = options.onKeyImage
    ? el('button', { type: 'button', class: 'ecg-button ecg-keep', title: `${t('放入报告')} (K)`, onclick: () => ecg.keyImage() }, icon(iconsUrl, 'image-plus'), t('放入报告'))
    : null;
  const group = (label, items, unit) =>
    el('span', { class: 'ecg-group', role: 'group', 'aria-label': label }, ...items.map(([node]) => node), unit ? el('span', { class: 'ecg-unit' }, unit) : null);

  const header = el('p', { class: 'ecg-header', 'data-user': true });
  const controls = el(
    'div',
    { class: 'ecg-controls', role: 'toolbar', 'aria-label': t('心电图工具') },
    group(t('布局'), layouts), group(t('走纸速度'), speeds, 'mm/s'), group(t('增益'), gains, 'mm/mV'),
    group(t('显示'), others), calibrate, single, pager, keep,
  );
  const [grid, trace, marks] = ['grid', 'trace', 'marks'].map((name) => el('canvas', { class: `ecg-layer ecg-${name}`, 'aria-hidden': 'true' }));
  const sheet = el('div', { class: 'ecg-sheet', tabindex: '0', role: 'img', 'aria-label': t('心电图') }, grid, trace, marks);
  const scroll = el('div', { class: 'ecg-scroll' }, sheet);
  const message = el('div', { class: 'ecg-message', role: 'status', hidden: true });
  const live = el('p', { class: 'ecg-live', 'aria-live': 'polite' });
  const root = el('section', { class: 'ecg-root', 'aria-label': t('心电图') }, header, controls, scroll, message, live);
  calibrate.addEventListener('click', () => calibrateScreen(ecg, root));
  element.append(root);

  const pressed = [...layouts, ...speeds, ...gains, ...others];
  let listed = '';
  return {
    root, header, scroll, sheet, grid, trace, marks, live,
    canvases: [grid, trace, marks],
    say(text, again) {
      message.hidden = text === null;
      scroll.hidden = text !== null;
      message.replaceChildren(el('p', {}, text ?? ''));
      if (again) message.append(el('button', { type: 'button', class: 'ecg-button', onclick: again }, icon(iconsUrl, 'refresh-cw'), t('重试')));
    },
    update() {
      for (const [node, state] of pressed) node.setAttribute('aria-pressed', state());
      for (const [node] of layouts) node.disabled = !ecg.recording.twelve;
      const names = ecg.recording.order(ecg.state.cabrera).slice(0, LEADS_LIMIT);
      if (listed !== names.join()) {
        listed = names.join();
        single.replaceChildren(el('option', { value: '' }, t('全部导联')), ...names.map((name) => el('option', { value: name }, name)));
      }
      single.value = ecg.state.one ?? '';
      pager.hidden = ecg.recording.duration <= ecg.span() + 1;
      earlier.disabled = ecg.state.start <= 0;
      later.disabled = ecg.state.start >= ecg.recording.duration - ecg.span() - 1;
      sheet.classList.toggle('ecg-measuring', ecg.state.calipers);
    },
  };
}

/** Hold a bank card against the screen, match the bar, done: kept on this computer. */
function calibrateScreen(ecg, root) {
  const { t } = ecg;
  const bar = el('div', { class: 'ecg-card' });
  const range = el('input', { type: 'range', min: '180', max: '700', step: '1', 'aria-label': t('条的长度') });
  const show = () => {
    bar.style.width = `${range.value}px`;
  };
  range.value = String(Math.round(CARD_MM / millimetresPerPixel()));
  range.addEventListener('input', show);
  show();
  const done = el('button', { type: 'button', class: 'ecg-button ecg-keep' }, t('保存'));
  const cancel = el('button', { type: 'button', class: 'ecg-button' }, t('取消'));
  const dialog = el(
    'dialog',
    { class: 'ecg-dialog', 'aria-label': t('校准屏幕尺寸') },
    el('h2', {}, t('校准屏幕尺寸')),
    el('p', {}, t('拿一张身份证或银行卡贴在屏幕上，拖动滑块，让横条与卡片的长边一样长。')),
    bar, range,
    el('div', { class: 'ecg-dialog-buttons' }, cancel, done),
  );
  done.addEventListener('click', () => {
    millimetresPerPixel(CARD_MM / Number(range.value));
    dialog.close();
    ecg.set({ life: true });
  });
  cancel.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  root.append(dialog);
  dialog.showModal();
}
