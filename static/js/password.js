// The page /password: a new password of one's own.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, clearProblem, showProblem, toast } from './ui.js';

const form = document.getElementById('password-form');

form.addEventListener('submit', (event) => {
  event.preventDefault();
  clearProblem(form);
  const value = (name) => form.elements[name].value;
  if (value('new') !== value('again')) {
    showProblem({ title: t('两次输入的新密码不一样'), detail: '', code: 'invalid', fields: [{ path: 'again', message: t('两次输入的新密码不一样') }] }, form);
    return;
  }
  busy(form.querySelector('[type="submit"]'), async () => {
    try {
      await api('POST', '/api/password', { old: value('old'), new: value('new') });
      toast(t('密码已修改'), { kind: 'good' });
      location.assign(form.dataset.next);
    } catch (problem) {
      showProblem(problem, form);
    }
  });
});
