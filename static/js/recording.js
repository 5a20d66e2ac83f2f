// The page of one recording: its progress while it is being made, then the film with chat and events beside it.
import { api, pageData } from './api.js';
import { el, onSubmit } from './ui.js';

const $ = (id) => document.getElementById(id);
const data = pageData();
const words = Object.fromEntries([...$('words').content.children].map((item) => [item.dataset.code, item.textContent]));
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

async function making() {
  const { recordings } = await api('GET', `/api/consultations/${data.consultation}/recordings`);
  const found = recordings.find(({ id }) => id === data.id);
  if (found?.stage !== 'waiting') {
    location.reload();
    return;
  }
  $('making').querySelector('progress').value = found.progress ?? 0;
  setTimeout(making, 2000);
}

/** One line for a shared view that changes all the time: the next of the same person's within these seconds is left out. */
const VIEW_SECONDS = 10;
function withoutRepeats(events) {
  const last = new Map();
  return events.filter(({ at, kind, name }) => {
    if (kind !== 'view') return true;
    const shown = last.get(name);
    if (shown !== undefined && at - shown < VIEW_SECONDS) return false;
    last.set(name, at);
    return true;
  });
}

/** Everything that was said or happened, in order; a click, or Enter, goes there. */
function line({ chat, events }) {
  const film = $('film');
  const rows = [
    ...chat.map(({ at, name, text }) => ({ at, body: [el('b', {}, name), ` ${text}`] })),
    ...withoutRepeats(events).map(({ at, kind, name }) => ({ at, body: [el('i', {}, [name, words[kind]].filter(Boolean).join(' '))] })),
  ].sort((a, b) => a.at - b.at);
  const items = rows.map(({ at, body }) => {
    const button = el('button', { type: 'button', class: 'button button-quiet', 'data-user': '', onclick: () => { film.currentTime = at; film.play(); } }, el('span', { class: 'num' }, clock(at)), ...body);
    return { at, button, item: el('li', {}, button) };
  });
  $('events').replaceChildren(...items.map(({ item }) => item));
  film.addEventListener('timeupdate', () => {
    const now = items.findLast(({ at }) => at <= film.currentTime + 0.1);
    for (const one of items) {
      if (one === now) one.button.setAttribute('aria-current', 'true');
      else one.button.removeAttribute('aria-current');
    }
  });
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, select, textarea, button, video')) return;
    if (event.key === ' ') {
      event.preventDefault();
      if (film.paused) film.play();
      else film.pause();
    } else if (event.key === 'ArrowLeft') film.currentTime -= 5;
    else if (event.key === 'ArrowRight') film.currentTime += 5;
  });
}

if (data.stage === 'waiting') making();
if ($('purpose')) {
  onSubmit($('purpose'), async () => {
    line(await api('POST', `/api/recordings/${data.id}/play`, { purpose: $('f-purpose').value }));
    $('purpose').hidden = true;
    $('player').hidden = false;
    $('film').src = `/api/recordings/${data.id}/video`;
    $('film').play().catch(() => {});
    $('film').focus();
  });
}
