// Sign-in and first set-up.
import { api } from './api.js';
import { t } from './i18n.js';
import { onSubmit } from './ui.js';

for (const button of document.querySelectorAll('[data-language]')) {
  button.addEventListener('click', () => {
    document.cookie = `lang=${button.dataset.language}; path=/; max-age=31536000; samesite=lax${location.protocol === 'https:' ? '; secure' : ''}`;
    location.reload();
  });
}

/** Only a path of this site: an address from elsewhere in `next` is ignored. */
function safeNext(next) {
  return next && next.startsWith('/') && !next.startsWith('//') && !next.includes('\\') ? next : '/';
}

const form = document.getElementById('login-form');
if (form) {
  const { login, password } = form.elements;
  const error = document.getElementById('login-error');
  const button = form.querySelector('[type="submit"]');

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    error.textContent = '';
    if (!login.value.trim() || !password.value) {
      error.textContent = t('请填写登录名和密码');
      (login.value.trim() ? password : login).focus();
      return;
    }
    button.setAttribute('aria-busy', 'true');
    try {
      const answer = await api('POST', '/api/login', { login: login.value.trim(), password: password.value }, { signIn: false });
      const next = safeNext(form.dataset.next);
      const onwards = answer.choose ? `/place?next=${encodeURIComponent(next)}` : next;
      location.assign(answer.must_change ? `/password?next=${encodeURIComponent(onwards)}` : onwards);
    } catch (problem) {
      button.removeAttribute('aria-busy');
      if (problem.name !== 'Problem') throw problem;
      error.textContent = problem.detail || problem.message;
      password.select();
      password.focus();
    }
  });

  const caps = document.getElementById('caps');
  password.addEventListener('keyup', (event) => { caps.hidden = !event.getModifierState?.('CapsLock'); });

  for (const account of document.querySelectorAll('.account')) {
    account.addEventListener('click', () => {
      document.querySelectorAll('.account').forEach((other) => other.setAttribute('aria-pressed', String(other === account)));
      login.value = account.dataset.login;
      password.value = account.dataset.password;
      error.textContent = '';
      button.focus();
      form.scrollIntoView({ block: 'nearest' });
    });
  }
}

onSubmit(document.getElementById('setup-form'), async (given) => {
  await api('POST', '/api/setup', given, { signIn: false });
  location.assign('/');
});
