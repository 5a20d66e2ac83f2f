// The administrators' pages: staff and organisations.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, clearProblem, confirm, dialog, el, showProblem } from './ui.js';

const text = (form) => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));

/** The temporary password is shown once; nobody can read it again. */
async function showPassword(password) {
  await dialog({
    title: t('临时密码'),
    body: [el('p', {}, t('请当面或电话告知本人，首次登录后须立即修改。关闭后不能再次查看。')), el('p', {}, el('code', { id: 'temporary-password' }, password))],
    actions: [{ label: t('已告知本人'), value: 'yes', kind: 'primary' }],
  });
  location.reload();
}

function onSubmit(id, run) {
  const form = document.getElementById(id);
  form?.addEventListener('submit', (event) => {
    event.preventDefault();
    clearProblem(form);
    busy(form.querySelector('[type="submit"]'), async () => {
      try {
        await run(form, text(form));
      } catch (problem) {
        showProblem(problem, form);
      }
    });
  });
}

onSubmit('add-person', async (form, value) => {
  const answer = await api('POST', `/api/organisations/${form.dataset.organisation}/staff`, value);
  await showPassword(answer.password);
});

onSubmit('add-organisation', async (form, value) => {
  await api('POST', '/api/organisations', value);
  location.reload();
});

onSubmit('add-link', async (form, value) => {
  await api('POST', `/api/organisations/${value.a}/links`, { b: value.b, kind: value.link });
  location.reload();
});

document.getElementById('staff')?.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  const staff = button?.closest('[data-staff]')?.dataset.staff;
  if (!staff) return;
  busy(button, async () => {
    if (button.matches('[data-reset]')) {
      if (!(await confirm({ title: t('重设密码？'), text: t('此人在各处的登录会立即结束。'), action: t('重设密码'), danger: true }))) return;
      await showPassword((await api('POST', `/api/staff/${staff}/password`, {})).password);
    } else if (button.matches('[data-disable]')) {
      if (!(await confirm({ title: t('停用账号？'), text: t('此人在各处的登录会立即结束，之后不能再登录。'), action: t('停用'), danger: true }))) return;
      await api('POST', `/api/staff/${staff}/disable`, {});
      location.reload();
    } else if (button.matches('[data-enable]')) {
      await api('POST', `/api/staff/${staff}/enable`, {});
      location.reload();
    }
  });
});

document.getElementById('organisations')?.addEventListener('click', (event) => {
  const button = event.target.closest('[data-active]');
  const row = button?.closest('[data-organisation]');
  if (!row) return;
  busy(button, async () => {
    await api('PATCH', `/api/organisations/${row.dataset.organisation}`, { version: Number(row.dataset.version), active: button.dataset.active === 'true' });
    location.reload();
  });
});
