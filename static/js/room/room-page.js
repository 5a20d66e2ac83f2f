// The room page: precheck, lobby, meeting, end. Everything else is in the modules beside this one.
import { api, pageData } from '../api.js';
import { t } from '../i18n.js';
import { slowGraphics } from '../graphics.js';
import { confirm, dialog, el, icon, showProblem, toast } from '../ui.js';
import { Call } from './call.js';
import { Chat } from './chat.js';
import { Devices } from './devices.js';
import { floatingVideo, followWidth, tabs } from './layout.js';
import { clockText, endingText, lineState } from './line.js';
import { Material, mountReport } from './material.js';
import { runPrecheck } from './precheck.js';
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
};
window.room = room; // for the browser tests and the help desk

const devices = new Devices({ onNotice: (sentence, kind) => toast(sentence, { kind: kind === 'bad' || kind === 'muted' ? 'bad' : kind }) });
room.devices = devices;
const material = room.material = new Material({ picker: $('picker'), stage: $('stage'), data });
let signalling = null;
let chat = null;

const ownSeat = () => room.seats.get(signalling.seat);
const others = () => [...room.seats.values()].filter((seat) => seat.seat !== signalling?.seat && ['in', 'lost'].includes(seat.state));
const other = () => others()[0] ?? null;

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
    stage: room.stage, up: signalling?.up ?? true, call: room.call, other: other(), awaySince: room.awaySince, now,
  });
  const line = $('line');
  if (room.stage === 'precheck') line.textContent = '';
  else if (line.textContent !== text) line.textContent = text;
  line.dataset.tone = tone;
  $('clock').textContent = room.openedAt && room.stage !== 'precheck' ? clockText(((room.endedAt ?? now) - room.openedAt) / 1000) : '';
  press($('mute'), devices.muted, devices.muted ? 'mic-off' : 'mic', devices.muted ? t('开麦克风') : t('关麦克风'));
  press($('camera'), !devices.video, devices.video ? 'video' : 'video-off', devices.video ? t('关摄像头') : t('开摄像头'));
  $('own').hidden = !devices.video;
  drawAbsent();
}

function phoneList() {
  return el('ul', { class: 'room-phones' }, room.contacts.map((contact) => el('li', {},
    el('span', { 'data-user': true }, `${contact.organisation} · ${contact.name}`),
    ...[contact.phone, contact.organisation_phone].filter(Boolean).map((number) => el('a', { href: `tel:${number}` }, icon('phone'), number)))));
}

let absentKey = '';
function drawAbsent() {
  const seat = other();
  const noPath = ['none'].includes(room.call?.condition);
  const video = seat && room.call && !['none', 'silent', 'connecting'].includes(room.call.condition) && (seat.camera || seat.pattern);
  $('remote-name').textContent = seat ? [seat.name, seat.title, seat.organisation, seat.mic || !seat.tab ? '' : t('（对方已静音）'), seat.hand ? t('（对方举手）') : ''].filter(Boolean).join(' ') : '';
  const key = [room.stage, seat?.name, video, noPath, room.call?.condition, seat?.camera, room.telephone].join('|');
  if (key === absentKey) return;
  absentKey = key;
  const absent = $('absent');
  absent.hidden = Boolean(video);
  if (video) return;
  const say = (name, words, ...more) => absent.replaceChildren(icon(name, 'icon icon-32'), el('p', {}, words), ...more);
  if (room.stage === 'ended') say('circle-check', t('会诊已结束'));
  else if (room.telephone || noPath) say('phone', noPath ? t('音视频不通，请拨打电话继续') : t('会诊以电话进行'), phoneList());
  else if (room.stage === 'lobby') say('clock', t('等候区：会诊专家会请您进入'));
  else if (!seat) say('user', t('等待对方进入会诊室'));
  else if (room.call && !seat.camera && ['good', 'fair', 'poor'].includes(room.call.condition)) say('volume-2', t('对方没有打开画面，正在语音通话'));
  else say('loader-circle', t('正在接通…'));
}

// ---- media ----------------------------------------------------------------------------------------------------

// Sound has an element of its own: a video element waits for the first picture, and a voice call has none.
const remote = { audio: new MediaStream(), video: new MediaStream() };
const elements = { audio: $('sound'), video: $('remote') };

function addRemote(track) {
  const stream = remote[track.kind];
  for (const old of stream.getTracks()) if (old !== track) stream.removeTrack(old);
  stream.addTrack(track);
  if (elements[track.kind].srcObject !== stream) elements[track.kind].srcObject = stream;
  play();
}

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
elements.video.addEventListener('loadeddata', seenOrHeard);
elements.audio.addEventListener('playing', () => { if (!other()?.camera && !other()?.pattern) seenOrHeard(); });

function play() {
  const { audio, video } = elements;
  if (devices.chosen.output && audio.setSinkId) audio.setSinkId(devices.chosen.output).catch(() => {});
  if (video.srcObject) video.play().catch(() => {});
  if (audio.srcObject) audio.play().then(() => { $('play').hidden = true; }, (error) => { $('play').hidden = error.name !== 'NotAllowedError'; });
}

function endCall() {
  room.call?.close();
  room.call = null;
  for (const kind of ['audio', 'video']) {
    for (const track of remote[kind].getTracks()) remote[kind].removeTrack(track);
    elements[kind].srcObject = null;
  }
}

/** A call with the other seat, if there is one to be called. `begin`: we are the ones who just came. */
function ensureCall({ begin }) {
  const seat = other();
  if (room.stage !== 'in' || !seat?.tab || !seat.connected) return;
  if (room.call && (room.call.seat.seat !== seat.seat || room.call.tab !== seat.tab)) endCall(); // they reloaded
  if (room.call) {
    room.call.seat = seat;
    return;
  }
  room.call = new Call({ signalling, seat, devices, ice: room.ice, onChange: draw, onTrack: addRemote });
  room.call.begin({ late: !begin });
}

function tellState() {
  signalling.send('state', {
    mic: Boolean(devices.audio) && !devices.muted, camera: Boolean(devices.video) && !devices.chosen.pattern,
    pattern: Boolean(devices.video?.pattern), rung: devices.video ? 'video' : 'audio',
  });
}

function devicesChanged() {
  $('own').srcObject = devices.video ? new MediaStream([devices.video]) : null;
  room.call?.devicesChanged();
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
  const fresh = room.stage !== 'in';
  room.stage = 'in';
  ensureCall({ begin: begin || fresh }); // first: all the rest can wait for the other
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
    chat.history(whole.chat);
    if (whole.ended_at) {
      ended(whole.ended_at);
      return;
    }
    if (room.stage === 'ended') room.stage = 'joining';
  }
  enterStage({ begin: !room.call });
  if (message.snapshot && room.stage === 'in') tellState();
  room.call?.watchdog.now();
}

function presence({ seat, gone }) {
  upsert(seat);
  if (seat.seat === signalling.seat) {
    enterStage({ begin: true });
  } else if (gone || ['left', 'removed'].includes(seat.state)) {
    if (room.call?.seat.seat === seat.seat) endCall();
  } else ensureCall({ begin: false });
  if (seat.state === 'lobby' && seat.seat !== signalling.seat && ownSeat()?.host) askAdmit(seat);
  else asked.get(seat.seat)?.abort();
  draw();
}

const PRINCIPALS = ['referring', 'expert', 'chair', 'reviewer']; // they let themselves in
const asked = new Map();
async function askAdmit(seat) {
  if (PRINCIPALS.includes(seat.part) || asked.has(seat.seat) || !seat.connected) return;
  const question = new AbortController();
  asked.set(seat.seat, question);
  const yes = await confirm({
    title: t('{name} 请求进入会诊室', { name: seat.name }), text: [seat.title, seat.organisation].filter(Boolean).join(' '), action: t('请进'),
    signal: question.signal,
  });
  if (yes) signalling.send('admit', { seat: seat.seat });
}

function relayed(message) {
  if (message.type === 'offer' && message.from === other()?.seat) ensureCall({ begin: false });
  if (room.call?.seat.seat === message.from && (message.tab === room.call.tab || message.type === 'quality')) room.call.take(message);
}

function ended(at) {
  endCall();
  devices.release();
  room.endedAt = Date.parse(at);
  stage('ended');
  const undo = el('button', { class: 'button', type: 'button', onclick: () => signalling.send('undo_finish').catch((refused) => {
    toast(refused.code === 'wrong_state' ? t('报告已签发或已开始新的会诊，不能撤销结束。') : t('没有撤销成功，请再试一次。'), { kind: 'bad' });
  }) }, icon('undo-2'), t('撤销结束'));
  const next = data.expert
    ? el('a', { class: 'button button-primary', href: `/consultations/${data.consultation}/report` }, icon('pen-line'), t('写报告'))
    : el('a', { class: 'button button-primary', href: `/consultations/${data.consultation}` }, t('回到会诊'));
  $('absent').append(el('div', { class: 'row' }, data.finish && undo, next));
}

function closed(code) {
  endCall();
  devices.stop();
  stage('closed');
  if (code === 'closed') return;
  const [title, words] = endingText(code);
  const again = ['taken_over', 'left', 'version', 'revoked'].includes(code);
  $('room').append(el('section', { class: 'room-note', role: 'alert' }, icon('info', 'icon icon-32'), el('h2', {}, title), el('p', {}, words), el('div', { class: 'row' },
    again && el('button', { class: 'button button-primary', type: 'button', onclick: () => location.reload() }, code === 'taken_over' ? t('在此窗口继续') : t('返回会诊室')),
    el('a', { class: 'button', href: `/consultations/${data.consultation}` }, t('回到会诊')))));
}

function join(session, precheck, spare = null) {
  signalling = new Signalling({ session, spare });
  room.signalling = signalling;
  chat = new Chat({
    root: $('panel-chat'), me,
    send: (clientId, text) => signalling.send('chat', { client_id: clientId, text }),
    onUnread: (count) => { $('unread').hidden = !count; $('unread').textContent = String(count); },
  });
  chat.show(tabbed.current() === 'chat');
  signalling.on('welcome', welcome);
  signalling.on('presence', presence);
  for (const type of ['offer', 'answer', 'candidate', 'restart', 'path', 'quality']) signalling.on(type, relayed);
  signalling.on('chat', ({ message }) => chat.receive(message));
  signalling.on('delivered', ({ id }) => chat.delivered(id));
  signalling.on('finished', ({ at }) => ended(at));
  signalling.on('reopened', () => {
    room.endedAt = null;
    absentKey = '';
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
  if (precheck) signalling.send('precheck', { result: precheck });
  stage('joining'); // the first welcome decides
  signalling.connect();
  devicesChanged();
}

// ---- buttons and keys -------------------------------------------------------------------------------------------

const mute = () => devices.mute(!devices.muted);
const camera = () => devices.camera(!devices.video);
$('mute').addEventListener('click', mute);
$('camera').addEventListener('click', camera);
$('play').addEventListener('click', play);
$('hand').addEventListener('click', () => {
  room.hand = !room.hand;
  $('hand').setAttribute('aria-pressed', String(room.hand));
  signalling.send('hand', { up: room.hand });
});
$('phone').addEventListener('click', async () => {
  const chosen = await dialog({
    title: t('电话联系'), body: [el('p', {}, t('线路不好时可以改用电话继续。电话会诊同样计入会诊。')), phoneList()],
    actions: [{ label: t('关闭'), value: '', kind: 'quiet' }, ...(data.finish ? [{ label: t('转为电话会诊'), value: 'phone', kind: 'primary' }] : [])],
  });
  if (chosen === 'phone') signalling.send('phone');
});
$('finish')?.addEventListener('click', async () => {
  const yes = await confirm({
    title: t('结束会诊？'), text: t('双方的通话会断开，会诊进入报告书写。报告签发之前可以撤销。'), action: t('结束会诊'), danger: true,
  });
  if (!yes) return;
  signalling.send('finish').catch((refused) => toast(refused.code === 'wrong_state' ? t('会诊已经结束。') : t('没有结束成功，请再试一次。'), { kind: 'bad' }));
});
$('leave')?.addEventListener('click', () => signalling.send('leave').then(() => signalling.stop('left')));
$('devices').addEventListener('click', async () => {
  const list = await devices.list();
  const choice = (kind, label, run, now) => {
    const control = el('select', { class: 'input', id: `device-${kind}`, onchange: () => run(control.value) },
      list[kind].map((device, at) => el('option', { value: device.deviceId, selected: device.deviceId === now }, device.label || t('设备 {n}', { n: at + 1 }))));
    control.disabled = !list[kind].length;
    return el('div', { class: 'field' }, el('label', { for: `device-${kind}` }, label), control);
  };
  await dialog({
    title: t('换设备'), actions: [{ label: t('完成'), value: 'ok', kind: 'primary' }],
    body: [
      choice('audio', t('麦克风'), (id) => devices.choose('audio', id), devices.audio?.getSettings().deviceId),
      choice('video', t('摄像头'), (id) => devices.choose('video', id), devices.video?.getSettings?.().deviceId),
      choice('output', t('扬声器'), (id) => { devices.chosen.output = id; devices.remember(); play(); }, devices.chosen.output),
      el('button', { class: 'button', type: 'button', onclick: () => devices.usePattern() }, icon('monitor'), t('改用测试画面')),
    ],
  });
});
addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.repeat || event.ctrlKey || event.metaKey || event.altKey || room.stage !== 'in') return;
  if (event.target.closest?.('input, textarea, select, [contenteditable], dialog')) return;
  if (event.key === 'm') mute();
  else if (event.key === 'v') camera();
});
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
