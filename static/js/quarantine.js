// The quarantine: two files of one identity side by side, and what the technician decides.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, el, icon } from './ui.js';

const box = document.getElementById('compare');
const NAMES = { '00100010': t('姓名'), '00100020': t('患者编号'), '00100030': t('出生'), '00100040': t('性别'), '7FE00010': t('像素') };

async function decide(item, decision, button) {
  const done = await busy(button, () => api('POST', `/api/quarantine/${item.id}`, { decision }));
  if (done) location.reload();
}

const picture = (item, which, words) => el('figure', {},
  el('img', { class: 'settle-picture', src: `/api/quarantine/${item.id}/thumbnail?which=${which}`, alt: words }), el('figcaption', {}, words));

function draw(item) {
  const rows = item.differences.map(({ tag, held, new: other }) => el('tr', {},
    el('th', { scope: 'row' }, NAMES[tag] ?? el('span', { class: 'mono' }, `(${tag.slice(0, 4)},${tag.slice(4)})`)),
    tag === '7FE00010' ? el('td', { colspan: '2' }, t('图像内容不同')) : [el('td', { 'data-user': true }, held || '—'), el('td', { 'data-user': true }, other || '—')]));
  const choices = item.state === 'open'
    ? [el('button', { class: 'button', type: 'button', onclick: (event) => decide(item, 'take', event.currentTarget) }, icon('plus'), t('作为新影像收下')),
      el('button', { class: 'button button-primary', type: 'button', onclick: (event) => decide(item, 'keep', event.currentTarget) }, icon('check'), t('保留原影像'))]
    : [el('button', { class: 'button', type: 'button', onclick: (event) => decide(item, 'open', event.currentTarget) }, icon('undo-2'), t('撤销处理'))];
  box.replaceChildren(
    el('h2', {}, t('已存的与隔离的有何不同')),
    el('div', { class: 'settle-pair' }, picture(item, 'held', t('已存影像')), picture(item, 'new', t('隔离的文件'))),
    el('div', { class: 'table-wrap' }, el('table', { class: 'table' },
      el('thead', {}, el('tr', {}, el('th', {}, t('项目')), el('th', {}, t('已存影像')), el('th', {}, t('隔离的文件')))), el('tbody', {}, rows))),
    el('p', { class: 'muted small' }, t('收下时会换一个新的影像编号，原编号记在文件里。')),
    el('div', { class: 'actions' }, choices));
  box.hidden = false;
  box.scrollIntoView({ block: 'nearest' });
}

for (const button of document.querySelectorAll('[data-compare]')) {
  button.addEventListener('click', async () => {
    const item = await busy(button, () => api('GET', `/api/quarantine/${button.dataset.compare}`));
    if (item) draw(item);
  });
}
