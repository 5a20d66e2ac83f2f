// The socket of one seat: numbered messages both ways, resent and replayed over reconnects, duplicates dropped.
import { csrf } from '../api.js';
import { FINAL, LOOSE, RELIABLE, VERSION } from './messages.js';

const FIRST_WAIT = 250;
const LONGEST_WAIT = 2000;
const SILENT = 12000; // nothing heard for so long: the socket is dead even if the browser has not noticed
const ASK = 5000;

/** A message that the room refused. `code` as in docs/protocol.md. */
export class Refused extends Error {
  constructor(code, kind) {
    super(code);
    Object.assign(this, { name: 'Refused', code, kind });
  }
}

const address = () => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/socket`;

/**
 * Measures the way to the server without taking a seat. Resolves {ok, rtt, socket} with the median of five pings in ms;
 * ok is false when no socket comes about. The socket stays open for the room that follows (the server ends it after a
 * minute without hello).
 */
export function measureSocket(seconds = 6) {
  return new Promise((resolve) => {
    const times = [];
    const socket = new WebSocket(address());
    const finish = () => {
      clearTimeout(timer);
      socket.onmessage = socket.onclose = null;
      times.sort((a, b) => a - b);
      resolve({ ok: times.length > 0, rtt: times.length ? Math.round(times[times.length >> 1]) : null, socket });
    };
    const timer = setTimeout(finish, seconds * 1000);
    const ping = () => socket.send(JSON.stringify({ type: 'ping', at: performance.now() }));
    socket.onopen = ping;
    socket.onerror = finish;
    socket.onclose = finish;
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type !== 'pong') return;
      times.push(performance.now() - message.at);
      if (times.length >= 5) finish();
      else ping();
    };
  });
}

/**
 * Events through `on(type, fn)`: every message of the server by its type, and
 * 'line' ({up, since, again}) when the socket comes or goes, 'ended' (code) when it will not come back.
 */
export class Signalling {
  /** spare: an open socket without a seat, if there is one. */
  constructor({ session, spare = null, tab = crypto.randomUUID() }) {
    this.spare = spare;
    this.session = session;
    this.tab = tab;
    this.seat = '';
    this.epoch = '';
    this.seq = 0;
    this.up = false;
    this.ended = '';
    this.heard = 0;
    this.waiting = []; // {n, frame, resolve, reject}
    this.number = 0;
    this.wait = FIRST_WAIT;
    this.listeners = new Map();
    this.online = () => this.soon(0);
    addEventListener('online', this.online);
    this.clock = setInterval(() => this.look(), 1000);
  }

  on(type, fn) {
    if (!this.listeners.has(type)) this.listeners.set(type, new Set());
    this.listeners.get(type).add(fn);
    return () => this.listeners.get(type).delete(fn);
  }

  emit(type, value) {
    for (const fn of this.listeners.get(type) ?? []) fn(value);
  }

  connect() {
    clearTimeout(this.timer);
    if (this.ended || this.socket) return;
    const ready = this.spare?.readyState === WebSocket.OPEN;
    const socket = ready ? this.spare : new WebSocket(address());
    this.spare = null;
    this.socket = socket;
    this.heard = performance.now();
    const hello = () => socket.send(JSON.stringify({
      type: 'hello', v: VERSION, token: csrf(), session: this.session, seat: this.seat, tab: this.tab, epoch: this.epoch, last_seq: this.seq,
    }));
    if (ready) hello();
    else socket.onopen = hello;
    socket.onmessage = (event) => { if (this.socket === socket) this.receive(JSON.parse(event.data)); };
    socket.onclose = () => this.gone(socket);
  }

  gone(socket) {
    if (this.socket !== socket) return;
    this.socket = null;
    const was = this.up;
    this.up = false;
    if (was) this.emit('line', { up: false, since: Date.now() });
    if (this.ended) return;
    this.soon(this.wait * (0.5 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }

  soon(ms) {
    clearTimeout(this.timer);
    if (!this.ended && !this.socket) this.timer = setTimeout(() => this.connect(), ms);
  }

  /** Once a second: a socket that says nothing is asked, then given up. */
  look() {
    if (!this.socket) return;
    const silent = performance.now() - this.heard;
    if (silent > SILENT) {
      const socket = this.socket;
      socket.onclose = null;
      socket.close();
      this.gone(socket);
    } else if (silent > ASK && this.up) this.loose('ping', { at: performance.now() });
  }

  receive(message) {
    this.heard = performance.now();
    if (message.seq !== undefined && message.type !== 'welcome') {
      if (message.seq <= this.seq) return; // replayed, already seen
      this.seq = message.seq;
      this.acknowledge();
    }
    switch (message.type) {
      case 'welcome': this.welcome(message); return;
      case 'ack': this.settle(message.n, (waiting) => waiting.resolve(message)); break;
      case 'refused': this.settle(message.n, (waiting) => waiting.reject(new Refused(message.code, message.kind))); break;
      case 'closed': if (FINAL.includes(message.code)) this.stop(message.code); break;
      default:
    }
    this.emit(message.type, message);
  }

  welcome(message) {
    const again = this.epoch !== '';
    if (message.epoch !== this.epoch || !message.resumed) this.seq = message.seq;
    this.epoch = message.epoch;
    this.seat = message.seat;
    this.wait = FIRST_WAIT;
    this.up = true;
    // A new epoch knows nothing of this page: what was acknowledged before is done, the rest is sent again.
    for (const { frame } of this.waiting) this.put(frame);
    this.emit('welcome', message);
    this.emit('line', { up: true, since: Date.now(), again });
  }

  settle(n, how) {
    const at = this.waiting.findIndex((waiting) => waiting.n === n);
    if (at >= 0) how(this.waiting.splice(at, 1)[0]);
  }

  acknowledge() {
    this.acking ??= setTimeout(() => {
      this.acking = null;
      this.loose('ack', { seq: this.seq });
    }, 60);
  }

  /** Reliable: resolves with the acknowledgement, rejects with Refused. Sent again after every reconnect until then. */
  send(type, fields = {}) {
    if (!RELIABLE.includes(type)) throw new Error(`no such message: ${type}`);
    this.number += 1;
    const n = this.number;
    const frame = JSON.stringify({ type, n, ...fields });
    const promise = new Promise((resolve, reject) => { this.waiting.push({ n, frame, resolve, reject }); });
    promise.catch(() => {}); // whoever cares holds the promise
    this.put(frame);
    return promise;
  }

  /** Now, if the socket takes it: one that is closing would only complain. */
  put(frame) {
    if (this.up && this.socket.readyState === WebSocket.OPEN) this.socket.send(frame);
  }

  /** Sent once, only while the socket is up. */
  loose(type, fields) {
    if (!LOOSE.includes(type)) throw new Error(`no such message: ${type}`);
    this.put(JSON.stringify({ type, ...fields }));
  }

  /** For good; `code` says why (a reason of the server, or 'closed' by the page itself). */
  stop(code = 'closed') {
    if (this.ended) return;
    this.ended = code;
    clearInterval(this.clock);
    clearTimeout(this.timer);
    removeEventListener('online', this.online);
    this.socket?.close();
    this.emit('ended', code);
  }
}
