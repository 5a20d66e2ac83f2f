// Removal after the retention: propose, decide, hold. Each asks first and says what will happen.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, onSubmit, toast } from './ui.js';

const ask = async (button, question, run) => {
  const answer = await confirm(question);
  if (!answer) return;
  if (await busy(button, async () => { await run(answer); return true; })) location.reload();
};

onSubmit(document.getElementById('propose'), async ({ reason }, form) => {
  const studies = new FormData(form).getAll('studies');
  if (!studies.length) {
    toast(t('请先选择要移除的检查'), { kind: 'bad' });
    return;
  }
  const sure = reason && await confirm({
    title: t('提出移除 {n} 项检查？', { n: studies.length }),
    text: t('本机构另一位技师或管理员批准之后，这些影像从影像库移除，不能恢复。'), action: t('提出移除'),
  });
  if (reason && !sure) return;
  await api('POST', '/api/removals', { studies, reason });
  location.assign('/studies/removals');
});

document.querySelector('main').addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  const proposal = button.closest('[data-proposal]')?.dataset;
  if (button.matches('[data-approve]')) {
    ask(button, {
      title: t('批准移除 {n} 项检查？', { n: proposal.studies }),
      text: t('影像从影像库移除，不能恢复；已签发的报告不受影响。'), action: t('批准移除'), danger: true,
    }, () => api('POST', `/api/removals/${proposal.proposal}/approve`, {}));
  } else if (button.matches('[data-refuse]')) {
    const own = button.dataset.refuse === 'own';
    ask(button, {
      title: own ? t('撤回移除申请？') : t('不批准移除？'), text: t('影像保持不变，可以重新提出。'), reason: t('原因'),
      action: own ? t('撤回') : t('不批准'),
    }, ({ reason }) => api('POST', `/api/removals/${proposal.proposal}/refuse`, { reason }));
  } else if (button.matches('[data-hold]')) {
    ask(button, {
      title: t('设保留令？'), text: t('解除之前，这项检查的影像不能移除。'), reason: t('保留原因'), action: t('设保留令'),
    }, ({ reason }) => api('POST', '/api/holds', { study: button.closest('[data-study]').dataset.study, reason }));
  } else if (button.matches('[data-lift]')) {
    ask(button, {
      title: t('解除保留令？'), text: t('之后保存期限已满的影像又可以提出移除。'), reason: t('原因'), action: t('解除保留令'),
    }, ({ reason }) => api('POST', `/api/holds/${button.closest('[data-hold-id]').dataset.holdId}/lift`, { reason }));
  }
});
