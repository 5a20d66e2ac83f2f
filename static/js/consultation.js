// One consultation: its steps, studies, documents, chat. What changed elsewhere is fetched without losing what is typed.
import { api, pageData, Problem } from './api.js';
import { pickTarget } from './consultation-target.js';
import { giveFeedback, rateRequest } from './feedback.js';
import { t } from './i18n.js';
import { subscribe } from './live.js';
import { acceptOffer, declineOffer, returnRequest } from './offers.js';
import { busy, confirm, dateTime, dialog, el, icon, showProblem, tick, toast } from './ui.js';
import { mountDocument } from './document-viewer.js';
import { PictureQueue } from './picture-queue.js';

const data = pageData();
const url = (verb) => `/api/consultations/${data.id}/${verb}`;
const again = () => location.reload();

/** Posts one step; told and reloaded when done. Resolves true when done. */
async function post(button, verb, body = {}) {
  const done = await busy(button, () => api('POST', url(verb), body).then(() => true));
  if (done) again();
  return done;
}

/** A date and time in the page's zone, as the field wants it. */
const local = (hours) => {
  const at = new Date(Date.now() + hours * 3600000);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

async function askTime(title, action, withReason) {
  const at = el('input', { class: 'input', type: 'datetime-local', id: 'f-at', required: true });
  at.value = local(24);
  const why = withReason && el('textarea', { id: 'f-reason', maxlength: 500, rows: 2 });
  const error = el('p', { class: 'error-text' });
  const chosen = await dialog({
    title,
    body: [el('div', { class: 'field' }, el('label', { for: 'f-at' }, t('会诊时间')), error, at),
      why && el('div', { class: 'field' }, el('label', { for: 'f-reason' }, t('改约原因')), why)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: action, value: 'yes', kind: 'primary' }],
    check: () => {
      if (at.value && (!why || why.value.trim())) return true;
      error.textContent = at.value ? t('请写明原因') : t('请选择时间');
      return false;
    },
  });
  return chosen === 'yes' ? { at: new Date(at.value).toISOString(), ...(why ? { reason: why.value.trim() } : {}) } : null;
}

async function askWindows(button) {
  const list = el('div', { class: 'stack-8' });
  const add = (hours) => {
    const start = el('input', { class: 'input', type: 'datetime-local', 'aria-label': t('开始') });
    const end = el('input', { class: 'input', type: 'datetime-local', 'aria-label': t('结束') });
    start.value = local(hours);
    end.value = local(hours + 2);
    const line = el('div', { class: 'row', 'data-window': '' }, start, '–', end,
      el('button', { class: 'button button-icon button-quiet', type: 'button', 'aria-label': t('去掉这一项'), onclick: () => line.remove() }, icon('x')));
    list.append(line);
  };
  add(24);
  const chosen = await dialog({
    title: t('提出可选时间'),
    body: [el('p', {}, t('列出您和患者方便的时间段，专家从中选定。')), list,
      el('button', { class: 'button button-small', type: 'button', onclick: () => add(48) }, icon('plus'), t('再加一段'))],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('发送'), value: 'yes', kind: 'primary' }],
  });
  if (chosen !== 'yes') return;
  const windows = [...list.querySelectorAll('[data-window]')].map((line) => {
    const [start, end] = [...line.querySelectorAll('input')].map((x) => x.value);
    return { start: new Date(start).toISOString(), end: new Date(end).toISOString() };
  });
  await post(button, 'windows', { windows });
}

async function askItems(button) {
  const items = el('textarea', { id: 'f-items', rows: 4, maxlength: 2000 });
  const due = el('input', { class: 'input', type: 'datetime-local', id: 'f-due' });
  due.value = local(24);
  const error = el('p', { class: 'error-text' });
  const chosen = await dialog({
    title: t('请对方补充资料'),
    body: [el('div', { class: 'field' }, el('label', { for: 'f-items' }, t('需要什么（每行一项）')), error, items),
      el('div', { class: 'field' }, el('label', { for: 'f-due' }, t('请在此之前补齐')), due)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('发送'), value: 'yes', kind: 'primary' }],
    check: () => {
      error.textContent = items.value.trim() ? '' : t('请写明需要什么');
      return Boolean(items.value.trim());
    },
  });
  if (chosen !== 'yes') return;
  const at = due.value ? new Date(due.value).toISOString() : null;
  await post(button, 'request-material', { items: items.value.split('\n').map((x) => x.trim()).filter(Boolean).map((item) => ({ item, due: at })) });
}

async function askCancel(button) {
  const fault = el('select', { class: 'input', id: 'f-fault' },
    el('option', { value: 'requesting' }, t('申请方')), el('option', { value: 'invited' }, t('受邀方')),
    el('option', { value: 'patient' }, t('患者')), el('option', { value: 'technical' }, t('技术原因')));
  const reason = el('textarea', { id: 'f-reason', rows: 3, maxlength: 500 });
  const error = el('p', { class: 'error-text' });
  const chosen = await dialog({
    title: t('取消这次会诊？'),
    body: [el('p', {}, t('会诊到此结束，双方都会收到通知，记录仍会保留。')),
      el('div', { class: 'field' }, el('label', { for: 'f-fault' }, t('由哪一方引起')), fault),
      el('div', { class: 'field' }, el('label', { for: 'f-reason' }, t('取消原因')), error, reason)],
    actions: [{ label: t('不取消'), value: '', kind: 'quiet' }, { label: t('取消会诊'), value: 'yes', kind: 'danger-filled' }],
    check: () => {
      error.textContent = reason.value.trim() ? '' : t('请写明原因');
      return Boolean(reason.value.trim());
    },
  });
  if (chosen === 'yes') await post(button, 'cancel', { reason: reason.value.trim(), fault: fault.value });
}

async function askConvert(button) {
  const to = el('select', { class: 'input', id: 'f-to' },
    el('option', { value: 'mdt' }, t('多学科会诊')), el('option', { value: 'stat' }, t('急会诊')), el('option', { value: 'clinical' }, t('临床会诊')));
  const reason = el('textarea', { id: 'f-reason', rows: 3, maxlength: 500 });
  const error = el('p', { class: 'error-text' });
  const chosen = await dialog({
    title: t('转办这次会诊'),
    body: [el('p', {}, t('这次会诊结束，并由此生成一次新的会诊，资料一并带过去。')),
      el('div', { class: 'field' }, el('label', { for: 'f-to' }, t('转为')), to),
      el('div', { class: 'field' }, el('label', { for: 'f-reason' }, t('原因')), error, reason)],
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: t('转办'), value: 'yes', kind: 'primary' }],
    check: () => {
      error.textContent = reason.value.trim() ? '' : t('请写明原因');
      return Boolean(reason.value.trim());
    },
  });
  if (chosen !== 'yes') return;
  const what = { mdt: { participation: 'mdt' }, stat: { urgency: 'stat' }, clinical: { service: 'clinical' } }[to.value];
  const made = await busy(button, () => api('POST', url('convert'), { reason: reason.value.trim(), ...what }));
  if (made) location.assign(`/consultations/${made.id}`);
}

const KINDS = {
  post: async (button) => {
    if (button.dataset.text) {
      const sure = await confirm({ title: button.textContent.trim(), text: button.dataset.text, action: button.textContent.trim() });
      if (!sure) return;
    }
    await post(button, button.dataset.to);
  },
  reason: async (button) => {
    const label = button.textContent.trim();
    const answer = await confirm({ title: label, text: button.dataset.text, action: label, reason: button.dataset.reason, danger: button.classList.contains('menu-danger') });
    if (!answer) return;
    const leaves = button.dataset.to === 'release';
    const done = await busy(button, () => api('POST', url(button.dataset.to), { reason: answer.reason }).then(() => true));
    if (done) location.assign(leaves ? '/' : location.href);
  },
  note: async (button) => {
    const label = button.textContent.trim();
    const note = el('textarea', { id: 'f-note', rows: 2, maxlength: 500 });
    const chosen = await dialog({
      title: label,
      body: [el('p', {}, button.dataset.text), el('div', { class: 'field' }, el('label', { for: 'f-note' }, button.dataset.reason), note)],
      actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label, value: 'yes', kind: button.classList.contains('menu-danger') ? 'danger-filled' : 'primary' }],
    });
    if (chosen !== 'yes') return;
    const name = button.dataset.to === 'provide-material' ? 'note' : 'reason';
    await post(button, button.dataset.to, { [name]: note.value.trim() });
  },
  accept: async (button) => { if (await acceptOffer(data.id, button)) again(); },
  decline: async () => { if (await declineOffer(data.id)) location.assign('/'); },
  return: async () => { if (await returnRequest(data.id, data.version)) again(); },
  feedback: async () => { if (await giveFeedback(url('feedback'), data.feedback, data.version)) again(); },
  rate: async () => { if (await rateRequest(url('rating'))) again(); },
  material: askItems,
  cancel: askCancel,
  convert: askConvert,
  windows: askWindows,
  offer: async (button) => {
    const target = await pickTarget(data.id, { title: t('派给专家'), action: t('派出') });
    if (target) await post(button, 'offer', target);
  },
  reassign: async (button) => {
    const target = await pickTarget(data.id, { title: t('改派'), action: t('改派'), reason: t('改派原因') });
    if (target) await post(button, 'reassign', target);
  },
  schedule: async (button) => {
    const at = await askTime(t('约定时间'), t('约定'), false);
    if (at) await post(button, 'schedule', at);
  },
  reschedule: async (button) => {
    const at = await askTime(t('改约时间'), t('改约'), true);
    if (at) await post(button, 'reschedule', at);
  },
  pick: (button) => post(button, 'schedule', { at: button.dataset.at }),
  delete: async (button) => {
    const sure = await confirm({ title: t('删除草稿？'), text: t('草稿还没有提交，删除后不能恢复。'), action: t('删除'), danger: true });
    if (!sure) return;
    const done = await busy(button, () => api('DELETE', `/api/consultations/${data.id}`).then(() => true));
    if (done) location.assign('/');
  },
  'withdraw-consent': async (button) => {
    const answer = await confirm({ title: t('撤回同意？'), text: t('撤回之前已经完成的会诊不受影响。'), action: t('撤回同意'), reason: t('原因'), danger: true });
    if (answer) await post(button, `consents/${button.dataset.consent}/withdraw`, { reason: answer.reason });
  },
  doubt: async (button) => {
    const answer = await confirm({
      title: t('这项检查不是该患者的？'), text: t('检查会立即对所有人隐藏，由技师核对后再恢复或改正。'), action: t('隐藏并通知技师'), reason: t('依据'),
      choices: [t('姓名或性别不符'), t('部位或病史不符'), t('图像上的标识不符')],
    });
    if (!answer) return;
    const done = await busy(button, () => api('POST', `/api/studies/${button.dataset.study}/wrong-patient`, { consultation: data.id, reason: answer.reason }).then(() => true));
    if (done) again();
  },
  document: async (button) => {
    const box = el('div', { class: 'document-box' });
    const shown = mountDocument(box, { id: button.dataset.document, pages: Number(button.dataset.pages), title: button.dataset.title, original: 'original' in button.dataset });
    const open = dialog({ title: button.dataset.title ? el('span', { 'data-user': true }, button.dataset.title) : t('附件'), body: [box], wide: true, actions: [{ label: t('关闭'), value: '', kind: 'quiet' }] });
    shown.focus();
    await open;
    shown.destroy();
  },
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-kind]');
  if (!button) return;
  button.closest('details')?.removeAttribute('open');
  KINDS[button.dataset.kind]?.(button);
});

// ---- documents ----------------------------------------------------------------------------------------------------

// A sharp picture that the room had not sent whole when it was left.
if (data.pictures) {
  new PictureQueue({ consultation: data.id, membership: data.me, onChange: ({ state, text }) => {
    if (state === 'refused') toast(text, { kind: 'bad' });
  } }).resume();
}

const adding = document.getElementById('add-document');

async function addDocuments(files) {
  for (const file of files) {
    const form = new FormData();
    form.append('kind', 'document');
    form.append('title', file.name.replace(/\.[^.]+$/, '').slice(0, 120));
    form.append('file', file);
    try {
      await api('POST', url('documents'), form);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      showProblem(problem);
      return;
    }
  }
  again();
}
adding?.addEventListener('change', () => addDocuments([...adding.files]));
const drop = adding?.closest('[data-drop]');
drop?.addEventListener('dragover', (event) => event.preventDefault());
drop?.addEventListener('drop', (event) => { event.preventDefault(); addDocuments([...event.dataTransfer.files]); });

// ---- thumbnails: opening them is one audited step for the study -----------------------------------------------------

for (const box of document.querySelectorAll('[data-thumb]')) {
  const uid = box.closest('[data-study]').dataset.study;
  if (!box.dataset.thumb || box.dataset.ecg) continue;
  api('POST', url(`studies/${uid}/view`), {}).then(() => {
    const picture = new Image();
    picture.alt = '';
    picture.onload = () => box.replaceChildren(picture);
    picture.src = `/dicom-web/studies/${uid}/series/${box.dataset.thumb}/thumbnail`;
  }).catch((problem) => { if (!(problem instanceof Problem)) throw problem; });
}

// ---- chat -----------------------------------------------------------------------------------------------------------

const chat = document.getElementById('chat');
const form = document.getElementById('chat-form');
const text = document.getElementById('chat-text');

function addLine(line) {
  if (chat.querySelector(`[data-id="${CSS.escape(line.id)}"]`)) return;
  chat.append(el('li', { 'data-id': line.id, class: line.membership === data.me ? 'mine' : '' },
    el('small', { class: 'muted' }, el('span', { 'data-user': '' }, line.name), ` ${dateTime(line.at)}`), el('p', { 'data-user': '' }, line.text)));
  chat.scrollTop = chat.scrollHeight;
}
if (chat) chat.scrollTop = chat.scrollHeight;
let sending = null; // the same id is sent again after a failure, so a line is never stored twice
form?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words) return;
  if (sending?.text !== words) sending = { client_id: crypto.randomUUID(), text: words };
  const line = await busy(form.querySelector('button'), () => api('POST', url('messages'), sending));
  if (!line) return;
  sending = null;
  text.value = '';
  addLine(line);
});

// ---- what others do ---------------------------------------------------------------------------------------------------

/** Whether the page would look different now. Without a note (some were missed) it is asked for. */
async function moved(note) {
  if (note) return note.state && (note.state !== data.state || note.feedback || data.ringing);
  const answer = await fetch(location.href, { headers: { Accept: 'text/html' } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return false;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const now = JSON.parse(page.getElementById('page-data')?.textContent ?? '{}');
  return now.state !== data.state || data.ringing;
}

let stale = false;
subscribe(`consultation:${data.id}`, async (note) => {
  if (chat && data.chat) {
    const { messages } = await api('GET', url('messages')).catch(() => ({ messages: [] }));
    messages.forEach(addLine);
  }
  if (stale || !await moved(note) || stale) return;
  stale = true;
  const typing = text?.value.trim() || document.querySelector('dialog[open]');
  if (!typing) again();
  else toast(t('会诊有了新进展'), { seconds: 600, action: { label: t('刷新'), run: again } });
});
for (const node of document.querySelectorAll('time[data-local]')) node.textContent = dateTime(node.dateTime);
tick();
