// Sharp pictures in the room: the button, how far each is at both sides, and the new paper among the material.
import { api } from '../api.js';
import { t } from '../i18n.js';
import { subscribe } from '../live.js';
import { PictureQueue } from '../picture-queue.js';
import { el, icon, toast } from '../ui.js';
import { takeStill } from './still-dialog.js';

const ARRIVED_MS = 4000; // so long the strip says that it has arrived

/** "约 2 分钟" from what has gone since `began`; '' until that tells anything. */
export function left({ sent, total, seconds }) {
  if (sent < total / 20 || seconds < 3) return '';
  const more = Math.round((seconds * (total - sent)) / sent);
  return more < 60 ? t('还需约 {n} 秒', { n: Math.max(1, more) }) : t('还需约 {n} 分钟', { n: Math.round(more / 60) });
}

export class Stills {
  constructor({ room, data, devices, line }) {
    Object.assign(this, { room, data, devices });
    this.me = document.body.dataset.me;
    this.coming = new Map(); // upload → {membership, received, size} of the others
    this.rows = new Map();
    this.known = new Set(data.documents.map(({ id }) => id));
    this.strip = el('div', { class: 'stills-strip' });
    document.getElementById('bar').before(el('div', { class: 'stills-strips' }, this.strip));
    this.queue = new PictureQueue({
      consultation: data.consultation, membership: this.me, onChange: (item) => this.changed(item),
      plan: () => ({ rung: room.stage === 'in' ? line()?.rung ?? '' : '', bad: line()?.quality?.concealed ?? 0 }),
    });
    if (!data.pictures) return;
    this.button = el('button', { type: 'button', class: 'button', id: 'still', 'aria-haspopup': 'dialog' }, icon('image-plus'), el('span', {}, t('发送清晰图')));
    this.button.addEventListener('click', async () => {
      const still = await takeStill({ devices, mb: data.picture_mb });
      if (still) await this.queue.add(still);
    });
    document.getElementById('camera').after(this.button);
  }

  joined() {
    if (!this.data.readable) return;
    subscribe(`pictures:${this.data.consultation}`, (note) => this.way(note));
    subscribe(`consultation:${this.data.consultation}`, (note) => { if (!note || note.document) this.look(); });
    if (this.data.pictures) this.queue.resume();
  }

  changed(item) {
    if (item.state === 'done') setTimeout(() => { item.gone = true; this.show(); }, ARRIVED_MS);
    this.show();
  }

  /** How far a picture of somebody else is; null: look for oneself. */
  way(note) {
    if (!note) { this.coming.clear(); this.look(); return; }
    if (note.membership === this.me) return;
    if (note.document !== undefined) this.coming.delete(note.upload);
    else this.coming.set(note.upload, note);
    this.show();
  }

  /** New papers go among the material; what the others sent is said. */
  async look() {
    let found;
    try {
      found = (await api('GET', `/api/consultations/${this.data.consultation}/documents`)).documents;
    } catch (problem) {
      if (problem.name !== 'Problem') throw problem;
      return; // the next note, or the next page, brings them
    }
    for (const paper of found.filter(({ id }) => !this.known.has(id))) {
      this.known.add(paper.id);
      this.room.material.add(paper);
      if (paper.added_by === this.me) continue;
      toast(t('{name}发来一张清晰图', { name: paper.by }), {
        kind: 'info', seconds: 20, action: { label: t('打开'), run: () => this.open(paper.id) },
      });
    }
  }

  open(id) {
    const tab = document.getElementById('tab-images');
    if (tab.offsetParent) tab.click();
    this.room.material.openPaper(id);
  }

  nameOf(membership) {
    return [...this.room.seats.values()].find((seat) => seat.membership === membership)?.name ?? t('对方');
  }

  /** A row for each picture that is on its way; a row stays the same element as long as it says the same. */
  show() {
    const said = new Map();
    for (const item of this.queue.items) {
      if (!item.gone && item.state !== 'cancelled' && (item.state !== 'done' || item.began)) said.set(item.key, this.own(item));
    }
    for (const { upload, membership, received, size } of this.coming.values()) {
      said.set(upload, { name: 'image', words: t('{name}正在发来清晰图', { name: this.nameOf(membership) }), part: received / size });
    }
    for (const [key, row] of [...this.rows]) {
      if (said.get(key)?.words === row.words) continue;
      row.box.remove();
      this.rows.delete(key);
    }
    for (const [key, facts] of said) {
      if (!this.rows.has(key)) this.rows.set(key, this.row(facts));
      this.rows.get(key).tell(facts);
    }
  }

  /** What is said of a picture of one's own. */
  own(item) {
    const { size } = item.blob;
    const cancel = { label: t('取消'), run: () => this.queue.cancel(item) };
    switch (item.state) {
      case 'done': return { name: 'circle-check', words: t('清晰图已送达') };
      case 'refused': return { name: 'triangle-alert', words: item.text, bad: true, button: { label: t('知道了'), run: () => { item.gone = true; this.show(); } } };
      case 'offline': return { name: 'wifi-off', words: t('网络中断，清晰图还没有发完，恢复后自动继续'), part: item.sent / size, button: cancel };
      case 'waiting': return { name: 'clock', words: t('清晰图等待发送'), button: cancel };
      default: {
        const time = left({ sent: item.sent - (item.from ?? 0), total: size - (item.from ?? 0), seconds: (performance.now() - item.began) / 1000 });
        return { name: 'upload', words: t('正在发送清晰图'), part: item.sent / size, time, button: cancel };
      }
    }
  }

  row({ name, words, part = null, bad = false, button = null }) {
    const bar = el('progress', { max: 100, 'aria-label': words });
    const share = el('span', { class: 'num' });
    const more = el('span', { class: 'muted' });
    const box = el('div', { class: bad ? 'stills-row bad' : 'stills-row' }, icon(name), el('span', { role: bad ? 'alert' : 'status' }, words),
      part !== null && [bar, share, more], button && el('button', { class: 'button button-small button-quiet', type: 'button', onclick: button.run }, button.label));
    this.strip.append(box);
    return { box, words, tell: ({ part: now = 0, time = '' }) => {
      bar.value = Math.round(now * 100);
      share.textContent = `${Math.floor(now * 100)} %`;
      more.textContent = time;
    } };
  }
}
