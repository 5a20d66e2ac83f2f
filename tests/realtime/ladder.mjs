// The ladder over lines that are only figures: reads one JSON scenario per line, answers one line each.
// {reports: [[ms, report]…], limit}: what is sent after each report ('silence' and 'back' are the line's end and return). {line: {kbps, loss}, seconds, missing}: a sender
// and a receiver over such a line, second by second.
import { createInterface } from 'node:readline';
import { Ladder } from '../../static/js/room/ladder.js';
import { patience } from '../../static/js/room/quality.js';

const HEADERS = 10; // kbit/s of what else is sent
const weight = ({ video, speech }) => (video ? video.kbps * 1.1 : 0) + speech.kbps * (speech.red ? 2.2 : 1.2) + 240 / speech.ptime + HEADERS;

function said(ladder, changed) {
  return { changed, why: ladder.why, wait: ladder.wait, trial: ladder.trial !== null, at: ladder.at, ...ladder.sending };
}

function hear({ reports, limit }) {
  const ladder = new Ladder();
  if (limit) ladder.limit(limit);
  return reports.map(([now, report]) =>
    said(ladder, typeof report === 'string' ? ladder[report](now) ?? false : ladder.hear(report, now)));
}

function live({ line, seconds, missing = [] }) {
  const ladder = new Ladder();
  const told = [];
  for (let second = 1; second <= seconds; second += 1) {
    const sent = ladder.sending;
    const load = weight(sent);
    const passes = Math.min(1, line.kbps / load) * (1 - line.loss);
    const loss = 1 - passes;
    const concealed = sent.speech.red ? loss ** 2 : loss;
    const report = { concealed, loss, kbps: load * passes };
    for (const field of missing) delete report[field];
    ladder.hear(report, second * 1000);
    told.push({ second, concealed, load, rung: sent.rung, wait: ladder.wait });
  }
  return told;
}

/** How long speech is held back, after each share of packets lost (null where none was told). */
function held(losses) {
  let now = {};
  return losses.map((loss) => (now = patience(now, loss ?? undefined)).wait);
}

for await (const text of createInterface({ input: process.stdin })) {
  const scenario = JSON.parse(text);
  console.log(JSON.stringify(scenario.line ? live(scenario) : scenario.losses ? held(scenario.losses) : hear(scenario)));
}
