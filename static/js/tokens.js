// API tokens of the organisation: make one (it is shown once), end one.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, dialog, el, icon, onSubmit, toast } from './ui.js';

/** Nobody can read it again: the server keeps only its digest. */
async function show(token) {
  const copy = el('button', { class: 'button button-small', type: 'button', onclick: async () => {
    try {
      await navigator.clipboard.writeText(token);
      toast(t('已复制'));
    } catch {
      getSelection().selectAllChildren(document.getElementById('new-token'));
    }
  } }, icon('copy'), t('复制'));
  await dialog({
    title: t('新的令牌'), wide: true,
    body: [
      el('p', {}, t('请现在复制到要使用它的程序中，不要写在邮件和文档里。关闭后不能再次查看。')),
      el('p', {}, el('code', { id: 'new-token' }, token)), el('p', {}, copy),
    ],
    actions: [{ label: t('已保存'), value: 'yes', kind: 'primary' }],
  });
  location.reload();
}

onSubmit(document.getElementById('token-form'), async ({ name, days, password }, form) => {
  const { token } = await api('POST', '/api/tokens', { name, rights: new FormData(form).getAll('right'), days: Number(days), password });
  form.reset();
  await show(token);
});

document.getElementById('tokens')?.addEventListener('click', (event) => {
  const button = event.target.closest('[data-end]');
  const row = button?.closest('[data-token]');
  if (!row) return;
  busy(button, async () => {
    if (!(await confirm({ title: t('停用令牌？'), text: t('使用它的程序立刻不能再存取影像，正在进行的传输也会中断。不能恢复，只能新建。'), action: t('停用'), danger: true }))) return;
    await api('POST', `/api/tokens/${row.dataset.token}/end`, {});
    location.reload();
  });
});
