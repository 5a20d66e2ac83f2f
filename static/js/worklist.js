// The worklist at work: filters, keys, live rows. Rows come ready made from the server; nothing moves under the pointer.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { hotkeys } from './keys.js';
import { onState, subscribe } from './live.js';
import { acceptOffer, declineOffer, returnRequest } from './offers.js';
import { el, icon, skeletonWhile, tick, toast } from './ui.js';

const data = pageData();
const rows = document.getElementById('rows');
const filters = document.getElementById('filters');
const more = document.getElementById('more');
const empty = document.getElementById('empty');
const total = document.getElementById('total');
const searching = document.getElementById('searching');
const bar = document.getElementById('new-rows');
const role = document.body.dataset.role;
let text = '';
let waiting = [];            // new rows that have not been let in yet
let at = -1;
let hadFocus = false;
let round = 0;               // only the newest answer counts
let planned = null;

const all = () => [...rows.children].filter((row) => row.dataset.id);

function wish(offset = 0, limit = data.limit) {
  const form = new FormData(filters);
  const value = (name) => form.get(name) || undefined;
  return {
    tab: data.tab, service: value('service'), urgency: value('urgency'), organisation: value('organisation'),
    span: form.get('span') ?? '', sort: form.get('sort') ?? 'urgency', text, offset, limit,
  };
}

const parse = (html) => {
  const box = document.createElement('template');
  box.innerHTML = html.trim(); // made by our own template: text in it is escaped there
  return box.content.firstElementChild;
};

// ---- showing ------------------------------------------------------------------------------------------------------

function showTotal(n) {
  total.textContent = n === null || n === undefined ? '' : t('共 {n} 条', { n });
}

function showEmpty(words) {
  empty.hidden = all().length > 0;
  if (words && !empty.hidden) {
    empty.querySelector('h2').textContent = words.title;
    empty.querySelector('p').textContent = words.text;
    empty.querySelector('.icon').replaceWith(icon(words.icon));
  }
}

function showCounts(counts) {
  for (const node of document.querySelectorAll('[data-count]')) {
    const n = counts[node.dataset.count];
    if (n === undefined) continue;
    node.textContent = n > 99 ? '99+' : n;
    node.hidden = !n;
  }
}

function showAgain(problem) {
  rows.replaceChildren(el('li', { class: 'note note-bad wl-again' }, icon('triangle-alert'),
    el('div', {}, el('p', {}, problem.detail || problem.message),
      el('button', { class: 'button button-small', type: 'button', onclick: () => reload() }, icon('refresh-cw'), t('再试一次')))));
  empty.hidden = true;
}

/** The list anew: after a filter, a search, or on "try again". */
async function reload() {
  const mine = (round += 1);
  waiting = [];
  showWaiting();
  rows.replaceChildren();
  empty.hidden = true;
  try {
    const answer = await skeletonWhile(document.getElementById('worklist'), api('POST', '/api/worklist', wish()), 8);
    if (mine !== round) return;
    rows.replaceChildren(...answer.rows.map(({ html }) => parse(html)));
    more.hidden = !answer.more;
    showTotal(answer.total);
    showCounts(answer.counts);
    showEmpty(answer.empty);
    tick(rows);
    at = -1;
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    if (mine === round) showAgain(problem);
  }
}

more.addEventListener('click', async () => {
  more.setAttribute('aria-busy', 'true');
  try {
    const answer = await api('POST', '/api/worklist', wish(all().length));
    const known = new Set(all().map((row) => row.dataset.id));
    rows.append(...answer.rows.filter(({ id }) => !known.has(id)).map(({ html }) => parse(html)));
    more.hidden = !answer.more;
    tick(rows);
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    toast(problem.message, { kind: 'bad' });
  } finally {
    more.removeAttribute('aria-busy');
  }
});

// ---- live: changed rows change in place, gone rows stay grey until one looks away, new rows wait ----------------------

async function refresh() {
  const mine = (round += 1);
  let answer;
  try {
    answer = await api('POST', '/api/worklist', wish(0, Math.min(500, Math.max(data.limit, all().length))));
  } catch (problem) {
    if (problem.name !== 'Problem') throw problem;
    return; // the mark "live" already says that the line is gone
  }
  if (mine !== round) return;
  const now = new Map(answer.rows.map((row) => [row.id, row]));
  for (const row of all()) {
    const fresh = now.get(row.dataset.id);
    if (!fresh) leave(row);
    else if (Number(row.dataset.version) !== fresh.version || row.dataset.state !== fresh.state) replaceRow(row, fresh.html);
    now.delete(row.dataset.id);
  }
  waiting = [...now.values()];
  if (!all().length) letIn();
  showWaiting();
  showTotal(answer.total);
  showCounts(answer.counts);
  showEmpty(answer.empty);
  tick(rows);
}

function replaceRow(row, html) {
  const fresh = parse(html);
  const focused = row.contains(document.activeElement);
  fresh.classList.toggle('wl-at', row.classList.contains('wl-at'));
  fresh.classList.add('wl-changed');
  row.replaceWith(fresh);
  if (focused) fresh.querySelector('.wl-who').focus();
}

/** Taken by somebody else, or moved on: it keeps its place until the pointer and the focus are elsewhere. */
function leave(row) {
  if (row.classList.contains('wl-gone')) return;
  row.classList.add('wl-gone');
  row.querySelector('.wl-state')?.replaceChildren(el('span', { class: 'badge badge-quiet' }, t('已不在此列')));
  const go = () => {
    if (rows.matches(':hover') || rows.contains(document.activeElement)) return setTimeout(go, 1500);
    row.remove();
    return showEmpty();
  };
  setTimeout(go, 3000);
}

function showWaiting() {
  bar.hidden = !waiting.length;
  bar.querySelector('span').textContent = t('{n} 条新会诊', { n: waiting.length });
}

function letIn() {
  const order = waiting.map(({ html }) => parse(html));
  order.forEach((row) => row.classList.add('wl-changed'));
  rows.prepend(...order);
  waiting = [];
  showWaiting();
  showEmpty();
  tick(rows);
}

bar.querySelector('button').addEventListener('click', () => { letIn(); window.scrollTo({ top: 0, behavior: 'smooth' }); });

const plan = () => {
  planned ??= setTimeout(() => { planned = null; refresh(); }, 200);
};
subscribe('worklist', plan);
const live = document.getElementById('live');
onState((connected) => {
  live.dataset.live = connected ? 'on' : 'off';
  live.lastElementChild.textContent = connected ? t('实时') : t('正在重新连接');
});

// ---- filters and search ------------------------------------------------------------------------------------------------

function markFilters() {
  let chosen = Boolean(text);
  for (const select of filters.querySelectorAll('select')) {
    const on = select.name !== 'sort' && select.value !== '';
    select.classList.toggle('wl-chosen', on);
    chosen ||= on;
  }
  const clear = document.getElementById('clear-filters');
  if (clear) clear.hidden = !chosen;
  searching.hidden = !text;
  searching.querySelector('b').textContent = text;
}

function apply() {
  const query = new URLSearchParams([...new FormData(filters)].filter(([name, value]) => value && !(name === 'sort' && value === 'urgency')));
  history.replaceState(null, '', `/?${query}`); // never the search text: it may be a name
  markFilters();
  reload();
}

filters.addEventListener('submit', (event) => { event.preventDefault(); apply(); });
filters.addEventListener('change', apply);

function search(words) {
  text = words;
  const field = document.querySelector('#bar-search input');
  if (field) field.value = words;
  markFilters();
  reload();
}
document.addEventListener('worklist-search', (event) => search(event.detail));
searching.querySelector('button').addEventListener('click', () => search(''));
document.getElementById('clear-filters')?.addEventListener('click', () => {
  filters.querySelectorAll('select').forEach((select) => { if (select.name !== 'sort') select.value = ''; });
  text = '';
  const field = document.querySelector('#bar-search input');
  if (field) field.value = '';
  apply();
});

// ---- rows: keys and actions ------------------------------------------------------------------------------------------------

function move(step) {
  const list = all();
  if (!list.length) return;
  const current = list.findIndex((row) => row.classList.contains('wl-at'));
  at = Math.max(0, Math.min(list.length - 1, (current < 0 ? (step > 0 ? -1 : list.length) : current) + step));
  list.forEach((row, n) => row.classList.toggle('wl-at', n === at));
  list[at].querySelector('.wl-who').focus({ preventScroll: true });
  list[at].scrollIntoView({ block: 'nearest' });
}

const chosen = () => rows.querySelector('.wl-at');

rows.addEventListener('focusin', (event) => {
  const row = event.target.closest('.wl-row');
  if (!row || row === chosen()) return;
  all().forEach((other) => other.classList.toggle('wl-at', other === row));
  hadFocus = true;
});

async function accept(row) {
  if (!row?.hasAttribute('data-accept') || row.classList.contains('wl-gone')) return;
  if (await acceptOffer(row.dataset.id, row.querySelector('[data-do="accept"]'))) location.assign(`/consultations/${row.dataset.id}`);
  else plan();
}

async function giveBack(row) {
  if (!row || row.classList.contains('wl-gone')) return;
  const done = row.hasAttribute('data-accept') ? await declineOffer(row.dataset.id)
    : row.hasAttribute('data-return') ? await returnRequest(row.dataset.id, Number(row.dataset.version)) : false;
  if (done) plan();
}

rows.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do="accept"]');
  if (button) accept(button.closest('.wl-row'));
});

hotkeys(t('工作列表'), [
  { key: 'j', label: t('下一条'), run: () => move(1) },
  { key: 'k', label: t('上一条'), run: () => move(-1) },
  { key: 'ArrowDown', label: t('下一条'), run: () => (hadFocus || chosen() ? move(1) : false) },
  { key: 'ArrowUp', label: t('上一条'), run: () => (hadFocus || chosen() ? move(-1) : false) },
  { key: 'Enter', label: t('打开'), run: () => { const row = chosen(); if (row) location.assign(row.querySelector('.wl-who').href); else return false; return true; } },
  ...(role === 'expert' ? [{ key: 'a', label: t('接诊'), run: () => { accept(chosen()); } }] : []),
  ...(['expert', 'dispatcher'].includes(role) ? [{ key: 'r', label: t('退回或不接'), run: () => { giveBack(chosen()); } }] : []),
  { key: 'n', label: t('显示新会诊'), run: () => { if (waiting.length) letIn(); } },
]);

if (matchMedia('(max-width: 760px)').matches) filters.querySelector('.wl-more')?.removeAttribute('open');
showTotal(data.total);
markFilters();
const handed = sessionStorage.getItem('huizhen:search');
if (handed !== null) {
  sessionStorage.removeItem('huizhen:search');
  if (handed) search(handed);
}
