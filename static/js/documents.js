// Documents of a consultation: drop or choose, progress per file, a card per document, opening in the viewer, voiding.
import { api, upload } from './api.js';
import { mountDocument } from './document-viewer.js';
import { t } from './i18n.js';
import { confirm, dialog, el, icon, showProblem } from './ui.js';

const KINDS = { document: t('病历或报告'), paper_ecg: t('纸质心电图'), film: t('胶片照片'), consent: t('知情同意书'), signature: t('手写签名') };

/** Sends one file; resolves to the document. Throws Problem. */
export function sendDocument(consultation, file, { kind = 'document', title = '', onProgress, signal } = {}) {
  const form = new FormData();
  form.append('kind', kind);
  form.append('title', title.slice(0, 120));
  form.append('file', file);
  return upload(`/api/consultations/${consultation}/documents`, form, { onProgress, signal });
}

/** Opens a document over the page; resolves when it is closed. */
export async function showDocument(found) {
  const box = el('div', { class: 'document-box' });
  const shown = mountDocument(box, { id: found.id, pages: found.pages, title: found.title, original: found.original });
  const open = dialog({ title: found.title ? el('span', { 'data-user': true }, found.title) : KINDS[found.kind] || t('附件'), body: [box], wide: true, actions: [{ label: t('关闭'), value: '', kind: 'quiet' }] });
  shown.focus();
  await open;
  shown.destroy();
}

/** The drop area with what is there already. changed(list) after every change. Returns {list}. */
export function mountDocuments(element, { consultation, documents, changed = () => {} }) {
  let list = [...documents];
  const kind = el('select', { class: 'input input-small', 'aria-label': t('附件是什么') }, ['document', 'paper_ecg', 'film'].map((x) => el('option', { value: x }, KINDS[x])));
  const input = el('input', { class: 'visually-hidden', type: 'file', accept: '.pdf,image/jpeg,image/png', multiple: true });
  const drop = el('label', { class: 'drop drop-small' }, icon('upload'), el('b', {}, t('拖到这里，或点击选择')), el('span', { class: 'hint' }, t('PDF、JPEG、PNG；可以直接拍照')), input);
  const cards = el('div', { class: 'thumbs' });
  const progress = el('ul', { class: 'list', 'aria-live': 'polite' });
  element.replaceChildren(el('div', { class: 'row' }, el('span', { class: 'label' }, t('类别')), kind), drop, progress, cards);

  function draw() {
    cards.replaceChildren(...list.filter((x) => !['consent', 'signature'].includes(x.kind)).map((x) => el('div', { class: 'case-document' },
      el('button', { class: 'thumb', type: 'button', 'aria-label': t('打开附件'), onclick: () => showDocument(x) }, el('img', { src: `/api/documents/${x.id}/pages/1`, alt: '', loading: 'lazy' }), el('span', { 'data-user': '' }, x.title || KINDS[x.kind])),
      el('small', { class: 'muted' }, KINDS[x.kind], ' · ', t('{n} 页', { n: x.pages })),
      el('button', { class: 'button button-small button-quiet', type: 'button', onclick: () => remove(x) }, icon('trash-2'), t('作废')))));
    changed(list);
  }
  async function remove(found) {
    const why = await confirm({ title: t('作废这个附件？'), text: t('专家将看不到它，记录仍会保留。'), action: t('作废'), reason: t('原因'), danger: true, choices: [t('传错了'), t('不清楚，重新拍摄'), t('不是这位患者的')] });
    if (!why) return;
    try {
      await api('POST', `/api/documents/${found.id}/void`, { reason: why.reason });
      list = list.filter((x) => x.id !== found.id);
      draw();
    } catch (problem) {
      if (problem.name !== 'Problem') throw problem;
      showProblem(problem);
    }
  }
  async function send(file) {
    const stop = new AbortController();
    const bar = el('progress', { max: 100, value: 0, 'aria-label': t('上传进度') });
    const words = el('span', { class: 'grow' }, el('span', { 'data-user': '' }, file.name), bar);
    const cancel = el('button', { class: 'button button-small button-quiet', type: 'button', onclick: () => stop.abort() }, t('取消'));
    const row = el('li', {}, icon('file'), words, cancel);
    progress.append(row);
    try {
      const found = await sendDocument(consultation, file, { kind: kind.value, title: file.name.replace(/\.[^.]+$/, ''), signal: stop.signal, onProgress: (sent, total) => { bar.value = total ? (sent / total) * 100 : 0; } });
      if (!list.some((x) => x.id === found.id)) list.push(found);
      row.remove();
      draw();
    } catch (problem) {
      if (problem.name === 'AbortError') { row.remove(); return; }
      if (problem.name !== 'Problem') throw problem;
      words.replaceChildren(el('span', { 'data-user': '' }, file.name), el('br'), el('small', { class: 'error-text' }, problem.detail || problem.message));
      cancel.replaceChildren(t('知道了'));
      cancel.onclick = () => row.remove();
      row.append(el('button', { class: 'button button-small', type: 'button', onclick: () => { row.remove(); send(file); } }, t('再试一次')));
    }
  }
  const all = async (files) => { for (const file of files) await send(file); };
  input.addEventListener('change', () => { const files = [...input.files]; input.value = ''; all(files); });
  drop.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('drop-over'); });
  drop.addEventListener('dragleave', () => drop.classList.remove('drop-over'));
  drop.addEventListener('drop', (event) => { event.preventDefault(); drop.classList.remove('drop-over'); all([...event.dataTransfer.files]); });
  draw();
  return { get list() { return list; } };
}
