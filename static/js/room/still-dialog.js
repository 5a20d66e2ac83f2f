// A sharp picture: from the camera in use, from another one (a document camera), or from a file; looked at before it goes.
import { t } from '../i18n.js';
import { dialog, el, icon } from '../ui.js';

const PHOTO_MS = 8000; // a camera that takes longer to its own photograph does not take any
const SETTLE_MS = 600; // a camera that was just opened finds its exposure
const FULL = { width: { ideal: 7680 }, height: { ideal: 4320 } };
const JPEG = [0xff, 0xd8, 0xff];
const PNG = [0x89, 0x50, 0x4e, 0x47];

const within = (promise, ms) => Promise.race([promise, new Promise((_, reject) => { setTimeout(() => reject(new Error('late')), ms); })]);
const pixels = async (blob) => {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  return { width, height };
};

/** The camera's own photograph at its highest resolution, null where there is none (only Chromium has it). */
async function photograph(track) {
  try {
    const capture = new ImageCapture(track);
    const { imageWidth, imageHeight } = await within(capture.getPhotoCapabilities(), PHOTO_MS);
    const largest = imageWidth?.max && imageHeight?.max ? { imageWidth: imageWidth.max, imageHeight: imageHeight.max } : {};
    return await within(capture.takePhoto(largest), PHOTO_MS);
  } catch {
    return null;
  }
}

/** What the track shows now, as a JPEG. */
async function frame(track) {
  const video = document.createElement('video');
  video.muted = video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  await video.play();
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  video.srcObject = null;
  return new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', 0.95); });
}

const openCamera = async (id) => (await navigator.mediaDevices.getUserMedia({ video: { deviceId: { exact: id }, ...FULL } })).getVideoTracks()[0];

/** The sharpest picture that this camera gives; `track` shows it now, `own` where nobody else uses that track. */
async function sharpest(track, own) {
  const shown = await frame(track);
  const photo = await photograph(track);
  if (photo && (await starts(photo)) && (await pixels(photo)).width >= (await pixels(shown)).width) return photo;
  if (own) return shown;
  try {
    const full = await openCamera(track.getSettings().deviceId);
    try {
      await new Promise((resolve) => { setTimeout(resolve, SETTLE_MS); });
      return await frame(full);
    } finally {
      full.stop();
    }
  } catch {
    return shown;
  }
}

/** 'jpeg' | 'png' | 'heic' | 'pdf' | '': what the bytes are, whatever the file is called. */
async function starts(blob) {
  const head = new Uint8Array(await blob.slice(0, 16).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (JPEG.every((byte, at) => head[at] === byte)) return 'jpeg';
  if (PNG.every((byte, at) => head[at] === byte)) return 'png';
  if (/^.{4}ftyp(heic|heix|hevc|mif1|msf1|avif)/s.test(text)) return 'heic';
  return text.startsWith('%PDF-') ? 'pdf' : '';
}

/** Why this file cannot be sent; '' where it can. */
async function objection(file, mb) {
  if (file.size > mb * 1024 * 1024) return t('图片超过 {n} MB，请缩小后再发。', { n: mb });
  switch (await starts(file)) {
    case 'jpeg': case 'png': break;
    case 'heic': return t('这是 HEIC 格式的照片，对方的浏览器打不开。请在手机“相机”设置里改用“兼容性最佳”，或另存为 JPEG 再发。');
    case 'pdf': return t('这里只发送图片。PDF 请在会诊页面的附件里上传。');
    default: return t('这个文件不是 JPEG 或 PNG 图片。');
  }
  return pixels(file).then(() => '', () => t('这张图片不完整，打不开。请换一张。'));
}

const sizeText = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Resolves to {blob, kind, title}, or null. mb: the largest picture the site takes. */
export async function takeStill({ devices, mb }) {
  const { video: cameras } = await devices.list();
  const current = cameras.find(({ deviceId }) => deviceId && deviceId === devices.video?.getSettings?.().deviceId);
  let track = null; // what the preview shows
  let own = false; // … and nobody else uses
  let taken = null;
  let address = '';

  const live = el('video', { class: 'still-live', playsinline: true, autoplay: true, muted: true, 'aria-label': t('摄像头预览') });
  live.muted = true;
  const picture = el('img', { class: 'still-taken', alt: t('将要发送的图片'), hidden: true });
  const facts = el('p', { class: 'hint num', role: 'status' });
  const error = el('p', { class: 'error-text', role: 'alert' });
  const shoot = el('button', { class: 'button', type: 'button', id: 'still-shoot' }, icon('scan'), el('span', {}, t('拍摄')));
  const choice = el('select', { class: 'input', id: 'still-camera' },
    cameras.map((camera, at) => el('option', { value: camera.deviceId, selected: camera === current }, camera.label || t('设备 {n}', { n: at + 1 }))));
  const file = el('input', { class: 'visually-hidden', type: 'file', accept: 'image/jpeg,image/png', id: 'still-file' });
  const kind = el('select', { class: 'input', id: 'still-kind' },
    [['document', t('病历或报告')], ['paper_ecg', t('纸质心电图')], ['film', t('胶片照片')]].map(([value, words]) => el('option', { value }, words)));
  const title = el('input', { class: 'input', id: 'still-title', maxlength: 60, autocomplete: 'off', placeholder: t('例如：右手背伤口') });

  const show = (blob, why = '') => {
    if (address) URL.revokeObjectURL(address);
    taken = blob;
    address = blob ? URL.createObjectURL(blob) : '';
    picture.hidden = !blob;
    live.hidden = Boolean(blob) || !track;
    picture.src = address;
    error.textContent = why;
    facts.textContent = '';
    if (blob) pixels(blob).then(({ width, height }) => { if (taken === blob) facts.textContent = `${width} × ${height} · ${sizeText(blob.size)}`; });
    shoot.querySelector('span').textContent = blob ? t('重拍') : t('拍摄');
    shoot.hidden = !cameras.length;
  };
  const letGo = () => { if (own) track?.stop(); track = null; own = false; };
  const look = async (id) => {
    letGo();
    if (current && id === current.deviceId) track = devices.video;
    else if (id) {
      try {
        track = await openCamera(id);
        own = true;
      } catch {
        show(null, t('这个摄像头打不开，可能正被其他程序使用。'));
        return;
      }
    }
    live.srcObject = track ? new MediaStream([track]) : null;
    show(null);
  };
  choice.addEventListener('change', () => look(choice.value));
  shoot.addEventListener('click', async () => {
    if (taken || !track) { await look(choice.value); return; }
    shoot.setAttribute('aria-busy', 'true');
    try {
      show(await sharpest(track, own));
    } catch {
      show(null, t('没有拍成，请再试一次。'));
    } finally {
      shoot.removeAttribute('aria-busy');
    }
  });
  file.addEventListener('change', async () => {
    const [chosen] = file.files;
    file.value = '';
    if (!chosen) return;
    const why = await objection(chosen, mb);
    show(why ? null : chosen, why);
  });

  const field = (label, control, less = false) => el('div', { class: 'field', hidden: less }, el('label', { for: control.id }, label), control);
  await look(choice.value);
  const said = await dialog({
    title: t('发送清晰图'), wide: true,
    body: [
      el('div', { class: 'still-view' }, live, picture), facts, error,
      el('div', { class: 'row still-tools' }, shoot, el('label', { class: 'button', for: 'still-file' }, icon('folder-open'), t('选择图片文件'), file)),
      el('div', { class: 'still-fields' }, field(t('摄像头'), choice, !cameras.length), field(t('类别'), kind), field(t('说明'), title)),
    ],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('发送'), value: 'send', kind: 'primary' }],
    check: () => {
      if (taken) return true;
      error.textContent = t('请先拍摄或选择一张图片。');
      return false;
    },
  });
  letGo();
  if (address) URL.revokeObjectURL(address);
  return said === 'send' ? { blob: taken, kind: kind.value, title: title.value.trim() } : null;
}
