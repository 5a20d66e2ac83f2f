// The request form: five parts, saved while written, what the expert will see beside it, sent with a clear result.
import { api, pageData } from './api.js';
import { autosave } from './autosave.js';
import { mountConsent } from './consent.js';
import { mountDocuments } from './documents.js';
import { t } from './i18n.js';
import { askPatient } from './patients-form.js';
import { facts, mountSearch, numbers } from './patients-search.js';
import { mountCodes, mountQuestions, mountVitals } from './request-lists.js';
import { busy, clearProblem, confirm, dateTime, dialog, el, icon, showProblem, toast } from './ui.js';

const data = pageData();
const form = document.getElementById('request-form');
const get = (id) => document.getElementById(id);
const stored = data.stored.content;
const texts = [...form.querySelectorAll('[data-content]')];
const flags = [...form.querySelectorAll('[data-flag]')];
let saver = null;
let consented = false;
const changed = () => { saver?.touch(); draw(); };

// ---- whom it is for ---------------------------------------------------------------------------------------------------
const service = get('f-service');
const place = get('f-target-organisation');
const specialty = get('f-target-specialty');
const expert = get('f-target-membership');
const value = (name) => form.elements[name].value;
const here = () => (data.places[service.value] ?? []).find((x) => x.id === place.value) ?? data.places[service.value]?.[0];

function fillPlaces(target) {
  const places = data.places[service.value] ?? [];
  const wanted = target?.organisation ?? place.value;
  place.replaceChildren(...places.map((x) => el('option', { value: x.id }, x.name)));
  if (!places.length) place.append(el('option', { value: '' }, t('还没有机构提供这项服务')));
  if (places.some((x) => x.id === wanted)) place.value = wanted;
  fillPeople(target);
}
function fillPeople(target) {
  const experts = here()?.experts ?? [];
  const all = [...new Set(experts.flatMap((x) => x.specialties))];
  const before = [target?.specialty ?? specialty.value, target?.membership ?? expert.value];
  specialty.replaceChildren(el('option', { value: '' }, t('请选择')), ...all.map((x) => el('option', { value: x }, x)));
  expert.replaceChildren(el('option', { value: '' }, t('请选择')), ...experts.map((x) => el('option', { value: x.membership }, [`${x.name} ${x.title}`, x.department, ...x.specialties].filter(Boolean).join(' · '))));
  if (before[0] && all.includes(before[0])) specialty.value = before[0];
  if (before[1] && experts.some((x) => x.membership === before[1])) expert.value = before[1];
  showTarget();
}
function showTarget() {
  const how = value('addressing');
  get('box-specialty').hidden = how !== 'specialty';
  get('box-expert').hidden = how !== 'expert';
  get('urgency-why').hidden = value('urgency') === 'routine';
  const waiting = (here()?.experts ?? []).filter((x) => x.on_call).length;
  get('target-hint').textContent = { pool: t('由调度分派给值班专家，现有 {n} 位值班。', { n: waiting }), specialty: t('由调度分派给该专业的值班专家。'), expert: t('直接送达这位专家，不经过分诊。') }[how];
}
service.addEventListener('change', () => { fillPlaces(); changed(); });
place.addEventListener('change', () => { fillPeople(); changed(); });
for (const name of ['addressing', 'urgency', 'mode']) for (const radio of form.elements[name]) radio.addEventListener('change', () => { showTarget(); changed(); });
for (const node of [specialty, expert]) node.addEventListener('change', changed);

// ---- the lists and texts ------------------------------------------------------------------------------------------------
const questions = mountQuestions(get('questions'), () => changed());
const vitals = mountVitals(get('vitals'), () => changed());
const codes = mountCodes(get('codes'), () => changed());
get('add-question').addEventListener('click', () => questions.add().focus());
get('add-vitals').addEventListener('click', () => vitals.add().focus());
get('add-code').addEventListener('click', () => codes.add().focus());
for (const node of [...texts, ...flags]) node.addEventListener('input', () => changed());

function collect() {
  const content = {};
  for (const node of texts) if (node.value.trim()) content[node.dataset.content] = node.value;
  for (const node of flags) if (node.checked) content[node.dataset.flag] = true;
  if (vitals.read().length) content.vitals = vitals.read();
  if (codes.read().length) content.diagnosis = codes.read();
  const body = { content, questions: questions.read() };
  if (!data.routable) return body;
  const how = value('addressing');
  return {
    ...body, service: service.value, mode: value('mode'), urgency: value('urgency'),
    target: { addressing: how, organisation: place.value || null, specialty: how === 'specialty' ? specialty.value : '', membership: how === 'expert' ? expert.value || null : null },
  };
}
function apply(given) {
  for (const node of texts) node.value = given.content[node.dataset.content] ?? '';
  for (const node of flags) node.checked = given.content[node.dataset.flag] === true;
  questions.write(given.questions);
  vitals.write(given.content.vitals ?? []);
  codes.write(given.content.diagnosis ?? []);
  if (given.service) service.value = given.service;
  for (const [name, chosen] of [['mode', given.mode], ['urgency', given.urgency], ['addressing', given.target?.addressing]]) {
    for (const radio of form.elements[name]) if (chosen) radio.checked = radio.value === chosen;
  }
  fillPlaces(given.target);
  draw();
}
questions.write(stored.questions);
vitals.write(stored.content.vitals ?? []);
codes.write(stored.content.diagnosis ?? []);
fillPlaces(stored.target);

// ---- what is there and what is missing ------------------------------------------------------------------------------------
const cut = (text, most = 90) => (text.length > most ? `${text.slice(0, most)}…` : text);
function draw() {
  const now = collect();
  const c = now.content;
  const named = { pool: true, specialty: Boolean(specialty.value), expert: Boolean(expert.value) }[value('addressing')] && Boolean(place.value);
  const checks = [['patient', t('患者'), true], ['purpose', t('服务与紧急程度'), Boolean(service.value && value('urgency'))], ['purpose', t('至少一个问题'), now.questions.length > 0], ['purpose', t('请谁会诊'), named], ['consent', t('知情同意'), consented]];
  get('checks').replaceChildren(...checks.map(([part, word, done]) => el('li', { class: done ? 'done' : '' }, icon(done ? 'circle-check' : 'circle'), el('a', { href: `#part-${part}`, onclick: (event) => { event.preventDefault(); openPart(part); } }, word), el('span', { class: 'visually-hidden' }, done ? t('已完成') : t('未完成')))));
  const lines = {
    patient: [`${data.patient.name || t('未知患者')} · ${facts(data.patient)}`, true],
    purpose: [[data.labels.service[service.value], now.questions.length && t('{n} 个问题', { n: now.questions.length }), now.questions[0]].filter(Boolean).join(' · '), now.questions.length > 0 && named],
    condition: [cut(c.complaint ?? c.history ?? '', 60), Boolean(c.complaint || c.history)],
    material: [[t('检查 {n} 项', { n: shared.size }), t('附件 {n} 件', { n: papers() })].join(' · '), shared.size > 0 || papers() > 0],
    consent: [consented ? t('已记录') : t('还没有记录'), consented],
  };
  for (const [key, [text, done]] of Object.entries(lines)) {
    const part = get(`part-${key}`);
    part.classList.toggle('part-done', Boolean(done));
    part.querySelector('[data-line]').textContent = text;
  }
  const seen = [[t('问题'), now.questions.map((x, n) => `${n + 1}. ${x}`).join('\n')], ...texts.filter((x) => c[x.dataset.content]).map((x) => [form.querySelector(`label[for="${x.id}"]`).firstChild.textContent, cut(c[x.dataset.content], 160)])].filter(([, x]) => x);
  get('preview').replaceChildren(el('p', {}, `${facts(data.patient)}`), el('dl', { class: 'case-form' }, seen.map(([word, text]) => [el('dt', {}, word), el('dd', {}, text)]).flat()));
}
function openPart(key) {
  const part = get(`part-${key}`);
  part.open = true;
  part.querySelector('summary').focus();
  part.scrollIntoView({ block: 'start' });
}

// ---- patient --------------------------------------------------------------------------------------------------------------
function drawPatient() {
  const p = data.patient;
  get('patient-box').replaceChildren(el('p', { class: 'chosen' }, icon(p.unknown ? 'circle-help' : 'user-check'), el('b', { 'data-user': '' }, p.name || t('未知患者')), ' ', facts(p), el('small', { class: 'muted', 'data-user': '' }, ` ${numbers(p)}`), ' ',
    el('button', { class: 'button button-small', type: 'button', onclick: correct }, icon('pen'), t('更正资料')),
    p.unknown && data.emergency && el('button', { class: 'button button-small', type: 'button', onclick: identify }, icon('user-check'), t('核实身份'))));
}
async function correct() {
  const saved = await askPatient({ patient: data.patient });
  if (!saved) return;
  await saver.flush();
  location.reload();
}
/** The unknown patient of an emergency gets a name: the provisional record is merged into the known one. */
async function identify() {
  const box = el('div', {});
  let found = null;
  const shown = el('p', { role: 'status' });
  const search = mountSearch(box, { pick: (p) => { found = p; shown.replaceChildren(icon('user-check'), el('b', { 'data-user': '' }, ` ${p.name}`), ` ${facts(p)}`); }, none: () => [t('没有找到。可先“更正资料”，补上姓名和证件。')] });
  const opened = dialog({ title: t('核实身份'), body: [el('p', {}, t('选定后，临时登记会并入这位患者的记录。')), box, shown], actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('就是这位'), value: 'yes', kind: 'primary' }], check: () => { if (found) return true; search.focus(); return false; } });
  if ((await opened) !== 'yes' || !(await saver.flush())) return;
  const { content, questions: asked } = collect();
  const done = await busy(null, () => api('POST', `/api/consultations/${data.id}/complete`, { version: saver.version, content, questions: asked, patient: found.id }));
  if (done) location.reload();
}
drawPatient();

// ---- material and consent ---------------------------------------------------------------------------------------------------
const shared = new Set(data.shared);
let documents = null;
const papers = () => (documents?.list ?? []).filter((x) => !['consent', 'signature'].includes(x.kind)).length;
documents = mountDocuments(get('f-document'), { consultation: data.id, documents: data.documents, changed: () => { if (documents) draw(); } });
for (const box of form.querySelectorAll('[data-share]')) {
  box.addEventListener('change', async () => {
    const uid = box.dataset.share;
    const done = await busy(box, async () => {
      if (box.checked) await api('POST', `/api/consultations/${data.id}/studies`, { study_uid: uid });
      else await api('POST', `/api/consultations/${data.id}/studies/${uid}/end`, { reason: t('申请医生从资料中去掉') });
      return true;
    });
    if (!done) box.checked = !box.checked;
    else if (box.checked) shared.add(uid);
    else shared.delete(uid);
    draw();
  });
}
mountConsent(get('f-consent'), { consultation: data.id, consents: data.consents, texts: data.texts, labels: data.labels, patient: data.patient.unknown ? '' : data.patient.name, changed: (fine) => { consented = fine; draw(); } });

get('his-read').addEventListener('click', async (event) => {
  const given = get('his-text').value.trim();
  if (!given) { get('his-text').focus(); return; }
  const answer = await busy(event.currentTarget, () => api('POST', '/api/his-text', { text: given }));
  if (!answer) return;
  const taken = [];
  for (const [key, text] of Object.entries(answer.fields)) {
    const node = texts.find((x) => x.dataset.content === key);
    if (!node || node.value.includes(text)) continue;
    node.value = [node.value.trim(), text].filter(Boolean).join('\n');
    taken.push(form.querySelector(`label[for="${node.id}"]`).firstChild.textContent);
  }
  get('his-done').textContent = taken.length ? t('已填入：{parts}', { parts: taken.join(t('、')) }) : t('没有新的内容');
  changed();
});

// ---- saving and sending --------------------------------------------------------------------------------------------------------
saver = autosave({
  key: `request:${data.id}`, version: data.stored.version, collect, apply, status: get('saved'),
  save: (content, version) => api('PUT', `/api/consultations/${data.id}/request`, { version, ...content }),
  load: () => api('GET', `/api/consultations/${data.id}/request`),
});
draw();
for (const part of form.querySelectorAll('details.part')) if (part.classList.contains('part-done') && part.dataset.part !== 'purpose') part.open = false;

form.addEventListener('keydown', (event) => { if (event.key === 'Enter' && event.target.matches('input')) event.preventDefault(); });
let sending = false;
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (sending) return;
  sending = true;
  clearProblem(form);
  try {
    await send(event.submitter);
  } finally {
    sending = false;
  }
});
async function send(button) {
  if (!(await saver.flush())) { toast(t('还没有保存好，所以没有提交。内容都在页面上。'), { kind: 'bad' }); return; }
  if (!data.trigger) { saver.stop(); location.assign(`/consultations/${data.id}`); return; }
  button?.setAttribute('aria-busy', 'true');
  try {
    await api('POST', `/api/consultations/${data.id}/${data.trigger}`, { version: saver.version });
    saver.stop({ forget: true });
    location.assign(`/consultations/${data.id}?sent=1`);
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    for (const { path } of problem.fields ?? []) get(`f-${path.replaceAll('.', '-')}`)?.closest('details')?.setAttribute('open', '');
    showProblem(problem, form);
  } finally {
    button?.removeAttribute('aria-busy');
  }
}
get('delete')?.addEventListener('click', async (event) => {
  const sure = await confirm({ title: t('删除草稿？'), text: t('草稿还没有提交，删除后不能恢复。'), action: t('删除'), danger: true });
  if (!sure) return;
  saver.stop({ forget: true });
  const done = await busy(event.target, () => api('DELETE', `/api/consultations/${data.id}`).then(() => true));
  if (done) location.assign('/');
});
for (const node of document.querySelectorAll('time[data-local]')) node.textContent = dateTime(node.dateTime);
