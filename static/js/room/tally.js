// What only this browser knows of its line, for the quality report of the session: how long it took until somebody else
// was seen or heard, how often and how long nothing came, how much was carried. Told as what came since the last time
// that was acknowledged.

const EVERY = 10000;
const SOON = 1000; // what has just happened is told a moment later: media goes first

export class Tally {
  constructor({ room, line, group, others }) {
    Object.assign(this, { room, line, group, others });
    this.began = 0; // a page that was loaded again begins with its load
    addEventListener('click', ({ target }) => { if (target.closest?.('#enter')) this.began = performance.now(); }, true);
    this.seen = false;
    this.known = new WeakSet();
    this.now = { setup_ms: null, breaks: 0, silent_ms: 0 };
    this.carried = { sent: 0, received: 0 }; // of room.used, acknowledged
    setInterval(() => this.tell(), EVERY);
  }

  joined(signalling) {
    this.signalling = signalling;
  }

  draw() {
    if (this.room.stage !== 'in') return;
    if (this.seen) this.listen();
    else this.watch();
  }

  ended() {
    this.silentAt = null;
    this.tell();
  }

  /** Waits for the first packet of somebody else's sound or picture. Waiting for somebody to come is not counted. */
  watch() {
    if (!this.others().some((seat) => seat.connected)) {
      this.met = null;
      return;
    }
    this.met ??= performance.now();
    for (const pc of [this.room.call?.peer.pc, this.group.relay?.coming, this.group.relay?.pc, this.group.relay?.down]) {
      for (const { track } of pc?.getReceivers() ?? []) {
        if (this.known.has(track)) continue;
        this.known.add(track);
        if (track.muted) track.addEventListener('unmute', () => this.first(), { once: true });
        else this.first();
      }
    }
  }

  first() {
    if (this.seen) return;
    this.seen = true;
    this.now.setup_ms = Math.round(performance.now() - Math.max(this.began, this.met ?? 0));
    setTimeout(() => this.tell(), SOON);
  }

  /** Counts what the watchdog calls silence, while it lasts. */
  listen() {
    const silent = this.line()?.silent ?? 0;
    const now = performance.now();
    if (silent) {
      if (!this.silentAt) this.now.breaks += 1;
      this.now.silent_ms += now - (this.silentAt ?? now - silent);
      this.silentAt = now;
    } else if (this.silentAt) {
      this.silentAt = null;
      setTimeout(() => this.tell(), SOON);
    }
  }

  async tell() {
    if (this.telling || !this.signalling?.up) return;
    const { used } = this.room;
    const now = { ...this.now, silent_ms: Math.floor(this.now.silent_ms) };
    const carried = { ...used };
    const since = (way) => Math.max(0, carried[way] - this.carried[way]) || 0; // some browsers do not count
    const bytes = { sent: since('sent'), received: since('received') };
    if (![...Object.values(now), ...Object.values(bytes)].some(Boolean)) return;
    this.telling = true;
    try {
      await this.signalling.send('tally', { ...now, ...bytes });
      this.carried = carried;
      if (now.setup_ms !== null) this.now.setup_ms = null;
      this.now.breaks -= now.breaks;
      this.now.silent_ms -= now.silent_ms;
    } catch { /* not in the room any more: nobody counts it */ } finally {
      this.telling = false;
    }
  }
}
