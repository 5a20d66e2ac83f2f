// The list of keys and of what the mouse does.
import { el } from './dom.js';
import { KEYS } from './keys.js';

/** Open the dialog; Esc, its button or a click beside it closes it. */
export function showHelp(viewer) {
  const { t } = viewer;
  const mouse = [
    [t('滚轮'), t('翻页')],
    [t('左键拖动'), t('手中的工具')],
    [t('右键拖动'), t('调窗')],
    [t('中键拖动'), t('移动')],
    [t('Ctrl+滚轮、双指'), t('缩放')],
  ];
  const keys = KEYS.filter((entry) => entry.shown !== 'K' || viewer.options.onKeyImage).map((entry) => [entry.shown, t(entry.text)]);
  const list = (rows) =>
    el('dl', { class: 'vw-keys' }, ...rows.flatMap(([key, text]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, text)]));
  const title = el('h2', {}, t('按键说明'));
  const close = el('button', { type: 'button', class: 'vw-text-button' }, t('关闭'));
  const dialog = el('dialog', { class: 'vw-help', 'aria-label': t('按键说明') }, title, list(mouse), list(keys), close);
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    viewer.active.root.focus();
  });
  viewer.root.append(dialog);
  dialog.showModal();
}
