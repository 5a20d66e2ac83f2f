// A PDF that somebody holds: its signature and bytes are checked by the server, which keeps nothing of it.
import { pageData, Problem, upload } from './api.js';
import { t } from './i18n.js';
import { el, icon } from './ui.js';

const { code } = pageData();
const input = document.getElementById('file');
const place = document.getElementById('file-verdict');

const verdict = (tone, mark, lines) => el('div', { class: `verify-mark verify-${tone}`, 'data-verdict': tone }, icon(mark), el('h3', { 'data-user': '' }, lines[0]), lines.slice(1).map((line) => el('p', { 'data-user': '' }, line)));

async function check(file) {
  const bar = el('progress', { max: 1, value: 0, 'aria-label': t('正在核对') });
  place.replaceChildren(el('p', { class: 'muted' }, t('正在核对…')), bar);
  try {
    const found = await upload(code ? `/api/verify/${code}` : '/api/verify', file, {
      headers: { 'Content-Type': 'application/pdf' }, onProgress: (sent, total) => { bar.value = total ? sent / total : 0; },
    });
    const lines = [...found.lines];
    if (found.genuine && found.matches === false) lines.push(t('它是真实的，但不是这个核验码对应的那一份。'));
    if (found.genuine && found.matches && found.newest === false) lines.push(t('之后还有更新的版本，请以最新版为准。'));
    const tone = !found.genuine ? 'bad' : found.matches === false || found.newest === false ? 'warn' : 'good';
    place.replaceChildren(verdict(tone, { good: 'shield-check', warn: 'triangle-alert', bad: 'circle-x' }[tone], lines));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(verdict('bad', 'triangle-alert', [problem.message]));
  }
}

input.addEventListener('change', () => { if (input.files[0]) check(input.files[0]); });
const drop = input.closest('[data-drop]');
drop.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('drop-over'); });
drop.addEventListener('dragleave', () => drop.classList.remove('drop-over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  drop.classList.remove('drop-over');
  if (event.dataTransfer.files[0]) check(event.dataTransfer.files[0]);
});
