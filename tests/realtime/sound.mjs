// What the room decides about sound, without a page: one JSON question per line, one answer each.
// {own, incoming}: levels every 50 ms; whether our own sound came back, at each of them. {limit, report, wanted}: how
// sound goes. {sdp, original}: the description as the sender takes it.
import { createInterface } from 'node:readline';
import { Ladder } from '../../static/js/room/ladder.js';
import { opusToSend, soundOf } from '../../static/js/room/original.js';
import { STEP, SameRoom } from '../../static/js/room/same-room.js';

function hear({ own, incoming, every = 1 }) {
  const rooms = new SameRoom();
  const said = [];
  for (let at = 0; at < own.length; at += every) said.push(rooms.hear(own[at], incoming[at], at * STEP));
  return said;
}

function sound({ limit, report, wanted }) {
  const ladder = new Ladder();
  if (limit) ladder.limit(limit);
  if (report) ladder.hear(report, 10_000);
  return { rung: ladder.rung, ...soundOf(ladder, wanted) };
}

for await (const text of createInterface({ input: process.stdin })) {
  const question = JSON.parse(text);
  console.log(JSON.stringify(question.own ? hear(question) : question.sdp ? opusToSend(question.sdp, question.original) : sound(question)));
}
