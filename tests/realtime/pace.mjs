// Sends a picture over a simulated line: one JSON scenario a line on stdin, one JSON answer a line on stdout.
// scenario: {rung, kbps (what the line has left for it), rtt (ms), size (bytes), bad: [share of speech made up, per piece]}
import { createInterface } from 'node:readline';
import { Pace } from '../../static/js/pace.js';

const OVERHEAD = 900; // bytes of a request's head and its answer's

for await (const line of createInterface({ input: process.stdin })) {
  const { rung, kbps, rtt, size, bad = [] } = JSON.parse(line);
  const pace = new Pace();
  const pieces = [];
  let sent = 0;
  let ms = 0;
  while (sent < size) {
    const heard = bad[pieces.length] ?? 0;
    const bytes = Math.min(size - sent, pace.next(rung, heard));
    const took = rtt + ((bytes + OVERHEAD) * 8) / kbps;
    const pause = pace.took(bytes, took, heard);
    pieces.push({ bytes, took, pause });
    sent += bytes;
    ms += took + pause;
  }
  process.stdout.write(`${JSON.stringify({ pieces, seconds: ms / 1000 })}\n`);
}
