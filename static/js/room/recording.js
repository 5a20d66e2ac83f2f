// Recording: who is present, everybody's consent in plain words, and a banner as long as it runs. Part of the room.
import { t } from '../i18n.js';
import { confirm, dialog, el, icon, toast } from '../ui.js';

const WORDS = '1'; // the version of `asking` below (consult/recording_state.py, WORDS)
const MOST = 11;
const ACTIVE = ['asked', 'starting', 'running', 'paused'];
const PRINCIPALS = ['referring', 'expert', 'chair', 'reviewer'];
const OTHERS = ['patient', 'family', 'student', 'interpreter', 'staff', 'other'];

const who = {
  self: () => t('我本人'), patient: () => t('患者'), family: () => t('家属'), student: () => t('学员'), interpreter: () => t('翻译'),
  staff: () => t('同事'), other: () => t('其他人'),
};
const asking = () => [
  t('有人请求录制这次会诊的声音和画面。录制加密保存，只供参加这次会诊的医生回看，到期自动删除。'),
  t('请把在您这边的每一个人都列出来，逐一询问。不同意不影响会诊；同意之后也可以随时撤回，录制会立即停止。'),
];
const paused = {
  newcomer: () => t('有人新进入，录制已暂停，等待同意'), refused: () => t('有人不同意，录制没有进行'),
  empty: () => t('会诊室里没有人，录制已暂停'), relay: () => t('媒体中继没有响应，录制已暂停'), withdrawn: () => t('正在撤回同意，录制已暂停'),
};
const stopped = {
  withdrawn: () => t('有人撤回了同意，录制已停止；已录的内容不会播放。'), asked: () => t('录制已停止。'), finished: () => t('会诊结束，录制已停止。'),
  disk: () => t('存储空间不足，录制已停止；会诊不受影响。'), slow_disk: () => t('存储太慢，录制已停止；会诊不受影响。'),
  damaged: () => t('同意记录校验失败，录制已停止。请联系管理员。'),
};
const why = {
  unavailable: () => t('没有保存成功，请再试一次。'),
};

/** Two soft tones, rising when a recording begins, falling when it no longer runs. */
function chime(begins) {
  const context = new AudioContext();
  const gain = new GainNode(context, { gain: 0.06 });
  gain.connect(context.destination);
  (begins ? [523, 784] : [784, 523]).forEach((frequency, n) => {
    const tone = new OscillatorNode(context, { frequency });
    tone.connect(gain);
    tone.start(context.currentTime + n * 0.16);
    tone.stop(context.currentTime + n * 0.16 + 0.14);
    if (n) tone.onended = () => context.close();
  });
}

export class Recording {
  constructor({ room, more, group, ownSeat }) {
    Object.assign(this, { room, group, ownSeat });
    this.view = { may: false, phase: 'off', reason: '', seats: [] };
    this.known = new Set(); // whom the dialog has shown already: it opens by itself once for each
    this.sentence = el('p', { role: 'status', 'aria-live': 'polite' });
    this.buttons = el('div', { class: 'row' });
    this.banner = el('section', { class: 'room-recording', id: 'recording', hidden: true, 'aria-label': t('录制') }, el('i', { class: 'room-recording-dot' }), this.sentence, this.buttons);
    document.querySelector('.room-status').after(this.banner);
    const active = () => ACTIVE.includes(this.view.phase);
    more.add({ id: 'record', name: 'circle', words: () => t('录制会诊'), run: () => this.ask(), shown: () => this.view.may && this.principal && !active() });
    more.add({ id: 'record-people', name: 'users', words: () => t('在场人员与录制同意'), run: () => this.declare(), shown: () => this.inside && active() });
    more.add({ id: 'record-stop', name: 'circle-x', words: () => t('停止录制'), run: () => this.send('record_stop'), shown: () => this.principal && active() });
  }

  get inside() {
    return this.room.stage === 'in';
  }

  get principal() {
    return this.inside && PRINCIPALS.includes(this.ownSeat()?.part);
  }

  /** Who is declared at the own seat: [{id, who, answer}]. */
  get own() {
    return this.view.seats.find(({ seat }) => seat === this.ownSeat()?.seat)?.people ?? [];
  }

  joined(signalling) {
    this.signalling = signalling;
    signalling.on('recording', ({ recording }) => this.take(recording));
  }

  snapshot(whole) {
    this.take(whole.recording);
  }

  ended() {
    this.asking?.abort();
    this.banner.hidden = true;
  }

  async send(type, fields = {}) {
    try {
      await this.signalling.send(type, fields);
      return true;
    } catch (refused) {
      toast((why[refused.code] ?? (() => t('这一步现在不能做，请看录制的最新状态。')))(), { kind: 'bad' });
      return false;
    }
  }

  take(view) {
    const before = this.view;
    this.view = view;
    const ran = before.phase === 'running';
    if (ran !== (view.phase === 'running')) chime(!ran);
    if (ACTIVE.includes(before.phase) && view.phase === 'stopped') toast((stopped[view.reason] ?? stopped.asked)(), { kind: 'info' });
    if (!ACTIVE.includes(view.phase)) {
      this.known.clear();
      this.asking?.abort();
    }
    this.draw();
  }

  draw() {
    const { phase, reason } = this.view;
    const waiting = this.inside && ACTIVE.includes(phase) && (!this.own.length || this.own.some(({ answer }) => !answer));
    const state = JSON.stringify([this.view, this.inside, this.ownSeat()?.seat]);
    if (state === this.drawn) return;
    this.drawn = state;
    this.banner.hidden = !ACTIVE.includes(phase) || this.room.stage === 'ended';
    this.banner.dataset.phase = phase;
    this.group.keeps(phase === 'running');
    this.sentence.textContent = this.words(phase, reason);
    const consented = this.own.some(({ answer }) => answer === 'given');
    this.buttons.replaceChildren(
      ...(waiting ? [this.button('record-answer', t('填写在场人员和意见'), () => this.declare(), 'primary')] : []),
      ...(consented ? [this.button('record-withdraw', t('撤回同意'), () => this.withdraw())] : []),
    );
    const silent = this.own.length ? this.own.filter(({ answer }) => !answer).map(({ id }) => id) : ['self'];
    if (waiting && !this.asking && silent.some((id) => !this.known.has(id))) this.declare();
  }

  words(phase, reason) {
    if (!this.inside) return phase === 'running' ? t('会诊室里正在录制；进入之后会先问您是否同意。') : '';
    if (phase === 'running') return t('正在录制');
    if (phase === 'starting') return t('各位都已同意，正在准备录制');
    if (phase === 'paused') return (paused[reason] ?? paused.newcomer)();
    return reason === 'refused' ? paused.refused() : t('已请求录制，正在等待在场各位同意');
  }

  button(id, text, run, kind = '') {
    return el('button', { type: 'button', id, class: `button button-small ${kind && `button-${kind}`}`, onclick: run }, text);
  }

  async ask() {
    const yes = await confirm({
      title: t('录制会诊'), action: t('询问在场各位'),
      text: t('双方在场的每一个人都同意之后才会开始录制；任何人都可以随时停止。'),
    });
    if (yes) this.send('record_ask');
  }

  /** Everyone who said yes at this seat is asked which of them no longer does; one alone needs no choice. */
  async withdraw() {
    const given = this.own.filter(({ answer }) => answer === 'given');
    const chosen = given.length === 1 ? given[0].id : await dialog({
      title: t('谁撤回同意？'), body: [el('p', {}, t('录制会立即停止，已录的内容不会播放。'))],
      actions: given.map((person) => ({ label: this.label(person, given), value: person.id })),
    });
    if (chosen) this.send('record_answer', { person: chosen, answer: 'withdrawn', words: this.view.words });
  }

  label(person, people) {
    const alike = people.filter((x) => x.who === person.who);
    return alike.length > 1 ? `${who[person.who]()} ${alike.indexOf(person) + 1}` : who[person.who]();
  }

  /** The dialog: who is present here, and what each of them says. */
  async declare() {
    if (this.asking) return;
    const people = this.own.length ? this.own.map((x) => ({ ...x })) : [{ id: 'self', who: 'self', answer: '' }];
    const error = el('p', { class: 'error-text', role: 'alert' });
    const list = el('ul', { class: 'room-recording-people' });
    const named = () => people.filter((x) => x.who !== 'self').map(({ id, who: what }) => ({ id, who: what }));
    const draw = () => list.replaceChildren(...people.map((person) => el('li', {},
      el('span', {}, this.label(person, people)),
      el('div', { class: 'row', role: 'group', 'aria-label': this.label(person, people) },
        ...[['given', t('同意')], ['refused', t('不同意')]].map(([answer, words]) => el('button', {
          type: 'button', class: `button button-small ${person.answer === answer ? 'on' : ''}`, 'aria-pressed': String(person.answer === answer),
          'data-answer': answer, 'data-who': person.who, onclick: () => { person.answer = answer; draw(); },
        }, words)),
        person.who === 'self' ? null : el('button', {
          type: 'button', class: 'button button-small button-quiet button-icon', 'aria-label': t('不在场'), title: t('不在场'),
          onclick: () => { people.splice(people.indexOf(person), 1); draw(); },
        }, icon('x'))))));
    const add = (what) => {
      if (people.length > MOST) return;
      people.push({ id: crypto.randomUUID().slice(0, 8), who: what, answer: '' });
      if (this.view.phase === 'running') this.send('record_declare', { people: named() }); // nobody is recorded while being asked
      draw();
    };
    draw();
    this.asking = new AbortController();
    const chosen = await dialog({
      title: t('这次会诊可以录制吗？'), wide: true, signal: this.asking.signal,
      body: [
        ...asking().map((words) => el('p', {}, words)), el('h3', {}, t('谁在您这边？')), list,
        el('div', { class: 'row', role: 'group', 'aria-label': t('还有谁在场') }, OTHERS.map((what) => el('button', {
          type: 'button', class: 'button button-small', 'data-add': what, onclick: () => add(what),
        }, icon('plus'), who[what]()))), error,
      ],
      actions: [{ label: t('以后再说'), value: '', kind: 'quiet' }, { label: t('提交'), value: 'yes', kind: 'primary' }],
      check: () => {
        error.textContent = people.every(({ answer }) => answer) ? '' : t('请逐一填写每个人的意见。');
        return !error.textContent;
      },
    });
    this.asking = null;
    people.forEach(({ id }) => this.known.add(id));
    if (chosen !== 'yes' || !ACTIVE.includes(this.view.phase)) return;
    const before = new Map(this.own.map((x) => [x.id, x.answer]));
    if (!await this.send('record_declare', { people: named() })) return;
    for (const { id, answer } of people) {
      const word = answer === 'refused' && before.get(id) === 'given' ? 'withdrawn' : answer;
      if (word !== before.get(id) && !await this.send('record_answer', { person: id, answer: word, words: WORDS })) return;
    }
  }
}
