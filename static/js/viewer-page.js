// The reading room: the viewer fills the page and listens to all its keys; the tools fade while only the image matters.
import { api, signInAgain } from './api.js';
import { slowGraphics } from './graphics.js';
import { t } from './i18n.js';
import { el, icon } from './ui.js';

const IDLE_MS = 2000;
const SOONEST_MS = 30_000;

const room = document.getElementById('reading-room');
const data = JSON.parse(document.getElementById('page-data').textContent);
let viewer = null;
let renewal;
let idle;

/** Opening is audited and lasts some minutes; it is renewed while the page is in use. */
async function openStudy() {
  const reason = data.consultation ? { consultation: data.consultation } : {};
  const { expires_at: until } = await api('POST', `/api/studies/${data.studyUid}/open`, reason);
  const left = (Date.parse(until) - Date.now()) * 0.8;
  clearTimeout(renewal);
  renewal = setTimeout(() => openStudy().catch(() => {}), Math.max(SOONEST_MS, left || SOONEST_MS));
}

async function start() {
  room.replaceChildren();
  try {
    const [{ mountViewer }, cpu] = await Promise.all([import(room.dataset.viewer), slowGraphics(), openStudy()]);
    viewer = mountViewer(room, {
      cpu,
      studyUid: data.studyUid,
      identity: data.identity,
      t,
      iconsUrl: room.dataset.icons,
      ecgModule: room.dataset.ecg,
      signIn: signInAgain,
      onKeyImage: data.keyImageUrl ? (image) => api('POST', data.keyImageUrl, image) : undefined,
      globalKeys: true,
    });
    window.viewer = viewer;
  } catch (problem) {
    const again = el('button', { class: 'button', type: 'button', onclick: start }, icon('refresh-cw'), t('重试'));
    room.replaceChildren(el('p', { class: 'reading-refused', role: 'alert' }, problem.detail || t('影像没有打开。请再试一次。')), again);
  }
}

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
  if (!event.persisted) viewer?.destroy();
});
await start();
