// The call with one other seat: peer connection, watchdog, quality both ways, and speech before picture.
import { Peer } from './peer.js';
import { QualityReporter, grade } from './quality.js';
import { Watchdog } from './reconnect.js';

const WAIT_FOR_OFFER = 1500;
const FIRST_LINES = 360; // before the way is measured, a large first picture would take longer than all of the set-up
const FIRST_MS = 2000;
const POOR_TICKS = 2;
const GOOD_TICKS = 10;
const MOST_GOOD_TICKS = 120;

export class Call {
  /**
   * signalling, seat (the other's view: seat, tab), own seat id, devices, ice list.
   * onChange(): state, silence or quality changed. onTrack(track).
   */
  constructor({ signalling, seat, devices, ice, onChange, onTrack }) {
    Object.assign(this, { signalling, devices, onChange });
    this.seat = seat;
    this.tab = seat.tab;
    this.silent = 0;
    this.noPath = false;
    this.otherNoPath = false;
    this.quality = {}; // what the other receives of us, newest report
    this.incoming = {}; // what we receive
    this.small = true; // the first pictures
    this.saving = false; // video held down so that speech passes
    this.poor = 0;
    this.good = 0;
    this.needed = GOOD_TICKS;
    this.told = '';
    const to = seat.seat;
    const polite = signalling.seat > to;
    this.peer = new Peer({
      polite, ice, tune: (sender) => this.tune(sender), tracks: () => ({ audio: devices.audio, video: devices.video }),
      send: (type, fields) => signalling.send(type, { to, ...fields }),
      onTrack, onState: () => this.changed(), onBeat: () => this.watchdog.beat(),
    });
    this.watchdog = new Watchdog({
      peer: this.peer, lead: !polite,
      reachable: () => signalling.up && this.seat.connected,
      ask: (attempt, rebuild) => signalling.send('restart', { to, pc: this.peer.name || 'none', attempt, rebuild }),
      ice: () => signalling.send('ice') && this.freshIce(),
      onChange: ({ silent, noPath }) => { this.silent = silent; this.noPath = noPath; this.changed(); },
    });
    this.reporter = new QualityReporter({ peer: this.peer, report: (fields) => {
      this.incoming = fields;
      signalling.loose('quality', { of: to, ...fields });
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

  /** The other side's second: down at once when speech suffers, up by trial after a quiet while. */
  reported(message) {
    const fields = Object.fromEntries(Object.entries(message).filter(([, value]) => value !== null));
    this.quality = fields;
    const mark = grade(fields);
    this.poor = mark === 'poor' ? this.poor + 1 : 0;
    this.good = mark === 'good' ? this.good + 1 : 0;
    if (!this.saving && this.poor >= POOR_TICKS) {
      this.saving = true;
      this.needed = Math.min(MOST_GOOD_TICKS, this.needed * 2);
      this.shape();
    } else if (this.saving && this.good >= this.needed) {
      this.saving = false;
      this.shape();
    }
    this.changed();
  }

  /** Priorities and limits of what we send: speech always first, the picture small while speech is in trouble. */
  async tune(sender) {
    if (!sender.track) return;
    const params = sender.getParameters();
    if (!params.encodings?.length) return;
    const [encoding] = params.encodings;
    if (sender.track.kind === 'audio') {
      encoding.priority = 'high';
      encoding.networkPriority = 'high';
    } else {
      const lines = sender.track.getSettings?.().height ?? FIRST_LINES;
      encoding.priority = 'low';
      encoding.maxBitrate = this.saving ? 20_000 : 1_500_000;
      encoding.maxFramerate = this.saving ? 2 : 30;
      encoding.scaleResolutionDownBy = this.saving ? 4 : this.small ? Math.max(1, lines / FIRST_LINES) : 1;
    }
    await sender.setParameters(params).catch(() => {}); // an older browser lacks some of these
  }

  async shape() {
    for (const sender of this.peer.pc?.getSenders() ?? []) await this.tune(sender);
  }

  devicesChanged() {
    this.peer.attach().then(() => this.shape());
  }

  /** 'connecting' | 'good' | 'fair' | 'poor' | 'silent' | 'none' */
  get condition() {
    if (this.noPath || this.otherNoPath) return 'none';
    if (this.silent) return this.peer.state === 'new' || !this.told ? 'connecting' : 'silent';
    if (this.peer.state !== 'connected') return 'connecting';
    if (this.saving) return 'poor';
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
