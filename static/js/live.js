// One stream of events per tab. Payloads carry ids only; whoever listens fetches what it may see.
import { api, signInAgain } from './api.js';

const listeners = new Map(); // topic → Set of functions
const watchers = new Set();
let source = null;
let opened = '';
let planned = false;
let wait = 1000;
let connected = null;
let stopped = false;

function state(now) {
  if (connected === now) return;
  const again = connected === false && now;
  connected = now;
  watchers.forEach((fn) => fn({ connected: now, again }));
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
  opened = topics;
  if (!topics) return;
  source = new EventSource(`/events?topics=${encodeURIComponent(topics)}`);
  source.onopen = () => { wait = 1000; state(true); };
  source.onmessage = (event) => deliver(event);
  for (const topic of listeners.keys()) source.addEventListener(topic, deliver);
  source.addEventListener('snapshot', () => watchers.forEach((fn) => fn({ connected: true, again: true }))); // notes were dropped
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

function deliver(event) {
  let message = {};
  try {
    message = JSON.parse(event.data || '{}');
  } catch {
    return;
  }
  const topic = message.topic ?? event.type;
  if (topic === 'session' && !stopped) signInAgain().then((fine) => { if (fine) plan(); });
  for (const fn of listeners.get(topic) ?? []) fn(message.payload ?? message);
}

/** Calls fn(payload) for every event of the topic (docs/architecture.md names them). Returns a function that ends it. */
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

/** fn({connected, again}): the stream came (again: after a gap, so fetch anew) or went. */
export function onState(fn) {
  watchers.add(fn);
  if (connected !== null) fn({ connected, again: false });
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
