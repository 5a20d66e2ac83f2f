// /consultations/new: the patient first; choosing one starts the draft and opens the form.
import { api } from './api.js';
import { t } from './i18n.js';
import { askPatient } from './patients-form.js';
import { mountSearch } from './patients-search.js';
import { busy, el, icon } from './ui.js';

async function begin(patient) {
  const made = await busy(null, () => api('POST', '/api/consultations', { patient: patient.id }));
  if (made) location.assign(`/consultations/${made.id}/edit`);
}
async function register(options) {
  const patient = await askPatient(options);
  if (patient) await begin(patient);
}
const search = mountSearch(document.getElementById('finder'), {
  pick: begin,
  none: (text) => [el('span', { class: 'grow' }, t('没有找到。请核对后登记。')), el('button', { class: 'button', type: 'button', onclick: () => register({ text }) }, icon('user-plus'), t('登记患者'))],
});
document.getElementById('register').addEventListener('click', () => register({ text: search.text }));
document.getElementById('register-unknown').addEventListener('click', () => register({ unknown: true }));
search.focus();
