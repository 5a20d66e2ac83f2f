// The top bar at work: menus, keys, language, place, running session, alerts, sign-out. On every page.
import { api } from './api.js';
import { startAlerts } from './alerts.js';
import { forgetDrafts } from './autosave.js';
import { t } from './i18n.js';
import { hotkeys, showKeys } from './keys.js';
import { stopLive } from './live.js';
import { clockOffset } from './times.js';
import { busy, dialog, el, icon, showProblem, toast } from './ui.js';

// ---- menus: one open at a time, closed by Escape and by a click elsewhere ---------------------------------------
const menus = [...document.querySelectorAll('[data-menu]')];
document.addEventListener('click', (event) => {
  for (const menu of menus) if (menu.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  for (const menu of menus) {
    if (!menu.open) continue;
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});

// ---- this machine's clock ---------------------------------------------------------------------------------------
const CLOCK_TOLERANCE = 120_000;
if (Math.abs(clockOffset) > CLOCK_TOLERANCE) {
  document.querySelector('.shell-top')?.before(el('p', { class: 'demo-strip', role: 'status', id: 'clock-note' }, icon('clock'),
    el('span', {}, t('这台电脑的时间与服务器相差 {minutes} 分钟。页面上的时间以服务器为准，请校准这台电脑的时间。', { minutes: Math.round(Math.abs(clockOffset) / 60_000) }))));
}

// ---- language ---------------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll('[data-language]')) {
  button.addEventListener('click', () => {
    document.cookie = `lang=${button.dataset.language}; path=/; max-age=31536000; samesite=lax${location.protocol === 'https:' ? '; secure' : ''}`;
    location.reload();
  });
}

// ---- place and role -----------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll('[data-place]')) {
  button.addEventListener('click', () => busy(button, async () => {
    stopLive();
    await api('POST', '/api/place', { membership: button.dataset.place });
    location.assign(button.dataset.next || '/');
  }));
}

// ---- person -------------------------------------------------------------------------------------------------------
document.getElementById('sign-out')?.addEventListener('click', (event) => busy(event.currentTarget, async () => {
  stopLive();
  await api('POST', '/api/logout', {}, { signIn: false }).catch((problem) => { if (problem.status !== 401) throw problem; });
  forgetDrafts();
  location.assign('/login');
}));

document.getElementById('show-keys')?.addEventListener('click', showKeys);

document.getElementById('change-password')?.addEventListener('click', async () => {
  const field = (name, label, complete) => el('div', { class: 'field' }, el('label', { for: `f-${name}` }, label),
    el('p', { class: 'error-text' }), el('input', { type: 'password', id: `f-${name}`, name, autocomplete: complete, required: true }));
  const body = el('div', {}, field('old', t('现在的密码'), 'current-password'), field('new', t('新密码'), 'new-password'), field('again', t('再输入一次新密码'), 'new-password'));
  const value = (name) => body.querySelector(`#f-${name}`).value;
  await dialog({
    title: t('修改密码'), body: [body], actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('修改密码'), value: 'yes', kind: 'primary' }],
    check: async () => {
      const again = body.querySelector('#f-again');
      if (value('new') !== value('again')) {
        again.closest('.field').classList.add('field-error');
        again.closest('.field').querySelector('.error-text').textContent = t('两次输入的新密码不一样');
        again.focus();
        return false;
      }
      try {
        await api('POST', '/api/password', { old: value('old'), new: value('new') });
        toast(t('密码已修改'), { kind: 'good' });
        return true;
      } catch (problem) {
        showProblem(problem, body.closest('form'));
        return false;
      }
    },
  });
});

// ---- search -------------------------------------------------------------------------------------------------------
// What is looked for may be a name, so it never stands in an address: it is handed over inside this tab.
const search = document.getElementById('bar-search');
search?.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = search.elements.text.value.trim();
  if (document.body.dataset.page === 'worklist') {
    document.dispatchEvent(new CustomEvent('worklist-search', { detail: text }));
    return;
  }
  sessionStorage.setItem('huizhen:search', text);
  location.assign('/');
});

hotkeys(t('到处可用'), [
  ...(search ? [{ key: '/', label: t('搜索'), run: () => search.elements.text.focus() }] : []),
  { key: '?', label: t('显示快捷键'), run: () => { showKeys(); } },
]);

document.documentElement.dataset.ready = ''; // from here on the page listens to keys
if (document.body.dataset.role in { clinic_doctor: 1, expert: 1, technician: 1, dispatcher: 1 }) startAlerts();
