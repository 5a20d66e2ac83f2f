// Does our own sound come back? Two seats in one room hear each other twice: through the air at once, and through the
// network a little later. So the loudness that comes in follows that of our own microphone; whose voice it is does not
// matter. A loudspeaker heard by our microphone is the other way round (ours follows theirs) and is the browser's to
// cancel. Pure: no page, no clock.

export const STEP = 50; // ms between two levels
export const LENGTH = 100; // levels of a window: 5 s
const LAGS = 12; // 600 ms
const NEAR = 5; // a level counts against what is around it: pauses and turns of speech are alike everywhere
const FLOOR = -60; // dBFS
const LOUD = -45;
const LOUD_STEPS = 15; // of a window: there is something to compare
const ALIKE = 0.6; // by chance two voices reach 0.4
const ONE_WAY = 0.1; // better than in the other direction, which a steady rhythm is not

/** Levels (dBFS) as they rise and fall against their surroundings. */
function shape(levels) {
  const kept = levels.map((level) => Math.max(FLOOR, level));
  return kept.map((level, at) => {
    const around = kept.slice(Math.max(0, at - NEAR), at + NEAR + 1);
    return level - around.reduce((sum, one) => sum + one, 0) / around.length;
  });
}

/** Pearson's correlation of a[i] with b[i + lag]. */
function alike(a, b, lag) {
  let [n, sumA, sumB, sumAA, sumBB, sumAB] = [0, 0, 0, 0, 0, 0];
  for (let at = Math.max(0, -lag); at < a.length && at + lag < b.length; at += 1) {
    const [x, y] = [a[at], b[at + lag]];
    n += 1;
    sumA += x;
    sumB += y;
    sumAA += x * x;
    sumBB += y * y;
    sumAB += x * y;
  }
  const spread = Math.sqrt((sumAA - (sumA * sumA) / n) * (sumBB - (sumB * sumB) / n));
  return spread > 0 ? (sumAB - (sumA * sumB) / n) / spread : 0;
}

/**
 * own, incoming: LENGTH levels in dBFS, one every STEP ms, oldest first. After how many ms our own sound comes back, 0
 * when it does not.
 */
export function comesBack(own, incoming) {
  if ([own, incoming].some((levels) => levels.filter((level) => level > LOUD).length < LOUD_STEPS)) return 0;
  const [a, b] = [shape(own), shape(incoming)];
  let [best, at, other] = [0, 0, 0];
  for (let lag = -LAGS; lag <= LAGS; lag += 1) {
    const found = alike(a, b, lag);
    if (lag <= 0) other = Math.max(other, found);
    else if (found > best) [best, at] = [found, lag];
  }
  return best >= ALIKE && best >= other + ONE_WAY ? at * STEP : 0;
}

/** Windows that overlap by half; true from the second in a row that finds the same delay. */
export class SameRoom {
  constructor() {
    this.forget();
  }

  forget() {
    this.own = [];
    this.incoming = [];
    this.last = null; // ms of the last levels
    this.delay = 0;
  }

  /** Both levels at `now` ms. True: our sound came back just now; false: it did not; null: too early to tell. */
  hear(own, incoming, now) {
    const steps = this.last === null ? 1 : Math.round((now - this.last) / STEP);
    if (steps > 4) this.forget(); // a busy machine: what was between is unknown
    if (steps < 1) return null;
    this.last = now;
    for (let n = 0; n < Math.min(steps, 4); n += 1) {
      this.own.push(own);
      this.incoming.push(incoming);
    }
    if (this.own.length < LENGTH) return null;
    const before = this.delay;
    this.delay = comesBack(this.own.slice(0, LENGTH), this.incoming.slice(0, LENGTH));
    this.own.splice(0, LENGTH / 2);
    this.incoming.splice(0, LENGTH / 2);
    return this.delay > 0 && before > 0 && Math.abs(this.delay - before) <= STEP;
  }
}
