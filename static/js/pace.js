// How fast a picture may go while people speak over the same line.
//
// A piece is a burst: for as long as it takes, speech waits behind it. So on the ladder's lower rungs a piece is no longer
// than what the line moves in PIECE_MS, at most `most` bytes, and then the line rests so that pieces take only `share`
// of the time. Both follow from how long the last piece took, so a line of 64 kbit/s gets 2 KB every other second, and
// one that is only lossy gets more. Where the other side reports that speech was made up, pieces are smallest and rests
// longest until it is well again. Pure: no browser API, no clock.

const KB = 1024;
const LEAST = 2 * KB;
const PIECE_MS = 300;
const SUFFERS = 0.02; // of a second of speech is made up
const REST = 3; // times as long as usual while speech suffers

/** By the rung of what we send (room/ladder.js); '' where nobody speaks. */
const PLANS = {
  '': { first: 256 * KB, most: 1024 * KB, share: 1, piece: 2000 },
  video: { first: 64 * KB, most: 256 * KB, share: 1, piece: 1000 },
  small: { first: 8 * KB, most: 32 * KB, share: 1 / 2, piece: PIECE_MS },
  stills: { first: 4 * KB, most: 16 * KB, share: 1 / 3, piece: PIECE_MS },
  audio: { first: LEAST, most: 16 * KB, share: 1 / 4, piece: PIECE_MS },
  telephone: { first: 4 * KB, most: 16 * KB, share: 1, piece: 1000 },
};

export class Pace {
  constructor() {
    this.rung = null;
    this.size = 0;
  }

  /** Bytes of the next piece on `rung`; `bad`: share of speech that was made up at the other side, of late. */
  next(rung, bad = 0) {
    const plan = PLANS[rung] ?? PLANS[''];
    if (rung !== this.rung) this.size = Math.min(this.size || plan.first, plan.first);
    this.rung = rung;
    return bad > SUFFERS && plan.share < 1 ? LEAST : Math.min(this.size, plan.most);
  }

  /** `bytes` took `ms`. How many ms to rest before the next. */
  took(bytes, ms, bad = 0) {
    const plan = PLANS[this.rung] ?? PLANS[''];
    const fits = (bytes / Math.max(1, ms)) * plan.piece;
    this.size = Math.round(Math.max(LEAST, Math.min(fits, bytes * 2, plan.most)));
    return Math.round(ms * (1 / plan.share - 1) * (bad > SUFFERS ? REST : 1));
  }
}
