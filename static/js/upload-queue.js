// Sends files, a few at a time: small ones whole, large ones in pieces that go on where the server's copy ends.
import { Problem, api, upload } from './api.js';
import { t } from './i18n.js';

const PARALLEL = 4;
const WAITS = [1000, 2000, 4000, 8000, 15000, 30000];
const POLL_MS = 1000;

const again = (problem) => problem.status === 0 || problem.status === 429 || problem.status >= 500;

/**
 * items: {key, file, path, size, state, sent, text, result}; state: waiting | sending | checking | done | refused |
 * cancelled. onChange(item) after every step of one; onState(queue) when the whole is paused, offline or at its end.
 */
export class Queue {
  constructor({ chunk, limit, limitText, memory, onChange, onState }) {
    Object.assign(this, { chunk, limit, limitText, memory, onChange, onState });
    this.items = [];
    this.active = 0;
    this.paused = false;
    this.reason = ''; // why it is paused by itself, in words
    this.offline = false;
    this.failures = 0;
    this.abort = new AbortController();
    this.wakers = new Set();
    addEventListener('online', () => this.wake());
  }

  get open() { return this.items.some(({ state }) => state === 'waiting' || state === 'sending' || state === 'checking'); }

  add(items) {
    for (const item of items) {
      this.items.push(item);
      const before = this.memory.of(item.key);
      if (item.size === 0) this.refuse(item, t('文件是空的，没有上传。'));
      else if (item.size > this.limit) this.refuse(item, t('文件超过单个上限（{limit}），没有上传。请从设备分开导出。', { limit: this.limitText }));
      else if (before?.result) this.settle(item, before.result, true);
      else {
        item.upload = before?.id ?? '';
        this.memory.keep(item.key, { path: item.path, size: item.size, id: item.upload });
      }
    }
    this.pump();
  }

  pump() {
    while (!this.paused && this.active < PARALLEL) {
      const item = this.items.find(({ state }) => state === 'waiting');
      if (!item) break;
      item.state = 'sending';
      this.active += 1;
      this.run(item).finally(() => { this.active -= 1; this.pump(); });
    }
    if (!this.open) this.finished();
    this.onState(this);
  }

  finished() {
    if (this.items.length && !this.items.some(({ state }) => state === 'cancelled')) this.memory.clear();
  }

  async run(item) {
    for (;;) {
      try {
        item.state = 'sending';
        const value = item.size <= this.chunk ? await this.whole(item) : await this.pieces(item);
        this.calm();
        this.settle(item, value.result);
        return;
      } catch (problem) {
        if (problem.name === 'AbortError' || this.paused || item.state === 'cancelled') {
          if (item.state !== 'cancelled') item.state = 'waiting';
          return;
        }
        if (!(problem instanceof Problem)) { // the file itself cannot be read: moved, changed, a drive pulled out
          this.refuse(item, t('文件读取失败，可能已被移动或存储设备已断开。请重新选择。'));
          return;
        }
        if (problem.code === 'disk_full') {
          item.state = 'waiting';
          this.pause(t('服务器存储空间不足，上传已暂停，已传的内容都在。请通知管理员腾出空间，再点“继续”。'));
          return;
        }
        if (again(problem)) { await this.backoff(); if (this.paused) { item.state = 'waiting'; return; } continue; }
        if (problem.code === 'upload_offset' || problem.code === 'upload_incomplete') continue;
        if (item.upload && (problem.status === 404 || problem.code === 'upload_closed')) { item.upload = ''; continue; }
        this.refuse(item, problem.detail || problem.message);
        return;
      }
    }
  }

  whole(item) {
    return upload('/api/uploads/whole', item.file, { signal: this.abort.signal, onProgress: (sent) => this.progress(item, Math.min(sent, item.size)) });
  }

  async pieces(item) {
    const signal = this.abort.signal;
    let known = item.upload
      ? await api('GET', `/api/uploads/${item.upload}`, undefined, { signal })
      : await api('POST', '/api/uploads', { size: item.size }, { signal });
    item.upload = known.id;
    await this.memory.keep(item.key, { id: known.id });
    if (known.result) return known;
    let { received } = known;
    while (known.state === 'open' && received < item.size) {
      this.progress(item, received);
      const from = received;
      const piece = item.file.slice(from, Math.min(from + known.chunk, item.size));
      const answer = await upload(`/api/uploads/${known.id}?offset=${from}`, piece, {
        method: 'PUT', signal, onProgress: (sent) => this.progress(item, Math.min(from + sent, item.size)),
      });
      received = answer.received;
      this.calm();
    }
    this.progress(item, item.size);
    item.state = 'checking';
    this.onChange(item);
    for (;;) {
      known = await api('POST', `/api/uploads/${item.upload}/finish`, {}, { signal });
      if (known.result) return known;
      item.taken = known.taken;
      this.onChange(item);
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
    }
  }

  progress(item, sent) {
    item.sent = sent;
    this.onChange(item);
  }

  calm() {
    this.failures = 0;
    if (this.offline) { this.offline = false; this.onState(this); }
  }

  /** Waits before another try; the browser's word that the line is back ends it early. */
  async backoff() {
    const wait = WAITS[Math.min(this.failures, WAITS.length - 1)];
    this.failures += 1;
    this.offline = true;
    this.onState(this);
    await new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); this.wakers.delete(wake); resolve(); };
      const timer = setTimeout(wake, wait);
      this.wakers.add(wake);
    });
  }

  wake() { for (const wake of [...this.wakers]) wake(); }

  settle(item, result, known = false) {
    item.sent = item.size;
    item.state = 'done';
    item.result = result;
    item.known = known;
    if (!known) this.memory.keep(item.key, { result });
    this.onChange(item);
  }

  refuse(item, text) {
    item.state = 'refused';
    item.text = text;
    this.memory.drop(item.key);
    this.onChange(item);
  }

  pause(reason = '') {
    this.paused = true;
    this.reason = reason;
    this.abort.abort();
    this.abort = new AbortController();
    this.wake();
    this.onState(this);
  }

  resume() {
    this.paused = false;
    this.reason = '';
    this.failures = 0;
    this.offline = false;
    this.pump();
  }

  /** What has not been taken in is given up, here and on the server; what is stored stays stored. */
  async cancel() {
    this.pause();
    const open = this.items.filter(({ state }) => state === 'waiting' || state === 'sending' || state === 'checking');
    for (const item of open) {
      item.state = 'cancelled';
      this.onChange(item);
    }
    this.paused = false;
    await this.memory.clear();
    this.onState(this);
    for (const { upload: id } of open) if (id) await api('DELETE', `/api/uploads/${id}`).catch(() => {});
  }
}
