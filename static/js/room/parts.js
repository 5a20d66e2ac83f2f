// What the room can do beyond the call itself: each part is a class in a file of its own, named here.
//
// new Part({room, data, devices, group, more, others(), other(), ownSeat(), line(), draw(), play()}): before anybody has joined.
// Optional methods: joined(signalling), snapshot(whole room), draw() whenever something may have changed, ended().
// Optional `keys`, from the beginning: [[key, what it does, run], …].
import { Clinical } from './clinical.js';
import { Recording } from './recording.js';
import { Screen } from './screen.js';
import { Stills } from './stills.js';
import { Tally } from './tally.js';

export const PARTS = [Clinical, Recording, Screen, Stills, Tally];
