// Times as people read them, on the server's clock and in the installation's time zone, whatever this machine believes.
import { t } from './i18n.js';

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content;
const zone = meta('timezone') || 'Asia/Shanghai';
const offset = meta('now') ? Date.parse(meta('now')) - (performance.timeOrigin + performance.getEntriesByType('navigation')[0].responseStart) : 0;
const parts = new Intl.DateTimeFormat('en-CA', {
  timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

/** How far the server's clock is ahead of this machine's, in milliseconds. */
export const clockOffset = offset;

/** Milliseconds since 1970 on the server's clock. */
export const serverNow = () => Date.now() + offset;

function split(moment) {
  return Object.fromEntries(parts.formatToParts(new Date(moment)).map(({ type, value }) => [type, value]));
}

/** 2026-11-22 14:05 */
export function dateTime(moment) {
  const p = split(moment);
  return `${p.year}-${p.month}-${p.day} ${p.hour}:${p.minute}`;
}

/** 2026-11-22 */
export const dateText = (moment) => dateTime(moment).slice(0, 10);

/** 14:05:31 */
export function timeText(moment) {
  const p = split(moment);
  return `${p.hour}:${p.minute}:${p.second}`;
}

/** 刚刚 · 3 分钟前 · 还有 2 小时 */
export function ago(moment, now = serverNow()) {
  const seconds = Math.round((now - new Date(moment)) / 1000);
  const minutes = Math.floor(Math.abs(seconds) / 60);
  if (minutes < 1) return t('刚刚');
  const past = seconds > 0;
  if (minutes < 60) return past ? t('{n} 分钟前', { n: minutes }) : t('还有 {n} 分钟', { n: minutes });
  if (minutes < 48 * 60) return past ? t('{n} 小时前', { n: Math.floor(minutes / 60) }) : t('还有 {n} 小时', { n: Math.floor(minutes / 60) });
  return past ? t('{n} 天前', { n: Math.floor(minutes / 1440) }) : t('还有 {n} 天', { n: Math.floor(minutes / 1440) });
}

/** What is left to a deadline: {text, level} with level '' | near | late. Under 10 minutes it counts seconds. */
export function remaining(moment, nearSeconds = 600, now = serverNow()) {
  const seconds = Math.floor((new Date(moment) - now) / 1000);
  const size = Math.abs(seconds);
  const clock = `${String(Math.floor(size / 60)).padStart(2, '0')}:${String(size % 60).padStart(2, '0')}`;
  const long = size >= 48 * 3600 ? t('{n} 天', { n: Math.floor(size / 86400) })
    : size >= 2 * 3600 ? t('{n} 小时', { n: Math.floor(size / 3600) })
      : t('{n} 分钟', { n: Math.floor(size / 60) });
  const amount = size < 600 ? clock : long;
  if (seconds < 0) return { text: t('超时 {time}', { time: amount }), level: 'late' };
  return { text: t('剩 {time}', { time: amount }), level: seconds <= nearSeconds ? 'near' : '' };
}

/** As clinicians say it: 56 岁; under 3 years 1 岁 4 月; under 1 year 3 月 12 天. `birth`: 2026-08-10. */
/** The age of a patient; an estimate in one unit and marked: 约 60 岁. Empty when nothing is known. */
export function ageOf(patient) {
  if (!patient.birth_date) return '';
  return patient.birth_estimated ? t('约 {age}', { age: age(patient.birth_date, undefined, true) }) : age(patient.birth_date);
}

/** The birth date of a patient, as far as it is one. */
export const bornOn = (patient) => (patient.birth_estimated ? '' : patient.birth_date ?? '');

export function age(birth, on = dateText(serverNow()), rough = false) {
  const [by, bm, bd] = birth.split('-').map(Number);
  const [y, m, d] = on.split('-').map(Number);
  let months = (y - by) * 12 + m - bm;
  if (d < bd) months -= 1;
  if (months < 0) return '';
  if (months >= (rough ? 12 : 36)) return t('{n} 岁', { n: Math.floor(months / 12) });
  if (months >= 12) return t('{n} 岁 {m} 月', { n: Math.floor(months / 12), m: months % 12 });
  if (rough && months) return t('{m} 月', { m: months });
  const last = new Date(Date.UTC(by, bm + months, 0)).getUTCDate();
  const from = Date.UTC(by, bm - 1 + months, Math.min(bd, last));
  const days = Math.round((Date.UTC(y, m - 1, d) - from) / 86400000);
  return months ? t('{m} 月 {d} 天', { m: months, d: days }) : t('{d} 天', { d: days });
}

/** Writes all [data-ago] and [data-due] below `root` anew. */
export function tick(root = document) {
  const now = serverNow();
  for (const node of root.querySelectorAll('[data-ago]')) {
    const text = ago(node.dateTime, now);
    if (node.textContent !== text) node.textContent = text;
  }
  for (const node of root.querySelectorAll('[data-due]')) {
    const { text, level } = remaining(node.dataset.due, Number(node.dataset.near || 600), now);
    const words = node.querySelector('[data-due-text]') ?? node;
    if (words.textContent !== text) words.textContent = text;
    node.classList.toggle('due-near', level === 'near');
    node.classList.toggle('due-late', level === 'late');
    const bar = node.parentElement?.querySelector('[data-due-bar]');
    if (bar && node.dataset.from) {
      const whole = Date.parse(node.dataset.due) - Date.parse(node.dataset.from);
      bar.style.inlineSize = `${Math.max(0, Math.min(100, ((Date.parse(node.dataset.due) - now) / whole) * 100))}%`;
    }
  }
}

setInterval(() => { if (!document.hidden) tick(); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) tick(); });
tick();
