// Legal holds on recordings, with a reason.
import { api } from './api.js';
import { t } from './i18n.js';
import { confirm, showProblem } from './ui.js';

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-held]');
  if (!button) return;
  const held = button.dataset.held === 'yes';
  const answer = await confirm({
    title: held ? t('设保留令') : t('解除保留令'), action: held ? t('设保留令') : t('解除保留令'), reason: t('原因'),
    text: held ? t('设了保留令，到期也不会移除这份录制。') : t('解除之后，到期的录制会自动移除。'),
  });
  if (!answer) return;
  try {
    await api('POST', `/api/recordings/${button.closest('[data-recording]').dataset.recording}/hold`, { held, reason: answer.reason });
    location.reload();
  } catch (problem) {
    showProblem(problem);
  }
});
