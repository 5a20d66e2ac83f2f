// The second signature: who is asked, whether they have approved what stands here now, and asking one more.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, confirm, dialog, el, icon, showProblem, toast } from './ui.js';

/**
 * The box of a draft for whoever writes it. review: {wanted, asked: [{membership, name, title, approved}], colleagues};
 * fresh(): the draft as it is stored now. Returns {node, show(review)}.
 */
export function reviewBox({ consultation, review: first, fresh }) {
  const list = el('ul', { class: 'report-reviewers' });
  const hint = el('p', { class: 'hint' });
  const ask = el('button', { class: 'button button-small', type: 'button', id: 'ask-reviewer', onclick: () => choose() }, icon('user-plus'), t('请同事复核'));
  const node = el('fieldset', { class: 'field', id: 'review' }, el('legend', {}, t('第二签名')), hint, list, ask);
  let review = first;

  function show(next) {
    review = next;
    hint.textContent = review.wanted ? t('这类报告需要两人签名：请一位同事复核，通过后再签发。') : t('需要时可以请一位同事复核；请了就要等其通过，才能签发。');
    hint.hidden = !review.wanted && review.asked.length > 0;
    ask.hidden = review.asked.length > 0;
    list.replaceChildren(...review.asked.map((person) => el('li', {},
      icon(person.approved ? 'user-check' : 'clock'),
      el('span', { class: 'grow' }, el('b', { 'data-user': '' }, [person.name, person.title].filter(Boolean).join(' ')), ' ',
        el('span', { class: 'muted' }, person.approved ? t('已通过当前这一版') : t('等待复核；之后再改动，需要重新复核'))),
      el('button', { class: 'button button-small button-quiet', type: 'button', onclick: (event) => takeBack(event.currentTarget, person) }, t('撤回邀请')))));
  }

  async function again() {
    show((await fresh()).review);
  }

  async function choose() {
    if (!review.colleagues.length) {
      toast(t('本机构没有其他可以复核的专家'));
      return;
    }
    const select = el('select', { id: 'f-membership', name: 'membership' }, review.colleagues.map((person) =>
      el('option', { value: person.membership, 'data-user': '' }, [person.name, person.title, person.department].filter(Boolean).join(' · '))));
    const body = el('div', { class: 'field' }, el('label', { for: 'f-membership' }, t('复核医师')), el('p', { class: 'error-text' }), select);
    await dialog({
      title: t('请同事复核'), body: [el('p', {}, t('对方的工作列表里会出现这份报告，可以查看全部资料；复核通过即为第二签名。')), body],
      actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('发出邀请'), value: 'yes', kind: 'primary' }],
      check: async () => {
        try {
          await api('POST', `/api/consultations/${consultation}/reviewer`, { membership: select.value });
          await again();
          return true;
        } catch (problem) {
          if (problem.name !== 'Problem') throw problem;
          showProblem(problem, body.closest('form'));
          return false;
        }
      },
    });
  }

  async function takeBack(button, person) {
    const sure = await confirm({ title: t('撤回邀请？'), text: t('对方不再能查看这次会诊，已经给出的复核也不再算数。'), action: t('撤回邀请') });
    if (!sure) return;
    await busy(button, async () => {
      await api('POST', `/api/consultations/${consultation}/reviewer/withdraw`, { membership: person.membership });
      await again();
      ask.focus();
    });
  }

  show(first);
  return { node, show };
}
