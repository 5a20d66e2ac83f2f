// Speech first: which picture we send, and how we speak, decided from what the other side says it receives.
//
// Pure: no browser API, no clock. Down when speech suffers, straight to the rung that fits. Up one rung at a time: first
// redundant speech is sent as heavy as that rung would be, so that a line without room for it loses nothing that is
// heard; then the rung on trial. Rates are kbit/s as the receiver counts them (RTP, without IP and UDP).

export const RUNGS = ['video', 'small', 'stills', 'audio', 'telephone'];
export const MODES = ['auto', 'clear', 'smooth', 'speech'];

const [VIDEO, SMALL, STILLS, AUDIO, TELEPHONE] = RUNGS.keys();
const PICTURE = [
  { kbps: 1500, fps: 30, lines: 720 },
  { kbps: 200, fps: 15, lines: 360 },
  { kbps: 20, fps: 2, lines: 180 },
];
const NEEDS = [600, 220, 60, 0, 0]; // what must come through for a rung to be chosen
const PROVED = [Infinity, 350, 60, 0, 0]; // what a passed trial shows to come through
const PROBES = [[], [32, 56, 100], [20, 24, 24], [], []]; // speech, second by second, that weighs twice (first: the browser's own rate control)
// A chosen mode as [best, worst] rung.
const RANGE = { auto: [VIDEO, TELEPHONE], clear: [VIDEO, SMALL], smooth: [SMALL, TELEPHONE], speech: [AUDIO, TELEPHONE] };

const AT_ONCE = 0.05; // concealed share of a second
const SOON = 0.02; // … of two
const WELL = 0.01;
const SECOND = 900; // reports come each second, a little early or late
const SETTLE = 2000; // after a fall: what is reported then still tells of the rung before
const CUT_MS = 6000; // a silence is noticed after three seconds
const BACK_MS = 3000; // after a silence: the other side may have the line back a second later than we
const STRIKE = 10_000; // in trouble again so soon: no more guessing
const FIRST_WAIT = 10_000;
const LONGEST_WAIT = 120_000;
const TRIAL_MS = 5000;
const PROVEN = 30_000; // a rung that falls sooner after its trial has failed it
const HOPELESS = 0.2;
const HOPELESS_MS = 10_000;
const HEAVY = { kbps: 24, room: 150 }; // speech whose frames carry the one before them too (RFC 6716 §2.1.7): two losses in a row are bridged
const ROOM_FOR_RED = [300, 200, 500, 500, 500]; // redundancy doubles speech, and the first figure in trouble may be too high
const FORGET = 0.3;
const RED_MS = 6000; // so long until it shows whether redundancy helps
const LOST = 0.05; // more packets than usual: the probe was too heavy

/** How much of a second was made up; null when nothing tells. Without concealment figures loss must do. */
export function badness({ concealed, loss }) {
  if (concealed !== undefined) return concealed;
  return loss === undefined ? null : loss / 2; // redundancy hides about half of it
}

export class Ladder {
  constructor() {
    this.at = VIDEO; // where speech lets us be; `rung` keeps within what was chosen
    [this.best, this.worst] = RANGE.auto;
    this.cap = Infinity;
    this.capacity = Infinity; // what last came through in trouble
    this.redundant = null; // null: by capacity
    this.wait = FIRST_WAIT;
    this.trial = null; // {to, since, probe: kbit/s of speech, lost: [share of each second]}
    this.hush = false; // no picture just after a fall: what was lost of it would be sent again, and again in the way
    this.fell = -Infinity;
    this.was = VIDEO; // before the last fall
    this.deaf = -Infinity;
    this.accepted = -Infinity;
    this.over = null; // since when more than SOON is concealed
    this.well = null; // since when less than WELL
    this.hopeless = null;
    this.usual = 0; // loss while all is well
    this.pain = 0; // what was made up of late
    this.why = 'start'; // start | speech (it suffered) | trial | passed | failed | chosen
  }

  get index() {
    return Math.max(this.best, Math.min(this.at, this.worst));
  }

  get rung() {
    return RUNGS[this.index];
  }

  /** What to send: {rung, video: {kbps, fps, lines} or null, speech: {kbps, ptime (ms), red}}. */
  get sending() {
    const { index, trial } = this;
    const room = Math.min(this.cap, this.capacity);
    const low = index >= STILLS;
    const probe = trial?.probe ?? 0;
    const red = probe > 0 || ((low ? this.redundant : null) ?? room >= ROOM_FOR_RED[index]);
    // Long packets: a third of the headers. Redundancy comes with the next packet, so then they are short.
    const ptime = low && (!red || (probe > 0 && probe <= 24)) ? 60 : 20;
    const base = low ? (red && room >= HEAVY.room ? HEAVY.kbps : 16) : (room < 400 ? 24 : 32);
    const speech = { kbps: probe || base, ptime, red };
    const left = low ? Infinity : Math.max(60, (trial ? this.cap : room) * 0.8 - 80);
    const picture = this.hush ? null : PICTURE[index];
    const video = picture ? { ...picture, kbps: Math.round(Math.min(picture.kbps, left)) } : null;
    return { rung: this.rung, video, speech };
  }

  /**
   * mode: of MODES. most: the best rung the other side wants. kbps: the smallest limit anybody set, 0 for none.
   * True when we send otherwise from now on.
   */
  limit({ mode = 'auto', most = 'video', kbps = 0 }) {
    const before = JSON.stringify(this.sending);
    this.cap = kbps || Infinity;
    const [best, worst] = RANGE[mode] ?? RANGE.auto;
    this.best = Math.max(best, RUNGS.indexOf(most), NEEDS.findIndex((need) => need <= this.cap));
    this.worst = Math.max(worst, this.best);
    const changed = JSON.stringify(this.sending) !== before;
    if (changed) this.why = 'chosen';
    return changed;
  }

  /**
   * One report of the other side ({concealed, loss: 0…1, kbps}; what is not measured is absent) at `now` ms.
   * True when we send otherwise from now on.
   */
  hear(report, now) {
    const bad = badness(report);
    if (now - this.fell < SETTLE || now < this.deaf) return false;
    const paused = this.hush && this.index < AUDIO;
    this.hush = false;
    return (bad !== null && this.judge(bad, report, now)) || paused;
  }

  /**
   * Nothing at all arrives: no matter of rungs. What was taken for spoilt speech just before was the line's end, and
   * what the other side wrote of that second may arrive only when the line is back.
   */
  silence(now) {
    this.deaf = Infinity;
    if (this.why !== 'speech' || now - this.fell > CUT_MS) return false;
    this.hush = false;
    this.capacity = Infinity;
    this.move(this.was, 'start');
    return true;
  }

  /** The line is back; what is reported first still tells of the silence. */
  back(now) {
    this.deaf = now + BACK_MS;
  }

  judge(bad, report, now) {
    this.pain += (bad - this.pain) * FORGET;
    this.well = bad < WELL ? this.well ?? now - SECOND : null;
    this.over = bad > SOON ? this.over ?? now : null;
    this.hopeless = bad > HOPELESS && this.index >= AUDIO ? this.hopeless ?? now : null;
    if (bad > AT_ONCE || (this.over !== null && now - this.over >= SECOND)) return this.fall(bad, report, now);
    if (this.trial) return this.tried(report, now);
    if (this.well === null) return false;
    this.usual += ((report.loss ?? 0) - this.usual) * FORGET;
    if (this.at <= this.best || now - this.well < this.wait) return false;
    const to = this.at - 1;
    this.trial = { to, since: now, probe: PROBES[to][0] ?? 0, lost: [] };
    if (!this.trial.probe) this.move(to, 'trial');
    return true;
  }

  /** A second of a probe or trial that went well enough to be heard. */
  tried({ loss = 0 }, now) {
    const { trial } = this;
    if (trial.probe) {
      trial.lost.push(loss);
      const mean = trial.lost.reduce((sum, one) => sum + one, 0) / trial.lost.length;
      if (loss > this.usual + 4 * LOST || (mean > this.usual + LOST && trial.lost.length > 1)) return this.failed(now);
      const probe = PROBES[trial.to][Math.round((now - trial.since) / 1000)] ?? 0;
      if (probe === trial.probe) return false;
      trial.probe = probe;
      if (!probe) {
        trial.since = now;
        this.move(trial.to, 'trial');
      }
      return true;
    }
    if (now - trial.since < TRIAL_MS) return false;
    this.trial = null;
    this.accepted = now;
    this.capacity = Math.max(this.capacity, PROVED[this.at]);
    this.why = 'passed';
    return true;
  }

  failed(now) {
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    const { to } = this.trial;
    this.trial = null;
    this.fell = now;
    this.hush = true;
    this.move(to + 1, 'failed');
    return true;
  }

  fall(bad, { kbps, loss = 0 }, now) {
    if (this.trial) return this.failed(now);
    const { index } = this;
    if (index >= AUDIO || index >= this.worst) return this.lowest(bad, loss, now);
    this.wait = now - this.accepted < PROVEN ? Math.min(this.wait * 2, LONGEST_WAIT) : FIRST_WAIT;
    const left = (kbps ?? 0) * Math.max(0, 1 - 2 * loss); // a second that began well promises too much
    const again = now - this.fell < STRIKE;
    this.capacity = again && this.capacity !== Infinity ? Math.max(this.capacity, left) : left;
    const fits = NEEDS.findIndex((need, at) => at > index && need <= left * 0.9);
    this.fell = now;
    this.hush = true;
    this.redundant = null;
    if (!again) this.was = this.at;
    this.move(again ? AUDIO : fits, 'speech');
    return true;
  }

  /** Nothing smaller to send: redundancy if packets get lost, off again if that made it worse; then the telephone. */
  lowest(bad, loss, now) {
    if (this.hopeless !== null && now - this.hopeless >= HOPELESS_MS && this.at === AUDIO) {
      this.fell = now;
      this.move(TELEPHONE, 'speech');
      return true;
    }
    if (this.redundant === null && !this.sending.speech.red && loss > SOON) this.without = Math.max(bad, this.pain);
    else if (!this.redundant || this.pain <= this.without || now - this.fell < RED_MS) return false;
    this.redundant = !this.redundant;
    this.fell = now;
    this.over = null;
    return true;
  }

  move(to, why) {
    Object.assign(this, { at: to, why, over: null, well: null, hopeless: null });
  }
}
