// For examinations: original sound from a stethoscope, a curtain before the picture, a word when two devices stand in one
// room; and a device that stays awake and takes back what a telephone call took.
import { t } from '../i18n.js';
import { Awake } from './awake.js';
import { Echo } from './echo.js';
import { Notes } from './notes.js';

export class Clinical {
  constructor(context) {
    const { room, devices, more, line, others, play } = context;
    Object.assign(this, { room, devices, line, others });
    room.clinical = this;
    this.notes = new Notes(document.getElementById('video'));
    this.echo = new Echo({ ...context, notes: this.notes });
    this.awake = new Awake({ ...context, notes: this.notes });
    more.add({
      id: 'original', name: 'stethoscope', run: () => devices.hearOriginal(!devices.original), on: () => devices.original,
      words: () => (devices.original ? t('关闭原声') : t('传送原声（听诊器）')), shown: () => room.stage === 'in' && Boolean(devices.audio),
    });
    more.add({
      id: 'curtain', name: 'eye-off', run: () => this.cover(), on: () => devices.chosen.curtain,
      words: () => (devices.chosen.curtain ? t('恢复画面（B 键）') : t('遮挡画面（B 键）')), shown: () => room.stage === 'in' && Boolean(devices.video || devices.chosen.curtain),
    }).setAttribute('aria-keyshortcuts', 'b');
    this.keys = [['b', t('遮挡或恢复画面'), () => this.cover()]];
    devices.onOutput = play;
  }

  cover() {
    if (this.devices.video || this.devices.chosen.curtain) this.devices.cover(!this.devices.chosen.curtain);
  }

  draw() {
    if (this.room.stage !== 'in') return;
    this.echo.begin();
    this.awake.begin();
    document.getElementById('own').classList.toggle('drawn', Boolean(this.devices.video?.drawn)); // letters are not mirrored
    this.notes.show('curtain', this.devices.chosen.curtain && this.devices.video
      ? { name: 'eye-off', text: t('画面已遮挡，对方看不到；声音照常'), actions: [{ label: t('恢复画面'), run: () => this.cover() }] } : null);
    this.notes.show('original', this.original());
    this.notes.show('theirs', this.theirs());
    this.echo.draw();
    this.awake.draw();
  }

  original() {
    if (!this.devices.original || !this.devices.audio) return null;
    const line = this.line();
    const enough = !line || line.sound.original;
    return {
      name: 'stethoscope', text: enough ? t('原声：不消回声，请戴耳机') : t('线路不够传送原声，暂以普通语音传送'),
      actions: [{ label: t('关闭原声'), run: () => this.devices.hearOriginal(false) }],
    };
  }

  theirs() {
    const others = this.others();
    const names = others.filter((seat) => seat.original && seat.connected).map((seat) => seat.name);
    if (!names.length) return null;
    return { name: 'stethoscope', text: others.length > 1 ? t('{name}正在传送原声', { name: names.join('、') }) : t('对方正在传送原声') };
  }

  ended() {
    this.echo.end();
    this.awake.end();
    this.notes.clear();
  }
}
