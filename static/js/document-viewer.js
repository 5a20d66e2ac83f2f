// A re-encoded document: pages, zoom, rotation, all by key too. Self-contained: mountDocument(element, …) → {destroy}.
import { t } from './i18n.js';
import { el, icon } from './ui.js';

const STEPS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];

/** Shows document `id` of `pages` pages in `element`; `original`: the bytes as they came can be saved. Keys: + − zoom, r rotate, PageUp/PageDown pages, 0 fit. */
export function mountDocument(element, { id, pages = 1, title = '', original = false }) {
  let page = 1;
  let zoom = 1;
  let turn = 0;
  const picture = el('img', { class: 'document-page', alt: title || t('附件') });
  const stage = el('div', { class: 'document-stage', 'data-user': Boolean(title), tabindex: '0', role: 'group', 'aria-label': title || t('附件') }, picture);
  const count = el('span', { class: 'num', role: 'status' });
  const failed = el('p', { class: 'note note-bad', hidden: true }, icon('triangle-alert'), t('这一页没有读出来。'),
    el('button', { class: 'button button-small', type: 'button', onclick: () => show() }, t('再试一次')));
  const tool = (name, label, run) => el('button', { class: 'button button-icon button-small', type: 'button', 'aria-label': label, title: label, onclick: run }, icon(name));
  const bar = el('div', { class: 'row document-tools' },
    pages > 1 && tool('chevron-left', t('上一页'), () => go(-1)), count, pages > 1 && tool('chevron-right', t('下一页'), () => go(1)),
    tool('zoom-out', t('缩小'), () => scale(-1)), tool('zoom-in', t('放大'), () => scale(1)), tool('rotate-cw', t('旋转'), () => rotate()),
    original && el('a', { class: 'button button-icon button-small', href: `/api/documents/${id}/original`, download: '', 'aria-label': t('保存原图'), title: t('保存原图') }, icon('download')));
  element.replaceChildren(bar, failed, stage);

  function show() {
    failed.hidden = true;
    count.textContent = `${page} / ${pages}`;
    picture.src = `/api/documents/${id}/pages/${page}`;
    place();
  }
  function place() {
    const sideways = turn % 180 !== 0;
    const room = stage.getBoundingClientRect();
    const wide = sideways ? picture.naturalHeight : picture.naturalWidth;
    const high = sideways ? picture.naturalWidth : picture.naturalHeight;
    if (!wide || !room.width) return;
    const fit = Math.min(room.width / wide, Math.max(room.height, 320) / high) * zoom;
    picture.style.width = `${picture.naturalWidth * fit}px`;
    picture.style.height = `${picture.naturalHeight * fit}px`;
    picture.style.transform = `rotate(${turn}deg)`;
    picture.style.margin = sideways ? `${((picture.naturalWidth - picture.naturalHeight) * fit) / 2}px ${((picture.naturalHeight - picture.naturalWidth) * fit) / 2}px` : '0';
  }
  const go = (by) => { page = Math.min(pages, Math.max(1, page + by)); show(); };
  const scale = (by) => { zoom = STEPS[Math.min(STEPS.length - 1, Math.max(0, STEPS.indexOf(zoom) + by))]; place(); };
  const rotate = () => { turn = (turn + 90) % 360; place(); };
  picture.addEventListener('load', place);
  picture.addEventListener('error', () => { failed.hidden = false; });
  stage.addEventListener('keydown', (event) => {
    const run = { '+': () => scale(1), '=': () => scale(1), '-': () => scale(-1), r: rotate, PageDown: () => go(1), PageUp: () => go(-1), 0: () => { zoom = 1; place(); } }[event.key];
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    run();
  });
  const watch = new ResizeObserver(place);
  watch.observe(stage);
  show();
  return { destroy: () => { watch.disconnect(); element.replaceChildren(); }, focus: () => stage.focus() };
}
