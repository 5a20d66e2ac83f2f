// A consultation's report: the editor for who writes it, the signed pages for who may read them.
import { api, pageData, Problem } from './api.js';
import { t } from './i18n.js';
import { subscribe } from './live.js';
import { mountReportEditor } from './report-editor.js';
import { busy, confirm, dialog, el, icon, showProblem, tick, toast } from './ui.js';

let data = pageData();
const $ = (id) => document.getElementById(id);
const post = (verb, body = {}) => api('POST', `/api/consultations/${data.consultation}/${verb}`, body);
const here = () => `/consultations/${data.consultation}/report`;

// ---- writing ------------------------------------------------------------------------------------------------------

let editor = null;
let ahead = null; // the page of the next report, fetched while this one is being signed

async function write(place) {
  try {
    editor = await mountReportEditor(place, {
      consultation: data.consultation,
      onAhead: (next) => { ahead = { href: next.href, page: fetched(next.href) }; },
      onSigned: ({ next, andNext }) => {
        if (andNext && next) follow(next.href);
        else location.assign(andNext ? '/?tab=sign' : here());
      },
    });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(el('div', { class: 'note note-bad', role: 'alert' }, icon('triangle-alert'), el('span', {}, problem.message),
      el('button', { class: 'button button-small', type: 'button', onclick: () => write(place) }, t('再试一次'))));
  } finally {
    place.removeAttribute('aria-busy');
  }
}

async function fetched(href) {
  const answer = await fetch(href, { credentials: 'same-origin', headers: { Accept: 'text/html' } }).catch(() => null);
  return answer?.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), 'text/html') : null;
}

/** On to the next report. Banner, state line and content change in one step, so that no text ever stands beside the wrong patient. */
async function follow(href) {
  const page = ahead?.href === href ? await ahead.page : null;
  const parts = ['.shell-top .banner', '.report-state', '#main'].map((name) => [document.querySelector(name), page?.querySelector(name)]);
  if (!page || page.body.dataset.me !== document.body.dataset.me || parts.some(([old, fresh]) => !old || !fresh)) {
    location.assign(href);
    return;
  }
  editor?.destroy();
  editor = null;
  ahead = null;
  leave();
  for (const [old, fresh] of parts) old.replaceWith(document.adoptNode(fresh));
  document.title = page.title;
  history.pushState(null, '', href);
  scrollTo(0, 0);
  data = pageData();
  begin();
}
addEventListener('popstate', () => location.reload());

// ---- reading --------------------------------------------------------------------------------------------------------

async function sheets(place) {
  place.setAttribute('aria-busy', 'true');
  try {
    const { pages } = await api('POST', `/api/report-versions/${data.version}/open`, {});
    place.replaceChildren(...pages.map(({ width, height }, i) => el('img', {
      class: 'report-sheet', width, height, src: `/api/report-versions/${data.version}/pages/${i + 1}`, alt: t('第 {n} 页，共 {all} 页', { n: i + 1, all: pages.length }),
    })));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    place.replaceChildren(el('div', { class: 'note note-bad', role: 'alert' }, icon('triangle-alert'), el('span', {}, problem.message),
      el('button', { class: 'button button-small', type: 'button', onclick: () => sheets(place) }, t('再试一次'))));
  } finally {
    place.removeAttribute('aria-busy');
  }
}

/** The report as text onto the clipboard; where that is refused, into a box to copy from. */
async function copyText() {
  const answer = await api('GET', `/api/report-versions/${data.version}/text`, undefined, { raw: true });
  const words = await answer.text();
  try {
    await navigator.clipboard.writeText(words);
    toast(t('报告文本已复制，可以粘贴到本院系统'), { kind: 'good' });
  } catch {
    const box = el('textarea', { class: 'input', rows: 16, readonly: true, 'aria-label': t('报告文本') });
    box.value = words;
    const open = dialog({ title: t('报告文本'), body: [box], wide: true, actions: [{ label: t('关闭'), value: '', kind: 'quiet' }] });
    box.select();
    await open;
  }
}

const asked = {
  amend: () => ({ title: t('修订报告'), text: t('报告回到可编辑的状态，重新签发后成为新的版本；原版本和修订原因都会保留，申请方会收到通知。'), action: t('开始修订'), reason: t('修订原因') }),
  append: () => ({ title: t('补充报告'), text: t('已签发的内容不变，只增加补充的部分，重新签发后成为新的版本。'), action: t('开始补充'), reason: t('补充原因') }),
  'take-over': () => ({ title: t('接手'), text: t('您将成为这次会诊的申请医生，可以查看全部资料；原申请医生会收到通知。'), action: t('接手'), reason: t('接手原因') }),
  'drop-revision': () => ({ title: t('放弃修订？'), text: t('未签发的改动不再保留，已签发的版本不受影响。'), action: t('放弃修订'), danger: true }),
};

async function ask(button, verb) {
  const answer = await confirm(asked[verb]());
  if (!answer) return;
  const done = await busy(button, () => post(verb, answer.reason ? { reason: answer.reason } : {}).then(() => true));
  if (done) location.assign(here());
}

const KINDS = {
  print: () => print(),
  copy: (button) => busy(button, copyText),
  acknowledge: async (button) => {
    if (await busy(button, () => post('acknowledge').then(() => true))) location.reload();
  },
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-kind]');
  if (!button) return;
  button.closest('details')?.removeAttribute('open');
  if (KINDS[button.dataset.kind]) KINDS[button.dataset.kind](button);
  else if (asked[button.dataset.kind]) ask(button, button.dataset.kind);
});

// ---- what the other side does -----------------------------------------------------------------------------------------

let told = false;
let leave = () => {};

function listen() {
  told = false;
  leave = subscribe(`consultation:${data.consultation}`, (note) => {
    if (told || data.writes || (note && !note.state)) return;
    // Reading and acknowledging are notes without a change of state: the lines under the pages are fetched anew.
    fetch(location.href, { credentials: 'same-origin', headers: { Accept: 'text/html' } }).then(async (answer) => {
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      for (const id of ['report-fate', 'report-doings', 'report-versions']) {
        const [old, fresh] = [$(id), page.getElementById(id)];
        if (old && fresh && old.innerHTML !== fresh.innerHTML) old.replaceWith(document.adoptNode(fresh));
      }
      tick();
      if (page.querySelector('#page-data') && JSON.parse(page.querySelector('#page-data').textContent).version !== data.version && !location.search) {
        told = true;
        toast(t('报告有新的版本'), { seconds: 600, action: { label: t('查看'), run: () => location.assign(here()) } });
      }
    }).catch((error) => { if (error instanceof Problem) showProblem(error); });
  });
}

function begin() {
  if ($('editor')) write($('editor'));
  if ($('sheets')) sheets($('sheets'));
  listen();
  tick();
}
begin();
