// The state of the line: one sentence in one place, and the sentences for endings.
import { t } from '../i18n.js';

export const clockText = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${two(hours)}:` : ''}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};

/** {text, tone: good|warn|bad|plain} for what the room page knows. */
export function lineState({ stage, up, call, other, awaySince, now }) {
  if (stage === 'ended') return { text: t('会诊已结束'), tone: 'plain' };
  if (stage === 'joining') return { text: t('正在进入会诊室…'), tone: 'plain' };
  const condition = call?.condition;
  const media = ['good', 'fair', 'poor'].includes(condition);
  if (!up) return media
    ? { text: t('与服务器的连接中断，通话不受影响，正在重新连接…'), tone: 'warn' }
    : { text: t('正在重新连接…'), tone: 'warn' };
  if (stage === 'lobby') return { text: t('请稍候，会诊专家会请您进入'), tone: 'plain' };
  if (!other) return { text: t('等待对方进入会诊室'), tone: 'plain' };
  if (!other.connected && !media) return { text: t('对方掉线，等待返回 {time}', { time: clockText((now - awaySince) / 1000) }), tone: 'warn' };
  switch (condition) {
    case 'none': return { text: t('音视频不通，请用电话沟通；影像和聊天仍可使用'), tone: 'bad' };
    case 'silent': return { text: t('通话中断，正在重新连接… {time}', { time: clockText(call.silent / 1000) }), tone: 'warn' };
    case 'connecting':
    case undefined: return { text: t('正在接通…'), tone: 'plain' };
    case 'poor': return call.saving
      ? { text: t('网络差，已优先保证语音'), tone: 'warn' }
      : { text: t('网络差，声音可能断续'), tone: 'warn' };
    case 'fair': return { text: t('网络一般'), tone: 'plain' };
    default: return { text: t('网络良好'), tone: 'good' };
  }
}

/** Title and text when the socket ended for good. */
export function endingText(code) {
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
