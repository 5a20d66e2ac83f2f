// The watchdog of a path on a clock of its own: one JSON scenario a line on stdin ({lead, seconds, beats: [ms], network:
// [ms], gone: whether ICE servers cannot be had}), what it did on stdout: [[ms, what, more]].
import { createInterface } from 'node:readline';

let now = 0;
let tick = null;
const listeners = new Map();
performance.now = () => now;
globalThis.setInterval = (run) => { tick = run; return 0; };
globalThis.clearInterval = () => {};
globalThis.addEventListener = (name, run) => listeners.set(name, run);
globalThis.removeEventListener = () => {};
const { Watchdog } = await import('../../static/js/room/reconnect.js');

for await (const line of createInterface({ input: process.stdin })) {
  const { lead, seconds, beats = [], network = [], gone = false } = JSON.parse(line);
  const did = [];
  const note = (what, more = null) => did.push([now, what, more]);
  let asked = 0;
  now = 0;
  const peer = {
    state: 'connected', pc: {}, ice: ['old'], beat() {}, received: async () => 1000,
    fresh: (ice) => note('fresh', ice), restart: (ice) => note('restart', ice), start() { note('start', peer.ice); },
  };
  const watchdog = new Watchdog({
    peer, lead, reachable: () => true, ask: (attempt, rebuild) => note('ask', { attempt, rebuild }), onChange() {},
    ice: async () => { asked += 1; if (gone) throw new Error('ice'); return [`new ${asked}`]; },
  });
  for (now = 0; now <= seconds * 1000; now += 50) {
    if (beats.includes(now)) watchdog.beat();
    if (network.includes(now)) listeners.get('online')();
    if (now % 1000 === 0 && now) await tick();
    for (let turn = 0; turn < 10; turn += 1) await null; // what was begun is done before time goes on
  }
  process.stdout.write(`${JSON.stringify(did)}\n`);
}
