// How a meeting ends or goes on by telephone: the questions before, what comes next, and why the page does not go on by itself.
import { t } from '../i18n.js';
import { confirm, dialog, el, icon, toast } from '../ui.js';
import { phoneList } from './layout.js';

/** Title and text when the socket ended for good. */
function endingText(code) {
  switch (code) {
    case 'taken_over': return [t('这次会诊已在另一个窗口打开'), t('同一时间只能在一个窗口中会诊。可以回到那个窗口，或在这里继续。')];
    case 'removed': return [t('您已被请出会诊室'), t('主持人已将您请出这次会诊。如有疑问，请联系会诊专家。')];
    case 'locked': return [t('会诊室已锁定'), t('主持人已锁定会诊室，现在不能新加入。请联系会诊专家。')];
    case 'revoked': return [t('您在这次会诊中的权限已结束'), t('登录已结束，或会诊已改派。如仍需参加，请重新登录后再试。')];
    case 'version': return [t('页面版本已更新'), t('系统刚刚升级，请刷新页面继续会诊。')];
    case 'left': return [t('您已离开会诊室'), t('会诊仍在进行，可以随时返回。')];
    default: return [t('不能进入会诊室'), t('这次会诊不存在，或您不在其中。请回到工作列表。')];
  }
}

/** The buttons under "the consultation has ended". undo(): sends `undo_finish`. data: the page's. */
export function nextSteps({ data, undo }) {
  const back = el('button', { class: 'button', type: 'button', onclick: () => undo().catch((refused) => {
    toast(refused.code === 'wrong_state' ? t('报告已签发或已开始新的会诊，不能撤销结束。') : t('没有撤销成功，请再试一次。'), { kind: 'bad' });
  }) }, icon('undo-2'), t('撤销结束'));
  const next = data.expert
    ? el('a', { class: 'button button-primary', href: `/consultations/${data.consultation}/report` }, icon('pen-line'), t('写报告'))
    : el('a', { class: 'button button-primary', href: `/consultations/${data.consultation}` }, t('回到会诊'));
  return el('div', { class: 'row' }, data.finish && back, next);
}

/** The sentence of a closing code, with the way back in where there is one. */
export function closedNote({ code, data }) {
  const [title, words] = endingText(code);
  const again = ['taken_over', 'left', 'version', 'revoked'].includes(code);
  return el('section', { class: 'room-note', role: 'alert' }, icon('info', 'icon icon-32'), el('h2', {}, title), el('p', {}, words), el('div', { class: 'row' },
    again && el('button', { class: 'button button-primary', type: 'button', onclick: () => location.reload() }, code === 'taken_over' ? t('在此窗口继续') : t('返回会诊室')),
    el('a', { class: 'button', href: `/consultations/${data.consultation}` }, t('回到会诊'))));
}

/** Shows the numbers. True when the consultation is to go on by telephone; may: whether this person can say so. */
export async function askTelephone({ contacts, may }) {
  return await dialog({
    title: t('电话联系'), body: [el('p', {}, t('线路不好时可以改用电话继续。电话会诊同样计入会诊。')), phoneList(contacts)],
    actions: [{ label: t('关闭'), value: '', kind: 'quiet' }, ...(may ? [{ label: t('转为电话会诊'), value: 'phone', kind: 'primary' }] : [])],
  }) === 'phone';
}

/** Asks, then ends the meeting by finish(). */
export async function askFinish(finish) {
  const yes = await confirm({
    title: t('结束会诊？'), text: t('双方的通话会断开，会诊进入报告书写。报告签发之前可以撤销。'), action: t('结束会诊'), danger: true,
  });
  if (yes) finish().catch((refused) => toast(refused.code === 'wrong_state' ? t('会诊已经结束。') : t('没有结束成功，请再试一次。'), { kind: 'bad' }));
}
