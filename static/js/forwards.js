// Forwarding: destinations, rules, and what waits in the queue.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, onSubmit, parts, toast } from './ui.js';

const again = () => location.assign('/admin/forwards');

onSubmit(document.getElementById('destination-form'), async ({ token = '', ...body }, { dataset: { destination, version } }) => {
  if (token.trim()) body.token = token.trim(); // an empty field leaves the stored token as it is
  if (destination) await api('PATCH', `/api/forward-destinations/${destination}`, { ...body, version: Number(version) });
  else await api('POST', '/api/forward-destinations', body);
  again();
});

onSubmit(document.getElementById('rule-form'), async (given) => {
  await api('POST', '/api/forward-rules', { ...given, modalities: parts(given.modalities), earlier: given.earlier === 'yes' });
  again();
});

async function act(button, { destination, rule, study = '' }) {
  if (rule) {
    if (!(await confirm({ title: t('停用规则？'), text: t('新收到的影像不再按这条规则发送，已在等待的照常发送。'), action: t('停用'), danger: true }))) return;
    await api('POST', `/api/forward-rules/${rule}/end`, {});
  } else if (button.matches('[data-retry]')) {
    const { waiting } = await api('POST', `/api/forward-destinations/${destination}/retry`, { study });
    toast(t('正在重试 {n} 幅', { n: waiting }));
    return;
  } else if (button.matches('[data-drop]')) {
    if (!(await confirm({ title: t('放弃发送？'), text: t('这项检查中还没有送达的图像不再发送，本机的影像不变。'), action: t('放弃'), danger: true }))) return;
    await api('POST', `/api/forward-destinations/${destination}/drop`, { study });
  } else {
    if (!(await confirm({ title: t('停用目的地？'), text: t('发往这里的规则一并停用，还在等待的影像不再发送。'), action: t('停用'), danger: true }))) return;
    await api('POST', `/api/forward-destinations/${destination}/end`, {});
  }
  again();
}

for (const id of ['destinations', 'rules', 'lots']) {
  document.getElementById(id)?.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    const row = button?.closest('tr');
    if (row) busy(button, () => act(button, row.dataset));
  });
}
