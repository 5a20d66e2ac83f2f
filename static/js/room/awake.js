// The screen stays on while somebody is in the room (W3C Screen Wake Lock), and what a telephone call on the same device
// has taken is taken back: iOS mutes or ends the microphone, interrupts sound, and gives neither back by itself.
import { t } from '../i18n.js';
import { audioContext, audioInterrupted } from './meter.js';

const AGAIN_MS = 60_000; // a refused wake lock (battery low) is asked for again
const PATIENT_MS = 1000; // a microphone that is silenced for a moment is nothing to speak of

export class Awake {
  /** room, devices, notes, play(): the room page's. */
  constructor({ room, devices, notes, play }) {
    Object.assign(this, { room, devices, notes, play });
    this.lock = null;
    this.next = 0;
    this.track = null; // the microphone that is watched
    this.hit = null; // ms: since when something was taken from us
    this.state = ''; // '' | working | failed
    this.seen = () => { if (!document.hidden) this.back(); };
  }

  /** Any number of times; `end` ends it. */
  begin() {
    document.addEventListener('visibilitychange', this.seen);
    addEventListener('pageshow', this.seen);
  }

  draw() {
    if (this.room.stage !== 'in') return;
    this.stayAwake();
    this.watch();
    if (audioInterrupted()) this.hit ??= performance.now();
    if (this.hit !== null && !this.lost && this.state !== 'working') this.well();
    const late = this.hit !== null && performance.now() - this.hit > PATIENT_MS;
    const again = { label: t('恢复声音'), run: () => this.recover() };
    this.notes.show('interrupted', this.state === 'working'
      ? { name: 'phone', text: t('通话打断了会诊，正在恢复…') }
      : (late && this.devices.audio) || this.state === 'failed' ? { name: 'mic-off', text: this.devices.errors.audio || t('麦克风被来电或系统占用，对方听不到您'), actions: [again] } : null);
  }

  async stayAwake() {
    const now = performance.now();
    if (this.lock || document.hidden || now < this.next || !navigator.wakeLock) return;
    this.next = now + AGAIN_MS;
    try {
      this.lock = await navigator.wakeLock.request('screen');
      this.lock.addEventListener('release', () => { this.lock = null; this.next = 0; });
      if (this.room.stage !== 'in') this.lock.release();
    } catch { /* the screen goes dark as everywhere else */ }
  }

  /** Microphones come and go; each tells when it is taken away. */
  watch() {
    const track = this.devices.audio;
    if (track === this.track) return;
    this.track = track;
    for (const name of ['mute', 'ended']) {
      track?.addEventListener(name, () => { if (track === this.devices.audio || !this.devices.audio) this.hit ??= performance.now(); });
    }
  }

  /** Is something of ours still taken? */
  get lost() {
    const { audio } = this.devices;
    return !audio || audio.muted || audio.readyState === 'ended' || audioInterrupted();
  }

  /** The page is seen again. */
  back() {
    this.next = 0;
    if (this.room.stage !== 'in') return;
    this.play(); // what the system has paused
    if (this.hit !== null && this.lost) this.recover();
  }

  async recover() {
    if (this.state === 'working') return;
    this.state = 'working';
    this.draw();
    await this.devices.regain();
    audioContext();
    this.play();
    this.state = this.lost ? 'failed' : '';
    if (!this.state) this.well();
    this.draw();
  }

  /** Everything is ours again, by itself or taken back. */
  well() {
    this.hit = null;
    this.state = '';
    this.play();
  }

  end() {
    document.removeEventListener('visibilitychange', this.seen);
    removeEventListener('pageshow', this.seen);
    this.lock?.release();
    this.hit = null;
    this.state = '';
  }
}
