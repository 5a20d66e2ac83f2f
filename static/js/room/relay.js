// The connection to the relay: own sound and picture up, a line of each kind down for every other seat. The browser
// always offers; the answer names the seat of every line by its stream. A connection that begins anew takes the former
// one's place when it is connected: nobody sees a black gap.
import { Ladder } from './ladder.js';
import { describeSelf, soundOf } from './original.js';
import { askForSpeech, shapeSending } from './peer.js';
import { LOW, Passing, beginThin, shapeThin } from './passing.js';
import { pictureOf } from './sending.js';

const EVERY = 1000;
const SILENCE = 3000; // the relay reports every second: this long without anything is a dead path
const MISSED = 1400;
const FOLLOWED = 6000; // so long a silence is put down to a change of network
const PAUSES = [3000, 6000, 12000];
const NO_PATH = 15000;
const FRESH = 1500; // for new credentials
const MOST = { kbps: 600, lines: 360, fps: 20 }; // of a picture that several receive

/** Only what the relay passes on: an offer of sixteen lines stays small. */
export function prefer(transceiver, kind) {
  const wanted = kind === 'audio' ? ['audio/red', 'audio/opus'] : ['video/vp8', 'video/rtx'];
  const known = RTCRtpReceiver.getCapabilities?.(kind)?.codecs;
  if (!known || !transceiver.setCodecPreferences) return;
  const list = wanted.flatMap((type) => known.filter((codec) => codec.mimeType.toLowerCase() === type));
  try {
    transceiver.setCodecPreferences(list);
  } catch { /* an older browser: the relay takes what it knows from a longer list */ }
}

/** Which seat stands on which line to receive: mid → seat, from an answer of the relay. */
export function seatsOf(sdp) {
  const found = new Map();
  for (const section of sdp.split(/(?=^m=)/m).slice(1)) {
    const mid = /^a=mid:(\S+)/m.exec(section)?.[1];
    const seat = /^a=msid:(\S+)/m.exec(section)?.[1];
    if (mid && seat && /^a=sendonly/m.test(section)) found.set(mid, seat);
  }
  return found;
}

export class Relay {
  /**
   * others(): ids of the other seats. tracks(): {audio, video} to send, null where there is none. ice: RTCIceServer
   * list. wanted(): the seat shown large. former: the call between two browsers before, or null. choice: {mode, kbps} of this side, limit: kbit/s that the site allows (0: any), used: {sent, received} bytes, counted on. onTrack(seat, kind, track): a line's track, or null where the seat has none any more. onChange().
   */
  constructor({ signalling, devices, others, ice, relayOnly = false, choice, limit, used, wanted, former, onTrack, onChange, onRung }) {
    Object.assign(this, { signalling, devices, others, ice, relayOnly, limit, used, onTrack, onChange, onRung });
    this.ladder = new Ladder();
    this.bound(choice);
    this.passing = new Passing({ relay: this, wanted, former });
    this.pc = null; // carries media
    this.coming = null; // takes its place when connected
    this.told = new Map(); // seat + kind → track
    this.attempt = 0;
    this.next = 0;
    this.heard = performance.now();
    this.bytes = 0;
    this.closed = false;
    this.off = signalling.on('relay_answer', (message) => this.answered(message));
    this.moved = -Infinity; // when the network changed: the first second without anything is enough then
    this.network = () => { this.moved = performance.now(); };
    navigator.connection?.addEventListener?.('change', this.network);
    addEventListener('online', this.network);
    this.timer = setInterval(() => this.tick(), EVERY);
  }

  /** Begin, or begin anew beside what is there. */
  start() {
    if (this.closed) return;
    this.coming?.close();
    const pc = new RTCPeerConnection({
      iceServers: this.ice, iceTransportPolicy: this.relayOnly ? 'relay' : 'all', bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require',
    });
    pc.name = crypto.randomUUID();
    this.coming = pc;
    this.lines(pc);
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'connected' && pc === this.coming) this.arrive(pc);
      if (pc.connectionState === 'failed' && (pc === this.coming || pc === this.pc)) this.heard = Math.min(this.heard, performance.now() - SILENCE);
      this.onChange();
    };
    this.offer(pc);
  }

  /** What we send. */
  lines(pc) {
    for (const kind of ['audio', 'video']) {
      const transceiver = pc.addTransceiver(this.track(kind) ?? kind, { direction: 'sendonly' });
      prefer(transceiver, kind);
      this.tune(transceiver.sender);
    }
    pc.thin = beginThin(pc, this.track('video'));
    prefer(pc.thin, 'video');
  }

  /** Of how many seats this connection receives. */
  get wanted() {
    return this.others().length;
  }

  /** What else each second's report says. */
  tiles() {
    return {};
  }

  /** The new connection carries media from here on. */
  arrive(pc) {
    const before = this.pc;
    this.pc = pc;
    this.coming = null;
    this.bytes = 0;
    this.heard = performance.now();
    this.attempt = 0;
    this.next = 0;
    this.assign(pc);
    before?.close();
  }

  /** One negotiation of a connection after the other. An answer that never comes holds up this connection alone. */
  offer(pc) {
    pc.chain = (pc.chain ?? Promise.resolve()).then(async () => {
      if (this.closed || pc.connectionState === 'closed' || pc.signalingState !== 'stable') return;
      const { wanted } = this;
      for (const kind of ['audio', 'video']) {
        const lines = pc.getTransceivers().filter((x) => x.receiver.track.kind === kind && x.direction === 'recvonly');
        for (let at = lines.length; at < wanted; at += 1) prefer(pc.addTransceiver(kind, { direction: 'recvonly' }), kind);
      }
      await describeSelf(pc);
      const answer = new Promise((resolve) => { pc.answered = resolve; });
      await this.signalling.send('offer', { to: 'relay', pc: pc.name, sdp: askForSpeech(pc.localDescription.sdp), speech: this.passing.low });
      const { sdp } = await answer;
      if (pc.signalingState !== 'have-local-offer') return;
      pc.theirs = sdp;
      await this.hear(pc);
      pc.seats = seatsOf(sdp);
      for (const { sender } of pc.getTransceivers()) await this.tune(sender);
      if (pc === this.pc) this.assign(pc);
    }).catch((error) => {
      if (!this.closed) console.warn('relay', error.name, error.message);
    });
  }

  /** The relay's description, with our wishes for how our sound goes: the first codec that is asked for is sent. */
  async hear(pc) {
    pc.speaks = this.speaks;
    await pc.setRemoteDescription({ type: 'answer', sdp: shapeSending(pc.theirs, { ...this.sound, picture: true }) });
  }

  /** Our sound goes otherwise from now on: the relay's last answer is read again. It is told nothing. */
  reshape(pc) {
    pc.chain = pc.chain.then(async () => {
      if (this.closed || !pc.theirs || pc.signalingState !== 'stable' || pc.speaks === this.speaks) return;
      await describeSelf(pc);
      await this.hear(pc).catch(async (error) => {
        await pc.setLocalDescription({ type: 'rollback' });
        throw error;
      });
    }).catch((error) => {
      if (!this.closed) console.warn('relay', error.name, error.message);
    });
  }

  answered({ pc: name, sdp }) {
    for (const pc of [this.pc, this.coming]) if (pc?.name === name) pc.answered?.({ sdp });
  }

  /** Who is present has changed. */
  seatsChanged() {
    for (const pc of [this.pc, this.coming]) if (pc) this.offer(pc);
  }

  /** Every line's track to its seat. */
  assign(pc) {
    const now = new Map();
    for (const { mid, receiver } of pc.getTransceivers()) {
      const seat = pc.seats?.get(mid);
      if (seat) now.set(`${receiver.track.kind} ${seat}`, receiver.track);
    }
    for (const [key, track] of [...this.told].filter(([key, track]) => now.get(key) !== track)) {
      const [kind, seat] = key.split(' ');
      if (!now.has(key)) this.onTrack(seat, kind, null, track);
    }
    for (const [key, track] of now) {
      if (this.told.get(key) === track) continue;
      const [kind, seat] = key.split(' ');
      this.onTrack(seat, kind, track);
    }
    this.told = now;
  }

  /** What of a kind we send; null where there is none. */
  track(kind) {
    return (kind === 'audio' ? this.devices.audio : this.devices.picture) ?? null;
  }

  async tune(sender) {
    if ([this.pc, this.coming].some((pc) => pc?.thin?.sender === sender)) {
      await shapeThin(sender, this.passed.thin);
      return;
    }
    const kind = sender.track?.kind;
    const params = kind && sender.getParameters();
    if (!params?.encodings?.length) return;
    const [encoding] = params.encodings;
    const { video } = this.ladder.sending;
    encoding.priority = encoding.networkPriority = kind === 'audio' ? 'high' : 'low';
    if (kind === 'audio') encoding.maxBitrate = this.sound.kbps * 1000;
    else {
      encoding.active = Boolean(video);
      if (video) {
        const { kbps, fps, lines: wanted } = pictureOf(sender.track, video);
        const lines = sender.track.screen ? wanted : Math.min(MOST.lines, wanted);
        encoding.maxBitrate = Math.min(MOST.kbps, kbps) * 1000;
        encoding.maxFramerate = Math.min(MOST.fps, fps);
        encoding.scaleResolutionDownBy = Math.max(1, (sender.track.getSettings?.().height ?? lines) / lines);
      }
    }
    await sender.setParameters(params).catch(() => {}); // an older browser lacks some of these
  }

  bound({ mode, kbps }) {
    this.choice = { mode, kbps };
    const limits = [this.limit, kbps].filter(Boolean);
    this.ladder.limit({ mode, kbps: limits.length ? Math.min(...limits) : 0 });
  }

  /** {mode, kbps} of this side from now on. */
  choose(choice) {
    this.bound(choice);
    return this.shape();
  }

  /** What we send as the ladder and the relay want it. */
  async shape() {
    for (const pc of [this.pc, this.coming]) {
      for (const sender of pc?.getSenders() ?? []) await this.tune(sender);
      if (pc?.theirs && pc.speaks !== this.speaks) this.reshape(pc);
    }
  }

  /** Other devices into the lines to send; nothing is negotiated. */
  async devicesChanged() {
    for (const pc of [this.pc, this.coming]) {
      for (const { sender, receiver, direction } of pc?.getTransceivers() ?? []) {
        const track = this.track(receiver.track.kind);
        if (direction !== 'sendonly' || sender.track === track) continue;
        await sender.replaceTrack(track);
        await this.tune(sender);
      }
    }
  }

  async tick() {
    const pc = this.pc ?? this.coming;
    if (!pc) return;
    if (pc.theirs && pc.speaks !== this.speaks) this.shape(); // original sound begins or ends
    const rows = await this.stats(pc);
    const bytes = rows.reduce((sum, row) => sum + (row.type === 'candidate-pair' ? row.bytesReceived ?? 0 : 0), 0);
    this.levels = this.read(pc, rows);
    if (pc === this.pc && bytes !== this.bytes) {
      this.heard = performance.now();
      this.passing.tell(rows, this.levels);
    }
    this.bytes = bytes;
    const patience = performance.now() - this.moved < FOLLOWED ? MISSED : SILENCE;
    if (performance.now() - this.heard >= patience && performance.now() >= this.next) this.rebuild();
    this.onChange();
  }

  async stats(pc) {
    return [...(await pc.getStats()).values()];
  }

  /** seat → {level, lost}: how loud each seat is (0 to 1) and the share of its sound that did not come. */
  read(pc, rows) {
    const found = new Map();
    for (const row of rows) {
      const seat = row.type === 'inbound-rtp' && row.kind === 'audio' && pc.seats?.get(row.mid);
      if (!seat) continue;
      const before = this.samples?.get(seat) ?? { made: 0, all: 0 };
      const made = (row.concealedSamples ?? 0) - (row.silentConcealedSamples ?? 0);
      const all = row.totalSamplesReceived ?? 0;
      found.set(seat, { level: row.audioLevel ?? 0, made, all, concealed: all > before.all ? Math.max(0, (made - before.made) / (all - before.all)) : 0 });
    }
    this.samples = found;
    return found;
  }

  async rebuild() {
    if (this.closed || !this.signalling.up) return;
    this.next = performance.now() + PAUSES[Math.min(this.attempt, PAUSES.length - 1)];
    this.attempt += 1;
    this.moved = -Infinity;
    if (this.ice.length) await this.fresh();
    this.start();
  }

  /** Credentials of the TURN relay end: new ones before every new connection. */
  fresh() {
    return new Promise((resolve) => {
      const done = () => { clearTimeout(timer); off(); resolve(); };
      const off = this.signalling.on('ice', ({ servers }) => { this.ice = servers; done(); });
      const timer = setTimeout(done, FRESH);
      this.signalling.send('ice').catch(done);
    });
  }

  /** The relay began a new life. */
  renew() {
    this.attempt = 0;
    this.rebuild();
  }

  /** 'connecting' | 'good' | 'fair' | 'poor' | 'silent' | 'none' */
  get condition() {
    const silent = performance.now() - this.heard;
    if (silent >= NO_PATH) return 'none';
    if (!this.pc) return 'connecting';
    if (silent >= SILENCE) return 'silent';
    if (LOW.includes(this.rung)) return 'poor'; // what we send suffers
    const worst = Math.max(0, ...[...(this.levels?.values() ?? [])].map((row) => row.concealed));
    return worst > 0.1 ? 'poor' : worst > 0.02 ? 'fair' : 'good';
  }

  get silent() {
    const silent = performance.now() - this.heard;
    return silent >= SILENCE ? Math.round(silent) : 0;
  }

  get rung() {
    return this.ladder.rung;
  }

  /** {rung, sees, thin, busy}: what the relay passes on to us. */
  get passed() {
    return this.passing.passed;
  }

  /** {kbps, ptime, red, original}: how our sound goes. */
  get sound() {
    return soundOf(this.ladder, this.devices.original);
  }

  /** Whether it goes with redundancy: the relay has to take that, too. */
  get redundant() {
    return this.sound.red && /^a=rtpmap:\d+ red\//im.test(this.pc?.theirs ?? '');
  }

  /** What of it stands in a description. */
  get speaks() {
    const { ptime, red, original } = this.sound;
    return JSON.stringify([ptime, red, original]);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    navigator.connection?.removeEventListener?.('change', this.network);
    removeEventListener('online', this.network);
    this.off();
    this.passing.stop();
    this.pc?.close();
    this.coming?.close();
    this.pc = this.coming = null;
  }
}
