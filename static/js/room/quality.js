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

/** Adds to `used` what the transport has carried between two readings. */
function count(before, now, used) {
  for (const row of now.values()) {
    const old = row.type === 'transport' && before?.get(row.id);
    if (!old) continue;
    used.sent += row.bytesSent - old.bytesSent;
    used.received += row.bytesReceived - old.bytesReceived;
  }
}

const LOSSY = 0.03;
const LONG = 100; // ms: what was lost stands again in the next packet and the one after; played earlier it comes too late
const CALM = 10; // seconds without loss until speech is played at once again

/** How long speech should wait before it is played, in ms, null for the browser's own choice: {wait, calm} → the next. */
export function patience({ wait = null, calm = 0 }, loss) {
  if (loss === undefined) return { wait, calm };
  if (loss > LOSSY) return { wait: LONG, calm: 0 };
  return calm + 1 >= CALM ? { wait: null, calm: 0 } : { wait, calm: calm + 1 };
}

/** Has the speech of a connection wait so long; an older browser keeps its own time. */
function hold(pc, wait) {
  for (const receiver of pc?.getReceivers() ?? []) {
    if (receiver.track.kind === 'audio' && receiver.jitterBufferTarget !== wait) receiver.jitterBufferTarget = wait;
  }
}

const HALF = 500;
const TROUBLE = 0.1; // of half a second: more than may be lost of a whole one

export class QualityReporter {
  /**
   * peer: Peer. report(fields) each second while connected; at once when half a second of speech was spoilt.
   * used: {sent, received} bytes, counted on.
   */
  constructor({ peer, used, report }) {
    let told = null; // {at, stats} of the last report
    let half = null; // stats half a second ago
    let held = {};
    this.timer = setInterval(async () => {
      if (peer.state !== 'connected') {
        told = half = null;
        return;
      }
      const stats = new Map((await peer.stats()).entries());
      const now = performance.now();
      const fresh = half ? compare(half, stats) : {};
      count(half, stats, used);
      half = stats;
      if (fresh.kbps === 0) { // silence is the watchdog's; what comes after it begins anew
        told = null;
        return;
      }
      told ??= { at: now, stats };
      const trouble = fresh.concealed > TROUBLE;
      if (now - told.at < 2 * HALF - 100 && !trouble) return;
      const fields = trouble ? fresh : compare(told.stats, stats);
      told = { at: now, stats };
      held = patience(held, fields.loss);
      hold(peer.pc, held.wait);
      if (Object.keys(fields).length) report(fields);
    }, HALF);
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
