// The page /password: a new password of one's own.
import { api } from './api.js';
import { t } from './i18n.js';
import { onSubmit, showProblem, toast } from './ui.js';

onSubmit(document.getElementById('password-form'), async (given, form) => {
  if (given.new !== given.again) {
    showProblem({ title: t('两次输入的新密码不一样'), detail: '', code: 'invalid', fields: [{ path: 'again', message: t('两次输入的新密码不一样') }] }, form);
    return;
  }
  await api('POST', '/api/password', { old: given.old, new: given.new });
  toast(t('密码已修改'), { kind: 'good' });
  location.assign(form.dataset.next);
});
