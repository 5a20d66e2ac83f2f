// Images, ECG and documents beside the video. The viewer is loaded when the first study is opened.
import { api, signInAgain } from '../api.js';
import { mountDocument } from '../document-viewer.js';
import { slowGraphics } from '../graphics.js';
import { lang, t } from '../i18n.js';
import { el, icon } from '../ui.js';

const RENEW = 13 * 60 * 1000; // a viewing grant lives 15 minutes

const text = (instance, tag) => instance?.[tag]?.Value?.[0] ?? '';

async function describe(uid) {
  try {
    const [study] = await api('GET', `/dicom-web/studies?StudyInstanceUID=${encodeURIComponent(uid)}`, undefined, { headers: { Accept: 'application/dicom+json' } }) ?? [];
    const modalities = (study?.['00080061']?.Value ?? []).join('/');
    const date = String(text(study, '00080020')).replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3');
    return { label: [modalities || t('影像'), date].filter(Boolean).join(' '), title: text(study, '00081030') };
  } catch {
    return { label: t('影像'), title: '' };
  }
}

export class Material {
  constructor({ picker, stage, data }) {
    Object.assign(this, { picker, stage, data });
    this.viewer = null;
    this.items = [];
    for (const uid of data.studies) this.put({ kind: 'study', uid });
    for (const paper of data.documents) this.put({ kind: 'document', paper });
    if (!this.items.length) stage.replaceChildren(el('p', { class: 'room-nothing' }, icon('image'), el('span', {}, t('这次会诊没有影像或文件。'))));
  }

  put(item) {
    const paper = item.kind === 'document';
    const words = paper && item.paper.title ? el('span', { class: 'truncate', 'data-user': true }, item.paper.title) : el('span', { class: 'truncate' }, paper ? t('附件') : t('影像'));
    const node = el('button', { class: 'button button-small', type: 'button', role: 'tab', 'aria-controls': 'stage', onclick: () => this.open(item) }, icon(paper ? 'file-text' : 'image'), words);
    if (!paper) {
      describe(item.uid).then(({ label, title }) => {
        words.textContent = label;
        // What somebody called the study; the label is ours.
        node.title = title;
        node.dataset.user = words.dataset.word = '';
      });
    }
    item.node = node;
    this.items.push(item);
    this.picker.append(node);
  }

  /** A paper that came while the room is open; shown at once where nothing else is. */
  add(paper) {
    this.put({ kind: 'document', paper });
    if (this.items.length === 1 && this.begun) this.start();
  }

  openPaper(id) {
    const item = this.items.find(({ paper }) => paper?.id === id);
    if (item) this.open(item);
  }

  /** The first item, once the room is open (not before: opening is audited). */
  start() {
    this.begun = true;
    if (this.items.length && !this.shown) this.open(this.items[0]);
  }

  close() {
    clearInterval(this.renewing);
    this.viewer?.destroy();
    this.viewer = null;
  }

  async open(item) {
    if (this.shown === item) return;
    this.shown = item;
    for (const { node } of this.items) node.setAttribute('aria-selected', String(node === item.node));
    this.close();
    if (item.kind === 'document') {
      const paper = el('div', { class: 'room-paper' });
      this.stage.replaceChildren(paper);
      this.viewer = mountDocument(paper, item.paper);
      return;
    }
    const host = el('div', { class: 'room-viewer' });
    this.stage.replaceChildren(host);
    const grant = () => api('POST', `/api/consultations/${this.data.consultation}/studies/${encodeURIComponent(item.uid)}/view`, {});
    try {
      const slow = slowGraphics();
      await grant();
      const { mountViewer } = await import('/static/dist/viewer/viewer.js');
      const cpu = await slow;
      if (this.shown !== item) return;
      this.viewer = mountViewer(host, {
        cpu, studyUid: item.uid, identity: this.data.identity, t, lang, iconsUrl: '/static/dist/icons.svg', ecgModule: '/static/ecg/ecg.js', signIn: signInAgain,
        // Whoever writes the report listens; for the others there is no such button.
        onKeyImage: this.data.expert ? (image) => keepImage(this.data.consultation, image) : undefined,
      });
      this.renewing = setInterval(() => grant().catch(() => {}), RENEW);
    } catch (problem) {
      this.shown = null;
      host.replaceChildren(el('p', { class: 'room-nothing' }, icon('triangle-alert'), el('span', {}, problem.detail || t('影像没有打开。请再试一次。')),
        el('button', { class: 'button', type: 'button', onclick: () => this.open(item) }, icon('refresh-cw'), t('再试一次'))));
    }
  }
}

/** Into the open editor; where the report has not been opened yet, straight into the stored draft. */
function keepImage(consultation, image) {
  const event = new CustomEvent('huizhen:key-image', { detail: image });
  document.dispatchEvent(event);
  return event.taken ?? api('POST', `/api/consultations/${consultation}/key-images`, image);
}

/** The report editor of another part of the house, when it is there. */
export async function mountReport(panel, consultation) {
  try {
    const { mountReportEditor } = await import('../report-editor.js');
    await mountReportEditor(panel, { consultation, t });
  } catch (error) {
    console.info('report editor', error.message);
    panel.replaceChildren(el('p', { class: 'muted' }, t('报告编辑没有打开。'), ' ', el('a', { href: `/consultations/${consultation}/report`, target: '_blank', rel: 'noopener' }, t('在新窗口写报告'))));
  }
}
