// /patients: find, register, begin a consultation, merge two records of one person.
import { api } from './api.js';
import { t } from './i18n.js';
import { askPatient, sideBySide } from './patients-form.js';
import { facts, mountSearch } from './patients-search.js';
import { busy, confirm, dialog, el, icon, toast } from './ui.js';

const doctor = document.body.dataset.role === 'clinic_doctor';
const chosen = new Map();
const bar = document.getElementById('merge-bar');

function showBar() {
  bar.hidden = !chosen.size;
  document.getElementById('merge').disabled = chosen.size !== 2;
  document.getElementById('merge-words').textContent = chosen.size === 2 ? t('已选两条记录') : t('再选一条记录即可合并，现在选了 {n} 条', { n: chosen.size });
}

/** Starts a draft for the patient and opens the form. */
export async function startFor(patient, button) {
  const made = await busy(button, () => api('POST', '/api/consultations', { patient: patient.id }));
  if (made) location.assign(`/consultations/${made.id}/edit`);
}

async function register(options) {
  const patient = await askPatient(options);
  if (patient) location.assign(`/patients/${patient.id}`);
}

const search = mountSearch(document.getElementById('finder'), {
  actions: (p) => [
    el('label', { class: 'row-tight small' }, el('input', { type: 'checkbox', class: 'box', checked: chosen.has(p.id), 'aria-label': t('选来合并'), onchange: (event) => { if (event.target.checked) chosen.set(p.id, p); else chosen.delete(p.id); showBar(); } }), t('合并')),
    p.readable && el('a', { class: 'button button-small', href: `/patients/${p.id}` }, t('打开')),
    doctor && el('button', { class: 'button button-small', type: 'button', onclick: (event) => startFor(p, event.currentTarget) }, icon('plus'), t('发起会诊')),
  ],
  none: (text) => [el('span', { class: 'grow' }, t('没有找到。请核对后登记。')), el('button', { class: 'button', type: 'button', onclick: () => register({ text }) }, icon('user-plus'), t('登记患者'))],
  changed: () => { chosen.clear(); showBar(); },
});
search.focus();
document.getElementById('register').addEventListener('click', () => register({ text: search.text }));
document.getElementById('register-unknown').addEventListener('click', () => register({ unknown: true }));

document.getElementById('merge').addEventListener('click', async (event) => {
  const [a, b] = [...chosen.values()];
  const stay = (p, checked) => el('label', { class: 'choice' }, el('input', { type: 'radio', name: 'stay', value: p.id, checked }), el('span', {}, el('b', { 'data-user': '' }, p.name || t('未知患者')), ` ${facts(p)}`));
  const choices = el('div', { class: 'choices', role: 'radiogroup', 'aria-label': t('保留哪一条') }, stay(a, !a.unknown), stay(b, a.unknown));
  const go = await dialog({
    title: t('合并两条记录'), wide: true,
    body: [el('p', {}, t('确认是同一个人。证件和卡号归到保留的记录，会诊和检查都能从那里找到；以后可以拆分。')), sideBySide(a, b, [t('第一条'), t('第二条')]), el('p', { class: 'label' }, t('保留哪一条')), choices],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('继续'), value: 'yes', kind: 'primary' }],
  });
  if (go !== 'yes') return;
  const target = choices.querySelector('input:checked').value;
  const why = await confirm({ title: t('为什么是同一个人？'), action: t('合并'), reason: t('依据'), choices: [t('证件核对一致'), t('重复登记'), t('身份已核实')] });
  if (!why) return;
  const source = target === a.id ? b.id : a.id;
  const merged = await busy(event.target, () => api('POST', `/api/patients/${source}/merge`, { target, reason: why.reason }));
  if (!merged) return;
  toast(t('已合并'), { kind: 'good' });
  chosen.clear();
  showBar();
  search.again();
});
