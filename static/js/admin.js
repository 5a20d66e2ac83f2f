// The administrators' pages: staff and organisations.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, dialog, el, onSubmit, parts, toast } from './ui.js';

/** The temporary password is shown once; nobody can read it again. */
async function showPassword(password) {
  await dialog({
    title: t('临时密码'),
    body: [el('p', {}, t('请当面或电话告知本人，首次登录后须立即修改。关闭后不能再次查看。')), el('p', {}, el('code', { id: 'temporary-password' }, password))],
    actions: [{ label: t('已告知本人'), value: 'yes', kind: 'primary' }],
  });
  location.reload();
}

const form = (id) => document.getElementById(id);

onSubmit(form('add-person'), async ({ specialties, on_call: onCall, ...value }, { dataset }) => {
  const answer = await api('POST', `/api/organisations/${dataset.organisation}/staff`, {
    ...value, specialties: parts(specialties), on_call: onCall === 'yes',
  });
  await showPassword(answer.password);
});

onSubmit(form('add-membership'), async (value, { dataset }) => {
  const there = (name) => value[`there-${name}`];
  try {
    await api('POST', `/api/organisations/${dataset.organisation}/memberships`, {
      login: there('login').toLowerCase(), role: there('role'), department: there('department'), specialties: parts(there('specialties')),
    });
  } catch (problem) {
    for (const field of problem.fields ?? []) field.path = `there-${field.path}`; // two forms on one page: no id twice
    throw problem;
  }
  location.reload();
});

/** Person and places in one dialog; each is saved under the version that was shown. */
async function edit(id) {
  const data = pageData();
  const everyone = await api('GET', `/api/organisations/${data.organisation}/staff`);
  const { staff, memberships } = everyone.find((person) => person.staff.id === id);
  const now = Date.now();
  const held = memberships.filter((one) => !one.until || Date.parse(one.until) > now);
  const input = (label, value, more = {}) => {
    const control = el('input', { class: 'input', type: 'text', id: `edit-${Math.random().toString(36).slice(2)}`, maxlength: 60, value: value ?? '', ...more });
    return { control, field: el('div', { class: 'field' }, el('label', { for: control.id }, label), control) };
  };
  const person = { name: input(t('姓名'), staff.name), title: input(t('职称'), staff.title), licence: input(t('执业证号'), staff.licence), phone: input(t('电话'), staff.phone) };
  const places = held.map((one) => {
    const onCall = el('input', { type: 'checkbox' });
    onCall.checked = one.on_call;
    return {
      one, onCall, department: input(t('科室'), one.department),
      specialties: input(t('专业'), one.specialties.join(' '), { maxlength: 400, list: 'specialties' }),
    };
  });
  const error = el('p', { class: 'error-text', role: 'alert' });
  const chosen = await dialog({
    title: t('修改人员'), wide: true,
    body: [
      error, el('div', { class: 'fields' }, Object.values(person).map(({ field }) => field)),
      ...places.map(({ one, onCall, department, specialties }) => el('fieldset', { class: 'membership stack-8' }, el('legend', {}, data.roles[one.role]),
        el('div', { class: 'fields' }, department.field, specialties.field), el('div', { class: 'row' },
          el('label', { class: 'choice grow' }, onCall, el('span', {}, t('值班'))),
          el('button', { class: 'button button-small button-danger', type: 'button', onclick: (event) => end(event.currentTarget, one) }, t('结束任职'))))),
    ],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('保存'), value: 'yes', kind: 'primary' }],
    check: async () => {
      const said = Object.fromEntries(Object.entries(person).map(([name, { control }]) => [name, control.value.trim()]));
      try {
        if (Object.entries(said).some(([name, value]) => value !== (staff[name] ?? ''))) await api('PATCH', `/api/staff/${id}`, { version: staff.version, ...said });
        for (const { one, onCall, department, specialties } of places) {
          const next = { department: department.control.value.trim(), specialties: parts(specialties.control.value), on_call: onCall.checked };
          const before = { department: one.department, specialties: one.specialties, on_call: one.on_call };
          if (JSON.stringify(next) !== JSON.stringify(before)) await api('PATCH', `/api/memberships/${one.id}`, { version: one.version, ...next });
        }
        return true;
      } catch (problem) {
        error.textContent = [problem.detail, ...(problem.fields ?? []).map((field) => field.message)].filter(Boolean).join(' ');
        return false;
      }
    },
  });
  if (chosen === 'yes') location.reload();
}

async function end(button, membership) {
  if (!(await confirm({ title: t('结束任职？'), text: t('此人不再在这里工作，在这里的登录会立即结束。'), action: t('结束任职'), danger: true }))) return;
  await busy(button, async () => {
    await api('POST', `/api/memberships/${membership.id}/end`, {});
    location.reload();
  });
}

onSubmit(form('add-organisation'), async (value) => {
  await api('POST', '/api/organisations', value);
  location.reload();
});

onSubmit(form('add-link'), async (value) => {
  await api('POST', `/api/organisations/${value.a}/links`, { b: value.b, kind: value.link });
  location.reload();
});

document.getElementById('staff')?.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  const staff = button?.closest('[data-staff]')?.dataset.staff;
  if (!staff) return;
  busy(button, async () => {
    if (button.matches('[data-edit]')) {
      await edit(staff);
    } else if (button.matches('[data-reset]')) {
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
document.getElementById('organisations')?.addEventListener('change', async (event) => {
  const chosen = event.target.closest('[data-kbps]');
  const row = chosen?.closest('[data-organisation]');
  if (!row) return;
  const saved = await busy(chosen, () => api('PATCH', `/api/organisations/${row.dataset.organisation}`, { version: Number(row.dataset.version), room_kbps: Number(chosen.value) }));
  if (!saved) return;
  row.dataset.version = saved.version;
  toast(t('已保存，下次进入会诊室时起效。'));
});
