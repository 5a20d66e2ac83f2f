// What stands where the other's picture would be: who is waited for, the telephone, the lobby, or that it is over.
import { t } from '../i18n.js';
import { el, icon } from '../ui.js';
import { phoneList } from './layout.js';
import { expected } from './people.js';

/** What is to be said of this state, as what `Element.replaceChildren` takes. seat: the other's, if there is one. */
function words({ stage, seat, condition, telephone, contacts, lobby }) {
  const noPath = condition === 'none';
  const say = (name, text, ...more) => [icon(name, 'icon icon-32'), el('p', {}, text), ...more];
  if (stage === 'ended') return say('circle-check', t('会诊已结束'));
  if (telephone || noPath) return say('phone', noPath ? t('音视频不通，请拨打电话继续') : t('会诊以电话进行'), phoneList(contacts));
  if (stage === 'lobby') return say('clock', t('等候区：会诊专家会请您进入'), el('p', { 'data-user': true }, lobby.text), el('p', {}, expected(lobby.until)));
  if (!seat) return say('user', t('等待对方进入会诊室'));
  if (seat.curtain && ['good', 'fair', 'poor'].includes(condition)) return say('eye-off', t('对方正在检查，画面已遮挡'));
  if (!seat.camera && ['good', 'fair', 'poor'].includes(condition)) return say('volume-2', t('对方没有打开画面，正在语音通话'));
  if (seat.rung === 'audio' && condition === 'poor') return say('volume-2', t('画面已暂停，正在语音通话'));
  return say('loader-circle', t('正在接通…'));
}

export class Absent {
  constructor(root) {
    this.root = root;
    this.drawn = '';
  }

  /** state: see `words`, and `group`: the pictures of three and more are shown. Draws only what has changed. */
  draw(state) {
    const { stage, seat, condition, telephone, lobby, group } = state;
    const sent = group || (!seat?.curtain && (seat?.camera || seat?.pattern) && seat.rung !== 'audio');
    const video = Boolean(seat && condition && !['none', 'silent', 'connecting'].includes(condition) && sent);
    const key = [stage, seat?.name, video, condition, seat?.camera, seat?.curtain, telephone, lobby.text, expected(lobby.until)].join('|');
    if (key === this.drawn) return;
    this.drawn = key;
    this.root.hidden = video;
    if (!video) this.root.replaceChildren(...words(state));
  }

  /** The next `draw` draws. */
  forget() {
    this.drawn = '';
  }
}
