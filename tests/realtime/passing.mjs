// What a browser on the relay tells of its line: one JSON list of seconds a line on stdin ({mode, seconds: [rows of
// getStats]}), one JSON answer a line on stdout.
import { createInterface } from 'node:readline';

let now = 0;
performance.now = () => now;
const { Passing } = await import('../../static/js/room/passing.js');

for await (const line of createInterface({ input: process.stdin })) {
  const { mode, seconds } = JSON.parse(line);
  const told = [];
  const signalling = { up: true, on: () => () => {}, loose: (type, fields) => told.push({ type, ...fields }) };
  const used = { sent: 0, received: 0 };
  const relay = { signalling, used, choice: { mode }, ladder: { hear: () => false }, shape() {}, tiles: () => ({}), onChange() {}, onRung() {} };
  const passing = new Passing({ relay, wanted: () => 'expert', former: null });
  for (const rows of seconds) {
    now += 1000;
    passing.tell(rows, new Map([['expert', { concealed: 0.02 }], ['third', { concealed: 0.04 }]]));
  }
  process.stdout.write(`${JSON.stringify({ told, used })}\n`);
}
