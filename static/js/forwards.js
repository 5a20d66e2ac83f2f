// Forwarding: destinations, rules, and what waits in the queue.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, clearProblem, confirm, showProblem, toast } from './ui.js';

const again = () => location.assign('/admin/forwards');
const valuesOf = (form) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));

function onSubmit(id, send) {
  const form = document.getElementById(id);
  form?.addEventListener('submit', (event) => {
    event.preventDefault();
    clearProblem(form);
    busy(form.querySelector('[type="submit"]'), async () => {
      try {
        await send(valuesOf(form), form.dataset);
        again();
      } catch (problem) {
        showProblem(problem, form);
      }
    });
  });
}

onSubmit('destination-form', (given, { destination, version }) => {
  const body = { ...given };
  if (!body.token) delete body.token; // an empty field leaves the stored token as it is
  if (destination) return api('PATCH', `/api/forward-destinations/${destination}`, { ...body, version: Number(version) });
  return api('POST', '/api/forward-destinations', body);
});

onSubmit('rule-form', (given) => api('POST', '/api/forward-rules', {
  ...given,
  modalities: given.modalities.split(/[\s,，、;；\\]+/).filter(Boolean),
  earlier: given.earlier === 'yes',
}));

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
