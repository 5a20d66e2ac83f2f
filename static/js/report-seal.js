// What a signature needs: nothing missing, the password when the last one was too long ago, then the call.
import { api, Problem } from './api.js';
import { t } from './i18n.js';
import { dialog, el } from './ui.js';

/**
 * POSTs `body` to `url`, which signs. Asks first whether anything is in the way (thrown as Problem, before any
 * password) and whether the password is needed. Resolves to the answer, null when given up.
 */
export async function sealed(url, body) {
  const { unlocked_until: unlocked } = await api('POST', url, { ...body, check: true });
  if (unlocked) {
    try {
      return await api('POST', url, body);
    } catch (problem) {
      // The minutes ran out between the two calls.
      if (!(problem instanceof Problem) || problem.code !== 'unlock_required') throw problem;
    }
  }
  return withPassword(url, body);
}

async function withPassword(url, body) {
  const password = el('input', { type: 'password', id: 'f-sign-password', autocomplete: 'current-password', required: true, maxlength: 1024, 'aria-describedby': 'f-sign-password-error' });
  const error = el('p', { class: 'error-text', id: 'f-sign-password-error' });
  let answer = null;
  let failure = null;
  const chosen = await dialog({
    title: t('输入密码以签名'),
    body: [el('p', {}, t('签名代表您本人。之后一段时间内签发其他报告不再询问。')),
      el('div', { class: 'field' }, el('label', { for: 'f-sign-password' }, t('密码')), error, password)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('确认签名'), value: 'yes', kind: 'primary' }],
    check: async () => {
      error.textContent = '';
      if (!password.value) { error.textContent = t('请输入密码'); password.focus(); return false; }
      try {
        answer = await api('POST', url, { ...body, password: password.value });
        return true;
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        if (problem.code !== 'wrong_password' && problem.code !== 'locked_out') { failure = problem; return true; }
        error.textContent = problem.message;
        password.setAttribute('aria-invalid', 'true');
        password.select();
        return false;
      }
    },
  });
  if (failure) throw failure;
  return chosen === 'yes' ? answer : null;
}
