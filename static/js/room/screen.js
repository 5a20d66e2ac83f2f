// The screen instead of the camera's picture, for what is not in the archive. It goes on the picture's own line, so the
// camera pauses meanwhile and comes back; at the other side it is large, and over the images when asked for.
import { t } from '../i18n.js';
import { confirm, toast } from '../ui.js';

const NONE = ['audio', 'telephone']; // rungs without a picture

export class Screen {
  constructor({ room, devices, group, more, other, others, line, draw }) {
    Object.assign(this, { room, devices, group, other, others, line, redraw: draw });
    this.box = document.getElementById('video');
    this.own = document.getElementById('own');
    this.staged = false;
    more.add({
      id: 'share-screen', name: 'monitor-up', run: () => (devices.screen ? this.stop() : this.start()), on: () => Boolean(devices.screen),
      words: () => (devices.screen ? t('停止共享屏幕') : t('共享屏幕')),
      shown: () => room.stage === 'in' && Boolean(navigator.mediaDevices?.getDisplayMedia),
    });
    addEventListener('resize', () => this.place());
    addEventListener('keydown', (event) => { if (event.key === 'Escape' && this.staged && !document.querySelector('dialog[open]')) this.stageIt(false); });
  }

  async start() {
    const sure = await confirm({ title: t('共享屏幕'), text: t('只共享需要的窗口；其他病人的信息不要露出。共享时摄像头画面暂停。'), action: t('选择要共享的窗口') });
    if (!sure || this.devices.screen || this.room.stage !== 'in') return;
    let track;
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 5, max: 15 } }, audio: false });
      [track] = stream.getVideoTracks();
    } catch (error) {
      if (error.name !== 'NotAllowedError') toast(t('屏幕没有共享成功。请再试一次，或改用“发送清晰图”。'), { kind: 'bad' });
      return; // the person has changed their mind
    }
    if (this.room.stage !== 'in') {
      track.stop();
      return;
    }
    track.screen = true;
    track.contentHint = 'detail'; // sharpness before motion (W3C mst-content-hint §4)
    track.onended = () => this.stop(); // the browser's own bar, or the window was closed
    this.devices.share(track);
  }

  stop() {
    const { screen } = this.devices;
    if (!screen) return;
    screen.onended = null;
    screen.stop();
    this.devices.share(null);
  }

  draw() {
    const { notes } = this.room.clinical;
    const { screen } = this.devices;
    this.own.classList.toggle('screen', Boolean(screen));
    notes.show('screen', screen ? {
      name: 'monitor-up', text: NONE.includes(this.line()?.rung) ? t('线路差，画面暂停，共享的屏幕恢复后再发') : t('您正在共享屏幕'),
      actions: [{ label: t('停止共享'), run: () => this.stop() }],
    } : null);
    const sharing = this.room.stage === 'in' ? this.others().filter((seat) => seat.screen && seat.connected) : [];
    this.box.classList.toggle('screened', sharing.length > 0);
    if (!sharing.length && this.staged) this.stageIt(false);
    notes.show('theirscreen', sharing.length ? {
      name: 'monitor', text: this.others().length > 1 ? t('{name}正在共享屏幕', { name: sharing[0].name }) : t('对方正在共享屏幕'),
      actions: [{ label: this.staged ? t('缩小') : t('放大到影像区'), run: () => this.stageIt(!this.staged) }],
    } : null);
  }

  /** Over the images, or back into the column. */
  stageIt(on) {
    this.staged = on;
    this.box.classList.toggle('staged', on);
    this.place();
    this.redraw();
  }

  place() {
    const { style } = this.box;
    if (!this.staged) {
      for (const side of ['left', 'top', 'width', 'height']) style[side] = '';
      return;
    }
    const material = document.getElementById('material').getBoundingClientRect();
    const room = document.getElementById('main-room').getBoundingClientRect();
    const { left, top, width, height } = material.width ? material : room; // narrow: the images are a tab
    Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  }

  ended() {
    this.stop();
    if (this.staged) this.stageIt(false);
    this.box.classList.remove('screened');
  }
}
