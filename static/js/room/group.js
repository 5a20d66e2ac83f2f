// Three and more seats: when the room is moved to the relay, and back to nothing at its end. The call between two
// browsers stays until the relay carries what it carried.
import { t } from '../i18n.js';
import { Grid } from './grid.js';
import { Janus } from './janus.js';
import { Relay } from './relay.js';

const ENOUGH = 8000; // a seat without sound and picture gives no sign: not waited for any longer
const OVERLAP = 2000; // the others may need a moment more than this browser

export class Group {
  /**
   * box, grid, layoutButton, trust: elements. devices. others(): views of the other seats. ice(): RTCIceServer list. choice(): {mode, kbps} of
   * this side. limit: kbit/s that the site allows. used: {sent, received} bytes, counted on.
   * onChange(). onRung(): we send otherwise. onMoved(): the relay carries media, the call between two browsers may end.
   */
  constructor({ box, grid, layoutButton, trust, devices, others, ice, relayOnly, choice, limit, used, onChange, onRung, onMoved }) {
    Object.assign(this, { box, layoutButton, trust, devices, others, ice, relayOnly, choice, limit, used, onChange, onRung, onMoved });
    this.grid = new Grid({ root: grid, button: layoutButton });
    this.relay = null;
    this.topology = 'direct';
    this.generation = '';
    this.showing = false;
    this.recording = false;
    this.say();
  }

  /** How media goes, from the snapshot or a message. call: the one between two browsers that is running. */
  media({ topology, generation }, { signalling, call }) {
    const before = this.generation;
    Object.assign(this, { topology, generation });
    this.say();
    if (topology === 'direct') {
      if (this.relay) this.end();
      return;
    }
    if (this.relay) {
      if (generation !== before) this.relay.renew();
      return;
    }
    this.relay = new (topology === 'janus' ? Janus : Relay)({
      signalling, devices: this.devices, ice: this.ice(), relayOnly: this.relayOnly, choice: this.choice(), limit: this.limit, used: this.used, others: () => this.others().map((seat) => seat.seat),
      wanted: () => this.grid.wanted, heights: () => this.grid.heights, former: call, onRung: () => this.onRung(),
      onTrack: (seat, kind, track) => this.track(seat, kind, track), onChange: () => this.onChange(),
    });
    this.relay.start();
    if (call) this.patience = setTimeout(() => this.show(), ENOUGH);
    else this.show();
  }

  track(seat, kind, track) {
    this.grid.put(seat, kind, track, this.devices.chosen.output);
    if (!track || this.showing) return;
    if (track.muted) track.addEventListener('unmute', () => this.show(), { once: true });
    else this.show();
  }

  show() {
    if (this.showing || !this.relay) return;
    clearTimeout(this.patience);
    this.showing = true;
    this.box.classList.add('grouped');
    this.layoutButton.hidden = false;
    this.draw();
    this.onMoved(OVERLAP);
  }

  /** Who is here may have changed. */
  seatsChanged() {
    const key = this.others().map((seat) => seat.seat).sort().join();
    if (this.relay && key !== this.key) this.relay.seatsChanged();
    this.key = key;
    this.draw();
  }

  devicesChanged() {
    this.relay?.devicesChanged();
  }

  draw() {
    this.grid.passed = this.relay?.passed ?? null;
    if (this.showing) this.grid.draw(this.others(), this.relay?.levels);
  }

  /** Whether what passes is kept just now. */
  keeps(recording) {
    this.recording = recording;
    this.say();
  }

  /** Who can see the media, in one sentence. */
  say() {
    let words = t('音视频在双方浏览器之间加密传送，会诊服务器看不到');
    if (this.recording) words = t('音视频经会诊服务器转发，正在加密录制保存');
    else if (this.topology !== 'direct') words = t('音视频经会诊服务器转发，途中对服务器可见，不保存');
    if (this.trust.textContent !== words) this.trust.textContent = words;
  }

  end() {
    clearTimeout(this.patience);
    this.relay?.close();
    this.relay = null;
    this.showing = false;
    this.topology = 'direct';
    this.generation = '';
    this.grid.clear();
    this.box.classList.remove('grouped');
    this.layoutButton.hidden = true;
    this.say();
  }
}
