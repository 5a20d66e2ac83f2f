// The report as it is written: questions as headings, phrases, key images, autosave, preview, signature.
import { api, Problem } from './api.js';
import { autosave } from './autosave.js';
import { t } from './i18n.js';
import { subscribe } from './live.js';
import { addenda, diagnosisRows, keyImages, textField } from './report-fields.js';
import { reviewBox } from './report-review.js';
import { sealed } from './report-seal.js';
import { clearProblem, confirm, dialog, el, icon, showProblem, toast } from './ui.js';

/** The fields after the answers, in the order of the paper: [key, label, hint]. */
const TEXTS = () => [
  ['findings', t('所见'), ''],
  ['advice', t('诊疗建议'), ''],
  ['further_tests', t('建议进一步检查'), ''],
  ['referral_advice', t('转诊建议'), ''],
  ['materials', t('已阅资料'), ''],
  ['limits', t('意见的局限'), ''],
];

function styles() {
  const href = new URL('../css/report.css', import.meta.url).pathname;
  if ([...document.styleSheets].some((sheet) => sheet.href?.includes('/css/report.css'))) return;
  document.head.append(el('link', { rel: 'stylesheet', href }));
}

/**
 * Puts the editor of the actor's draft into `element`. options: consultation (id); onSigned({version, n, next, andNext})
 * (default: a note in place); onAhead({href}) when the next one will be wanted soon. Throws Problem when there is nothing to write. Resolves {destroy, flush}.
 */
export async function mountReportEditor(element, { consultation, onSigned = null, onAhead = null }) {
  styles();
  let draft = await api('POST', `/api/consultations/${consultation}/report`, {});
  const editor = build(element, draft, { onSigned, onAhead });
  const leave = subscribe(`consultation:${consultation}`, async (note) => {
    if (!note || note.state) editor.reviewed();
    if ((note && note.report !== draft.id) || editor.dirty()) return;
    const newest = await api('GET', `/api/reports/${draft.id}`, undefined, { signIn: false }).catch(() => null);
    if (newest && newest.version > editor.version() && !editor.dirty()) {
      draft = newest;
      editor.renew(newest);
    }
  });
  return {
    destroy: () => { leave(); editor.destroy(); },
    flush: () => editor.flush(),
  };
}

function build(element, first, { onSigned, onAhead }) {
  const url = (rest = '') => `/api/reports/${first.id}${rest}`;
  const appending = first.revision?.status === 'appended';
  let base = first.content; // what the server is known to hold, for telling whose change a newer version is
  const status = el('p', { class: 'saved', role: 'status' });
  const summary = el('section', { class: 'error-summary', role: 'alert', tabindex: '-1', hidden: true }, el('h2', {}, t('还有几处需要处理')), el('ul'));
  const form = el('form', { class: 'report-form', 'aria-label': t('会诊报告'), onsubmit: (event) => event.preventDefault() }, summary);
  const touch = () => saver?.touch();
  const rows = appending ? 2 : 3;
  const answers = first.questions.map((question) => textField({
    path: `answers.${question.n}`, label: question.text, number: question.n, phrases: first.phrases, kind: 'answers', touch, rows,
  }));
  const texts = new Map(TEXTS().map(([key, label, hint]) => [key, textField({ path: key, label, hint, phrases: first.phrases, kind: key, touch, rows: key === 'findings' ? rows : 2 })]));
  const summaryText = textField({ path: 'diagnosis_text', label: t('诊断说明'), phrases: first.phrases, kind: 'diagnosis_text', touch, rows: 2 });
  const diagnosis = diagnosisRows(touch);
  const pictures = keyImages({ report: first.id, touch });
  const followUp = el('input', { type: 'date', id: 'f-follow_up', class: 'input report-date', oninput: touch });
  const critical = el('input', { type: 'checkbox', id: 'f-critical', oninput: touch });
  const review = first.editable && first.review ? reviewBox({ consultation: first.consultation, review: first.review, fresh: () => api('GET', url()) }) : null;
  const addendum = appending ? addenda({ phrases: first.phrases, touch }) : null;
  const controls = el('div', { class: 'report-body' },
    answers.map((field) => field.node), texts.get('findings').node,
    el('fieldset', { class: 'field' }, el('legend', {}, t('诊断')), diagnosis.node), summaryText.node,
    texts.get('advice').node, texts.get('further_tests').node, texts.get('referral_advice').node,
    el('div', { class: 'report-line' },
      el('div', { class: 'field' }, el('label', { for: 'f-follow_up' }, t('随访日期')), followUp, el('p', { class: 'error-text' })),
      el('label', { class: 'choice report-critical' }, critical, el('span', {}, el('b', {}, t('危急值')), el('br'), el('small', { class: 'muted' }, t('送达时限缩短为十分钟，双方都会看到警示'))))),
    el('fieldset', { class: 'field', id: 'f-key_images', tabindex: '-1' }, el('legend', {}, t('关键图像')), pictures.node, el('p', { class: 'error-text' })),
    texts.get('materials').node, texts.get('limits').node);
  const fixed = el('fieldset', { class: 'report-fixed', disabled: appending || !first.editable }, controls);
  const sign = el('button', { class: 'button button-primary', type: 'button', id: 'sign', onclick: () => signNow(false) }, icon('signature'), t('签发'));
  const signNext = el('button', { class: 'button', type: 'button', id: 'sign-next', onclick: () => signNow(true) }, icon('chevron-right'), t('签发并写下一份'));
  const approve = el('button', { class: 'button button-primary', type: 'button', id: 'approve', onclick: () => approveNow() }, icon('check'), t('复核通过'));
  const preview = el('button', { class: 'button', type: 'button', id: 'preview', onclick: () => showPreview() }, icon('eye'), t('预览'));
  const bar = el('div', { class: 'report-bar' }, status, el('span', { class: 'grow' }),
    first.editable ? [preview, first.next && signNext, sign] : approve);
  form.append(...[
    first.revision && el('p', { class: 'note note-warn' }, icon('info'), el('span', {}, appending ? t('正在写补充报告：原有内容不变，只写补充的部分。原因：') : t('正在修订已签发的报告，签发后成为新的版本，原版本仍会保留。原因：'), el('span', { 'data-user': '' }, first.revision.reason))),
    !first.editable && el('p', { class: 'note' }, icon('info'), el('span', {}, t('这份报告由 {name} 书写。请核对后复核，复核即为第二签名。', { name: first.author }))),
    addendum?.node, fixed, review?.node, bar].filter(Boolean));
  element.replaceChildren(form);

  function collect() {
    if (appending) return { ...base, addendum: addendum.value };
    const content = {};
    const put = (key, value) => { if (value !== '' && value !== false && value?.length !== 0) content[key] = value; };
    put('answers', answers.map((field, i) => ({ n: first.questions[i].n, text: field.value })).filter((x) => x.text.trim()));
    for (const [key, field] of texts) put(key, field.value);
    put('diagnosis', diagnosis.value);
    put('diagnosis_text', summaryText.value);
    put('follow_up', followUp.value);
    put('critical', critical.checked);
    put('key_images', pictures.value);
    if (base.released) content.released = true;
    return content;
  }

  function apply(content) {
    base = appending ? { ...content, addendum: undefined } : content;
    const said = new Map((content.answers ?? []).map((x) => [x.n, x.text]));
    answers.forEach((field, i) => { field.value = said.get(first.questions[i].n) ?? ''; });
    for (const [key, field] of texts) field.value = content[key] ?? '';
    diagnosis.value = content.diagnosis ?? [];
    summaryText.value = content.diagnosis_text ?? '';
    followUp.value = content.follow_up ?? '';
    critical.checked = Boolean(content.critical);
    pictures.value = content.key_images ?? [];
    if (addendum) addendum.value = content.addendum ?? '';
  }

  async function save(content, version) {
    try {
      const answer = await api('PUT', url(), { version, content });
      base = appending ? base : content;
      return answer;
    } catch (problem) {
      if (problem.code !== 'stale') throw problem;
      const joined = await joinPictures(content);
      if (!joined) throw problem;
      return joined;
    }
  }

  /** A newer version that differs from ours only by pictures put in from the reading room is no conflict. */
  async function joinPictures(content) {
    const newest = await api('GET', url());
    const rest = ({ key_images: _images, ...others }) => JSON.stringify(Object.entries(others).sort());
    if (rest(newest.content) !== rest(base)) return null;
    const known = new Set((content.key_images ?? []).map((x) => x.document));
    const before = new Set((base.key_images ?? []).map((x) => x.document));
    const added = (newest.content.key_images ?? []).filter((x) => !known.has(x.document) && !before.has(x.document));
    const together = { ...content, key_images: [...(content.key_images ?? []), ...added] };
    if (!together.key_images.length) delete together.key_images;
    const answer = await api('PUT', url(), { version: newest.version, content: together });
    base = together;
    pictures.value = [...pictures.value, ...added];
    return answer;
  }

  const start = (version) => autosave({
    key: `report:${first.id}`, version, collect, apply, save, status,
    load: async () => { const newest = await api('GET', url()); base = newest.content; return newest; },
  });
  apply(first.content);
  let saver = null;
  if (first.editable) saver = start(first.version);
  (addendum ? addendum.input : answers[0]?.input ?? texts.get('findings').input).focus({ preventScroll: true });

  async function ready() {
    clearProblem(form);
    if (await saver.flush()) return true;
    toast(t('内容还没有保存到服务器，请稍候再签发。您写的都在这一页上。'), { kind: 'bad' });
    return false;
  }

  async function guarded(button, run) {
    button.setAttribute('aria-busy', 'true');
    try {
      return await run();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      for (const field of problem.fields ?? []) {
        const [, n] = /^answers\.(\d+)$/.exec(field.path) ?? [];
        if (n && field.code === 'required') field.message = t('问题 {n} 还没有回答', { n });
      }
      showProblem(problem, form);
      return null;
    } finally {
      button.removeAttribute('aria-busy');
    }
  }

  async function signNow(andNext) {
    const button = andNext ? signNext : sign;
    if (andNext) onAhead?.(first.next);
    const done = await guarded(button, async () => ((await ready()) ? sealed(url('/sign'), { version: saver.version }) : null));
    if (!done) return;
    saver.stop({ forget: true });
    if (onSigned) onSigned({ ...done, andNext });
    else element.replaceChildren(el('div', { class: 'note note-good', role: 'status' }, icon('circle-check'), el('span', {}, t('报告已签发并送达。'), ' ', el('a', { href: `/consultations/${first.consultation}/report` }, t('查看报告')))));
  }

  async function approveNow() {
    const sure = await confirm({ title: t('复核通过？'), text: t('复核即为第二签名：书写者签发时，您的证书会与其一同签在这份报告上。'), action: t('复核通过') });
    if (!sure) return;
    const done = await guarded(approve, () => sealed(url('/approve'), { version: first.version }));
    if (done) element.replaceChildren(el('div', { class: 'note note-good', role: 'status' }, icon('circle-check'), t('已复核，等待书写者签发。')));
  }

  async function showPreview() {
    const made = await guarded(preview, async () => {
      if (!(await ready())) return null;
      const { version } = saver;
      return { version, ...(await api('POST', url('/preview'), { version })) };
    });
    if (!made) return;
    const pages = Array.from({ length: made.pages }, (_, i) => el('img', {
      class: 'report-sheet', alt: t('第 {n} 页，共 {all} 页', { n: i + 1, all: made.pages }), src: url(`/preview/${made.version}/${made.key}/${i + 1}`),
    }));
    const rest = made.missing.length > 0 && el('p', { class: 'note note-warn' }, icon('triangle-alert'), el('span', {}, t('还有 {n} 处没有填写，页面上已标出；填完才能签发。', { n: made.missing.length })));
    await dialog({ title: t('预览（未签名）'), body: [rest, el('div', { class: 'report-sheets', tabindex: '0', role: 'group', 'aria-label': t('预览（未签名）') }, pages)], wide: true, actions: [{ label: t('关闭'), value: '', kind: 'quiet' }] });
  }

  /** Whoever sent the event may await `event.taken`: it rejects when the picture did not arrive. */
  function keep(event) {
    if (!first.editable || appending) return;
    event.taken = take(event.detail);
    event.taken.catch(() => {});
  }

  async function take(image) {
    try {
      const entry = await api('POST', url('/key-images'), image);
      pictures.add(entry, image.dataUrl);
      touch();
      toast(t('图像已放入报告'), { kind: 'good', seconds: 3 });
    } catch (problem) {
      if (problem instanceof Problem) toast(problem.message, { kind: 'bad', detail: problem.code, action: { label: t('再试一次'), run: () => take(image).catch(() => {}) } });
      throw problem;
    }
  }
  document.addEventListener('huizhen:key-image', keep);

  return {
    /** Somebody approved, was asked, or gave it back: only the box of the second signature changes. */
    reviewed: () => { if (review) api('GET', url(), undefined, { signIn: false }).then((newest) => review.show(newest.review)).catch(() => {}); },
    dirty: () => saver?.dirty ?? false,
    version: () => saver?.version ?? first.version,
    flush: () => saver?.flush() ?? Promise.resolve(true),
    renew(newest) {
      saver?.stop({ forget: true });
      saver = null;
      apply(newest.content);
      saver = start(newest.version);
      toast(t('报告有新内容，已显示最新的版本'), { seconds: 4 });
    },
    destroy() {
      document.removeEventListener('huizhen:key-image', keep);
      saver?.stop();
      element.replaceChildren();
    },
  };
}
