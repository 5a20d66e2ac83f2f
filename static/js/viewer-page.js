// The reading room: the viewer fills the page and listens to all its keys; the tools fade while only the image matters.
import { api, signInAgain } from './api.js';
import { t } from './i18n.js';

const IDLE_MS = 2000;

const room = document.getElementById('reading-room');
const data = JSON.parse(document.getElementById('page-data').textContent);
const { mountViewer } = await import(room.dataset.viewer);

const viewer = mountViewer(room, {
  studyUid: data.studyUid,
  identity: data.identity,
  t,
  iconsUrl: room.dataset.icons,
  ecgModule: room.dataset.ecg,
  signIn: signInAgain,
  onKeyImage: data.keyImageUrl ? (image) => api('POST', data.keyImageUrl, image) : undefined,
  globalKeys: true,
});

let idle;
function wake() {
  room.classList.remove('reading-idle');
  clearTimeout(idle);
  idle = setTimeout(() => {
    if (!room.contains(document.activeElement?.closest('button, input, a'))) room.classList.add('reading-idle');
  }, IDLE_MS);
}
for (const name of ['pointermove', 'pointerdown', 'keydown', 'focusin']) window.addEventListener(name, wake, { passive: true });
wake();

window.addEventListener('pagehide', (event) => {
  if (!event.persisted) viewer.destroy();
});
window.viewer = viewer;
