// Saves a form while it is being written: versioned on the server, kept in this tab until the server has it.
// Nothing is ever cleared because saving failed. The local copy belongs to one person and goes at sign-out.
import { Problem } from './api.js';
import { t } from './i18n.js';
import { dialog, el, icon, toast } from './ui.js';
import { timeText } from './times.js';

const PREFIX = 'huizhen:draft:';
const me = document.body.dataset.staff ?? '';

/** Forgets every local copy in this tab. */
export function forgetDrafts() {
  Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX)).forEach((key) => sessionStorage.removeItem(key));
}

/**
 * options:
 *   key      names the thing, e.g. "report:<id>"
 *   version  the version the page was made from
 *   collect  () → the content to save (plain value)
 *   save     (content, version) → promise of {version, saved_at?}; throws Problem (code "stale" → the conflict dialog)
 *   load     () → promise of {version, content} on the server now; used by the conflict dialog
 *   apply    (content) → put it into the page (local copy found, or the server's version chosen)
 *   status   element that shows the state of saving (role="status")
 *   delay    milliseconds of rest before saving, 900
 * Returns {touch, flush, stop, get version, get dirty}. Call touch() on every change, await flush() before signing.
 */
export function autosave({ key, version, collect, save, load = null, apply = null, status = null, delay = 900 }) {
  const place = `${PREFIX}${me}:${key}`;
  let known = version;
  let dirty = false;
  let running = null;
  let timer = 0;
  let wait = 0;
  let stopped = false;

  function show(name, text, bad = false) {
    if (!status) return;
    status.className = bad ? 'saved saved-bad' : 'saved';
    status.replaceChildren(icon(name), text);
  }

  function keep() {
    try {
      sessionStorage.setItem(place, JSON.stringify({ version: known, content: collect(), at: Date.now() }));
    } catch { /* no room left in the tab: the page itself still holds it */ }
  }

  function touch() {
    if (stopped) return;
    dirty = true;
    keep();
    clearTimeout(timer);
    timer = setTimeout(run, delay);
  }

  async function once() {
    const content = collect();
    const sent = JSON.stringify(content);
    dirty = false;
    show('loader-circle', t('正在保存…'));
    try {
      const answer = await save(content, known);
      known = answer?.version ?? known;
      wait = 0;
      if (!dirty && JSON.stringify(collect()) === sent) sessionStorage.removeItem(place);
      show('circle-check', t('已自动保存 {time} · 第 {n} 版', { time: timeText(answer?.saved_at ?? Date.now()), n: known }));
      return true;
    } catch (problem) {
      dirty = true;
      keep();
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === 'stale') return settle();
      if (problem.status === 422 || problem.status === 403 || problem.status === 404 || problem.code === 'wrong_state') {
        show('triangle-alert', t('没有保存：{why}', { why: problem.message }), true);
        return false;
      }
      wait = Math.min((wait || 1000) * 2, 30000);
      show('wifi-off', t('暂时没能保存，内容都在，{n} 秒后再试', { n: wait / 1000 }), true);
      clearTimeout(timer);
      timer = setTimeout(run, wait);
      return false;
    }
  }

  function run() {
    clearTimeout(timer);
    running ??= once().finally(() => {
      running = null;
      if (dirty && !wait && !stopped) timer = setTimeout(run, delay);
    });
    return running;
  }

  /** Somebody saved a newer version: the person chooses, and can take the own text along. */
  async function settle() {
    show('triangle-alert', t('别人保存了更新的版本'), true);
    const mine = collect();
    const copy = el('button', { class: 'button button-small', type: 'button', onclick: async () => {
      await navigator.clipboard?.writeText(textOf(mine)).catch(() => {});
      toast(t('已复制您写的内容'), { kind: 'good' });
    } }, icon('copy'), t('复制我写的内容'));
    const choice = await dialog({
      title: t('别人保存了更新的版本'),
      body: [el('p', {}, t('您打开之后，别人改动并保存了同一份内容。您写的都还在这一页上。请选择用哪一份；另一份会留在版本记录里。')), copy],
      actions: [{ label: t('看最新的版本'), value: 'theirs', kind: 'quiet', apart: true }, { label: t('稍后决定'), value: 'later' }, { label: t('保存我的内容'), value: 'mine', kind: 'primary' }],
    });
    if (choice !== 'mine' && choice !== 'theirs') return false;
    if (!load) { location.reload(); return false; }
    try {
      const newest = await load();
      known = newest.version;
      if (choice === 'theirs') {
        apply?.(newest.content);
        dirty = false;
        sessionStorage.removeItem(place);
        show('circle-check', t('已换成最新的版本（第 {n} 版）', { n: known }));
        return true;
      }
      return await once();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      show('triangle-alert', t('没有保存：{why}', { why: problem.message }), true);
      return false;
    }
  }

  async function flush() {
    for (let round = 0; round < 5 && (dirty || running); round += 1) {
      const fine = await run();
      if (!fine && !running) return false;
    }
    return !dirty;
  }

  function stop({ forget = false } = {}) {
    stopped = true;
    clearTimeout(timer);
    if (forget) sessionStorage.removeItem(place);
  }

  // A copy that never reached the server (crash, reload, lost line): put it back and save it.
  const left = JSON.parse(sessionStorage.getItem(place) ?? 'null');
  if (left && apply && JSON.stringify(left.content) !== JSON.stringify(collect())) {
    apply(left.content);
    known = left.version; // if the server is further, saving finds out and asks
    toast(t('已找回上次没有保存成功的内容'), { kind: 'good' });
    touch();
  } else if (left) sessionStorage.removeItem(place);

  addEventListener('online', () => { if (dirty) run(); });
  addEventListener('pagehide', () => { if (dirty) keep(); });
  addEventListener('beforeunload', (event) => { if (dirty && !stopped) { keep(); run(); event.preventDefault(); } });
  document.addEventListener('visibilitychange', () => { if (document.hidden && dirty) run(); });

  return { touch, flush, stop, get version() { return known; }, get dirty() { return dirty || running !== null; } };
}

function textOf(value) {
  if (Array.isArray(value)) return value.map(textOf).filter(Boolean).join('\n');
  if (value && typeof value === 'object') return Object.values(value).map(textOf).filter(Boolean).join('\n');
  return value === null || value === undefined || value === false ? '' : String(value);
}
