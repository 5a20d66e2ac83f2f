// What arrives here, second by second, told to the side that sends it: only the receiver knows what was made up.

const share = (part, whole) => (whole > 0 ? Math.max(0, Math.min(1, part / whole)) : undefined);

/** Differences of two getStats() readings as the fields of `quality`; what the browser does not give stays absent. */
export function compare(before, now) {
  const rows = (all, type, kind) => [...all.values()].find((row) => row.type === type && (!kind || row.kind === kind));
  const fields = {};
  const audio = rows(now, 'inbound-rtp', 'audio');
  const audioBefore = audio && before?.get(audio.id);
  if (audio && audioBefore) {
    const samples = audio.totalSamplesReceived - audioBefore.totalSamplesReceived;
    const concealed = (audio.concealedSamples - audioBefore.concealedSamples)
      - ((audio.silentConcealedSamples ?? 0) - (audioBefore.silentConcealedSamples ?? 0));
    const lost = audio.packetsLost - audioBefore.packetsLost;
    const received = audio.packetsReceived - audioBefore.packetsReceived;
    fields.concealed = share(concealed, samples);
    fields.loss = share(lost, lost + received);
    if (audio.jitter !== undefined) fields.jitter_ms = Math.round(audio.jitter * 1000);
  }
  const video = rows(now, 'inbound-rtp', 'video');
  const videoBefore = video && before?.get(video.id);
  if (video && videoBefore) {
    if (video.freezeCount !== undefined) fields.freezes = Math.max(0, video.freezeCount - (videoBefore.freezeCount ?? 0));
    if (video.framesDecoded !== undefined) fields.frames = Math.max(0, video.framesDecoded - (videoBefore.framesDecoded ?? 0));
  }
  const transport = rows(now, 'transport');
  const transportBefore = transport && before?.get(transport.id);
  if (transport && transportBefore && transport.timestamp > transportBefore.timestamp) {
    fields.kbps = Math.round(((transport.bytesReceived - transportBefore.bytesReceived) * 8) / (transport.timestamp - transportBefore.timestamp));
  }
  const rtt = transport && now.get(transport.selectedCandidatePairId)?.currentRoundTripTime;
  if (rtt !== undefined) fields.rtt_ms = Math.round(rtt * 1000);
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && Number.isFinite(value)));
}

export class QualityReporter {
  /** peer: Peer. report(fields) each second while connected. */
  constructor({ peer, report }) {
    this.timer = setInterval(async () => {
      if (peer.state !== 'connected') {
        this.before = null;
        return;
      }
      const now = new Map((await peer.stats()).entries());
      const fields = this.before ? compare(this.before, now) : {};
      this.before = now;
      if (Object.keys(fields).length) report(fields);
    }, 1000);
  }

  stop() {
    clearInterval(this.timer);
  }
}

/** 'good' | 'fair' | 'poor' by the newest report about what somebody receives. */
export function grade({ concealed = 0, loss = 0, rtt_ms: rtt = 0, freezes = 0 }) {
  if (concealed > 0.05 || loss > 0.1) return 'poor';
  if (concealed > 0.02 || loss > 0.03 || rtt > 400 || freezes > 0) return 'fair';
  return 'good';
}
