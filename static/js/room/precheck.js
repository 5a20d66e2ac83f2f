// Before entering: picture, microphone level, loudspeaker, the way to the server and to a relay, and a plain verdict.
import { api } from '../api.js';
import { t } from '../i18n.js';
import { el, icon } from '../ui.js';
import { playChime } from './meter.js';
import { probePath } from './path-probe.js';
import { measureSocket } from './signalling.js';

const GATHER_MS = 5000;
const THIN_KBPS = 200; // less than the small picture with speech
const LOSSY = 0.05;
const SLOW_MS = 800;

/** Which kinds of ICE candidates come about with these servers: {host, srflx, relay} as booleans. */
export async function gatherKinds(servers, { relayOnly = false, ms = GATHER_MS } = {}) {
  const kinds = { host: false, srflx: false, relay: false };
  const pc = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: relayOnly ? 'relay' : 'all' });
  pc.createDataChannel('probe');
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    pc.onicecandidate = ({ candidate }) => {
      if (candidate) kinds[candidate.type] = true;
      else { clearTimeout(timer); resolve(); }
    };
    pc.setLocalDescription().catch(() => { clearTimeout(timer); resolve(); });
  });
  pc.close();
  return kinds;
}

/**
 * The verdict of everything measured: {grade: good|fair|poor, or unmeasured where the way of the media could not be tried, why, text}. `why` is saved; server/call_words.py has the
 * same sentences. path: of probePath(), null where no relay could be tried.
 */
export function verdict({ camera, mic, socket, kinds, wantsRelay, relayOnly, path }) {
  const slowest = Math.max(socket.rtt ?? 0, path?.ms ?? 0);
  if (!socket.ok) return { grade: 'poor', why: 'server', text: t('连接不上会诊服务器。请检查网络；必要时请用电话沟通。') };
  const blocked = (!kinds.host && !kinds.srflx && !kinds.relay) || (relayOnly && path?.ok === false);
  if (blocked) return { grade: 'poor', why: 'blocked', text: t('这个网络不允许音视频通过。可以进入会诊室看影像和聊天，语音请用电话。') };
  if (!mic) return { grade: 'poor', why: 'no_mic', text: t('没有可用的麦克风，对方听不到您。可以进入会诊室，语音请用电话。') };
  if (slowest > SLOW_MS) return { grade: 'fair', why: 'slow', text: t('网络较慢（往返 {ms} 毫秒），预计以语音为主。', { ms: slowest }) };
  if (wantsRelay && (!kinds.relay || path?.ok === false)) return { grade: 'fair', why: 'no_relay', text: t('连接不上中继服务器；如果直接连接不通，请用电话沟通。') };
  if (path && (path.kbps < THIN_KBPS || path.lost > LOSSY)) return { grade: 'fair', why: 'thin', text: t('网络带宽不足或丢包较多，预计以语音为主。') };
  if (!camera) return { grade: 'fair', why: 'no_camera', text: t('没有画面，会诊以语音进行。') };
  if (!path) return { grade: 'unmeasured', why: 'untried', text: t('设备正常，能连接会诊服务器。音视频线路没有测试，接通后才知道。') };
  return { grade: 'good', why: 'fine', text: t('设备和网络都正常，可以进入会诊室。') };
}

/**
 * Shows the check in `root` and resolves with its result when the person enters.
 * devices: Devices. consultation: id. contacts: for the sentence when nothing works.
 */
export function runPrecheck({ root, devices, consultation, mode = 'enter' }) {
  const video = el('video', { playsinline: true, autoplay: true, muted: true, 'aria-label': t('我的画面') });
  video.muted = true;
  const noPicture = el('p', { class: 'room-absent' });
  const level = el('meter', { min: 0, max: 1, low: 0.2, high: 0.95, optimum: 0.6, value: 0, 'aria-label': t('麦克风音量') });
  const levelText = el('p', { class: 'hint' }, t('对着麦克风说一句话，看音量是否跳动。'));
  const select = (id, label, kind) => {
    const control = el('select', { class: 'input', id, onchange: () => devices.choose(kind, control.value) });
    return { control, field: el('div', { class: 'field' }, el('label', { for: id }, label), control) };
  };
  const cameras = select('pre-camera', t('摄像头'), 'video');
  const mics = select('pre-mic', t('麦克风'), 'audio');
  const problems = el('div', { class: 'stack-8', role: 'alert' });
  const speaker = el('button', { class: 'button', type: 'button' }, icon('volume-2'), t('播放测试音'));
  const heard = el('p', { class: 'hint', role: 'status' });
  const pattern = el('button', { class: 'button', type: 'button', onclick: () => devices.usePattern() }, icon('monitor'), t('没有摄像头？用测试画面'));
  const line = el('p', { class: 'room-check', role: 'status' }, icon('loader-circle', 'icon spin'), t('正在检查网络…'));
  const result = el('p', { class: 'note room-verdict', hidden: true, role: 'status' });
  const enter = el('button', { class: 'button button-primary button-large', type: 'button', id: 'enter' }, icon('log-in'), t('进入会诊室'));
  root.replaceChildren(
    el('div', { class: 'room-pre-picture' }, video, noPicture),
    el('div', { class: 'room-pre-form stack' },
      el('h2', {}, t('进入前检查')), problems, cameras.field,
      el('div', { class: 'field' }, el('label', { for: 'pre-mic' }, t('麦克风')), mics.control, level, levelText),
      el('div', { class: 'row' }, speaker, pattern), heard, line, result,
      el('div', { class: 'actions' }, enter)));

  let loudest = 0;
  let tested = false;
  let measured = null;
  const stopping = new AbortController(); // the call needs the line from there on
  devices.meterFn = (value) => {
    level.value = value;
    loudest = Math.max(loudest, value);
    if (value > 0.3) levelText.textContent = t('麦克风正常，能听到声音。');
  };
  const show = async () => {
    video.srcObject = devices.video ? new MediaStream([devices.video]) : null;
    noPicture.hidden = Boolean(devices.video);
    noPicture.textContent = devices.cameraOff ? t('摄像头已关闭') : t('没有画面');
    problems.replaceChildren(...['audio', 'video'].filter((kind) => devices.errors[kind]).map((kind) =>
      el('p', { class: 'note note-warn' }, icon('triangle-alert'), el('span', {}, devices.errors[kind]))));
    pattern.hidden = Boolean(devices.video);
    const list = await devices.list();
    for (const [{ control }, kind] of [[cameras, 'video'], [mics, 'audio']]) {
      const now = devices[kind]?.getSettings?.().deviceId ?? '';
      control.replaceChildren(...list[kind].map((device, at) => {
        const option = el('option', { value: device.deviceId }, device.label || t('设备 {n}', { n: at + 1 }));
        option.selected = device.deviceId === now;
        return option;
      }));
      control.disabled = !list[kind].length;
    }
    if (measured?.whole) tell();
  };
  const tell = () => {
    const found = verdict({ ...measured, camera: Boolean(devices.video), mic: Boolean(devices.audio) });
    result.className = `note room-verdict ${{ good: 'note-good', fair: 'note-warn', poor: 'note-bad', unmeasured: '' }[found.grade]}`;
    result.replaceChildren(icon({ good: 'circle-check', unmeasured: 'info' }[found.grade] ?? 'triangle-alert'), el('span', {}, found.text));
    result.hidden = false;
    return found;
  };
  speaker.addEventListener('click', async () => {
    await playChime(devices.chosen.output);
    tested = true;
    heard.textContent = t('听到提示音就可以。没听到请检查音量或耳机。');
  });
  devices.onChange = show;
  devices.plain();
  devices.acquire();
  show();
  (async () => {
    const { servers, relay_only: relayOnly } = await api('GET', `/api/consultations/${consultation}/ice`).catch(() => ({ servers: [] }));
    const wantsRelay = servers.some(({ urls }) => [urls].flat().some((url) => url.startsWith('turn')));
    const [socket, kinds] = await Promise.all([measureSocket(), gatherKinds(servers, { relayOnly })]);
    if (stopping.signal.aborted) {
      socket.socket.close();
      return;
    }
    measured = { socket, kinds, wantsRelay, relayOnly, path: null, whole: false };
    const way = relayOnly ? t('经中继') : kinds.relay ? t('可直连或中继') : t('可直连');
    line.replaceChildren(icon(socket.ok ? 'wifi' : 'wifi-off'), socket.ok ? t('服务器往返 {ms} 毫秒 · {way}', { ms: socket.rtt, way: kinds.host || kinds.srflx || kinds.relay ? way : t('音视频不通') }) : t('连接不上会诊服务器'));
    if (socket.ok && kinds.relay) measured.path = await probePath(servers, { signal: stopping.signal });
    if (stopping.signal.aborted) return;
    measured.whole = true;
    tell();
  })();
  if (mode === 'enter') enter.focus();
  return new Promise((resolve) => {
    enter.addEventListener('click', () => {
      devices.meterFn = () => {};
      stopping.abort();
      const report = {
        camera: Boolean(devices.video) && !devices.chosen.pattern, pattern: devices.chosen.pattern, mic: Boolean(devices.audio),
        mic_heard: loudest > 0.3, speaker_tested: tested, rtt_ms: measured?.socket.rtt ?? null, socket: measured?.socket.ok ?? null,
        host: measured?.kinds.host ?? null, srflx: measured?.kinds.srflx ?? null, relay: measured?.kinds.relay ?? null,
        ...(measured?.path?.ok ? { path_ms: measured.path.ms, path_kbps: measured.path.kbps, path_lost: measured.path.lost } : {}),
        ...(({ grade, why }) => ({ grade, why }))(measured?.whole ? tell() : { grade: 'unmeasured', why: '' }),
      };
      resolve({ report, spare: measured?.socket.socket ?? null });
    });
  });
}
