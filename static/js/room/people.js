// Who is here, who waits, who is invited; and what the host does with them: admit, remove, hand over, lock, tell the lobby.
import { api } from '../api.js';
import { t } from '../i18n.js';
import { busy, confirm, el, icon, showProblem, timeText, toast } from '../ui.js';

const minuteText = (moment) => timeText(moment).slice(0, 5);

const EXPERTS = ['expert', 'chair', 'reviewer'];
const MINUTES = [0, 2, 5, 10, 15, 30];
const SEARCH_MS = 250;
const REFUSED = {
  not_allowed: () => t('您现在不是主持人。'),
  not_invitable: () => t('这位医生不能邀请：已在会诊中、被移出过，或所在机构没有协议。'),
  not_found: () => t('已经不在会诊室里了。'),
  locked: () => t('会诊室已锁定，请先解锁。'),
  full: () => t('会诊室里最多 16 人，现在已满。'),
  rate: () => t('操作太快，请稍等再试。'),
};

/** In about how many minutes, said like a colleague would; '' when nothing is expected or it is over. */
export function expected(until, now = Date.now()) {
  const minutes = until ? Math.ceil((Date.parse(until) - now) / 60000) : 0;
  return minutes > 0 ? t('预计 {time} 前后请您进入（约 {n} 分钟）', { time: minuteText(until), n: minutes }) : '';
}

export class People {
  /** data: the page's. room(): {seats, lobby, locked, own}. send(type, fields): promise. onWaiting(n): how many wait. */
  constructor({ root, data, room, send, onWaiting }) {
    Object.assign(this, { root, data, room, send, onWaiting });
    this.key = '';
    this.asked = new Map(); // seat → the question that was put
    this.lists = el('div', { class: 'room-people' });
    root.append(this.lists);
    if (data.invite) root.append(this.inviteForm());
    this.hosting = el('section', { class: 'room-hosting', 'aria-label': t('主持') });
    root.append(this.hosting);
    this.buildHosting();
  }

  async tell(button, type, fields, done = '') {
    await busy(button, async () => {
      try {
        await this.send(type, fields);
        if (done) toast(done);
      } catch (refused) {
        toast((REFUSED[refused.code] ?? (() => t('没有成功，请再试一次。')))(), { kind: 'bad' });
      }
    });
  }

  button(id, name, words, run, kind = '') {
    const button = el('button', { class: `button button-small ${kind}`, type: 'button', 'data-key': id, onclick: () => run(button) }, icon(name), words);
    return button;
  }

  /** Draws what has changed; the button that has the focus keeps it. */
  draw() {
    const { seats, lobby, locked, own } = this.room();
    const host = Boolean(own?.host);
    const inside = seats.filter((seat) => ['in', 'lost'].includes(seat.state));
    const waiting = seats.filter((seat) => seat.state === 'lobby');
    this.onWaiting(waiting.filter((seat) => seat.connected && seat.seat !== own?.seat).length);
    const key = JSON.stringify([inside, waiting, lobby, locked, host, own?.seat]);
    if (key === this.key) return;
    this.key = key;
    const focused = document.activeElement?.closest?.('.room-people') ? document.activeElement.dataset.key : '';
    this.lists.replaceChildren(
      this.part(t('在会诊室（{n}）', { n: inside.length }), inside.map((seat) => this.seat(seat, { host, own }))),
      ...(waiting.length ? [this.part(t('等候区（{n}）', { n: waiting.length }), waiting.map((seat) => this.seat(seat, { host, own })))] : []),
      ...(lobby.invited.length ? [this.part(t('已邀请，还没有来'), lobby.invited.map((one) => this.invited(one)))] : []));
    if (focused) this.lists.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    this.hosting.hidden = !host;
    this.locked = locked;
    this.lock.replaceChildren(icon('lock'), locked ? t('解锁，可以再进人') : t('锁定，不再进人'));
  }

  /** The host is asked when a guest comes to the door; the question goes when somebody has answered it. */
  async ask(seat, { waits }) {
    const before = this.asked.get(seat.seat);
    if (!waits) before?.abort();
    if (!waits || before || seat.part !== 'guest' || !seat.connected) return;
    const question = new AbortController();
    this.asked.set(seat.seat, question);
    const yes = await confirm({
      title: t('{name} 请求进入会诊室', { name: seat.name }), text: [seat.title, seat.organisation].filter(Boolean).join(' '), action: t('请进'),
      signal: question.signal,
    });
    if (yes) this.send('admit', { seat: seat.seat }).catch(() => {}); // somebody else was faster
  }

  part(title, rows) {
    return el('section', {}, el('h2', { class: 'room-h' }, title), el('ul', {}, rows));
  }

  person(one, marks, actions) {
    return el('li', {},
      el('div', {}, el('b', { 'data-user': true }, one.name), ' ', el('span', { class: 'muted', 'data-user': true }, [one.title, one.organisation].filter(Boolean).join(' ')),
        marks.length ? el('p', { class: 'room-marks' }, marks) : null),
      actions.length ? el('div', { class: 'row' }, actions) : null);
  }

  seat(seat, { host, own }) {
    const self = seat.seat === own?.seat;
    const mark = (name, words) => el('span', { class: 'badge' }, icon(name), words);
    const marks = [
      self && mark('user', t('我')),
      seat.host && mark('star', t('主持')),
      seat.hand && mark('hand', t('举手')),
      seat.state === 'in' && !seat.connected && mark('wifi-off', t('线路中断')),
      seat.state === 'lost' && mark('wifi-off', t('线路中断')),
      seat.state === 'in' && seat.connected && !seat.mic && mark('mic-off', t('已静音')),
    ].filter(Boolean);
    const guest = seat.part === 'guest';
    const actions = host && !self ? [
      guest && seat.state === 'lobby' && this.button(`admit:${seat.seat}`, 'user-check', t('请进'), (button) => this.tell(button, 'admit', { seat: seat.seat }), 'button-primary'),
      EXPERTS.includes(seat.part) && seat.state === 'in' && this.button(`chair:${seat.seat}`, 'star', t('移交主持'), (button) => this.handOver(button, seat)),
      guest && this.button(`remove:${seat.seat}`, 'user-x', t('移出'), (button) => this.remove(button, seat), 'button-danger'),
    ].filter(Boolean) : [];
    return this.person(seat, marks, actions);
  }

  invited(one) {
    const until = el('span', { class: 'badge' }, icon('clock'), t('{time} 前有效', { time: minuteText(one.expires_at) }));
    return this.person(one, [until], this.data.invite ? [
      this.button(`uninvite:${one.membership}`, 'x', t('撤回'), (button) => this.tell(button, 'uninvite', { membership: one.membership })),
    ] : []);
  }

  async handOver(button, seat) {
    const yes = await confirm({
      title: t('把主持移交给{name}？', { name: seat.name }), text: t('之后由对方请人进入、移出和锁定；对方离开时自动交还。'), action: t('移交主持'),
    });
    if (yes) await this.tell(button, 'chair', { seat: seat.seat });
  }

  async remove(button, seat) {
    const answer = await confirm({
      title: t('移出{name}？', { name: seat.name }), text: t('通话立即断开，本次会诊不能再进入。'), action: t('移出'), danger: true, reason: t('原因'),
    });
    if (answer) await this.tell(button, 'remove', { seat: seat.seat, reason: answer.reason.slice(0, 200) });
  }

  inviteForm() {
    const found = el('ul', { class: 'room-found', 'aria-live': 'polite' });
    const field = el('input', { class: 'input', type: 'search', id: 'invite-search', maxlength: 60, autocomplete: 'off', placeholder: t('姓名、科室或机构') });
    let timer = 0;
    let asked = 0;
    const search = async () => {
      const turn = ++asked;
      try {
        const { people } = await api('POST', `/api/consultations/${this.data.consultation}/invitees`, { text: field.value.trim() });
        if (turn !== asked) return;
        found.replaceChildren(...(people.length ? people.map((one) => this.person(one, [], [
          this.button(`invite:${one.membership}`, 'user-plus', t('邀请'), (button) => this.tell(button, 'invite', { membership: one.membership }, t('已邀请{name}，对方会在提醒里看到。', { name: one.name }))),
        ])) : [el('li', { class: 'muted' }, t('没有找到可以邀请的人。可以邀请双方机构的同事，和有协议机构的专家。'))]));
      } catch (problem) {
        showProblem(problem);
      }
    };
    field.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(search, SEARCH_MS); });
    field.addEventListener('focus', () => { if (!found.childElementCount) search(); });
    field.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); clearTimeout(timer); search(); } });
    return el('section', { class: 'room-invite' }, el('h2', { class: 'room-h' }, el('label', { for: 'invite-search' }, t('邀请同事或专家'))), field, found);
  }

  buildHosting() {
    this.lock = el('button', { class: 'button', type: 'button', id: 'lock', onclick: () => this.tell(this.lock, 'lock', { locked: !this.locked }) });
    const minutes = el('select', { class: 'input', id: 'wait-minutes' }, MINUTES.map((n) => el('option', { value: n }, n ? t('约 {n} 分钟', { n }) : t('不说明时间'))));
    const text = el('input', { class: 'input', id: 'wait-text', maxlength: 200, placeholder: t('例如：正在看片，请稍候') });
    const tell = el('button', { class: 'button', type: 'submit' }, icon('send'), t('告诉等候的人'));
    const form = el('form', { class: 'room-wait', onsubmit: (event) => {
      event.preventDefault();
      this.tell(tell, 'waiting', { minutes: Number(minutes.value), text: text.value.trim() }, t('等候区已看到。'));
    } },
    el('div', { class: 'field' }, el('label', { for: 'wait-minutes' }, t('还要等多久')), minutes),
    el('div', { class: 'field' }, el('label', { for: 'wait-text' }, t('说一句话')), text), tell);
    this.hosting.append(el('h2', { class: 'room-h' }, t('主持')), this.lock, form);
  }
}
