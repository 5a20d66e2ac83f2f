// The relay where that is a Janus: one connection to send, which this browser offers, in three sizes of the picture, and
// one to receive, which Janus offers. Everything else is as with the packet relay.
import { pictureOf } from './sending.js';
import { describeSelf } from './original.js';
import { Relay, prefer, seatsOf } from './relay.js';

const LAYERS = [{ rid: 'h', scale: 1, share: 1 }, { rid: 'm', scale: 2, share: 0.35 }, { rid: 'l', scale: 4, share: 0.15 }]; // large first, as Janus counts them
const MOST = { kbps: 600, lines: 360, fps: 20 };
const LEAST_LINES = 60; // a smaller picture shows nobody
const PATIENCE = 3000; // ms

export class Janus extends Relay {
  constructor({ heights, ...options }) {
    super(options);
    this.heights = heights;
    this.down = null; // what we receive
    this.receiving = Promise.resolve();
    this.offOffer = options.signalling.on('relay_offer', (message) => this.offered(message));
  }

  lines(pc) {
    const sound = pc.addTransceiver(this.track('audio') ?? 'audio', { direction: 'sendonly' });
    const sendEncodings = LAYERS.map(({ rid, scale }) => ({ rid, scaleResolutionDownBy: scale }));
    const picture = pc.addTransceiver(this.track('video') ?? 'video', { direction: 'sendonly', sendEncodings });
    prefer(sound, 'audio');
    prefer(picture, 'video');
  }

  get wanted() {
    return 0; // the others come on the other connection
  }

  /** Who is present is Janus' to offer. */
  seatsChanged() {}

  tiles() {
    return { tiles: this.heights() };
  }

  /** One offer of Janus after the other; under another name it begins a new connection. */
  offered({ pc: name, sdp }) {
    this.receiving = this.receiving.then(async () => {
      if (this.closed) return;
      const before = this.down;
      const pc = before?.name === name ? before : this.receive(name);
      await pc.setRemoteDescription({ type: 'offer', sdp });
      await describeSelf(pc);
      pc.seats = seatsOf(sdp);
      this.down = pc;
      await this.signalling.send('answer', { to: 'relay', pc: name, sdp: pc.localDescription.sdp });
      this.assign();
      if (before !== pc) before?.close();
    }).catch((error) => {
      if (!this.closed) console.warn('janus', error.name, error.message);
    });
  }

  receive(name) {
    const pc = new RTCPeerConnection({ iceServers: this.ice, iceTransportPolicy: this.relayOnly ? 'relay' : 'all', bundlePolicy: 'max-bundle' });
    pc.name = name;
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'failed' && pc === this.down) this.heard = Math.min(this.heard, performance.now() - PATIENCE);
      this.onChange();
    };
    return pc;
  }

  assign() {
    if (this.down) super.assign(this.down);
  }

  async stats(pc) {
    const rows = await super.stats(pc);
    return this.down ? [...rows, ...await super.stats(this.down)] : rows;
  }

  read(pc, rows) {
    return super.read(this.down ?? pc, rows);
  }

  async tune(sender) {
    const params = sender.track?.kind === 'video' && sender.getParameters();
    if (!params) {
      await super.tune(sender);
      return;
    }
    const { video } = this.ladder.sending;
    const { kbps, fps, lines } = video ? pictureOf(sender.track, video) : { kbps: 0, fps: 1, lines: MOST.lines };
    const most = sender.track.screen ? lines : Math.min(MOST.lines, lines);
    const whole = Math.max(1, (sender.track.getSettings?.().height ?? most) / most);
    for (const encoding of params.encodings) {
      const layer = LAYERS.find(({ rid }) => rid === encoding.rid) ?? LAYERS[0];
      encoding.active = Boolean(video) && (layer.scale === 1 || most / layer.scale >= LEAST_LINES);
      encoding.maxBitrate = Math.max(30, Math.min(MOST.kbps, kbps) * layer.share) * 1000;
      encoding.maxFramerate = Math.min(MOST.fps, fps);
      encoding.scaleResolutionDownBy = whole * layer.scale;
      encoding.priority = encoding.networkPriority = 'low';
    }
    await sender.setParameters(params).catch(() => {}); // an older browser lacks some of these
  }

  async tick() {
    await super.tick();
    if (!this.silent && this.pc?.connectionState === 'connected') this.attempt = 0;
  }

  /** First the paths begin anew; only then the connections. */
  async rebuild() {
    const { pc, attempt } = this;
    if (!pc || attempt || this.closed || !this.signalling.up) {
      await super.rebuild();
      return;
    }
    this.attempt = 1;
    this.next = performance.now() + PATIENCE;
    if (this.ice.length) await this.fresh();
    for (const one of [pc, this.down]) one?.setConfiguration({ ...one.getConfiguration(), iceServers: this.ice });
    pc.restartIce();
    this.offer(pc);
    if (this.down) this.signalling.send('restart', { to: 'relay', pc: this.down.name, attempt: this.attempt }).catch(() => {});
  }

  /** Janus began a new life: nothing of the former one can be mended. */
  renew() {
    this.attempt = 1;
    super.rebuild();
  }

  close() {
    super.close();
    this.offOffer();
    this.down?.close();
    this.down = null;
  }
}
