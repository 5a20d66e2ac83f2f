// Running session, counts on the tabs, the bell, and the ring for a STAT offer.
import { api } from './api.js';
import { t } from './i18n.js';
import { subscribe } from './live.js';
import { acceptOffer } from './offers.js';
import { tick } from './times.js';
import { el, icon } from './ui.js';

const SOUND = 'huizhen:sound';
const SILENCED = 'huizhen:silenced';   // offers this person has heard, in this tab
let heard = null;      // Web Audio; made on a gesture, else browsers keep it silent
let ringing = 0;
let before = new Set(); // rings of offers already heard on this page
let lateBefore = new Set(); // emergencies without an answer that a dispatcher was told of
let loaded = false;
let asked = null;

function tone(context, at, frequency) {
  const oscillator = context.createOscillator();
  const gain = context.createGain();
  oscillator.frequency.value = frequency;
  oscillator.connect(gain).connect(context.destination);
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.25, at + 0.02);
  gain.gain.exponentialRampToValueAtTime(0.001, at + 0.45);
  oscillator.start(at);
  oscillator.stop(at + 0.5);
}

function ringOnce() {
  if (!heard) return;
  heard.resume?.();
  const at = heard.currentTime + 0.02;
  tone(heard, at, 880);
  tone(heard, at + 0.25, 1175);
  tone(heard, at + 0.5, 880);
}

const soundOn = () => localStorage.getItem(SOUND) === 'on';

function wake() {
  if (soundOn() && !heard) heard = new AudioContext();
  heard?.resume?.();
}

function startRing(offer) {
  stopRing();
  ringOnce();
  ringing = setInterval(ringOnce, 3000);
  setTimeout(stopRing, 60000);
  notify(t('急会诊'), `${offer.service} · ${offer.from}`, ringOf(offer), offer.href);
}

/** No patient data on a lock screen: service and clinic only. */
function notify(title, body, tag, href) {
  if (!soundOn() || !('Notification' in window) || Notification.permission !== 'granted') return;
  const note = new Notification(title, { body, tag, requireInteraction: true });
  note.onclick = () => { window.focus(); location.assign(href); };
}

function stopRing() {
  clearInterval(ringing);
  ringing = 0;
}

/** An offer rings once, and once more when nobody answers: each is silenced by itself. */
const ringOf = (offer) => `${offer.id}#${offer.rings}`;
const silenced = () => new Set(JSON.parse(sessionStorage.getItem(SILENCED) ?? '[]'));

function silence(id) {
  stopRing();
  sessionStorage.setItem(SILENCED, JSON.stringify([...silenced(), id].slice(-50)));
}

function card(offer) {
  const accept = el('button', { class: 'button button-stat', type: 'button' }, icon('check'), t('接诊'));
  const box = el('section', { class: 'ringing', role: 'alertdialog', 'aria-label': t('急会诊'), 'data-offer': ringOf(offer) },
    el('h2', {}, icon('zap'), t('急会诊'), el('span', { class: 'grow' }),
      el('span', { class: 'due', 'data-due': offer.expires, 'data-near': '60' }, icon('clock'), el('span', { 'data-due-text': true }, ''))),
    el('p', { 'data-user': true }, `${offer.service} · ${offer.who}`),
    el('p', { class: 'muted', 'data-user': true }, offer.from),
    el('div', { class: 'actions' },
      el('button', { class: 'button button-quiet apart', type: 'button', onclick: () => { silence(ringOf(offer)); box.remove(); } }, t('静音')),
      el('a', { class: 'button', href: offer.href, onclick: () => silence(ringOf(offer)) }, t('查看')), accept));
  accept.addEventListener('click', async () => {
    silence(ringOf(offer));
    if (await acceptOffer(offer.consultation, accept)) location.assign(offer.href);
    else box.remove();
  });
  return box;
}

function show(state) {
  for (const node of document.querySelectorAll('[data-count]')) {
    const n = state.counts[node.dataset.count] ?? 0;
    node.textContent = n > 99 ? '99+' : n;
    node.hidden = !n;
  }
  const pill = document.getElementById('running-session');
  if (pill) {
    pill.hidden = !state.running || location.pathname === state.running;
    pill.href = state.running ?? '#';
  }
  const count = document.getElementById('alert-count');
  if (count) {
    count.hidden = !state.alerts.length;
    count.textContent = state.alerts.length > 9 ? '9+' : state.alerts.length;
    document.getElementById('alert-list').replaceChildren(...(state.alerts.length
      ? state.alerts.map((alert) => el('a', { class: 'menu-item', href: alert.href },
        icon(alert.icon), el('span', {}, el('b', {}, alert.title), el('br'), el('span', { class: 'muted', 'data-user': true }, `${alert.detail} · `, el('time', { datetime: alert.at, 'data-ago': true })))))
      : [el('p', { class: 'menu-item muted' }, t('没有新的提醒'))]));
  }
  const stat = state.offers.filter((offer) => offer.urgency === 'stat');
  document.querySelectorAll('.ringing').forEach((box) => { if (!stat.some((offer) => ringOf(offer) === box.dataset.offer)) box.remove(); });
  if (!stat.length) stopRing();
  const known = silenced();
  const fresh = state.offers.filter((offer) => !before.has(ringOf(offer)) && !known.has(ringOf(offer)));
  const first = before.size === 0 && !loaded;
  loaded = true;
  before = new Set(state.offers.map(ringOf));
  for (const offer of fresh.filter(({ urgency }) => urgency === 'stat')) {
    startRing(offer);
    if (location.pathname !== offer.href) document.body.append(card(offer));
  }
  if (!first && fresh.some(({ urgency }) => urgency === 'urgent')) ringOnce();
  const late = state.alerts.filter((alert) => alert.late);
  for (const alert of late.filter(({ id }) => !lateBefore.has(id))) {
    ringOnce();
    notify(alert.title, alert.sender, alert.id, alert.href);
  }
  lateBefore = new Set(late.map(({ id }) => id));
  document.title = document.title.replace(/^\(\d+\) /, '');
  if (state.offers.length) document.title = `(${state.offers.length}) ${document.title}`;
  tick();
}

/** Fetches the state of the bar; several events close together make one call. */
function refresh() {
  asked ??= setTimeout(async () => {
    asked = null;
    try {
      show(await api('GET', '/api/shell', undefined, { signIn: false }));
    } catch (problem) {
      if (problem.name !== 'Problem') throw problem; // the next event asks again
    }
  }, 150);
}

export function startAlerts() {
  const toggle = document.getElementById('sound-toggle');
  const mark = () => {
    toggle.setAttribute('aria-pressed', String(soundOn()));
    toggle.replaceChildren(icon(soundOn() ? 'volume-2' : 'volume-x'), el('span', {}, soundOn() ? t('急会诊时响铃并弹出通知：已开') : t('急会诊时响铃并弹出通知：已关')));
  };
  toggle?.addEventListener('click', async () => {
    localStorage.setItem(SOUND, soundOn() ? 'off' : 'on');
    wake();
    if (soundOn()) {
      ringOnce();
      if ('Notification' in window && Notification.permission === 'default') await Notification.requestPermission();
    }
    mark();
  });
  if (toggle) mark();
  addEventListener('pointerdown', wake);
  addEventListener('keydown', wake);
  subscribe('worklist', refresh);
  refresh();
}
