// Unmatched studies: one on the left, whose it may be on the right. 1–9 picks, Enter confirms, u takes it back.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { hotkeys } from './keys.js';
import { subscribe } from './live.js';
import { age, ageOf, ago, bornOn, busy, confirm, dateText, el, icon, showProblem, skeletonWhile, toast, undo } from './ui.js';

const data = pageData();
const $ = (id) => document.getElementById(id);
const SEX = { M: t('男'), F: t('女'), O: t('其他') };
const PICTURELESS = new Set(['ECG', 'DOC', 'SR', 'PR', 'KO', 'AU']);

let rows = data.studies;
let current = null;
let candidates = [];
let picked = -1;
let taken = null; // the last match of this page: {study, name}
let asked = 0;

const dayOf = (text) => (/^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text);
const nameOf = (text) => (text.split('=').find((group) => /[^\x20-\x7e]/.test(group)) ?? text.split('=')[0]).replaceAll('^', text.includes('=') || /[^\x20-\x7e]/.test(text) ? '' : ' ').trim();
const fact = (label, value, user = true) => value && [el('dt', {}, label), el('dd', { 'data-user': user }, value)];

function drawList() {
  $('how-many').textContent = rows.length;
  $('unmatched').hidden = !rows.length;
  $('nothing').hidden = rows.length > 0;
  $('list').replaceChildren(...rows.map((row) => el('li', {}, el('button', { type: 'button', 'aria-current': row.study === current?.study && 'true', 'data-study': row.study, onclick: () => open(row) },
    el('b', { 'data-user': true }, nameOf(row.name) || t('没有姓名')),
    el('span', {}, [row.modalities.join(' + '), dayOf(row.date)].filter(Boolean).join(' · '), ' ', el('span', { class: 'muted' }, ago(row.stored_at))),
    row.doubted && el('span', { class: 'badge badge-bad' }, icon('triangle-alert'), t('专家指出患者不符')),
    row.repaired && el('span', { class: 'badge badge-stop', title: t('影像里的文字编码标错了，这里按正确的编码显示；文件保持原样。') }, icon('info'), t('文字已修正'), el('span', { class: 'visually-hidden' }, t('影像里的文字编码标错了，这里按正确的编码显示；文件保持原样。'))),
    row.mixed && el('span', { class: 'badge badge-bad' }, icon('triangle-alert'), t('影像姓名不一致'))))));
  const count = document.querySelector('[data-count="unmatched"]');
  if (count) { count.textContent = rows.length; count.hidden = !rows.length; }
}

async function open(row, { focus = false } = {}) {
  current = row;
  picked = -1;
  candidates = [];
  const mine = (asked += 1);
  drawList();
  if (focus) $('list').querySelector('[aria-current]')?.focus();
  if (!row) return;
  history.replaceState(null, '', `#${row.study}`);
  drawStudy(row);
  if (row.doubted) { drawDoubt(row); return; }
  $('side').replaceChildren(el('h2', { id: 'side-title' }, t('可能是哪位患者')));
  try {
    const answer = await skeletonWhile($('side'), api('GET', `/api/studies/${row.study}/candidates`), 4);
    if (mine !== asked) return;
    candidates = answer.candidates;
    drawCandidates();
  } catch (problem) {
    if (mine !== asked || problem.name !== 'Problem') return;
    $('side').append(el('p', { class: 'note note-bad' }, icon('triangle-alert'), el('span', {}, problem.detail || problem.message)), el('div', { class: 'actions' }, el('button', { class: 'button', type: 'button', onclick: () => open(row) }, t('再试一次'))));
  }
}

function drawStudy(row) {
  const pictures = row.modalities.some((one) => !PICTURELESS.has(one));
  $('study').replaceChildren(
    el('h2', { id: 'study-title' }, t('这次检查')),
    pictures ? el('img', { class: 'unmatched-picture', src: `/dicom-web/studies/${row.study}/thumbnail?viewport=640,480`, alt: t('检查的缩略图') }) : el('p', { class: 'note' }, icon('activity'), t('心电或文档没有缩略图，可以打开查看。')),
    el('dl', { class: 'facts unmatched-facts' },
      fact(t('影像上的姓名'), row.name.replaceAll('^', ' ').replace(/=+$/, '') || t('没有姓名')), fact(t('性别'), SEX[row.sex], false),
      fact(t('出生'), row.birth_date && `${dayOf(row.birth_date)} · ${age(dayOf(row.birth_date))}`, false), fact(t('患者编号'), row.patient_id), fact(t('检查号'), row.accession),
      fact(t('检查'), [row.modalities.join(' + '), row.description].filter(Boolean).join(' · ')), fact(t('检查时间'), [dayOf(row.date), row.time.slice(0, 4).replace(/(..)(..)/, '$1:$2')].filter(Boolean).join(' '), false),
      fact(t('设备所在机构'), row.institution), fact(t('影像数'), String(row.instances), false)),
    el('div', { class: 'row' }, el('a', { class: 'button button-small', href: `/studies/${row.study}` }, icon('eye'), t('看图'))));
}

// ---- candidates ---------------------------------------------------------------------------------------------------

/** A fact of the candidate beside the study's: differs, agrees, or cannot be compared. */
function compared(key, label, value, known, differences) {
  if (!value) return null;
  if (differences.includes(key)) return el('span', { class: 'differs' }, icon('triangle-alert'), `${label} `, el('span', { 'data-user': true }, value), el('span', { class: 'visually-hidden' }, t('与影像不同')));
  if (known) return el('span', { class: 'agrees' }, icon('check'), `${label} `, el('span', { 'data-user': true }, value), el('span', { class: 'visually-hidden' }, t('与影像一致')));
  return el('span', { class: 'muted' }, `${label} `, el('span', { 'data-user': true }, value));
}

function card(candidate, at) {
  const { patient, order, differences } = candidate;
  const numbers = patient.identifiers.map(({ value }) => value).slice(0, 2).join(' · ');
  return el('button', { class: 'candidate', type: 'button', role: 'radio', 'aria-checked': String(at === picked), tabindex: at === Math.max(picked, 0) ? '0' : '-1', onclick: () => pick(at), ondblclick: settleMatch },
    at < 9 ? el('kbd', { 'aria-hidden': 'true' }, String(at + 1)) : el('span', {}),
    el('span', { class: `candidate-name ${differences.includes('name') ? 'differs' : ''}`, 'data-user': true }, patient.name || t('未知患者'), ' ', differences.includes('name') ? el('span', { class: 'visually-hidden', 'data-word': true }, t('与影像不同')) : current.name && el('span', { class: 'agrees small', 'data-word': true }, icon('check'), t('与影像一致'))),
    el('span', { class: 'candidate-facts' },
      compared('sex', t('性别'), SEX[patient.sex], current.sex, differences), compared('birth_date', t('出生'), [bornOn(patient), ageOf(patient)].filter(Boolean).join(' '), bornOn(patient) && current.birth_date, differences),
      compared('patient_id', t('编号'), numbers, current.patient_id, differences)),
    order ? el('span', { class: 'candidate-facts' },
      compared('accession', t('检查号'), order.accession, current.accession, differences), compared('modality', t('设备'), order.modality, true, differences),
      el('span', { 'data-user': true }, order.procedure), compared('date', t('开单'), dateText(order.at), current.date, differences)) : el('span', { class: 'muted' }, t('没有检查单')));
}

function drawCandidates() {
  const list = el('div', { class: 'candidates', role: 'radiogroup', 'aria-labelledby': 'side-title', onkeydown: arrows }, candidates.map(card));
  const search = el('input', { class: 'input', type: 'search', maxlength: '200', 'aria-label': t('查找患者'), placeholder: t('姓名、拼音首字母、证件号、就诊卡') });
  search.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); find(search); } });
  $('side').replaceChildren(...[
    el('h2', { id: 'side-title' }, t('可能是哪位患者')),
    candidates.length ? list : el('p', { class: 'note' }, icon('info'), t('没有相近的患者或检查单。请按姓名或证件查找，或先登记患者。')),
    el('div', { class: 'field' }, el('span', { class: 'label' }, t('都不是？查找其他患者')), el('div', { class: 'row' }, el('div', { class: 'grow' }, search), el('button', { class: 'button', type: 'button', onclick: () => find(search) }, icon('search'), t('查找')))),
    el('div', { class: 'actions' }, el('span', { class: 'muted small grow' }, t('数字键选择，Enter 确认，u 撤销')),
      el('button', { class: 'button button-primary', type: 'button', id: 'confirm', 'aria-disabled': String(picked < 0), onclick: settleMatch }, icon('check'), t('确认匹配')))]);
}

function pick(at) {
  if (!candidates[at]) return;
  picked = at;
  drawCandidates();
  $('side').querySelectorAll('.candidate')[at].focus();
}

function arrows(event) {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  pick((picked + step + candidates.length) % candidates.length);
}

async function find(search) {
  const text = search.value.trim();
  if (!text) return;
  const answer = await busy(search, () => api('POST', '/api/patients/search', { text }));
  if (!answer) return;
  if (!answer.patients.length) { toast(t('没有找到这位患者，请先登记。')); return; }
  const known = new Set(candidates.map(({ patient }) => patient.id));
  const more = answer.patients.filter(({ id }) => !known.has(id)).map((patient) => ({ patient, order: null, differences: differencesOf(patient) }));
  candidates = [...candidates, ...more];
  pick(more.length ? candidates.length - more.length : candidates.findIndex(({ patient }) => patient.id === answer.patients[0].id));
}

/** What a person found by hand differs in; the server ranks its own candidates by the same facts. */
function differencesOf(patient) {
  const name = nameOf(current.name).replaceAll(' ', '');
  return [
    name && /[^\x20-\x7e]/.test(name) && patient.name.replaceAll(' ', '') !== name && 'name',
    current.birth_date && bornOn(patient) && dayOf(current.birth_date) !== patient.birth_date && 'birth_date',
    'MF'.includes(current.sex || '-') && 'MF'.includes(patient.sex) && current.sex !== patient.sex && 'sex',
  ].filter(Boolean);
}

async function settleMatch() {
  const chosen = candidates[picked];
  if (!chosen || !current) { toast(t('请先选择一位患者')); return; }
  const row = current;
  const serious = chosen.differences.filter((one) => one === 'sex' || one === 'birth_date');
  if (serious.length) {
    const asking = confirm({ title: t('身份信息不一致'), text: t('影像上的性别或出生日期与这位患者不同。确定是同一个人吗？'), action: t('确定是同一个人'), danger: true });
    document.querySelector('dialog[open] .button-quiet')?.focus(); // a second Enter by habit must not match two people
    if (!(await asking)) return;
  }
  const done = await busy($('confirm'), () => api('POST', `/api/studies/${row.study}/match`, { patient: chosen.patient.id, order: chosen.order?.id ?? null }));
  if (!done) return;
  taken = { row, name: chosen.patient.name || t('未知患者') };
  leave(row);
  undo(t('已匹配到 {name}', { name: taken.name }), takeBack);
}

async function takeBack() {
  if (!taken) return;
  const { row } = taken;
  try {
    await api('POST', `/api/studies/${row.study}/unmatch`, { reason: '' });
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    showProblem(problem);
    return;
  }
  taken = null;
  document.querySelectorAll('.toast-good').forEach((box) => box.remove());
  if (!rows.some(({ study }) => study === row.study)) rows = [row, ...rows];
  toast(t('已撤销匹配'));
  open(row, { focus: true });
}

function leave(row) {
  const at = rows.findIndex(({ study }) => study === row.study);
  rows = rows.filter(({ study }) => study !== row.study);
  open(rows[Math.min(at, rows.length - 1)] ?? null, { focus: true });
}

// ---- doubted by an expert -------------------------------------------------------------------------------------------

function drawDoubt(row) {
  const decide = async (right, button) => {
    const why = await confirm({
      title: right ? t('是该患者') : t('不是该患者'), text: right ? t('检查将恢复显示，专家会看到您的说明。') : t('匹配将取消，检查从会诊中移除，回到未匹配。'),
      action: right ? t('恢复显示') : t('取消匹配'), danger: !right, reason: t('核对结果'), choices: right ? [t('已核对申请单和设备登记')] : [t('登记时选错了患者'), t('检查号录错')],
    });
    if (!why) return;
    const done = await busy(button, () => api('POST', `/api/studies/${row.study}/settle`, { right, reason: why.reason }).then(() => true));
    if (!done) return;
    if (right) { toast(t('已恢复显示'), { kind: 'good' }); leave(row); return; }
    Object.assign(row, { doubted: false, match: null, doubt: '' });
    open(row, { focus: true });
  };
  $('side').replaceChildren(
    el('h2', { id: 'side-title' }, t('专家指出患者不符')),
    el('div', { class: 'note note-bad doubt-box' }, icon('triangle-alert'), el('div', {}, el('p', {}, t('核对之前，除技师外没有人能看到这次检查。')), row.doubt && el('p', {}, t('专家的说明：'), el('b', { 'data-user': true }, row.doubt)))),
    el('dl', { class: 'facts' }, fact(t('目前归属'), row.patient?.name)),
    el('div', { class: 'actions' },
      el('button', { class: 'button button-danger apart', type: 'button', onclick: (event) => decide(false, event.currentTarget) }, icon('unlink'), t('不是该患者，取消匹配')),
      el('button', { class: 'button button-primary', type: 'button', onclick: (event) => decide(true, event.currentTarget) }, icon('check'), t('是该患者，恢复显示'))));
  if (row.patient === undefined) {
    api('GET', `/api/studies/${row.study}`).then(({ patient }) => { row.patient = patient; if (current === row && row.doubted) drawDoubt(row); }).catch(() => {});
  }
}

// ---- keys, and what happens elsewhere --------------------------------------------------------------------------------

const move = (step) => {
  const at = rows.findIndex(({ study }) => study === current?.study);
  const next = rows[at + step];
  if (next) open(next, { focus: true });
};
hotkeys(t('未匹配的检查'), [
  { key: 'j', label: t('下一次检查'), run: () => move(1) },
  { key: 'k', label: t('上一次检查'), run: () => move(-1) },
  ...Array.from({ length: 9 }, (_, at) => ({ key: String(at + 1), label: t('选择第 {n} 位', { n: at + 1 }), run: () => pick(at) })),
  { key: 'u', label: t('撤销匹配'), run: takeBack },
]);
// Enter on a candidate means "this one": it confirms what is picked instead of pressing the focused card again.
addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.isComposing || document.querySelector('dialog[open]')) return;
  const on = document.activeElement;
  if (on !== document.body && on?.id !== 'main' && !on?.closest('.candidate')) return;
  if (on?.closest('.candidate') && picked < 0) return;
  event.preventDefault();
  settleMatch();
}, true);

let refreshing;
subscribe(`study:${data.organisation}`, () => {
  clearTimeout(refreshing);
  refreshing = setTimeout(async () => {
    const answer = await api('GET', '/api/studies?waiting=1').catch(() => null);
    if (!answer) return;
    const before = new Map(rows.map((row) => [row.study, row]));
    rows = answer.studies.map((row) => ({ ...before.get(row.study), ...row }));
    const same = rows.find(({ study }) => study === current?.study);
    if (current && same && same.doubted === current.doubted) { current = same; drawList(); }
    else open(rows[0] ?? null);
  }, 600);
});

open(rows.find(({ study }) => `#${study}` === location.hash) ?? rows[0] ?? null);
