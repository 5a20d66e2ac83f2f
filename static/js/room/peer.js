// One peer connection to one other seat: perfect negotiation (W3C webrtc §10.7), speech preferred.
//
// `pc` names the connection for both sides; whoever makes the first offer coins it. An offer under another name means
// that the other side began anew (reload, rebuild): this side begins anew too and answers.

import { describeSelf, opusToSend, opusWith } from './original.js';

const BEAT = '.';
const CLOCKED = { ordered: false, maxRetransmits: 0 };

/** Opus with redundancy first: at 20 % loss RED leaves 2–3 % concealed where FEC alone leaves 14 %. */
function preferRedundancy(transceiver) {
  const known = RTCRtpReceiver.getCapabilities?.('audio')?.codecs;
  if (!known || !transceiver.setCodecPreferences) return;
  const red = known.filter((codec) => codec.mimeType.toLowerCase() === 'audio/red');
  const opus = known.filter((codec) => codec.mimeType.toLowerCase() === 'audio/opus');
  const rest = known.filter((codec) => !red.includes(codec) && !opus.includes(codec));
  try {
    transceiver.setCodecPreferences([...red, ...opus, ...rest]);
  } catch { /* an older browser: its own order serves */ }
}

/** What we ask the other side to send: in-band FEC and silence suppression (RFC 7587 §6.1). */
export function askForSpeech(sdp) {
  return opusWith(sdp, ['useinbandfec', 'usedtx'], ['useinbandfec=1', 'usedtx=1']);
}

/**
 * The other side's description with the sending we want: libwebrtc sends the first codec that is asked for, in packets
 * of `ptime` ms (RFC 8866 §6.4). red: with redundancy (RFC 2198). original: in stereo. picture: none is sent when
 * false, nor sent again.
 */
export function shapeSending(sdp, { ptime, red, original = false, picture }) {
  const [head, ...sections] = sdp.split(/(?=^m=)/m);
  return [head, ...sections.map((section) => {
    if (section.startsWith('m=video') && !picture) return section.replace('a=sendrecv', 'a=sendonly').replace('a=recvonly', 'a=inactive');
    if (!section.startsWith('m=audio')) return section;
    const number = (codec) => new RegExp(`a=rtpmap:(\\d+) ${codec}/48000/2`, 'i').exec(section)?.[1];
    const first = (red ? ['red', 'opus'] : ['opus', 'red']).map(number).filter(Boolean);
    return opusToSend(section, original).replace(/^(m=audio \d+ \S+) ([\d ]+)/, (whole, line, types) =>
      [line, ...first, ...types.split(' ').filter((type) => !first.includes(type))].join(' '))
      .replace(/a=(max)?ptime:.*\r\n/g, '').concat(`a=ptime:${ptime}\r\n`);
  })].join('');
}

export class Peer {
  /**
   * tune(sender): sets what a sender may use, before its first packet. polite: gives way when both offer at once.
   * send(type, fields): reliable, to the other seat. tracks(): {audio, video} to send, null where there is none. ice:
   * RTCIceServer list. relayOnly: no direct path is tried. Callbacks: onTrack(track), onState(state), onBeat(),
   * onTold(fields of a quality report that came beside the heartbeat).
   */
  constructor({ polite, send, tracks, ice, relayOnly = false, tune, onTrack, onState, onBeat, onTold }) {
    Object.assign(this, { polite, send, tracks, ice, relayOnly, tune, onTrack, onState, onBeat, onTold });
    this.pc = null;
    this.name = '';
    this.sending = { ptime: 20, red: true, original: false, picture: true };
    this.chain = Promise.resolve(); // negotiation steps, one after the other
    this.closed = false;
  }

  get state() {
    return this.pc?.connectionState ?? 'new';
  }

  /** Begin a connection of our own. */
  start() {
    this.open(crypto.randomUUID());
    const { audio, video } = this.tracks();
    for (const [kind, track] of [['audio', audio], ['video', video]]) {
      const transceiver = this.pc.addTransceiver(track ?? kind, { direction: 'sendrecv' });
      if (kind === 'audio') preferRedundancy(transceiver);
      this.tune(transceiver.sender);
    }
  }

  open(name) {
    this.discard();
    this.name = name;
    this.offering = false;
    this.ignoring = false;
    this.early = [];
    const pc = new RTCPeerConnection({
      iceServers: this.ice, iceTransportPolicy: this.relayOnly ? 'relay' : 'all', bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require',
    });
    this.pc = pc;
    this.openedAt = performance.now();
    this.beats = pc.createDataChannel('beat', { negotiated: true, id: 1, ...CLOCKED });
    this.beats.onmessage = ({ data }) => {
      if (this.pc !== pc) return;
      this.onBeat();
      if (data !== BEAT) this.onTold(JSON.parse(data));
    };
    pc.ontrack = ({ track }) => { if (this.pc === pc) this.onTrack(track); };
    pc.onconnectionstatechange = () => { if (this.pc === pc) this.onState(pc.connectionState); };
    pc.onicecandidate = ({ candidate }) => {
      if (this.pc !== pc || !candidate) return;
      this.send('candidate', {
        pc: name, candidate: candidate.candidate, mid: candidate.sdpMid, line: candidate.sdpMLineIndex, ufrag: candidate.usernameFragment ?? null,
      });
    };
    pc.onnegotiationneeded = () => { if (this.pc === pc) this.step(() => this.offer(pc)); };
  }

  step(run) {
    this.chain = this.chain.then(run).catch((error) => { if (!this.closed) console.warn('negotiation', error.name, error.message); });
    return this.chain;
  }

  async offer(pc) {
    if (this.pc !== pc || pc.signalingState !== 'stable') return;
    this.offering = true;
    try {
      await describeSelf(pc);
      if (this.pc === pc && pc.localDescription.type === 'offer') {
        this.send('offer', { pc: this.name, sdp: askForSpeech(pc.localDescription.sdp) });
      }
    } finally {
      this.offering = false;
    }
  }

  /** An offer or answer of the other side. */
  describe({ type, pc: name, sdp }) {
    return this.step(async () => {
      if (this.closed) return;
      if (type === 'answer') {
        if (name !== this.name || this.pc?.signalingState !== 'have-local-offer') return; // of an earlier offer
        this.theirs = sdp;
        await this.pc.setRemoteDescription({ type, sdp: shapeSending(sdp, this.sending) });
        await this.addEarly();
        return;
      }
      const clash = this.pc && this.pc.signalingState !== 'stable';
      this.ignoring = Boolean(clash) && !this.polite;
      if (this.ignoring) return;
      if (name !== this.name) this.open(name);
      const pc = this.pc;
      this.theirs = sdp;
      // Answered as if a picture went: one that is left out here the other side would not receive later either.
      await pc.setRemoteDescription({ type, sdp: shapeSending(sdp, { ...this.sending, picture: true }) }); // rolls our own offer back where both made one
      await this.attach();
      await this.addEarly();
      await describeSelf(pc);
      this.send('answer', { pc: name, sdp: askForSpeech(pc.localDescription.sdp) });
      if (!this.sending.picture) await this.reshape(pc);
    });
  }

  /**
   * Send otherwise from now on ({ptime, red, original, picture}): the other side's last description is read again with other
   * wishes, as if it had come anew. Nothing is told: what we would answer, the other side has agreed to already.
   */
  shape(sending) {
    if (JSON.stringify(sending) === JSON.stringify(this.sending)) return this.chain;
    this.sending = sending;
    return this.step(async () => {
      const { pc } = this;
      if (!pc?.currentRemoteDescription || pc.signalingState !== 'stable') return; // the next description brings it
      await this.reshape(pc);
    });
  }

  async reshape(pc) {
    const sdp = shapeSending(this.theirs, this.sending).replace(/a=setup:\w+/g, 'a=setup:actpass');
    await pc.setRemoteDescription({ type: 'offer', sdp });
    await describeSelf(pc);
  }

  candidate({ pc: name, candidate, mid, line, ufrag }) {
    return this.step(async () => {
      if (this.closed || name !== this.name || !this.pc) return;
      const init = { candidate, sdpMid: mid, sdpMLineIndex: line, ...(ufrag ? { usernameFragment: ufrag } : {}) };
      if (!this.pc.remoteDescription) {
        this.early.push(init);
        return;
      }
      await this.pc.addIceCandidate(init).catch((error) => { if (!this.ignoring) console.warn('candidate', error.message); });
    });
  }

  async addEarly() {
    for (const init of this.early.splice(0)) await this.pc.addIceCandidate(init).catch(() => {});
  }

  /** Our tracks into the connection's two lines; no negotiation is needed for a change of device. */
  async attach() {
    if (!this.pc) return;
    const tracks = this.tracks();
    for (const transceiver of this.pc.getTransceivers()) {
      const kind = transceiver.receiver.track.kind;
      if (transceiver.direction !== 'sendrecv') transceiver.direction = 'sendrecv';
      if (transceiver.sender.track !== (tracks[kind] ?? null)) await transceiver.sender.replaceTrack(tracks[kind] ?? null);
      await this.tune(transceiver.sender);
      if (kind === 'audio' && transceiver.currentDirection === null) preferRedundancy(transceiver);
    }
  }

  beat() {
    if (this.beats?.readyState === 'open') this.beats.send(BEAT);
  }

  /** A quality report beside the heartbeat, while the server cannot carry it. */
  tell(fields) {
    if (this.beats?.readyState === 'open') this.beats.send(JSON.stringify(fields));
  }

  /** ICE restart with fresh credentials. */
  restart(ice) {
    if (!this.pc) return;
    this.fresh(ice);
    this.pc.restartIce();
  }

  fresh(ice) {
    if (!ice) return;
    this.ice = ice;
    try {
      this.pc?.setConfiguration({ ...this.pc.getConfiguration(), iceServers: ice });
    } catch { /* the connection keeps what it has */ }
  }

  async stats() {
    return this.pc ? this.pc.getStats() : new Map();
  }

  /** Bytes of speech, picture and data that have come in on any path of the connection. */
  async received() {
    return [...(await this.stats()).values()].reduce((sum, row) => sum + (row.type === 'candidate-pair' ? row.bytesReceived ?? 0 : 0), 0);
  }

  /** 'direct' | 'relay' | 'none': the kind of path that the selected pair takes. */
  async path() {
    const all = await this.stats();
    const transport = [...all.values()].find((row) => row.type === 'transport' && row.selectedCandidatePairId);
    const pair = transport && all.get(transport.selectedCandidatePairId);
    if (!pair || this.state !== 'connected') return 'none';
    const relayed = [pair.localCandidateId, pair.remoteCandidateId].some((id) => all.get(id)?.candidateType === 'relay');
    return relayed ? 'relay' : 'direct';
  }

  discard() {
    const { pc } = this;
    this.pc = null;
    if (!pc) return;
    pc.onnegotiationneeded = pc.onicecandidate = pc.ontrack = pc.onconnectionstatechange = null;
    pc.close();
  }

  close() {
    this.closed = true;
    this.discard();
  }
}
