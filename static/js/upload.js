// The upload page: what was dropped becomes rows by study, problems first; each study says whose it turned out to be.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { ageOf, confirm, dateText, el, icon, toast } from './ui.js';
import { filesOfDrop, filesOfInput, fingerprint, peek } from './upload-files.js';
import { memory } from './upload-memory.js';
import { Queue } from './upload-queue.js';

const data = pageData();
const $ = (id) => document.getElementById(id);
const remembered = await memory(data.membership);
const groups = new Map(); // study UID, or the name of a zip → {row, items, study}
const changed = new Set();
let drawing = 0;
let began = 0;
let sentBefore = 0;

const queue = new Queue({
  chunk: data.chunk, limit: data.limit, limitText: data.limit_text, memory: remembered,
  onChange: (item) => { placeOf(item); changed.add(item.group); draw(); },
  onState: () => draw(),
});

// ---- what comes in ------------------------------------------------------------------------------------------------

const drop = $('drop');
drop.addEventListener('dragover', (event) => { event.preventDefault(); drop.classList.add('drop-over'); });
drop.addEventListener('dragleave', () => drop.classList.remove('drop-over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  drop.classList.remove('drop-over');
  take(filesOfDrop(event.dataTransfer));
});
drop.addEventListener('click', (event) => { if (event.target === drop) $('files').click(); });
for (const id of ['files', 'folder']) {
  $(id).addEventListener('change', () => {
    const files = filesOfInput($(id));
    $(id).value = '';
    take(Promise.resolve(files));
  });
}
addEventListener('dragover', (event) => event.preventDefault()); // a file dropped beside the area must not replace the page
addEventListener('drop', (event) => event.preventDefault());

async function take(coming) {
  drop.setAttribute('aria-busy', 'true');
  let files;
  try {
    files = await coming;
  } catch {
    toast(t('文件夹读取失败，可能存储设备已断开。请重新选择。'), { kind: 'bad' });
    return;
  } finally {
    drop.removeAttribute('aria-busy');
  }
  if (!files.length) {
    toast(t('里面没有文件'), { kind: 'bad' });
    return;
  }
  const busy = new Set(queue.items.filter(({ state }) => state !== 'refused' && state !== 'cancelled').map(({ key }) => key));
  const fresh = files.map((one) => ({ ...one, key: fingerprint(one), size: one.file.size, state: 'waiting', sent: 0, text: '', group: '' })).filter(({ key }) => !busy.has(key));
  if (!queue.open) { began = Date.now(); sentBefore = total('sent'); }
  $('left-over').hidden = true;
  // A few at a time, so that two thousand files neither wait for one another nor hold up the page.
  for (let at = 0; at < fresh.length; at += 50) {
    const some = fresh.slice(at, at + 50);
    await Promise.all(some.map(async (item) => {
      try {
        Object.assign(item, await peek(item.file));
      } catch { /* the queue says that the file cannot be read */ }
      placeOf(item);
      changed.add(item.group);
    }));
    queue.add(some);
  }
  draw();
}

function placeOf(item) {
  const stored = item.result?.studies ?? [];
  const name = item.zip ? `zip:${item.path}` : stored[0]?.study || item.study || '';
  if (item.group === name && groups.has(name)) return;
  groups.get(item.group)?.items.delete(item);
  if (item.group) changed.add(item.group);
  item.group = name;
  if (!groups.has(name)) groups.set(name, { name, items: new Set(), row: null, studies: new Map() });
  groups.get(name).items.add(item);
}

// ---- what is shown -------------------------------------------------------------------------------------------------

const total = (what, items = queue.items) => [...items].reduce((sum, item) => sum + item[what], 0);
const ended = ({ state }) => state === 'done' || state === 'refused' || state === 'cancelled';
const sizeText = (bytes) => (bytes >= 1 << 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : bytes >= 1 << 20 ? `${(bytes / 2 ** 20).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1024))} KB`);

function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawTotal();
    for (const name of changed) drawGroup(groups.get(name));
    changed.clear();
    drawProblems();
    arrange();
  });
}

function drawTotal() {
  const { items } = queue;
  $('total').hidden = !items.length;
  drop.classList.toggle('upload-drop-small', items.length > 0);
  if (!items.length) return;
  const bytes = total('size');
  const sent = total('sent');
  const through = items.filter(ended).length;
  $('total-bar').value = bytes ? sent / bytes : 1;
  const cancelled = items.filter(({ state }) => state === 'cancelled').length;
  let line = t('已传 {done} / {all} 个文件', { done: through, all: items.length });
  if (!queue.open) line = cancelled ? t('已取消：{n} 个文件没有上传', { n: cancelled }) : t('全部传完：{all} 个文件', { all: items.length });
  if (queue.paused) line = t('已暂停：{done} / {all} 个文件', { done: through, all: items.length });
  if ($('total-line').textContent !== line) $('total-line').textContent = line;
  $('total-rest').textContent = queue.open ? rest(bytes, sent) : sizeText(bytes);
  $('pause').hidden = queue.paused || !queue.open;
  $('resume').hidden = !queue.paused;
  $('cancel').hidden = !queue.open;
  const why = queue.reason || (queue.offline && !queue.paused ? t('网络中断，正在自动重试；已传的部分不会重传，请不要关闭页面。') : '');
  $('why').hidden = !why;
  if ($('why').lastElementChild.textContent !== why) $('why').lastElementChild.textContent = why;
}

function rest(bytes, sent) {
  const amount = `${sizeText(sent)} / ${sizeText(bytes)}`;
  const seconds = (Date.now() - began) / 1000;
  const speed = (sent - sentBefore) / seconds;
  if (queue.paused || queue.offline || seconds < 3 || speed <= 0) return amount;
  const left = (bytes - sent) / speed;
  const words = left < 60 ? t('还剩不到 1 分钟') : t('还剩约 {n} 分钟', { n: Math.ceil(left / 60) });
  return `${amount} · ${words}`;
}

/** How many instances ended how, over the files of a group. */
function tally(group) {
  const count = { stored: 0, duplicate: 0, conflict: 0, refused: 0, cancelled: 0 };
  for (const item of group.items) {
    if (item.state === 'refused') count.refused += 1;
    else if (item.state === 'cancelled') count.cancelled += 1;
    for (const { outcome, reason } of item.result?.instances ?? []) if (reason !== 'media_directory') count[outcome] += 1;
  }
  return count;
}

function drawGroup(group) {
  if (!group) return;
  if (!group.items.size) { group.row?.remove(); groups.delete(group.name); return; }
  const items = [...group.items];
  const done = items.filter(ended).length;
  const sent = total('sent', items);
  const size = total('size', items);
  const count = tally(group);
  const checking = items.find(({ state }) => state === 'checking');
  if (!group.row) {
    group.row = el('li', { class: 'upload-group' },
      el('div', { class: 'upload-what' }, el('b', { class: 'upload-name' }), el('span', { class: 'muted upload-about' })),
      el('div', { class: 'upload-how' }, el('progress', { max: 1, value: 0, 'aria-label': t('进度') }), el('span', { class: 'upload-count' })),
      el('div', { class: 'upload-match' }));
    $('groups').append(group.row);
  }
  const [name, about] = titleOf(group, items);
  const line = group.row.querySelector('.upload-name');
  line.textContent = name;
  line.toggleAttribute('data-user', group.name.startsWith('zip:') || Boolean(group.detail));
  const note = group.row.querySelector('.upload-about');
  note.textContent = about;
  note.toggleAttribute('data-user', Boolean(group.detail));
  const bar = group.row.querySelector('progress');
  bar.value = size ? sent / size : 1;
  bar.hidden = done === items.length;
  const parts = [
    count.stored && t('存入 {n}', { n: count.stored }), count.duplicate && t('已有 {n}', { n: count.duplicate }),
    count.conflict && t('隔离 {n}', { n: count.conflict }), count.refused && t('拒收 {n}', { n: count.refused }),
    count.cancelled && t('取消 {n}', { n: count.cancelled }),
  ].filter(Boolean);
  const running = checking && checking.zip ? t('正在解压并存入：已处理 {n} 个', { n: checking.taken ?? 0 }) : t('{done} / {all} 个文件', { done, all: items.length });
  group.row.querySelector('.upload-count').textContent = done === items.length ? parts.join(' · ') || t('没有影像') : [running, ...parts].join(' · ');
  group.bad = count.refused + count.conflict;
  group.done = done === items.length;
  group.row.classList.toggle('upload-bad', group.bad > 0);
  for (const item of items) {
    for (const study of item.result?.studies ?? []) group.studies.set(study.study, study);
  }
  drawMatch(group);
}

function titleOf(group, items) {
  if (group.detail) return [group.detail.title, group.detail.about];
  if (group.name.startsWith('zip:')) return [items[0].path, t('压缩包')];
  if (!group.name) return [t('其他文件'), t('没有认出属于哪次检查')];
  const known = items.find(({ modality }) => modality) ?? {};
  return [[known.modality, known.date && dateText(known.date.replace(/(....)(..)(..)/, '$1-$2-$3'))].filter(Boolean).join(' · ') || t('检查'), ''];
}

function drawMatch(group) {
  const box = group.row.querySelector('.upload-match');
  const studies = [...group.studies.values()];
  if (!group.done || !studies.length) { box.replaceChildren(); return; }
  const key = JSON.stringify(studies);
  if (group.shown === key) return;
  group.shown = key;
  box.replaceChildren(...studies.map((study) => matchLine(study)));
  if (group.done) studies.forEach((study, at) => tellWhose(group, study, box.children[at]));
}

function matchLine(study, match = study.match, patient = null) {
  const badge = match
    ? el('span', { class: 'badge badge-good' }, icon('circle-check'), match === 'accession' ? t('已按检查号匹配') : match === 'patient_id' ? t('已按患者编号匹配') : t('已匹配'))
    : el('span', { class: 'badge badge-wait' }, icon('unlink'), t('未匹配'));
  const whose = patient && el('b', { 'data-user': true }, [patient.name || t('未知患者'), { M: t('男'), F: t('女') }[patient.sex], ageOf(patient)].filter(Boolean).join(' '));
  return el('div', { class: 'upload-whose' }, badge, whose,
    match ? el('a', { class: 'button button-small', href: `/studies/${study.study}` }, icon('eye'), t('看图'))
      : el('a', { class: 'button button-small button-primary', href: `/studies/unmatched#${study.study}` }, icon('link'), t('去匹配')));
}

/** The name comes from the server, which writes down who asked. */
async function tellWhose(group, study, line) {
  try {
    const found = await api('GET', `/api/studies/${study.study}`);
    const title = [found.modalities.join(' + '), found.date && dateText(found.date.replace(/(....)(..)(..)/, '$1-$2-$3'))].filter(Boolean).join(' · ');
    if (!group.name.startsWith('zip:')) group.detail = { title: title || t('检查'), about: [found.description, found.name.split('=').at(-1).replaceAll('^', '')].filter(Boolean).join(' · ') };
    line.replaceWith(matchLine(study, found.match?.method ?? '', found.patient));
    changed.add(group.name);
    draw();
  } catch { /* the line already says what counts */ }
}

function drawProblems() {
  const byText = new Map();
  for (const item of queue.items) {
    if (item.state === 'refused') note(byText, item.text, item.path);
    for (const [at, one] of (item.result?.instances ?? []).entries()) {
      if (one.text && one.reason !== 'media_directory') note(byText, one.text, item.zip ? t('{path} 中第 {n} 个', { path: item.path, n: at + 1 }) : item.path);
    }
  }
  const files = [...byText.values()].reduce((sum, names) => sum + names.length, 0);
  const key = JSON.stringify([...byText].map(([text, names]) => [text, names.length]));
  const box = $('problems');
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.hidden = !files;
  $('problems-title').lastElementChild.textContent = t('{n} 个文件有问题', { n: files });
  box.querySelector('ul').replaceChildren(...[...byText].map(([text, names]) => el('li', {},
    el('details', { open: names.length <= 3 }, el('summary', {}, text, ' ', el('span', { class: 'count' }, String(names.length))),
      el('ul', { class: 'upload-files mono', 'data-user': true }, names.slice(0, 200).map((name) => el('li', {}, name)))))));
}

function note(byText, text, path) {
  if (!byText.has(text)) byText.set(text, []);
  byText.get(text).push(path);
}

/** Problems first, then what still runs, then what is through; rows move only when their kind changes. */
function arrange() {
  const rank = (group) => (group.bad ? 0 : group.done && ![...group.studies.values()].every(({ match }) => match) ? 1 : group.done ? 3 : 2);
  const list = $('groups');
  const wanted = [...groups.values()].filter(({ row }) => row).sort((a, b) => rank(a) - rank(b)).map(({ row }) => row);
  if (wanted.some((row, at) => list.children[at] !== row)) list.append(...wanted);
}

// ---- the buttons, and what was left of an earlier visit ----------------------------------------------------------------

$('pause').addEventListener('click', () => { queue.pause(); $('resume').focus(); });
$('resume').addEventListener('click', () => { began = Date.now(); sentBefore = total('sent'); queue.resume(); $('pause').focus(); });
$('cancel').addEventListener('click', async () => {
  const left = queue.items.filter((item) => !ended(item)).length;
  const sure = await confirm({ title: t('取消上传'), text: t('还没有传完的 {n} 个文件不再上传；已经存入的保留。', { n: left }), action: t('取消上传'), danger: true });
  if (sure) await queue.cancel();
});

const left = remembered.unfinished();
if (left.length) {
  $('left-over').hidden = false;
  $('left-over').querySelector('span').textContent = t('上次有 {n} 个文件没有传完。请再选择同样的文件或文件夹，已传的部分会自动跳过。', { n: left.length });
}
$('forget').addEventListener('click', async () => {
  $('left-over').hidden = true;
  for (const { id } of left) if (id) api('DELETE', `/api/uploads/${id}`).catch(() => {});
  await remembered.clear();
});
addEventListener('beforeunload', (event) => { if (queue.open) event.preventDefault(); });
document.documentElement.dataset.ready = 'upload';
