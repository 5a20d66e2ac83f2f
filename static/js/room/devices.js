// Camera and microphone: ask, switch, survive being unplugged, notice that somebody speaks while muted; a moving test
// pattern where there is no camera, a curtain where nobody shall see.
import { t } from '../i18n.js';
import { curtain, testPattern } from './canvas.js';
import { Meter } from './meter.js';
import { microphone } from './original.js';

const KEY = 'huizhen:devices';
const SPEAKING = -45; // dBFS
const SPEAKING_TICKS = 8; // 0.8 s of speech while muted

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

export class Devices {
  /**
   * onChange(): tracks or switches changed. onNotice(sentence, kind, action): tell the person; action: {label, run}.
   * `onOutput()`, set later: the sound goes over the chosen loudspeaker from now on.
   */
  constructor({ onChange = () => {}, onNotice = () => {} } = {}) {
    Object.assign(this, { onChange, onNotice });
    this.audio = null;
    this.video = null;
    this.screen = null; // goes in the place of the camera's picture
    this.errors = { audio: '', video: '' };
    this.muted = false;
    this.cameraOff = false;
    this.level = 0;
    this.spoke = 0;
    this.meterFn = () => {};
    this.onOutput = () => {};
    this.known = null; // ids of the microphones that were there when last looked
    this.chosen = { audio: '', video: '', output: '', pattern: false, muted: false, cameraOff: false, original: false, curtain: false };
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
    const wantVideo = !this.chosen.pattern && !this.cameraOff && !this.chosen.curtain;
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new DOMException('insecure', 'SecurityError');
      const stream = await navigator.mediaDevices.getUserMedia({
        audio: { ...microphone(this.original), ...exact(this.chosen.audio) }, video: wantVideo ? { ...VIDEO, ...exact(this.chosen.video) } : false,
      });
      this.errors = { audio: '', video: '' };
      this.use('audio', stream.getAudioTracks()[0] ?? null);
      if (wantVideo) this.take('video', stream.getVideoTracks()[0] ?? null);
    } catch {
      await this.acquireOne('audio');
      if (wantVideo) await this.acquireOne('video');
    }
    if (!wantVideo) await this.openVideo();
    this.onChange();
    this.known ??= new Set((await this.list()).audio.map((device) => device.deviceId));
  }

  /** Again what a telephone call on this device has taken; the rest stays as it is. */
  async regain() {
    const { video } = this;
    await this.acquireOne('audio');
    if (!video || video.muted || video.readyState === 'ended') await this.openVideo();
    this.onChange();
  }

  /** The picture as it was chosen: none, the curtain, the pattern or the camera. False when there is no camera. */
  async openVideo() {
    if (this.cameraOff) this.use('video', null);
    else if (this.chosen.curtain) this.use('video', curtain(t('画面已遮挡')));
    else if (this.chosen.pattern) this.use('video', testPattern(t('测试画面')));
    else return this.acquireOne('video');
    return true;
  }

  async acquireOne(kind) {
    const limits = kind === 'audio' ? microphone(this.original) : VIDEO;
    for (const id of new Set([this.chosen[kind], ''])) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...limits, ...exact(id) } });
        this.errors[kind] = '';
        this.take(kind, stream.getTracks()[0]);
        return true;
      } catch (error) {
        this.errors[kind] = deviceSentence(kind, error);
      }
    }
    this.take(kind, null);
    return false;
  }

  /** What getUserMedia gave: a camera that opens when the curtain has fallen is closed again. */
  take(kind, track) {
    if (kind === 'video' && this.chosen.curtain) track?.stop();
    else this.use(kind, track);
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
    this.openVideo();
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
    const fine = await (kind === 'video' ? this.openVideo() : this.acquireOne(kind));
    this.remember();
    this.onChange();
    return fine;
  }

  /** What is sent as the picture. */
  get picture() {
    return this.screen ?? this.video;
  }

  /** A track of the screen instead of the camera's picture; null: the camera's again. */
  share(track) {
    this.screen = track;
    this.onChange();
  }

  get original() {
    return this.chosen.original;
  }

  /** Original sound on or off: the microphone is asked for anew, since its processing stays as it was asked for. */
  hearOriginal(on) {
    this.chosen.original = on;
    this.remember();
    this.asking = (this.asking ?? Promise.resolve()).then(async () => { // two at once would come in any order
      if (!(await this.acquireOne('audio'))) this.onNotice(this.errors.audio, 'bad');
      this.onChange();
    });
    return this.asking;
  }

  /** A curtain instead of our picture, at once: the camera is let go and its light goes out. Off asks for it again. */
  async cover(on) {
    this.chosen.curtain = on;
    await this.showVideo();
  }

  /** Before somebody enters anew: sound and picture as they are by default. */
  plain() {
    Object.assign(this.chosen, { original: false, curtain: false });
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

  /** Something was plugged in or out: a missing microphone that is there now is taken, another one is offered. */
  async look() {
    const list = await this.list();
    const had = this.audio;
    const fresh = this.known && list.audio.find((device) => !this.known.has(device.deviceId));
    this.known = new Set(list.audio.map((device) => device.deviceId));
    for (const kind of ['audio', 'video']) {
      const track = this[kind];
      const id = track?.getSettings?.().deviceId;
      if (track && !track.drawn && id && !list[kind].some((device) => device.deviceId === id)) await this.unplugged(kind, track);
    }
    if (!this.audio && list.audio.length && await this.acquireOne('audio')) this.onNotice(t('已接上麦克风“{now}”。', { now: this.audio.label }), 'good');
    else if (fresh?.label && had && this.audio === had) {
      this.onNotice(t('接上了另一个麦克风“{now}”。', { now: fresh.label }), 'info', { label: t('改用它'), run: () => this.choose('audio', fresh.deviceId) });
    }
    if (this.chosen.output && !list.output.some((device) => device.deviceId === this.chosen.output)) {
      this.chosen.output = '';
      this.remember();
      this.onOutput();
      this.onNotice(t('扬声器或耳机已断开，声音改由系统默认的扬声器播放。'), 'info');
    }
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
    await this.showVideo();
  }

  async showVideo() {
    if (!(await this.openVideo())) {
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
