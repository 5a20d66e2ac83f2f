// Corrections: the form shows what the chosen kind needs; making and taking back reload the list.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { busy, el, onSubmit } from './ui.js';

const data = pageData();
const form = document.getElementById('correct');
const $ = (id) => document.getElementById(id);

const kind = () => form.querySelector('[name="kind"]:checked').value;

function fit() {
  for (const part of form.querySelectorAll('[data-for]')) part.hidden = !part.dataset.for.split(' ').includes(kind());
}

async function find() {
  const answer = await busy($('find'), () => api('POST', '/api/patients/search', { text: $('patient').value }));
  if (!answer) return;
  const found = answer.patients.map((one) => el('label', { class: 'choice' },
    el('input', { type: 'radio', name: 'patient', value: one.id }), ' ', el('span', { 'data-user': true }, one.name || t('未知患者'), ' ', one.birth_date ?? '')));
  $('found').replaceChildren(...(found.length ? found : [el('p', { class: 'muted' }, t('没有找到患者'))]));
}

async function correct({ reason }) {
  const asked = { kind: kind(), study: data.study, reason };
  if (asked.kind === 'patient') asked.patient = form.querySelector('[name="patient"]:checked')?.value ?? null;
  if (asked.kind === 'merge' || asked.kind === 'move') asked.target = $('target').value || null;
  if (asked.kind === 'move' || asked.kind === 'split') asked.series = [...form.querySelectorAll('[name="series"]:checked')].map((one) => one.value);
  const made = await api('POST', '/api/corrections', asked);
  location.assign(`/studies/corrections?study=${made.study}`);
}

if (form) {
  form.addEventListener('change', fit);
  onSubmit(form, correct);
  $('find').addEventListener('click', find);
  $('patient').addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); find(); } });
  fit();
}
for (const button of document.querySelectorAll('[data-undo]')) {
  button.addEventListener('click', async () => {
    if (await busy(button, () => api('POST', `/api/corrections/${button.dataset.undo}/undo`, {}))) location.reload();
  });
}
