// The state of the line: one sentence in one place.
import { t } from '../i18n.js';

export const clockText = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${two(hours)}:` : ''}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
};

/** What becomes of the picture on a poor line, or by choice, and whose it is. */
function poorLine(call, other) {
  const mine = call.rung;
  const theirs = other.camera || other.pattern ? other.rung : 'video';
  if (call.choice.mode === 'speech') return { text: t('按您的选择，只用语音'), tone: 'plain' };
  if (other.most === 'audio') return { text: t('按对方的选择，只用语音'), tone: 'plain' };
  if (mine === 'audio' && theirs === 'audio') return { text: t('网络差，画面已暂停，只保留语音'), tone: 'warn' };
  if (mine === 'audio') return { text: t('网络差，您的画面已暂停，语音优先'), tone: 'warn' };
  if (theirs === 'audio') return { text: t('网络差，对方画面已暂停，语音优先'), tone: 'warn' };
  if (mine === 'stills' || theirs === 'stills') return { text: t('网络差，已优先保证语音，画面每秒两幅'), tone: 'warn' };
  return { text: t('网络差，声音可能断续'), tone: 'warn' };
}

/** What we send to everybody on the relay, where it is less than usual. */
function ownPart({ rung, choice }) {
  if (choice.mode === 'speech') return { text: t('按您的选择，只用语音'), tone: 'plain' };
  if (rung === 'stills') return { text: t('网络差，您的画面每秒两幅，语音优先'), tone: 'warn' };
  return { text: t('网络差，您的画面已暂停，语音优先'), tone: 'warn' };
}

/** What the relay passes on to us because no more is wanted: by choice, or under a limit of the line. */
function wantedOn(rung, { mode }) {
  if (mode === 'speech') return t('按您的选择，只用语音');
  if (mode === 'smooth' && rung === 'small') return t('按您的选择，只接收发言者的小画面');
  if (rung === 'small') return t('按流量上限，只接收发言者的小画面');
  if (rung === 'stills') return t('按流量上限，只接收发言者的静止画面');
  return t('按流量上限，不接收画面');
}

/** What the relay passes on to us where it is not everything. */
function passedOn({ rung, busy, chosen }, choice) {
  if (chosen && !busy) return { text: wantedOn(rung, choice), tone: 'plain' };
  if (busy) return { text: t('会诊服务器繁忙，先以语音进行'), tone: 'warn' };
  if (rung === 'small') return { text: t('网络差，只接收发言者的小画面，语音优先'), tone: 'warn' };
  if (rung === 'stills') return { text: t('网络差，只接收发言者的静止画面，语音优先'), tone: 'warn' };
  return { text: t('网络差，已暂停接收画面，语音优先'), tone: 'warn' };
}

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
  const { passed } = call ?? {};
  if (media && passed && (passed.busy || passed.rung !== 'video')) return passedOn(passed, call.choice);
  if (media && passed && ['stills', 'audio', 'telephone'].includes(call.rung)) return ownPart(call);
  switch (condition) {
    case 'none': return { text: t('音视频不通，请用电话沟通；影像和聊天仍可使用'), tone: 'bad' };
    case 'silent': return { text: t('通话中断，正在重新连接… {time}', { time: clockText(call.silent / 1000) }), tone: 'warn' };
    case 'connecting':
    case undefined: return { text: t('正在接通…'), tone: 'plain' };
    case 'poor': return poorLine(call, other);
    case 'fair': return { text: call.rung === 'small' && call.ladder.at > 0 ? t('网络一般，画面已调小，语音优先') : t('网络一般'), tone: 'plain' };
    default: return { text: t('网络良好'), tone: 'good' };
  }
}
