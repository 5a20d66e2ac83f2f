// /patients/{id}: correct, register a newborn, take a merged record out again, begin a consultation.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { askPatient } from './patients-form.js';
import { busy, confirm } from './ui.js';

const { patient } = pageData();

document.getElementById('edit')?.addEventListener('click', async () => { if (await askPatient({ patient })) location.reload(); });
document.getElementById('newborn')?.addEventListener('click', async () => {
  const born = await askPatient({ mother: { id: patient.id, name: patient.name } });
  if (born) location.assign(`/patients/${born.id}`);
});
document.getElementById('start')?.addEventListener('click', async (event) => {
  const made = await busy(event.currentTarget, () => api('POST', '/api/consultations', { patient: patient.id }));
  if (made) location.assign(`/consultations/${made.id}/edit`);
});
for (const button of document.querySelectorAll('[data-unmerge]')) {
  button.addEventListener('click', async () => {
    const why = await confirm({ title: t('拆分出来？'), text: t('这条记录和它带来的证件号、卡号会分开，恢复成单独的患者。'), action: t('拆分'), reason: t('原因') });
    if (!why) return;
    const done = await busy(button, () => api('POST', `/api/patients/${button.dataset.unmerge}/unmerge`, { reason: why.reason }));
    if (done) location.reload();
  });
}
