// "This is not the patient": hides the study from everybody until a technician has looked.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm } from './ui.js';

const button = document.getElementById('doubt');
button.addEventListener('click', async () => {
  const answer = await confirm({
    title: t('这项检查不是该患者的？'), text: t('检查会立即对所有人隐藏，由技师核对后再恢复或改正。'), action: t('隐藏并通知技师'), reason: t('依据'),
    danger: true, choices: [t('姓名或性别不符'), t('部位或病史不符'), t('图像上的标识不符')],
  });
  if (!answer) return;
  const done = await busy(button, () => api('POST', `/api/studies/${button.dataset.study}/wrong-patient`, { consultation: button.dataset.consultation, reason: answer.reason }).then(() => true));
  if (done) location.assign(`/consultations/${button.dataset.consultation}`);
});
