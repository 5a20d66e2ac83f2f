// The watchdog of a media path: a heartbeat each second over an unreliable data channel. Mute or a missing picture is
// no silence; a missing heartbeat is, unless something else still arrives: the other's page may hang while its voice goes
// on. Nor is it silence when this page itself hung and heard nothing. Restarts at 3 s of silence, then after 3, 6 and 12 s more; when the network
// changed at the first beat that is missing, and at once when the socket came back. After 15 s without a path both sides are shown the telephone numbers.

const EVERY = 1000;
const MISSED = 1400;
const FOLLOWED = 6000; // so long a silence is put down to the change of network
const SILENCE = 3000;
const PAUSES = [3000, 6000, 12000];
const NO_PATH = 15000;
const FRESH = 1500; // a restart just made is not repeated

export class Watchdog {
  /**
   * peer: Peer. lead: this side makes the restart offers, the other asks for them. reachable(): the other side's
   * socket is there to hear us. ask(attempt, rebuild): sends `restart`. ice(): promise of fresh ICE servers.
   * onChange({silent, noPath}): ms of silence (0 when well) and whether it has been too long.
   */
  constructor({ peer, lead, reachable, ask, ice, onChange }) {
    Object.assign(this, { peer, lead, reachable, ask, ice, onChange });
    this.heard = performance.now();
    this.ticked = this.heard;
    this.received = Infinity; // bytes, when last asked
    this.attempt = 0;
    this.next = 0;
    this.done = -Infinity;
    this.told = '';
    this.moved = -Infinity; // when the network changed
    this.network = () => { this.moved = performance.now(); this.arriving(); this.now(); };
    navigator.connection?.addEventListener?.('change', this.network);
    addEventListener('online', this.network);
    this.timer = setInterval(() => this.tick(), EVERY);
  }

  /** A heartbeat arrived. */
  beat() {
    this.heard = performance.now();
    this.attempt = 0;
    this.next = 0;
    this.tell();
  }

  async tick() {
    this.peer.beat();
    const now = performance.now();
    const hung = now - this.ticked - EVERY;
    this.ticked = now;
    if (hung > EVERY) this.heard = Math.min(now, this.heard + hung);
    if (now - this.heard >= EVERY && await this.arriving()) this.beat();
    const silent = performance.now() - this.heard;
    const patience = now - this.moved < FOLLOWED ? MISSED : SILENCE; // on another network the first missed beat is enough
    if (silent >= patience && this.reachable() && performance.now() >= this.next) this.restart();
    this.tell();
  }

  /** Whether more has come in since this was last asked. */
  async arriving() {
    const before = this.received;
    this.received = await this.peer.received();
    return this.received > before;
  }

  tell() {
    const silent = performance.now() - this.heard;
    const value = { silent: silent >= SILENCE ? Math.round(silent) : 0, noPath: silent >= NO_PATH };
    const key = `${Math.floor(value.silent / 1000)}${value.noPath}`;
    if (key === this.told) return;
    this.told = key;
    this.onChange(value);
  }

  restart() {
    const pause = PAUSES[Math.min(this.attempt, PAUSES.length - 1)];
    this.attempt += 1;
    this.moved = -Infinity;
    this.next = performance.now() + pause;
    const rebuild = this.attempt > PAUSES.length; // last: the connection is made anew
    this.ask(this.attempt, rebuild);
    if (this.lead) this.act(rebuild);
    else this.renew();
  }

  /** The other side asks for a restart, or has begun one. */
  asked({ rebuild }) {
    if (this.lead) this.act(rebuild);
    else this.renew();
  }

  async renew() {
    this.peer.fresh(await this.ice().catch(() => null));
  }

  async act(rebuild) {
    if (performance.now() - this.done < FRESH) return;
    this.done = performance.now();
    const fresh = await this.ice().catch(() => null);
    if (rebuild || !this.peer.pc || this.peer.state === 'closed') {
      if (fresh) this.peer.ice = fresh;
      this.peer.start();
    } else this.peer.restart(fresh);
  }

  /** The network changed or the socket is back: do not wait for the next turn if the path is silent or failed. */
  now() {
    const silent = performance.now() - this.heard;
    if (!this.reachable() || (silent < FRESH && !['failed', 'disconnected'].includes(this.peer.state))) return;
    this.next = 0;
    if (silent >= FRESH) this.restart();
  }

  stop() {
    clearInterval(this.timer);
    navigator.connection?.removeEventListener?.('change', this.network);
    removeEventListener('online', this.network);
  }
}
