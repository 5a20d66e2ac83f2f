// The room page: precheck, lobby, meeting, end. Everything else is in the modules beside this one.
import { api, pageData } from '../api.js';
import { t } from '../i18n.js';
import { hotkeys } from '../keys.js';
import { slowGraphics } from '../graphics.js';
import { icon, showProblem, toast } from '../ui.js';
import { Absent } from './absent.js';
import { Call } from './call.js';
import { Chat } from './chat.js';
import { chooseDevices } from './device-dialog.js';
import { Devices } from './devices.js';
import { askFinish, askTelephone, closedNote, nextSteps } from './ending.js';
import { Group } from './group.js';
import { floatingVideo, followWidth, tabs } from './layout.js';
import { clockText, lineState } from './line.js';
import { MOST, chooseLine, least, rememberedLine } from './line-dialog.js';
import { Material, mountReport } from './material.js';
import { More } from './more.js';
import { PARTS } from './parts.js';
import { People } from './people.js';
import { runPrecheck } from './precheck.js';
import { Remote } from './remote.js';
import { Signalling } from './signalling.js';

const $ = (id) => document.getElementById(id);
const data = pageData();
const me = document.body.dataset.me;
const FIRST_SIGHT_MS = 6000;
const seen = `huizhen:precheck:${data.consultation}`;

if (data.studies.length) slowGraphics(); // while nothing is said yet

const room = {
  stage: 'precheck', // precheck | joining | lobby | in | ended | closed
  seats: new Map(),
  call: null,
  contacts: data.contacts,
  openedAt: null,
  awaySince: Date.now(),
  ice: [],
  hand: false,
  choice: rememberedLine(),
  used: { sent: 0, received: 0 },
  locked: false,
  lobby: { text: '', until: null, invited: [] },
};
window.room = room; // for the browser tests and the help desk

const devices = new Devices({ onNotice: (sentence, kind, action = null) => toast(sentence, { kind: kind === 'muted' ? 'bad' : kind, action }) });
room.devices = devices;
const material = room.material = new Material({ picker: $('picker'), stage: $('stage'), data });
let signalling = null;
let chat = null;
let people = null;

const ownSeat = () => room.seats.get(signalling.seat);
const others = () => [...room.seats.values()].filter((seat) => seat.seat !== signalling?.seat && ['in', 'lost'].includes(seat.state));
const other = () => others()[0] ?? null;

const group = room.group = new Group({
  box: $('video'), grid: $('grid'), layoutButton: $('layout'), trust: $('trust'), devices, others, ice: () => room.ice, relayOnly: data.relay_only,
  choice: () => room.choice, limit: data.kbps, used: room.used,
  onChange: () => draw(), onRung: () => tellState(),
  onMoved: (overlap) => { // the other's browser may need the call a moment longer; its sound is heard once
    remote.elements.audio.muted = true;
    setTimeout(() => { if (group.showing) endCall(); }, overlap);
    seenOrHeard();
  },
});
const line = () => (group.showing ? group.relay : room.call);
const more = new More({ menu: $('more') });
const parts = PARTS.map((Part) => new Part({
  room, data, devices, group, more, others, other, ownSeat: () => (signalling ? ownSeat() : null), line, draw: () => draw(), play: () => play(),
}));
const tellParts = (what, ...facts) => parts.forEach((part) => part[what]?.(...facts));

// ---- layout ---------------------------------------------------------------------------------------------------

const tabbed = tabs($('tabs'), (name) => {
  chat?.show(name === 'chat');
  $('side').dataset.tab = name;
  if (name === 'report' && !$('panel-report').childElementCount) mountReport($('panel-report'), data.consultation);
});
followWidth({ material: $('material'), home: $('main-room'), panel: $('panel-images'), tabbed });
floatingVideo({ box: $('video'), floatButton: $('float'), growButton: $('grow') });

function stage(name) {
  room.stage = name;
  $('room').dataset.stage = name;
  $('precheck').hidden = name !== 'precheck';
  $('main-room').hidden = name === 'precheck' || name === 'closed';
  $('bar').hidden = !['in', 'lobby'].includes(name);
  draw();
}

function press(button, on, name, words) {
  button.setAttribute('aria-pressed', String(on));
  button.classList.toggle('on', on);
  button.querySelector('svg').replaceWith(icon(name));
  button.querySelector('span').textContent = words;
}

/** Everything on screen that follows from the state. */
function draw() {
  const now = Date.now();
  const { text, tone } = lineState({
    stage: room.stage, up: signalling?.up ?? true, call: line(), other: other(), awaySince: room.awaySince, now,
  });
  const sentence = $('line');
  if (room.stage === 'precheck') sentence.textContent = '';
  else if (sentence.textContent !== text) sentence.textContent = text;
  sentence.dataset.tone = tone;
  $('clock').textContent = room.openedAt && room.stage !== 'precheck' ? clockText(((room.endedAt ?? now) - room.openedAt) / 1000) : '';
  press($('mute'), devices.muted, devices.muted ? 'mic-off' : 'mic', devices.muted ? t('开麦克风') : t('关麦克风'));
  press($('camera'), !devices.video, devices.video ? 'video' : 'video-off', devices.video ? t('关摄像头') : t('开摄像头'));
  $('own').hidden = !devices.picture;
  group.draw();
  drawAbsent();
  people?.draw();
  tellParts('draw');
  more.draw();
}

const absent = new Absent($('absent'));
function drawAbsent() {
  const seat = other();
  $('remote-name').textContent = seat ? [seat.name, seat.title, seat.organisation, seat.mic || !seat.tab ? '' : t('（对方已静音）'), seat.hand ? t('（对方举手）') : ''].filter(Boolean).join(' ') : '';
  absent.draw({
    stage: room.stage, seat, condition: line()?.condition, telephone: room.telephone, contacts: room.contacts, lobby: room.lobby, group: group.showing,
  });
}

// ---- media ----------------------------------------------------------------------------------------------------

const remote = new Remote({ audio: $('sound'), video: $('remote'), playButton: $('play') });

/**
 * Opens the images. That keeps a machine without a graphics card busy for seconds, in which nothing can be negotiated:
 * while somebody is being called it waits for the other's picture (or voice, when they have no camera).
 */
let opening = null;
function openMaterial() {
  if (!room.call) material.start();
  else opening ??= setTimeout(() => material.start(), FIRST_SIGHT_MS);
}
const seenOrHeard = () => { if (opening) setTimeout(() => material.start(), 250); };
remote.elements.video.addEventListener('loadeddata', seenOrHeard);
remote.elements.audio.addEventListener('playing', () => { if (!other()?.camera && !other()?.pattern) seenOrHeard(); });

function play() {
  if (group.showing) group.grid.play(devices.chosen.output).then((well) => { $('play').hidden = well; });
  else remote.play(devices.chosen.output);
}

function endCall() {
  room.call?.close();
  room.call = null;
  remote.clear();
}

/** A call with the other seat, if there is one to be called. `begin`: we are the ones who just came. */
function ensureCall({ begin }) {
  const seat = other();
  if (room.stage !== 'in' || !seat?.tab || !seat.connected) return;
  if (!room.call && (group.topology !== 'direct' || others().length > 1)) return; // the relay is for three and more
  if (room.call && (room.call.seat.seat !== seat.seat || room.call.tab !== seat.tab)) endCall(); // they reloaded
  if (room.call) {
    room.call.seat = seat;
    return;
  }
  room.call = new Call({
    signalling, seat, devices, ice: room.ice, relayOnly: data.relay_only, limit: data.kbps, choice: room.choice, used: room.used,
    onChange: draw, onRung: tellState, onTrack: (track) => remote.add(track, devices.chosen.output),
  });
  room.call.begin({ late: !begin });
}

function tellState() {
  signalling.send('state', {
    mic: Boolean(devices.audio) && !devices.muted, camera: Boolean(devices.screen || (devices.video && !devices.chosen.pattern)), screen: Boolean(devices.screen),
    pattern: Boolean(devices.video?.pattern), rung: devices.picture || line()?.rung === 'telephone' ? line()?.rung ?? 'video' : 'audio',
    most: MOST[room.choice.mode], kbps: least(room.choice.kbps, data.kbps), original: devices.original && (line()?.sound.original ?? true), curtain: devices.chosen.curtain && !devices.screen,
  });
}

function devicesChanged() {
  $('own').srcObject = devices.picture ? new MediaStream([devices.picture]) : null;
  room.call?.devicesChanged();
  group.devicesChanged();
  if (signalling?.up && room.stage === 'in') tellState();
  draw();
}

// ---- the session ------------------------------------------------------------------------------------------------

function upsert(seat) {
  const known = room.seats.get(seat.seat);
  room.seats.set(seat.seat, seat);
  if (room.call?.seat.seat === seat.seat) room.call.seat = seat;
  if (seat.seat !== signalling.seat && known?.connected && !seat.connected) room.awaySince = Date.now();
}

function enterStage({ begin }) {
  const own = ownSeat();
  if (!own) return;
  if (own.state === 'lobby') {
    if (room.stage !== 'lobby') {
      stage('lobby');
      signalling.send('enter').catch((refused) => { if (refused.code === 'locked') signalling.stop('locked'); });
    }
    return;
  }
  if (!['in', 'lost'].includes(own.state)) return;
  if (!data.readable) { // a guest was let in: request and images are theirs to read from here on
    location.reload();
    return;
  }
  const fresh = room.stage !== 'in';
  room.stage = 'in';
  ensureCall({ begin: begin || fresh }); // first: all the rest can wait for the other
  if (room.way) group.media(room.way, { signalling, call: room.call });
  group.seatsChanged();
  if (fresh) stage('in');
  if (fresh || begin) tellState();
  openMaterial();
}

function welcome(message) {
  room.ice = message.ice;
  if (message.snapshot) {
    const whole = message.snapshot;
    room.seats = new Map(whole.seats.map((seat) => [seat.seat, seat]));
    room.openedAt = Date.parse(whole.opened_at) - (Date.parse(message.now) - Date.now());
    room.contacts = whole.contacts;
    room.telephone = whole.kind === 'telephone';
    room.locked = whole.locked;
    room.lobby = whole.lobby;
    room.way = whole.media;
    tellParts('snapshot', whole);
    chat.history(whole.chat, whole.chat_more);
    if (whole.ended_at) {
      ended(whole.ended_at);
      return;
    }
    if (room.stage === 'ended') room.stage = 'joining';
  }
  enterStage({ begin: !room.call });
  if (message.snapshot && room.stage === 'in') {
    tellState();
    if (room.hand) signalling.send('hand', { up: true });
  }
  room.call?.watchdog.now();
}

function presence({ seat, gone }) {
  upsert(seat);
  if (seat.seat === signalling.seat) {
    enterStage({ begin: true });
  } else if (gone || ['left', 'removed'].includes(seat.state)) {
    if (room.call?.seat.seat === seat.seat) endCall();
  } else ensureCall({ begin: false });
  group.seatsChanged();
  people.ask(seat, { waits: seat.state === 'lobby' && seat.seat !== signalling.seat && Boolean(ownSeat()?.host) });
  draw();
}

function relayed(message) {
  if (message.type === 'offer' && message.from === other()?.seat) ensureCall({ begin: false });
  if (room.call?.seat.seat === message.from && (message.tab === room.call.tab || message.type === 'quality')) room.call.take(message);
}

function ended(at) {
  tellParts('ended');
  room.way = null;
  group.end();
  endCall();
  devices.release();
  room.endedAt = Date.parse(at);
  stage('ended');
  $('absent').append(nextSteps({ data, undo: () => signalling.send('undo_finish') }));
}

function closed(code) {
  tellParts('ended');
  group.end();
  endCall();
  devices.stop();
  stage('closed');
  if (code !== 'closed') $('room').append(closedNote({ code, data }));
}

function join(session, precheck, spare = null) {
  signalling = new Signalling({ session, spare });
  room.signalling = signalling;
  chat = new Chat({
    root: $('panel-chat'), me,
    send: (clientId, text) => signalling.send('chat', { client_id: clientId, text }),
    earlier: async () => (await api('GET', `/api/consultations/${data.consultation}/messages`)).messages,
    onUnread: (count) => { $('unread').hidden = !count; $('unread').textContent = String(count); },
  });
  chat.show(tabbed.current() === 'chat');
  people = new People({
    root: $('panel-people'), data,
    room: () => ({ seats: [...room.seats.values()], lobby: room.lobby, locked: room.locked, own: ownSeat() }),
    send: (type, fields) => signalling.send(type, fields),
    onWaiting: (count) => { $('waiting').hidden = !count; $('waiting').textContent = String(count); },
  });
  signalling.on('welcome', welcome);
  signalling.on('presence', presence);
  for (const type of ['offer', 'answer', 'candidate', 'restart', 'path', 'quality']) signalling.on(type, relayed);
  signalling.on('chat', ({ message }) => chat.receive(message));
  signalling.on('delivered', ({ id }) => chat.delivered(id));
  signalling.on('locked', ({ locked }) => { room.locked = locked; draw(); });
  signalling.on('media', (way) => {
    room.way = way;
    if (room.stage === 'in') group.media(way, { signalling, call: room.call });
    draw();
  });
  signalling.on('lobby', ({ lobby }) => { room.lobby = lobby; draw(); });
  signalling.on('finished', ({ at }) => ended(at));
  signalling.on('reopened', () => {
    room.endedAt = null;
    absent.forget();
    devices.acquire();
    room.stage = 'joining';
    enterStage({ begin: ownSeat() && other() && ownSeat().seat < other().seat });
  });
  signalling.on('telephone', ({ contacts }) => {
    room.telephone = true;
    room.contacts = contacts;
    draw();
    toast(t('会诊转为电话进行，双方电话已显示。'), { kind: 'info' });
  });
  signalling.on('line', ({ up }) => { if (up) room.call?.watchdog.now(); draw(); });
  signalling.on('ended', closed);
  tellParts('joined', signalling);
  if (precheck) signalling.send('precheck', { result: precheck });
  stage('joining'); // the first welcome decides
  signalling.connect();
  devicesChanged();
}

// ---- buttons and keys -------------------------------------------------------------------------------------------

const mute = () => devices.mute(!devices.muted);
const camera = () => devices.camera(!devices.video);
$('line-menu').addEventListener('click', () => chooseLine({
  choice: room.choice, limit: data.kbps, used: room.used,
  onChoice: (choice) => {
    room.choice = choice;
    room.call?.choose(choice);
    group.relay?.choose(choice);
    tellState();
  },
}));
$('mute').addEventListener('click', mute);
$('camera').addEventListener('click', camera);
$('play').addEventListener('click', play);
$('hand').addEventListener('click', () => {
  room.hand = !room.hand;
  $('hand').setAttribute('aria-pressed', String(room.hand));
  signalling.send('hand', { up: room.hand });
});
$('phone').addEventListener('click', async () => {
  if (await askTelephone({ contacts: room.contacts, may: data.finish })) signalling.send('phone');
});
$('finish')?.addEventListener('click', () => askFinish(() => signalling.send('finish')));
$('leave')?.addEventListener('click', () => signalling.send('leave').then(() => signalling.stop('left')));
$('devices').addEventListener('click', () => chooseDevices(devices, play));
hotkeys(t('会诊室'), [['m', t('开关麦克风'), mute], ['v', t('开关摄像头'), camera], ...parts.flatMap((part) => part.keys ?? [])].map(([key, label, run]) => (
  { key, label, run: ({ repeat }) => (room.stage === 'in' && !repeat ? run() : false) })));
addEventListener('pagehide', (event) => { if (!event.persisted) devices.stop(); });
setInterval(() => {
  draw();
  $('level').style.setProperty('--level', String(devices.muted ? 0 : devices.level));
}, 250);

// ---- start --------------------------------------------------------------------------------------------------------

async function start() {
  const known = sessionStorage.getItem(seen) === '1' && data.session;
  if (known) {
    // A reload: the same seat of the same session goes on without a question.
    devices.onChange = devicesChanged;
    join(data.session, null);
    devices.acquire();
    return;
  }
  stage('precheck');
  for (;;) {
    const { report, spare } = await runPrecheck({ root: $('precheck'), devices, consultation: data.consultation });
    try {
      const { session } = await api('POST', `/api/consultations/${data.consultation}/session`, {});
      sessionStorage.setItem(seen, '1');
      devices.onChange = devicesChanged;
      join(session, report, spare);
      return;
    } catch (problem) {
      spare?.close();
      showProblem(problem);
    }
  }
}

start();
