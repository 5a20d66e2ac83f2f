// One stream of events per tab. Payloads carry ids only; whoever listens fetches what it may see. It begins where the
// server was when it drew the page, and goes on where it broke off: nothing between is missed.
import { api, signInAgain } from './api.js';

const listeners = new Map(); // topic → Set of functions
const watchers = new Set();
const drawn = document.body.dataset.heard ?? '';
const last = new Map(); // topic → the id of the last note heard of it
let source = null;
let heard = drawn;
let opened = '';
let planned = false;
let wait = 1000;
let connected = null;
let stopped = false;

function state(now) {
  if (connected === now) return;
  connected = now;
  watchers.forEach((fn) => fn(now));
}

function plan(delay = 0) {
  if (planned || stopped) return;
  planned = true;
  setTimeout(() => { planned = false; open(); }, delay);
}

function open() {
  const topics = [...listeners.keys()].sort().join(',');
  if (source && source.readyState !== EventSource.CLOSED && topics === opened) return;
  source?.close();
  source = null;
  // Who begins to listen late has not heard what the others have: all begin again where the page was drawn.
  const before = opened.split(',');
  const since = [...listeners.keys()].every((topic) => before.includes(topic)) ? heard : drawn;
  opened = topics;
  if (!topics) return;
  source = new EventSource(`/events?topics=${encodeURIComponent(topics)}&since=${encodeURIComponent(since)}`);
  source.onopen = () => { wait = 1000; state(true); };
  source.onmessage = (event) => deliver(event);
  for (const topic of listeners.keys()) source.addEventListener(topic, deliver);
  source.addEventListener('snapshot', missed);
  source.onerror = () => {
    state(false);
    // CONNECTING: the browser tries again by itself. CLOSED: the server refused (restart, signed out); ask why.
    if (source?.readyState === EventSource.CLOSED) refused();
  };
}

async function refused() {
  source = null;
  try {
    if (stopped) return;
    await api('GET', '/api/shell'); // an ended login opens the sign-in dialog here
    plan(wait);
  } catch (problem) {
    if (problem.status === 401) return; // given up: the page stays readable, but still
    plan(wait);
  }
  wait = Math.min(wait * 2, 30000);
}

/** Too long away, or the server is another one: everybody looks for himself. */
function missed() {
  for (const [topic, all] of listeners) if (topic !== 'session') all.forEach((fn) => fn(null));
}

/** Whether the topic has had this note already. Ids count on in one life of the server: `<life>.<number>`. */
function repeated(topic, id) {
  const [life, number] = (last.get(topic) ?? '').split('.');
  const [now, here] = id.split('.');
  return life === now && Number(here) <= Number(number);
}

function deliver(event) {
  heard = event.lastEventId || heard;
  let message = {};
  try {
    message = JSON.parse(event.data || '{}');
  } catch {
    return;
  }
  const topic = message.topic ?? event.type;
  if (event.lastEventId && topic !== 'session') { // the login's end has no place of its own
    if (repeated(topic, event.lastEventId)) return;
    last.set(topic, event.lastEventId);
  }
  if (topic === 'session' && !stopped) signInAgain().then((fine) => { if (fine) plan(); });
  for (const fn of listeners.get(topic) ?? []) fn(message.payload ?? message);
}

/**
 * Calls fn(payload) for every event of the topic (docs/architecture.md names them), and fn(null) when some may have been
 * missed, so fetch anew. Returns a function that ends it.
 */
export function subscribe(topic, fn) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(fn);
  plan();
  return () => {
    listeners.get(topic)?.delete(fn);
    if (!listeners.get(topic)?.size) listeners.delete(topic);
    plan();
  };
}

/** fn(connected): the stream came or went. */
export function onState(fn) {
  watchers.add(fn);
  if (connected !== null) fn(connected);
  return () => watchers.delete(fn);
}

/** Ends the stream for good: the person is signing out or changing place, and the page goes. */
export function stopLive() {
  stopped = true;
  source?.close();
}

subscribe('session', () => {});
addEventListener('pagehide', () => source?.close());
addEventListener('pageshow', (event) => { if (event.persisted) { opened = ''; plan(); } });
