// What the relay passes on to this seat, and what it needs for that: each second's report of what is received, the small
// picture that others with a thin line are shown, and our own ladder by what the relay says it misses of us.

const THIN = { kbps: 60, fps: 8, lines: 120 };
export const LOW = ['stills', 'audio', 'telephone'];
const ALL = { rung: 'video', sees: '', thin: false, busy: false, chosen: false };

/** The line of small pictures: idle until somebody needs it. */
export function beginThin(pc, track) {
  return pc.addTransceiver(track ?? 'video', { direction: 'sendonly', sendEncodings: [{ active: false }] });
}

/** The small picture goes, or does not. */
export async function shapeThin(sender, wanted) {
  const params = sender.getParameters();
  const [encoding] = params.encodings ?? [];
  if (!encoding || (!encoding.active && !wanted)) return;
  encoding.active = Boolean(wanted && sender.track);
  encoding.maxBitrate = THIN.kbps * 1000;
  encoding.maxFramerate = THIN.fps;
  encoding.scaleResolutionDownBy = Math.max(1, (sender.track?.getSettings?.().height ?? THIN.lines) / THIN.lines);
  encoding.priority = encoding.networkPriority = 'low';
  await sender.setParameters(params).catch(() => {}); // an older browser lacks some of these
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);

/** The round trip of the ways that media takes, in ms; undefined where the browser does not say. */
function roundTrip(rows) {
  const chosen = rows.filter((row) => row.type === 'transport').map((row) => row.selectedCandidatePairId).filter(Boolean);
  const all = rows.filter((row) => row.type === 'candidate-pair' && (chosen.length ? chosen.includes(row.id) : row.selected))
    .map((row) => row.currentRoundTripTime).filter((value) => value !== undefined);
  return all.length ? Math.round(Math.max(...all) * 1000) : undefined;
}

export class Passing {
  /** relay: Relay. wanted(): the seat shown large. former: the call between two browsers before, or null. */
  constructor({ relay, wanted, former }) {
    Object.assign(this, { relay, wanted });
    this.passed = ALL;
    this.before = null; // sums of the last second
    this.carried = new Map(); // of each path
    this.reported = 0; // the relay's last report of our sound
    const { rung, camera, pattern } = former?.other ?? {};
    this.low = relay.choice.mode === 'speech' || Boolean((camera || pattern) && LOW.includes(rung)); // what is wanted, or could be received of the other
    if (former && LOW.includes(former.rung)) { // what we could send
      const { at, capacity, wait } = former.ladder;
      Object.assign(relay.ladder, { at, capacity, wait });
    }
    this.off = relay.signalling.on('relay_line', (message) => this.take(message));
  }

  take({ rung, sees, thin, busy, chosen }) {
    const before = this.passed;
    this.passed = { rung, sees, thin, busy, chosen };
    if (before.busy && !busy) this.relay.seatsChanged(); // there is room for pictures: they are offered again
    this.relay.shape();
    this.relay.onChange();
  }

  /** A second of what came: rows of getStats, levels: seat → {concealed}. */
  tell(rows, levels) {
    this.count(rows);
    const audio = rows.filter((row) => row.type === 'inbound-rtp' && row.kind === 'audio');
    const pairs = rows.filter((row) => row.type === 'candidate-pair');
    const now = {
      at: performance.now(), lost: sum(audio, 'packetsLost'), came: sum(audio, 'packetsReceived'),
      bytes: sum(pairs, 'bytesReceived'), sent: sum(pairs, 'bytesSent'),
    };
    const old = this.before;
    this.before = now;
    if (!old || now.came < old.came || now.at - old.at > 3000) return; // a new connection, or one that was silent
    const rate = (bytes) => (bytes * 8) / (now.at - old.at);
    const lost = Math.max(0, now.lost - old.lost);
    const all = lost + now.came - old.came;
    const heard = Object.fromEntries([...levels].map(([seat, { concealed }]) => [seat, Math.min(1, concealed)]));
    const rtt = roundTrip(rows);
    const worst = Math.max(0, ...Object.values(heard));
    if (this.relay.signalling.up) {
      this.relay.signalling.loose('quality', {
        of: 'relay', concealed: worst, ...(all > 0 && { loss: lost / all }), ...(rtt !== undefined && { rtt_ms: rtt }), kbps: Math.round(rate(now.bytes - old.bytes)), freezes: this.freezes(rows), wants: this.wanted() ?? '',
        ...this.relay.tiles(),
        ...(this.relay.choice.mode !== 'clear' && { heard }), // who chose pictures keeps them
      });
    }
    this.uplink(rows, rate(now.sent - old.sent), now.at);
  }

  /** Adds what each path has carried since it was last looked at. */
  count(rows) {
    const { used } = this.relay;
    for (const { id, type, bytesSent: sent = 0, bytesReceived: received = 0 } of rows) {
      if (type !== 'candidate-pair') continue;
      const old = this.carried.get(id) ?? { sent: 0, received: 0 };
      used.sent += Math.max(0, sent - old.sent);
      used.received += Math.max(0, received - old.received);
      this.carried.set(id, { sent, received });
    }
  }

  /** Pictures that stood still in this second; where they are left out on purpose none do. */
  freezes(rows) {
    const all = sum(rows.filter((row) => row.type === 'inbound-rtp' && row.kind === 'video'), 'freezeCount');
    const fresh = this.passed.rung === 'video' ? Math.max(0, all - (this.frozen ?? all)) : 0;
    this.frozen = all;
    return fresh;
  }

  /** Our own ladder: what the relay misses of our sound. Redundancy bridges all of it but two losses in a row. */
  uplink(rows, kbps, now) {
    const told = rows.find((row) => row.type === 'remote-inbound-rtp' && row.kind === 'audio');
    if (!told || told.timestamp === this.reported) return;
    this.reported = told.timestamp;
    const { relay } = this;
    const { rung } = relay;
    const loss = told.fractionLost ?? 0;
    if (relay.ladder.hear({ ...(relay.redundant && { concealed: loss * loss }), loss, kbps: kbps * (1 - loss) }, now)) relay.shape();
    if (relay.rung !== rung) relay.onRung();
  }

  stop() {
    this.off();
  }
}
