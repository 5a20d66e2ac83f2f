// Another microphone, camera or loudspeaker in the middle of a meeting.
import { t } from '../i18n.js';
import { dialog, el, icon } from '../ui.js';

/** play(): the sound goes on over the chosen loudspeaker. */
export async function chooseDevices(devices, play) {
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
      el('label', { class: 'choice' }, el('input', { type: 'checkbox', id: 'device-original', checked: devices.original, onchange: (event) => devices.hearOriginal(event.target.checked) }),
        el('span', {}, t('传送原声（听诊器）：不消回声、不降噪、不自动调音量，双声道'))),
      choice('video', t('摄像头'), (id) => devices.choose('video', id), devices.video?.getSettings?.().deviceId),
      choice('output', t('扬声器'), (id) => { devices.chosen.output = id; devices.remember(); play(); }, devices.chosen.output),
      el('button', { class: 'button', type: 'button', onclick: () => devices.usePattern() }, icon('monitor'), t('改用测试画面')),
    ],
  });
}
