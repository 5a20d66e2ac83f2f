// What has to be known as long as it lasts, over the other's picture: a sentence each, with what can be done about it.
import { el, icon } from '../ui.js';

export class Notes {
  /** video: the element that holds the pictures. */
  constructor(video) {
    this.root = el('div', { class: 'room-notes', 'aria-live': 'polite' });
    this.drawn = new Map(); // id → {box, key}
    video.append(this.root);
  }

  /** note: {name: its icon, text, actions: [{label, run}]}, or null when there is nothing to say (any more). */
  show(id, note) {
    const before = this.drawn.get(id);
    const key = note && [note.text, ...(note.actions ?? []).map(({ label }) => label)].join('|');
    if ((before?.key ?? null) === key) return;
    before?.box.remove();
    this.drawn.delete(id);
    if (!note) return;
    const buttons = (note.actions ?? []).map(({ label, run }) => el('button', { class: 'button button-small', type: 'button', onclick: run }, label));
    const box = el('p', { class: 'room-note-line', 'data-note': id }, icon(note.name), el('span', {}, note.text), buttons);
    this.root.append(box);
    this.drawn.set(id, { box, key });
  }

  clear() {
    for (const id of [...this.drawn.keys()]) this.show(id, null);
  }
}
