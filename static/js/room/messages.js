// The names of the room's messages (docs/protocol.md). Compared with server/signalling/schema.py by a test.

export const VERSION = 1;

/** To the server, numbered and resent until acknowledged. */
export const RELIABLE = [
  'precheck', 'enter', 'leave', 'offer', 'answer', 'candidate', 'restart', 'path', 'state', 'hand', 'chat',
  'annotation', 'snapshot', 'admit', 'remove', 'lock', 'invite', 'uninvite', 'chair',
  'waiting', 'finish', 'undo_finish', 'phone', 'ice', 'record_ask', 'record_declare', 'record_answer', 'record_stop', 'tally',
];

/** To the server, sent once. */
export const LOOSE = ['hello', 'ping', 'ack', 'quality', 'view', 'cursor'];

/** From the server. Relayed ones keep their name and carry `from` and `tab` of the seat that sent them. */
export const FROM_SERVER = [
  'welcome', 'ack', 'refused', 'pong', 'ice', 'closed', 'presence', 'delivered', 'chat', 'locked', 'lobby',
  'media', 'relay_answer', 'relay_offer', 'relay_line', 'finished', 'reopened', 'telephone', 'recording', 'offer', 'answer', 'candidate', 'restart', 'path', 'hand', 'quality', 'view', 'cursor',
  'annotation', 'snapshot',
];

/** Endings after which the page does not come back by itself. */
export const FINAL = ['taken_over', 'version', 'not_found', 'removed', 'revoked', 'locked', 'left'];
