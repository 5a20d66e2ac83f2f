// The chat: stored before it is shown as sent, marked when it reached the other browser, never lost by a reconnect.
import { t } from '../i18n.js';
import { busy, el, icon } from '../ui.js';

const CLOCK = new Intl.DateTimeFormat('sv', { hour: '2-digit', minute: '2-digit' });
const REFUSED = {
  rate: () => t('发得太快，请稍等再发。'),
  too_large: () => t('这条消息太长，请分几条发送。'),
  not_in: () => t('您还没有进入会诊室。'),
};

export class Chat {
  /** me: own membership. send(clientId, text): promise of {id, at}. earlier(): promise of all lines. onUnread(count). */
  constructor({ root, me, send, earlier, onUnread }) {
    Object.assign(this, { root, me, send, earlier, onUnread });
    this.lines = new Map(); // client_id → {line, node}
    this.arrived = new Set(); // ids that reached the other before our own acknowledgement came
    this.unread = 0;
    this.list = el('ol', { class: 'room-chat-lines', tabindex: '0', 'aria-label': t('聊天记录'), role: 'log' });
    this.empty = el('p', { class: 'muted' }, t('还没有消息。消息会保存在这次会诊里。'));
    this.field = el('textarea', { class: 'input', rows: 2, maxlength: 4000, 'aria-label': t('写消息'), placeholder: t('写消息，回车发送') });
    const button = el('button', { class: 'button button-primary button-icon', type: 'submit', 'aria-label': t('发送') }, icon('send'));
    const form = el('form', { class: 'room-chat-form', onsubmit: (event) => { event.preventDefault(); this.submit(); } }, this.field, button);
    this.field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.more = el('button', { class: 'button button-quiet button-small', type: 'button', hidden: true, onclick: () => busy(this.more, () => this.whole()) }, t('更早的消息'));
    root.append(this.empty, this.more, this.list, form);
  }

  submit() {
    const text = this.field.value.trim();
    if (!text) return;
    this.field.value = '';
    this.field.focus();
    this.deliver({ client_id: crypto.randomUUID(), membership: this.me, name: '', text, at: new Date().toISOString() });
  }

  async deliver(line) {
    const entry = this.put(line, 'sending');
    try {
      const { id, at } = await this.send(line.client_id, line.text);
      entry.line = { ...line, id, at };
      if (entry.state === 'sending') this.mark(entry, this.arrived.has(id) ? 'delivered' : 'sent');
    } catch (refused) {
      this.mark(entry, 'failed', (REFUSED[refused.code] ?? (() => t('没有发出去。')))());
    }
  }

  /** A line from the server or of our own; the same client_id is shown once. */
  put(line, state = '') {
    const known = this.lines.get(line.client_id);
    if (known) return known;
    const own = line.membership === this.me;
    const status = el('span', { class: 'room-chat-state' });
    const node = el('li', { class: own ? 'own' : '' },
      el('p', { class: 'room-chat-head' }, own ? t('我') : el('span', { 'data-user': true }, line.name), ' ', el('time', { datetime: line.at }, CLOCK.format(new Date(line.at))), ' ', status),
      el('p', { class: 'room-chat-text', 'data-user': true }, line.text));
    const entry = { line, node, status, state: '' };
    this.lines.set(line.client_id, entry);
    this.empty.hidden = true;
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    this.list.append(node);
    if (state) this.mark(entry, state);
    if (atEnd || own) this.list.scrollTop = this.list.scrollHeight;
    return entry;
  }

  receive(line) {
    const fresh = !this.lines.has(line.client_id);
    this.put(line);
    if (fresh && line.membership !== this.me && !this.visible) {
      this.unread += 1;
      this.onUnread(this.unread);
    }
  }

  /** more: there are earlier lines than these. */
  history(lines, more = false) {
    for (const line of lines) this.put(line);
    this.more.hidden = !more;
    this.list.scrollTop = this.list.scrollHeight;
  }

  /** All that was said, in its order; what one reads stays where it is. */
  async whole() {
    const lines = await this.earlier();
    const below = this.list.scrollHeight - this.list.scrollTop;
    for (const line of lines) this.put(line);
    this.list.prepend(...lines.map((line) => this.lines.get(line.client_id).node));
    this.more.hidden = true;
    this.list.scrollTop = this.list.scrollHeight - below;
  }

  show(visible) {
    this.visible = visible;
    if (!visible) return;
    this.unread = 0;
    this.onUnread(0);
    this.list.scrollTop = this.list.scrollHeight;
  }

  mark(entry, state, text = '') {
    entry.state = state;
    const words = { sending: t('发送中…'), sent: t('已发送'), delivered: t('已送达'), failed: text };
    entry.status.replaceChildren(words[state]);
    entry.node.classList.toggle('failed', state === 'failed');
    if (state !== 'failed') return;
    const again = el('button', { class: 'button button-small', type: 'button', onclick: () => {
      this.lines.delete(entry.line.client_id);
      entry.node.remove();
      this.deliver(entry.line);
    } }, icon('refresh-cw'), t('重发'));
    entry.status.append(' ', again);
  }

  delivered(id) {
    this.arrived.add(id);
    for (const entry of this.lines.values()) if (entry.line.id === id && entry.state !== 'failed') this.mark(entry, 'delivered');
  }
}
