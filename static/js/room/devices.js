// Camera and microphone: ask, switch, survive being unplugged, notice that somebody speaks while muted; a moving test
// pattern where there is no camera.
import { t } from '../i18n.js';
import { Meter } from './meter.js';

const KEY = 'huizhen:devices';
const SPEAKING = -45; // dBFS
const SPEAKING_TICKS = 8; // 0.8 s of speech while muted

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };

const exact = (deviceId) => (deviceId ? { deviceId: { exact: deviceId } } : {});

/** The sentence for a refused or missing device. */
export function deviceSentence(kind, error) {
  const camera = kind === 'video';
  switch (error?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return camera
        ? t('浏览器没有允许使用摄像头。会诊仍可用语音进行；要打开画面，请点击地址栏旁的摄像头图标并允许。')
        : t('浏览器没有允许使用麦克风，对方听不到您。请点击地址栏旁的图标并允许使用麦克风。');
    case 'NotReadableError':
    case 'AbortError':
      return camera ? t('摄像头正被其他程序占用。请关闭占用它的程序，或换一个摄像头。') : t('麦克风正被其他程序占用。请关闭占用它的程序，或换一个麦克风。');
    default:
      return camera ? t('没有找到摄像头。会诊可以只用语音进行。') : t('没有找到麦克风，对方听不到您。请插上麦克风，或用电话沟通。');
  }
}

/** A canvas that moves and tells the time: what the other side sees is live. */
export function testPattern(label) {
  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 360;
  const ctx = canvas.getContext('2d');
  const colours = ['#d9d9d9', '#d8d83c', '#3cd8d8', '#3cd83c', '#d83cd8', '#d83c3c', '#3c5ad8'];
  const draw = () => {
    colours.forEach((colour, at) => {
      ctx.fillStyle = colour;
      ctx.fillRect((at * 640) / 7, 0, 640 / 7 + 1, 260);
    });
    ctx.fillStyle = '#10151b';
    ctx.fillRect(0, 260, 640, 100);
    ctx.fillStyle = '#8fbaf5';
    ctx.fillRect((performance.now() / 8) % 640, 262, 40, 8);
    ctx.fillStyle = '#e7ecf2';
    ctx.font = '24px system-ui, sans-serif';
    ctx.fillText(`${label} ${new Date().toLocaleTimeString('sv')}`, 24, 320);
  };
  draw();
  const timer = setInterval(draw, 66);
  const [track] = canvas.captureStream(15).getVideoTracks();
  const stop = track.stop.bind(track);
  track.stop = () => { clearInterval(timer); stop(); };
  track.pattern = true;
  return track;
}

export class Devices {
  /** onChange(): tracks or switches changed. onNotice(sentence, kind): tell the person. */
  constructor({ onChange = () => {}, onNotice = () => {} } = {}) {
    Object.assign(this, { onChange, onNotice });
    this.audio = null;
    this.video = null;
    this.errors = { audio: '', video: '' };
    this.muted = false;
    this.cameraOff = false;
    this.level = 0;
    this.spoke = 0;
    this.meterFn = () => {};
    this.chosen = { audio: '', video: '', output: '', pattern: false, muted: false, cameraOff: false };
    try {
      Object.assign(this.chosen, JSON.parse(sessionStorage.getItem(KEY) ?? '{}'));
    } catch { /* a broken note of our own is no reason to stop */ }
    this.muted = this.chosen.muted;
    this.cameraOff = this.chosen.cameraOff;
    this.changed = () => this.look();
    navigator.mediaDevices?.addEventListener?.('devicechange', this.changed);
  }

  remember() {
    this.chosen.muted = this.muted;
    this.chosen.cameraOff = this.cameraOff;
    sessionStorage.setItem(KEY, JSON.stringify(this.chosen));
  }

  /** Both devices at once (one question of the browser), else each alone; what fails leaves its sentence in `errors`. */
  async acquire() {
    const wantVideo = !this.chosen.pattern && !this.cameraOff;
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new DOMException('insecure', 'SecurityError');
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: { ...AUDIO, ...exact(this.chosen.audio) }, video: wantVideo ? { ...VIDEO, ...exact(this.chosen.video) } : false,
      });
      this.errors = { audio: '', video: '' };
      this.use('audio', stream.getAudioTracks()[0] ?? null);
      this.use('video', stream.getVideoTracks()[0] ?? null);
    } catch {
      await this.acquireOne('audio');
      if (wantVideo) await this.acquireOne('video');
    }
    if (this.chosen.pattern) this.usePattern();
    this.onChange();
  }

  async acquireOne(kind) {
    const limits = kind === 'audio' ? AUDIO : VIDEO;
    for (const id of new Set([this.chosen[kind], ''])) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...limits, ...exact(id) } });
        this.errors[kind] = '';
        this.use(kind, stream.getTracks()[0]);
        return true;
      } catch (error) {
        this.errors[kind] = deviceSentence(kind, error);
      }
    }
    this.use(kind, null);
    return false;
  }

  use(kind, track) {
    const old = this[kind];
    this[kind] = track;
    if (old && old !== track) {
      old.onended = null;
      old.stop();
    }
    if (track) {
      track.enabled = kind === 'audio' ? !this.muted : !this.cameraOff;
      if (kind === 'video') track.contentHint = 'motion';
      track.onended = () => this.unplugged(kind, track);
    }
    if (kind === 'audio') this.listen();
  }

  listen() {
    this.meter?.stop();
    this.meter = null;
    this.level = 0;
    if (!this.audio) return;
    this.meter = new Meter(this.audio, (level, decibels) => {
      this.level = level;
      this.meterFn(level);
      this.spoke = this.muted && decibels > SPEAKING ? this.spoke + 1 : 0;
      if (this.spoke === SPEAKING_TICKS) this.onNotice(t('您已静音，对方听不到您说话。按 M 键取消静音。'), 'muted');
    });
  }

  usePattern() {
    this.errors.video = '';
    this.chosen.pattern = true;
    this.cameraOff = false;
    this.use('video', testPattern(t('测试画面')));
    this.remember();
    this.onChange();
  }

  /** Another device of the kind ('audio' | 'video'); '' is the system's own choice. */
  async choose(kind, id) {
    this.chosen[kind] = id;
    if (kind === 'video') {
      this.chosen.pattern = false;
      this.cameraOff = false;
    }
    const fine = await this.acquireOne(kind);
    this.remember();
    this.onChange();
    return fine;
  }

  async unplugged(kind, track) {
    if (this[kind] !== track) return;
    const name = track.label;
    this.chosen[kind] = '';
    const fine = await this.acquireOne(kind);
    if (kind === 'audio') {
      this.onNotice(fine
        ? t('麦克风“{old}”已断开，已改用“{now}”。', { old: name, now: this.audio.label })
        : t('麦克风“{old}”已断开，没有其他麦克风，对方听不到您。', { old: name }), fine ? 'info' : 'bad');
    } else {
      this.onNotice(fine ? t('摄像头已断开，已改用“{now}”。', { now: this.video.label }) : t('摄像头已断开，会诊继续以语音进行。'), 'info');
    }
    this.onChange();
  }

  /** Something was plugged in or out: a missing microphone that is there now is taken. */
  async look() {
    const list = await this.list();
    for (const kind of ['audio', 'video']) {
      const track = this[kind];
      const id = track?.getSettings?.().deviceId;
      if (track && !track.pattern && id && !list[kind].some((device) => device.deviceId === id)) await this.unplugged(kind, track);
    }
    if (!this.audio && list.audio.length && await this.acquireOne('audio')) this.onNotice(t('已接上麦克风“{now}”。', { now: this.audio.label }), 'good');
    this.onChange();
  }

  async list() {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    const of = (kind) => all.filter((device) => device.kind === kind && device.deviceId !== 'communications');
    return { audio: of('audioinput'), video: of('videoinput'), output: of('audiooutput') };
  }

  mute(muted) {
    this.muted = muted;
    this.spoke = 0;
    if (this.audio) this.audio.enabled = !muted;
    this.remember();
    this.onChange();
  }

  /** Off releases the camera (its light goes out); on asks for it again. */
  async camera(on) {
    this.cameraOff = !on;
    if (!on) this.use('video', null);
    else if (this.chosen.pattern) this.use('video', testPattern(t('测试画面')));
    else if (!(await this.acquireOne('video'))) {
      this.cameraOff = true;
      this.onNotice(this.errors.video, 'bad');
    }
    this.remember();
    this.onChange();
  }

  /** Camera and microphone are let go (their lights go out); `acquire` takes them again. */
  release() {
    this.use('audio', null);
    this.use('video', null);
    this.onChange();
  }

  stop() {
    navigator.mediaDevices?.removeEventListener?.('devicechange', this.changed);
    this.meter?.stop();
    for (const kind of ['audio', 'video']) {
      if (this[kind]) {
        this[kind].onended = null;
        this[kind].stop();
      }
    }
  }
}
