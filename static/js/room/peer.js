// One peer connection to one other seat: perfect negotiation (W3C webrtc §10.7), speech preferred.
//
// `pc` names the connection for both sides; whoever makes the first offer coins it. An offer under another name means
// that the other side began anew (reload, rebuild): this side begins anew too and answers.

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
  const opus = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
  if (!opus) return sdp;
  const line = new RegExp(`a=fmtp:${opus} ([^\r\n]*)`);
  return sdp.replace(line, (whole, params) => {
    const kept = params.split(';').filter((pair) => pair && !/^(useinbandfec|usedtx)=/.test(pair.trim()));
    return `a=fmtp:${opus} ${[...kept, 'useinbandfec=1', 'usedtx=1'].join(';')}`;
  });
}

export class Peer {
  /**
   * tune(sender): sets what a sender may use, before its first packet. polite: gives way when both offer at once. send(type, fields): reliable, to the other seat. tracks(): {audio, video}
   * to send, null where there is none. ice: RTCIceServer list. Callbacks: onTrack(track), onState(state), onBeat().
   */
  constructor({ polite, send, tracks, ice, tune, onTrack, onState, onBeat }) {
    Object.assign(this, { polite, send, tracks, ice, tune, onTrack, onState, onBeat });
    this.pc = null;
    this.name = '';
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
    const pc = new RTCPeerConnection({ iceServers: this.ice, bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.pc = pc;
    this.openedAt = performance.now();
    this.beats = pc.createDataChannel('beat', { negotiated: true, id: 1, ...CLOCKED });
    this.beats.onmessage = () => { if (this.pc === pc) this.onBeat(); };
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
      await pc.setLocalDescription();
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
        await this.pc.setRemoteDescription({ type, sdp });
        await this.addEarly();
        return;
      }
      const clash = this.pc && this.pc.signalingState !== 'stable';
      this.ignoring = Boolean(clash) && !this.polite;
      if (this.ignoring) return;
      if (name !== this.name) this.open(name);
      const pc = this.pc;
      await pc.setRemoteDescription({ type, sdp }); // rolls our own offer back where both made one
      await this.attach();
      await this.addEarly();
      await pc.setLocalDescription();
      this.send('answer', { pc: name, sdp: askForSpeech(pc.localDescription.sdp) });
    });
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
    if (this.beats?.readyState === 'open') this.beats.send('.');
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
