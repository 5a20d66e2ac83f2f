// The pictures of three to eight seats: a grid, or the speaker large with the others beneath; a pin keeps one large.
import { t } from '../i18n.js';
import { el, icon } from '../ui.js';

const LOUD = 0.02; // of full scale: somebody speaks
const HOLD = 2000; // the large picture stays so long, whoever coughs
const SPEECH = ['audio', 'telephone']; // rungs without a picture
const MANY = 3; // with more than so many others the speaker is large by itself

export class Grid {
  /** root: an empty element. button: switches between the layouts. */
  constructor({ root, button }) {
    Object.assign(this, { root, button });
    this.tiles = new Map(); // seat → {box, video, audio, name, marks, pin}
    this.pinned = '';
    this.speaker = '';
    this.sharing = ''; // a seat that shares its screen is large
    this.since = -Infinity;
    this.passed = null; // {rung, sees}: of whom the relay passes a picture on to us; null: of all
    this.layout = ''; // '' until somebody chooses: by the number of seats
    button.addEventListener('click', () => {
      this.layout = this.shown === 'grid' ? 'speaker' : 'grid';
      if (this.layout === 'grid') this.pinned = '';
      this.arrange();
    });
  }

  get shown() {
    if (this.pinned) return 'speaker';
    return this.layout || (this.sharing || this.tiles.size > MANY ? 'speaker' : 'grid');
  }

  /** Whose picture matters most here. */
  get wanted() {
    return this.pinned || this.sharing || this.speaker;
  }

  /** How high each seat's picture is shown, in pixels of the screen. */
  get heights() {
    return Object.fromEntries([...this.tiles].map(([seat, { box }]) => [seat, Math.round(box.clientHeight * devicePixelRatio)]));
  }

  comes(seat) {
    return !this.passed || this.passed.rung === 'video' || this.passed.sees === seat;
  }

  tile(seat) {
    const known = this.tiles.get(seat);
    if (known) return known;
    const video = el('video', { playsinline: true, autoplay: true, muted: true });
    video.muted = true;
    const audio = el('audio', { autoplay: true });
    const name = el('span', { 'data-user': true });
    const marks = el('span', { class: 'room-tile-marks' });
    const pin = el('button', { class: 'button button-icon button-small', type: 'button', 'aria-pressed': 'false', onclick: () => {
      this.pinned = this.pinned === seat ? '' : seat;
      this.arrange();
    } }, icon('pin'));
    const nobody = el('div', { class: 'room-tile-nobody' }, icon('user', 'icon icon-32'));
    const box = el('figure', { class: 'room-tile', 'data-seat': seat }, video, nobody, audio, el('figcaption', {}, name, marks), pin);
    const made = { box, video, audio, name, marks, pin };
    this.tiles.set(seat, made);
    this.root.append(box);
    return made;
  }

  /** A seat's track of a kind; null: it has none any more. */
  put(seat, kind, track, output = '') {
    if (!track && !this.tiles.has(seat)) return;
    const element = this.tile(seat)[kind];
    element.srcObject = track ? new MediaStream([track]) : null;
    if (!track) return;
    if (kind === 'audio' && output && element.setSinkId) element.setSinkId(output).catch(() => {});
    element.play().catch(() => {}); // asked again by `play` when somebody has clicked
  }

  /** Seats as the room knows them: names, marks; whoever is gone loses the tile. levels: seat → {level}. */
  draw(seats, levels, now = performance.now()) {
    const here = new Set(seats.map((seat) => seat.seat));
    for (const [seat, { box, video, audio }] of [...this.tiles]) {
      if (here.has(seat)) continue;
      video.srcObject = audio.srcObject = null;
      box.remove();
      this.tiles.delete(seat);
      if (this.pinned === seat) this.pinned = '';
    }
    for (const seat of seats) {
      const { box, video, name, marks, pin } = this.tile(seat.seat);
      const words = [seat.name, seat.title].filter(Boolean).join(' ');
      if (name.textContent !== words) {
        name.textContent = words;
        video.setAttribute('aria-label', t('{name} 的画面', { name: seat.name }));
        pin.title = t('固定 {name} 的画面', { name: seat.name });
        pin.setAttribute('aria-label', pin.title);
      }
      const sends = Boolean(seat.connected && !seat.curtain && (seat.camera || seat.pattern));
      const paused = sends && SPEECH.includes(seat.rung); // its line, or its wish, leaves speech alone
      box.dataset.video = String(sends && !paused && this.comes(seat.seat));
      const key = [seat.mic, seat.hand, seat.connected, seat.curtain, paused, seat.most].join();
      if (marks.dataset.key !== key) {
        marks.dataset.key = key;
        const mark = (shape, label) => el('span', { title: label, role: 'img', 'aria-label': label }, icon(shape));
        marks.replaceChildren(...[
          !seat.connected && mark('wifi-off', t('线路中断')), seat.connected && !seat.mic && mark('mic-off', t('已静音')), seat.hand && mark('hand', t('举手')),
          seat.curtain && mark('eye-off', t('正在检查，画面已遮挡')),
          paused && mark('video-off', seat.most === 'audio' ? t('只用语音') : t('对方网络差，画面已暂停')),
        ].filter(Boolean));
      }
    }
    this.sharing = seats.find((seat) => seat.screen && seat.connected)?.seat ?? '';
    this.hear(levels, now);
    this.arrange();
  }

  hear(levels, now) {
    const loudest = [...(levels ?? [])].filter(([seat, { level }]) => level > LOUD && this.tiles.has(seat)).sort((a, b) => b[1].level - a[1].level)[0]?.[0];
    for (const [seat, { box }] of this.tiles) box.dataset.speaks = String((levels?.get(seat)?.level ?? 0) > LOUD);
    if (loudest === this.speaker) this.since = now;
    else if (loudest && now - this.since > HOLD) {
      this.speaker = loudest;
      this.since = now;
    }
  }

  arrange() {
    const large = this.shown === 'speaker' ? this.pinned || this.sharing || (this.tiles.has(this.speaker) && this.speaker) || [...this.tiles.keys()][0] : '';
    const key = [this.shown, this.tiles.size, large, this.pinned].join();
    if (key === this.key) return;
    this.key = key;
    this.root.dataset.layout = this.shown;
    this.root.dataset.seats = String(this.tiles.size);
    for (const [seat, { box, pin }] of this.tiles) {
      box.classList.toggle('large', seat === large);
      pin.setAttribute('aria-pressed', String(seat === this.pinned));
    }
    this.button.setAttribute('aria-pressed', String(this.shown === 'speaker'));
  }

  /** Sound begins only after a click in some browsers. Resolves false when it was refused. */
  async play(output = '') {
    const results = await Promise.all([...this.tiles.values()].flatMap(({ video, audio }) => {
      if (output !== (audio.sinkId ?? output)) audio.setSinkId(output).catch(() => {});
      return [video, audio].filter((element) => element.srcObject).map((element) => element.play().then(() => true, (error) => error.name !== 'NotAllowedError'));
    }));
    return results.every(Boolean);
  }

  clear() {
    this.draw([], null);
    this.pinned = '';
  }
}
