// The call with one other seat: peer connection, watchdog, quality both ways, and speech before picture.
import { Ladder } from './ladder.js';
import { soundOf } from './original.js';
import { Peer } from './peer.js';
import { QualityReporter, grade } from './quality.js';
import { Watchdog } from './reconnect.js';
import { pictureOf } from './sending.js';

const WAIT_FOR_OFFER = 1500;
const FIRST_LINES = 360; // before the way is measured, a large first picture would take longer than all of the set-up
const FIRST_MS = 2000;

export class Call {
  /**
   * signalling, seat (the other's view: seat, tab, most, kbps), devices, ice list, relayOnly: no direct path is tried,
   * limit: kbit/s that the site allows (0: any), choice: {mode, kbps} of this side, used: {sent, received} bytes, counted on.
   * onChange(): state, silence or quality changed. onRung(): what we send changed. onTrack(track).
   */
  constructor({ signalling, seat, devices, ice, relayOnly, limit, choice, used, onChange, onRung, onTrack }) {
    Object.assign(this, { signalling, devices, limit, choice, onChange, onRung });
    this.ladder = new Ladder();
    this.seat = seat;
    this.tab = seat.tab;
    this.silent = 0;
    this.noPath = false;
    this.otherNoPath = false;
    this.quality = {}; // what the other receives of us, newest report
    this.incoming = {}; // what we receive
    this.small = true; // the first pictures
    this.told = '';
    const to = seat.seat;
    const polite = signalling.seat > to;
    this.peer = new Peer({
      polite, ice, relayOnly, tune: (sender) => this.tune(sender), tracks: () => ({ audio: devices.audio, video: devices.picture }),
      send: (type, fields) => signalling.send(type, { to, ...fields }),
      onTrack, onState: () => this.changed(), onBeat: () => this.watchdog.beat(), onTold: (fields) => this.reported(fields),
    });
    this.watchdog = new Watchdog({
      peer: this.peer, lead: !polite,
      reachable: () => signalling.up && this.seat.connected,
      ask: (attempt, rebuild) => signalling.send('restart', { to, pc: this.peer.name || 'none', attempt, rebuild }),
      ice: () => signalling.send('ice') && this.freshIce(),
      onChange: ({ silent, noPath }) => {
        const now = performance.now();
        if (silent && !this.silent) this.moving(() => this.ladder.silence(now));
        if (!silent && this.silent) {
          this.ladder.back(now);
          this.anew();
        }
        this.silent = silent;
        this.noPath = noPath;
        this.changed();
      },
    });
    this.reporter = new QualityReporter({ peer: this.peer, used, report: (fields) => {
      this.incoming = fields;
      if (signalling.up) signalling.loose('quality', { of: to, ...fields });
      else this.peer.tell(fields);
      this.changed();
    } });
  }

  freshIce() {
    return new Promise((resolve, reject) => {
      const off = this.signalling.on('ice', ({ servers }) => { clearTimeout(timer); off(); resolve(servers); });
      const timer = setTimeout(() => { off(); reject(new Error('ice')); }, 3000);
    });
  }

  /** Offer now, or (late) only if the other side has not offered by then. */
  begin({ late = false } = {}) {
    clearTimeout(this.starting);
    if (this.rung !== 'video') this.onRung();
    if (!late) this.peer.start();
    else this.starting = setTimeout(() => { if (!this.peer.pc) this.peer.start(); }, WAIT_FOR_OFFER);
  }

  take(message) {
    switch (message.type) {
      case 'offer':
      case 'answer': this.peer.describe(message); break;
      case 'candidate': this.peer.candidate(message); break;
      case 'restart': this.watchdog.asked(message); break;
      case 'path': this.otherNoPath = message.path === 'none'; this.changed(); break;
      case 'quality': this.reported(message); break;
      default:
    }
  }

  async changed() {
    if (this.small && this.peer.state === 'connected') this.growing ??= setTimeout(() => { this.small = false; this.shape(); }, FIRST_MS);
    const path = this.noPath ? 'none' : this.peer.state === 'connected' ? await this.peer.path() : '';
    if (path && path !== this.told && (path !== 'none' || this.noPath)) {
      this.told = path;
      this.signalling.send('path', { to: this.seat.seat, pc: this.peer.name, path });
    }
    this.onChange();
  }

  get rung() {
    return this.ladder.rung;
  }

  /** {kbps, ptime, red, original}: how our sound goes. */
  get sound() {
    return soundOf(this.ladder, this.devices.original);
  }

  get seat() {
    return this.other;
  }

  /** The other side as the room knows it now, with what it wants to receive. */
  set seat(seat) {
    this.other = seat;
    this.bound();
  }

  /** {mode, kbps} of this side. */
  choose(choice) {
    this.choice = choice;
    this.bound();
  }

  /** The ladder keeps within what both sides and the site want. */
  bound() {
    const { mode, kbps } = this.choice;
    const limits = [this.limit, kbps, this.other.kbps].filter(Boolean);
    this.moving(() => this.ladder.limit({ mode, most: this.other.most, kbps: limits.length ? Math.min(...limits) : 0 }));
  }

  /** Does what the ladder says after `change`, and tells the room of another rung. */
  moving(change) {
    const { rung } = this;
    if (change()) this.shape();
    if (this.peer && this.rung !== rung) this.onRung();
  }

  /** The other side's second. */
  reported(message) {
    const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null));
    this.quality = fields;
    this.moving(() => this.ladder.hear(fields, performance.now()));
    this.changed();
  }

  /** Priorities and limits of what we send: speech always first, the picture as the ladder says. */
  async tune(sender) {
    if (!sender.track) return;
    const params = sender.getParameters();
    if (!params.encodings?.length) return;
    const [encoding] = params.encodings;
    const { video } = this.ladder.sending;
    if (sender.track.kind === 'audio') {
      encoding.priority = 'high';
      encoding.networkPriority = 'high';
      encoding.maxBitrate = this.sound.kbps * 1000;
    } else {
      encoding.priority = 'low';
      encoding.active = Boolean(video);
      if (video) {
        const { kbps, fps, lines } = pictureOf(sender.track, video);
        const has = sender.track.getSettings?.().height ?? lines;
        encoding.maxBitrate = kbps * 1000;
        encoding.maxFramerate = fps;
        encoding.scaleResolutionDownBy = Math.max(1, has / (this.small && !sender.track.screen ? Math.min(FIRST_LINES, lines) : lines));
      }
    }
    await sender.setParameters(params).catch(() => {}); // an older browser lacks some of these
  }

  /** What we send as the ladder says it now; one change after the other, since parameters that were read go stale. */
  shape() {
    this.shaping = (this.shaping ?? Promise.resolve()).then(async () => {
      for (const sender of this.peer?.pc?.getSenders() ?? []) await this.tune(sender);
      const { ptime, red, original } = this.sound;
      await this.peer?.shape({ ptime, red, original, picture: Boolean(this.ladder.sending.video) });
    });
    return this.shaping;
  }

  /**
   * After a gap the picture begins anew, small: a sender that starts again sends a whole one first (libwebrtc). Without
   * this the other side waits for what was lost, asks for it, is sent it late, and only after seconds wants a whole one.
   */
  anew() {
    clearTimeout(this.growing);
    this.growing = null;
    this.small = true;
    this.shaping = (this.shaping ?? Promise.resolve()).then(async () => {
      for (const sender of this.peer?.pc?.getSenders() ?? []) {
        const params = sender.getParameters();
        if (sender.track?.kind !== 'video' || !params.encodings?.[0]?.active) continue;
        params.encodings[0].active = false;
        await sender.setParameters(params).catch(() => {});
        await this.tune(sender);
      }
    });
    return this.shaping;
  }

  devicesChanged() {
    this.peer.attach().then(() => this.shape());
  }

  /** 'connecting' | 'good' | 'fair' | 'poor' | 'silent' | 'none' */
  get condition() {
    const worst = [this.rung, this.other.rung];
    if (this.noPath || this.otherNoPath || worst.includes('telephone')) return 'none';
    if (this.silent) return this.peer.state === 'new' || !this.told ? 'connecting' : 'silent';
    if (this.peer.state !== 'connected') return 'connecting';
    if (worst.some((rung) => ['stills', 'audio'].includes(rung))) return 'poor';
    const order = ['good', 'fair', 'poor'];
    return order[Math.max(order.indexOf(grade(this.quality)), order.indexOf(grade(this.incoming)))];
  }

  close() {
    clearTimeout(this.starting);
    clearTimeout(this.growing);
    this.watchdog.stop();
    this.reporter.stop();
    this.peer.close();
  }
}
