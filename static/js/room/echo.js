// Two devices in one room: measures how loud our microphone and what comes in are, and says so when our own sound comes
// back (same-room.js). Only while our microphone is open: muted, nothing of ours can come back.
import { t } from '../i18n.js';
import { audioContext, loudness } from './meter.js';
import { STEP, SameRoom } from './same-room.js';

const SAID_MS = 30_000; // so long after it was last found
const QUIET_MS = 300_000; // after somebody has put the note away

/** The sound of the tracks that come in, all in one analyser. */
class Incoming {
  constructor() {
    this.sources = new Map(); // track → its source
  }

  /** Decibels of what the receivers of the connection play now. */
  level(pc) {
    const tracks = (pc?.getReceivers() ?? []).map(({ track }) => track).filter((track) => track.kind === 'audio' && track.readyState === 'live');
    if (tracks.length !== this.sources.size || tracks.some((track) => !this.sources.has(track))) this.follow(tracks);
    return this.analyser ? loudness(this.analyser) : -Infinity;
  }

  follow(tracks) {
    for (const source of this.sources.values()) source.disconnect();
    this.sources.clear();
    if (!tracks.length) return;
    const context = audioContext();
    this.analyser ??= context.createAnalyser();
    for (const track of tracks) {
      const source = context.createMediaStreamSource(new MediaStream([track]));
      source.connect(this.analyser);
      this.sources.set(track, source);
    }
  }
}

export class Echo {
  /** room, devices, line(), others(): the room page's. notes: Notes. */
  constructor({ room, devices, line, others, notes }) {
    Object.assign(this, { room, devices, line, others, notes });
    this.incoming = new Incoming();
    this.rooms = new SameRoom();
    this.until = 0; // ms: the note stands so long
    this.quiet = 0; // ms: nothing is said before
  }

  begin() {
    this.timer ??= setInterval(() => this.measure(), STEP);
  }

  measure() {
    const { meter, muted } = this.devices;
    const pc = this.line()?.peer?.pc ?? this.line()?.pc;
    if (this.room.stage !== 'in' || document.hidden || !meter || muted || !pc) this.rooms.forget();
    else this.take(loudness(meter.analyser), this.incoming.level(pc), performance.now());
  }

  /** Levels in dBFS at `now` ms. */
  take(own, incoming, now) {
    if (this.rooms.hear(own, incoming, now) && now > this.quiet) this.until = now + SAID_MS;
  }

  draw() {
    const said = !this.devices.muted && performance.now() < this.until;
    if (!said) this.until = 0;
    const theirs = this.others().some((seat) => seat.original);
    this.notes.show('echo', said ? {
      name: 'volume-2', text: theirs
        ? t('您的声音又传了回来：请传送原声的一方戴上耳机')
        : t('好像有两台设备在同一房间，请其中一台静音或戴耳机'),
      actions: [{ label: t('关麦克风'), run: () => this.devices.mute(true) }, { label: t('知道了'), run: () => this.dismiss() }],
    } : null);
  }

  dismiss() {
    this.until = 0;
    this.quiet = performance.now() + QUIET_MS;
    this.draw();
  }

  end() {
    clearInterval(this.timer);
    this.timer = null;
    this.incoming.follow([]);
    this.until = 0;
  }
}
