// The sign-in dialog over a page whose login has ended. The page behind it stays as it is.
import { api } from './api.js';
import { t } from './i18n.js';
import { el, icon } from './ui.js';

/** Resolves true after signing in as the same person; reloads the page when it is somebody else; false if given up. */
export function signIn(csrfMeta) {
  return new Promise((resolve) => {
    const error = el('p', { class: 'error-text', id: 'signin-error', role: 'alert' });
    const login = el('input', { name: 'login', autocomplete: 'username', required: true, id: 'signin-login' });
    const password = el('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true, id: 'signin-password' });
    const go = el('button', { class: 'button button-primary', type: 'submit' }, t('登录并继续'));
    const leave = el('button', { class: 'button button-quiet apart', type: 'button' }, t('暂不登录'));
    const form = el('form', {},
      el('div', { class: 'field' }, el('label', { for: 'signin-login' }, t('登录名')), login),
      el('div', { class: 'field' }, el('label', { for: 'signin-password' }, t('密码')), error, password),
      el('div', { class: 'actions' }, leave, go));
    const dialog = el('dialog', { class: 'dialog', id: 'signin', 'aria-labelledby': 'signin-title' },
      el('div', { class: 'dialog-body' },
        el('h2', { id: 'signin-title' }, icon('lock'), ' ', t('登录已过期')),
        el('p', { class: 'muted' }, t('您填写的内容都还在。登录后会接着刚才的操作。')), form));
    const finish = (value) => {
      dialog.close();
      dialog.remove();
      resolve(value);
    };
    leave.addEventListener('click', () => finish(false));
    dialog.addEventListener('cancel', (event) => { event.preventDefault(); finish(false); });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      go.setAttribute('aria-busy', 'true');
      error.textContent = '';
      try {
        const answer = await api('POST', '/api/login', { login: login.value.trim(), password: password.value, membership: document.body.dataset.me }, { signIn: false });
        if (document.body.dataset.me && answer.membership !== document.body.dataset.me) {
          location.assign('/'); // another person or place: the page and what was typed belong to the first
          return;
        }
        if (csrfMeta && answer.csrf) csrfMeta.content = answer.csrf;
        finish(true);
      } catch (problem) {
        error.textContent = problem.message;
        password.select();
      } finally {
        go.removeAttribute('aria-busy');
      }
    });
    document.body.append(dialog);
    dialog.showModal();
    login.focus();
  });
}
