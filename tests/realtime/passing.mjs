// What a browser on the relay tells of its line: one JSON list of seconds a line on stdin ({mode, seconds: [rows of
// getStats], redundant: whether sound goes with redundancy}), one JSON answer a line on stdout.
import { createInterface } from 'node:readline';

let now = 0;
performance.now = () => now;
const { Ladder } = await import('../../static/js/room/ladder.js');
const { Passing } = await import('../../static/js/room/passing.js');

for await (const line of createInterface({ input: process.stdin })) {
  const { mode, seconds, redundant } = JSON.parse(line);
  const told = [];
  const rungs = [];
  const signalling = { up: true, on: () => () => {}, loose: (type, fields) => told.push({ type, ...fields }) };
  const used = { sent: 0, received: 0 };
  const relay = { signalling, used, choice: { mode }, ladder: new Ladder(), redundant, get rung() { return this.ladder.rung; }, shape() {}, tiles: () => ({}), onChange() {}, onRung() {} };
  const passing = new Passing({ relay, wanted: () => 'expert', former: null });
  for (const rows of seconds) {
    now += 1000;
    rungs.push(relay.rung);
    passing.tell(rows, new Map([['expert', { concealed: 0.02 }], ['third', { concealed: 0.04 }]]));
  }
  process.stdout.write(`${JSON.stringify({ told, used, rungs })}\n`);
}
