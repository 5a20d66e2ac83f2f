// /consultations/new?urgency=stat: patient known or not, two witnesses, whom to call: ringing within thirty seconds.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { facts, mountSearch } from './patients-search.js';
import { el, icon, onSubmit, showProblem } from './ui.js';

const data = pageData();
const form = document.getElementById('stat-form');
const box = document.getElementById('f-patient');
const service = document.getElementById('f-service');
const place = document.getElementById('f-target-organisation');
const ages = document.getElementById('f-unknown_months');
const unit = document.getElementById('f-age-unit');
const witnesses = [0, 1].map((n) => document.getElementById(`f-witness-${n}`));
let patient = null;

function choose(found) {
  patient = found;
  box.replaceChildren(el('p', { class: 'chosen' }, icon('user-check'), el('b', { 'data-user': '' }, found.name || t('未知患者')), ` ${facts(found)} `,
    el('button', { class: 'button button-small', type: 'button', onclick: find }, t('换一位'))));
  witnesses[0].focus();
}
function find() {
  patient = null;
  mountSearch(box, { pick: choose, none: () => [t('没有登记过：可选“身份不明”先呼叫，之后再核实。')] }).focus();
}
function fill() {
  const places = data.places[service.value] ?? [];
  place.replaceChildren(...places.map((x) => el('option', { value: x.id }, x.name)));
  if (!places.length) place.append(el('option', { value: '' }, t('这项服务没有可呼叫的专家')));
}
const unknown = () => form.elements.who.value === 'unknown';
for (const radio of form.elements.who) {
  radio.addEventListener('change', () => {
    document.getElementById('known').hidden = unknown();
    document.getElementById('unknown').hidden = !unknown();
    if (unknown()) [...form.elements.sex].find((x) => x.checked).focus();
  });
}
service.addEventListener('change', fill);
witnesses[0].value = data.me;
fill();
find();

onSubmit(form, async () => {
  const fields = [];
  if (!unknown() && !patient) fields.push({ path: 'patient', code: 'required', message: t('请先选定患者，或选“身份不明”') });
  if (new Set(witnesses.map((x) => x.value.trim()).filter(Boolean)).size < 2) fields.push({ path: 'consent-witnesses', code: 'two_witnesses', message: t('请写两位不同见证人的姓名') });
  const guessed = unknown() && ages.value !== '' ? Number(ages.value) * Number(unit.value) : null;
  if (ages.validity.badInput || (guessed !== null && !(Number.isInteger(guessed) && guessed >= 0 && guessed <= 1560))) fields.push({ path: 'unknown_months', code: 'age_range', message: t('年龄应在 0 至 130 岁之间') });
  if (fields.length) { showProblem({ fields, code: 'invalid' }, form); return; }
  const made = await api('POST', '/api/consultations/stat', {
    patient: unknown() ? null : patient.id, unknown_sex: form.elements.sex.value, unknown_months: guessed, service: service.value,
    target: place.value ? { addressing: 'pool', organisation: place.value } : null, question: document.getElementById('f-question').value.trim(),
    consent: { text_version: data.text_version, signer: '', relation: 'other', mode: 'witnesses', witnesses: witnesses.map((x) => x.value.trim()) },
  });
  location.assign(`/consultations/${made.id}`);
});
