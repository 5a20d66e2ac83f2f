// Sends pictures into a consultation, one after the other, in pieces that go on where the server's copy ends: over a line
// that breaks, a reload, a restart of the server. Nothing leaves the memory before the server has filed it.
import { Problem, api, upload } from './api.js';
import { Pace } from './pace.js';
import { pictureMemory } from './picture-memory.js';

const WAITS = [1000, 2000, 4000, 8000, 15000];
const HANGS_MS = 60_000; // a piece without an answer for so long went into a dead line
const POLL_MS = 1000;

const again = (problem) => problem.status === 0 || problem.status === 429 || problem.status >= 500;

export class PictureQueue {
  /**
   * plan(): {rung, bad} of the line now (pace.js). onChange(item) after every step of one. item: {key, blob, kind, title,
   * upload, sent, from (what was there before this page), began (ms), state: waiting | sending | offline | done | refused |
   * cancelled, text}.
   */
  constructor({ consultation, membership, plan = () => ({ rung: '', bad: 0 }), onChange = () => {} }) {
    Object.assign(this, { consultation, plan, onChange });
    this.items = [];
    this.pace = new Pace();
    this.memory = pictureMemory(membership);
    this.wakers = new Set();
    this.online = () => this.wake();
    addEventListener('online', this.online);
  }

  /** What was on its way when this page was last here goes on. */
  async resume() {
    const memory = await this.memory;
    const known = new Set(this.items.map(({ key }) => key));
    for (const one of await memory.of(this.consultation)) if (!known.has(one.key)) this.items.push({ ...one, sent: 0, state: 'waiting' });
    this.pump();
  }

  /** Another picture; resolves once it is safe from a reload. */
  async add({ blob, kind, title }) {
    const item = { key: crypto.randomUUID(), blob, kind, title, upload: '', at: Date.now(), sent: 0, state: 'waiting' };
    await this.remember(item);
    this.items.push(item);
    this.tell(item);
    this.pump();
  }

  async remember({ key, blob, kind, title, upload: id, at }) {
    await (await this.memory).keep({ key, consultation: this.consultation, blob, kind, title, upload: id, at });
  }

  tell(item, changes = {}) {
    Object.assign(item, changes);
    this.onChange(item);
  }

  async pump() {
    if (this.running) return;
    this.running = true;
    for (let item; (item = this.items.find(({ state }) => state === 'waiting'));) await this.alone(item);
    this.running = false;
  }

  /** One tab sends a picture; another that knows of it waits, and finds it sent. */
  alone(item) {
    const run = async () => {
      if (!(await (await this.memory).has(item.key))) this.tell(item, { state: 'done' });
      else await this.run(item);
    };
    return navigator.locks ? navigator.locks.request(`huizhen-picture:${item.key}`, run) : run();
  }

  async run(item) {
    let failures = 0;
    while (item.state !== 'cancelled') {
      try {
        this.tell(item, { state: 'sending', began: item.began ?? performance.now() });
        const document = await this.send(item, () => { failures = 0; });
        await (await this.memory).drop(item.key);
        this.tell(item, { state: 'done', sent: item.blob.size, document });
        return;
      } catch (problem) {
        if (item.state === 'cancelled') return;
        const { code, status } = problem;
        if (problem.name === 'AbortError' || (problem instanceof Problem && again(problem))) {
          this.tell(item, { state: 'offline' });
          await this.rest(WAITS[Math.min(failures, WAITS.length - 1)]);
          failures += 1;
        } else if (item.upload && (status === 404 || code === 'upload_closed')) {
          item.upload = '';
        } else if (code !== 'upload_offset' && code !== 'upload_incomplete') {
          await (await this.memory).drop(item.key);
          this.tell(item, { state: 'refused', text: problem.detail || problem.message });
          return;
        }
      }
    }
  }

  /** All pieces from where the server's copy ends; resolves to the document's id. */
  async send(item, well) {
    const { size } = item.blob;
    let known = item.upload
      ? await api('GET', `/api/pictures/${item.upload}`)
      : await api('POST', `/api/consultations/${this.consultation}/pictures`, { size, kind: item.kind, title: item.title });
    if (item.upload !== known.id) {
      item.upload = known.id;
      await this.remember(item);
    }
    let { received } = known;
    item.from ??= received;
    while (known.state === 'open' && received < size) {
      if (item.state === 'cancelled') throw new DOMException('cancelled', 'AbortError');
      this.tell(item, { state: 'sending', sent: received });
      const { rung, bad } = this.plan();
      const end = Math.min(size, received + this.pace.next(rung, bad));
      const begun = performance.now();
      const answer = await this.piece(item, received, end);
      const pause = this.pace.took(end - received, performance.now() - begun, bad);
      received = answer.received;
      well();
      if (pause && received < size) await this.rest(pause);
    }
    this.tell(item, { sent: size });
    for (;;) {
      known = known.result ? known : await api('POST', `/api/pictures/${item.upload}/finish`, {});
      if (known.result) return known.result.document;
      await this.rest(POLL_MS);
    }
  }

  async piece(item, from, end) {
    item.stop = new AbortController();
    const timer = setTimeout(() => item.stop.abort(), HANGS_MS);
    try {
      return await upload(`/api/pictures/${item.upload}?offset=${from}`, item.blob.slice(from, end), { method: 'PUT', signal: item.stop.signal });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits, until the browser's word that the line is back ends it early. */
  rest(ms) {
    return new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); this.wakers.delete(wake); resolve(); };
      const timer = setTimeout(wake, ms);
      this.wakers.add(wake);
    });
  }

  wake() { for (const wake of [...this.wakers]) wake(); }

  async cancel(item) {
    this.tell(item, { state: 'cancelled' });
    item.stop?.abort();
    this.wake();
    await (await this.memory).drop(item.key);
    if (item.upload) await api('DELETE', `/api/pictures/${item.upload}`).catch(() => {});
  }
}
