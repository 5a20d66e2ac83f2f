// How this side wants to speak: a mode of the ladder, a limit of the line, and what has been used of it.
import { t } from '../i18n.js';
import { dialog, el } from '../ui.js';
import { MODES } from './ladder.js';

const KEY = 'huizhen:line';
const LIMITS = [0, 1000, 300, 100];

/** The best rung of a mode: what the other side is asked to send at most. */
export const MOST = { auto: 'video', clear: 'video', smooth: 'small', speech: 'audio' };

/** {mode, kbps} as chosen in this browser before. */
export function rememberedLine() {
  try {
    const { mode, kbps } = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return { mode: MODES.includes(mode) ? mode : 'auto', kbps: LIMITS.includes(kbps) ? kbps : 0 };
  } catch {
    return { mode: 'auto', kbps: 0 };
  }
}

/** The smaller of two limits in kbit/s, 0 being none. */
export const least = (a, b) => (a && b ? Math.min(a, b) : a || b);

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** choice: {mode, kbps}. limit: kbit/s that the place allows (0: any). used: {sent, received} bytes. onChoice(choice) at once when something else is chosen. */
export async function chooseLine({ choice, limit, used, onChoice }) {
  const words = {
    auto: t('自动：线路差时先保证语音'), clear: t('清晰：一直保留画面'), smooth: t('流畅：只用小画面'), speech: t('仅语音：双方都不传画面'),
  };
  const chosen = { ...choice };
  const change = (changes) => {
    Object.assign(chosen, changes);
    localStorage.setItem(KEY, JSON.stringify(chosen));
    onChoice({ ...chosen });
  };
  const field = (id, label, values, now, name, pick) => el('div', { class: 'field' }, el('label', { for: id }, label),
    el('select', { class: 'input', id, onchange: (event) => pick(event.target.value) },
      values.map((value) => el('option', { value, selected: value === now }, name(value)))));
  await dialog({
    title: t('通话方式'), actions: [{ label: t('完成'), value: 'ok', kind: 'primary' }],
    body: [
      field('line-mode', t('画面与语音'), MODES, choice.mode, (mode) => words[mode], (mode) => change({ mode })),
      field('line-limit', t('流量上限'), LIMITS, choice.kbps, (kbps) => (kbps ? t('每秒 {n} 千比特', { n: kbps }) : t('不限')), (kbps) => change({ kbps: Number(kbps) })),
      limit > 0 && el('p', { class: 'hint', id: 'line-place' }, t('本机构限定每个席位每秒 {n} 千比特。', { n: limit })),
      el('p', { class: 'hint' }, t('本次会诊已发送 {sent} MB，已接收 {received} MB。', { sent: megabytes(used.sent), received: megabytes(used.received) })),
    ],
  });
}
