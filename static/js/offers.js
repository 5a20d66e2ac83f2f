// Accept, decline and return: the same three everywhere they are offered (worklist, ringing card, consultation page).
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, dialog, el, icon, showProblem, toast } from './ui.js';

const url = (id, verb) => `/api/consultations/${id}/${verb}`;

/** Accepts the open offer. Resolves true; false when somebody else was faster or it was refused (told already). */
export async function acceptOffer(id, button = null) {
  const answer = await busy(button, async () => {
    try {
      await api('POST', url(id, 'accept'), {});
      return true;
    } catch (problem) {
      if (problem.name === 'Problem' && problem.status === 409) {
        toast(t('这一例已有同事先接了，列表已更新'), { detail: problem.code });
        return false;
      }
      throw problem;
    }
  });
  return answer === true;
}

/** Says no to an offer, with a reason. Resolves true when done. */
export async function declineOffer(id) {
  const answer = await confirm({
    title: t('不接这一例？'), text: t('会诊会转给其他值班专家，申请方不会受影响。'), action: t('不接'), reason: t('原因'),
    choices: [t('正在手术或门诊'), t('不属于我的专业'), t('与患者有利害关系')],
  });
  if (!answer) return false;
  try {
    await api('POST', url(id, 'decline'), { reason: answer.reason });
    toast(t('已转出'), { kind: 'good' });
    return true;
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    showProblem(problem);
    return false;
  }
}

/** Returns a request with a list of what is missing, each with its time. Resolves true when done. */
export async function returnRequest(id, version) {
  const local = (hours) => {
    const at = new Date(Date.now() + hours * 3600000);
    return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  };
  const list = el('div', { class: 'stack-8' });
  const add = (words = '') => {
    const n = list.children.length;
    const item = el('input', { class: 'input grow', name: `item-${n}`, maxlength: 200, 'aria-label': t('缺什么'), placeholder: t('例如：胸部 CT 平扫薄层') });
    item.value = words;
    const due = el('input', { class: 'input input-small', type: 'datetime-local', name: `due-${n}`, 'aria-label': t('请在此之前补齐') });
    due.value = local(24);
    const line = el('div', { class: 'row return-item' }, item, due,
      el('button', { class: 'button button-icon button-quiet', type: 'button', 'aria-label': t('去掉这一项'), onclick: () => line.remove() }, icon('x')));
    list.append(line);
    return item;
  };
  add();
  const error = el('p', { class: 'error-text', role: 'alert' });
  const note = el('textarea', { class: 'input', id: 'return-note', rows: 2, maxlength: 500 });
  const chosen = await dialog({
    title: t('退回补充'), wide: true,
    body: [el('p', { class: 'muted' }, t('写清缺什么、什么时候之前补齐。补齐后会回到您这里。')), error, list,
      el('button', { class: 'button button-small button-quiet', type: 'button', onclick: () => add().focus() }, icon('plus'), t('再加一项')),
      el('div', { class: 'field' }, el('label', { for: 'return-note' }, t('说明'), el('span', { class: 'optional' }, t('选填'))), note)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('退回给申请医生'), value: 'yes', kind: 'primary' }],
    check: async () => {
      const items = [...list.children].map((line) => {
        const [what, due] = line.querySelectorAll('input');
        return { item: what.value.trim(), due: due.value ? new Date(due.value).toISOString() : null };
      }).filter(({ item }) => item);
      if (!items.length) {
        error.textContent = t('请至少写一项缺少的内容');
        list.querySelector('input')?.focus();
        return false;
      }
      try {
        await api('POST', url(id, 'return'), { items, note: note.value.trim(), version });
        return true;
      } catch (problem) {
        if (problem.name !== 'Problem') throw problem;
        error.textContent = problem.detail || problem.message;
        return false;
      }
    },
  });
  if (chosen !== 'yes') return false;
  toast(t('已退回，申请医生会收到提醒'), { kind: 'good' });
  return true;
}
