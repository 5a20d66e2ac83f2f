// Another archive: search it, tick studies, fetch them and show how far each is.
import { api } from './api.js';
import { t } from './i18n.js';
import { busy, onSubmit } from './ui.js';

const EVERY = 1000;
const WHY = {
  rejected: () => t('对方拒绝了连接：请核对双方的 AE 名称'),
  unreachable: () => t('连接不上：请核对地址和端口，设备是否已开机'),
  tls: () => t('加密连接没有建立：请核对双方的证书'),
  not_offered: () => t('对方不提供查询或调取服务'),
  find_failed: () => t('对方没有完成查询，请换一种条件'),
};
const STATES = {
  waiting: () => t('等待'),
  running: ({ completed, remaining }) => (completed + remaining ? t('正在调取 {n} / {all}', { n: completed, all: completed + remaining }) : t('正在调取')),
  done: () => t('已调取'),
  partly: ({ completed, failed }) => t('收到 {n} 幅，{failed} 幅未成功', { n: completed, failed }),
  failed: ({ error }) => (WHY[error] ?? (() => t('没有调取成功')))(),
  cancelled: () => t('调取已取消'),
};

const form = document.getElementById('search-form');
const said = document.getElementById('said');
const results = document.getElementById('results');
const rows = document.getElementById('found');
const fetching = document.getElementById('fetch');
const cancelling = document.getElementById('cancel');
let device = '';
let job = '';

const day = (text) => text.replaceAll('-', '');
const dated = (text) => (/^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : text);
const named = (text) => (text.split('=')[1] || text.split('=')[0]).replaceAll('^', ' ').trim();

function rowOf(study) {
  const row = document.createElement('tr');
  row.dataset.study = study.study_uid;
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.setAttribute('aria-label', t('选择 {name}', { name: named(study.patient_name) || study.study_uid }));
  row.insertCell().append(box);
  const cells = [named(study.patient_name), study.patient_id, dated(study.date), study.modalities.join(' '), study.description, study.accession, study.instances || ''];
  for (const text of cells) row.insertCell().textContent = text;
  const state = row.insertCell();
  state.dataset.state = '';
  if (study.here) state.textContent = study.here >= study.instances ? t('本机已有') : t('本机已有 {n} 幅', { n: study.here });
  return row;
}

onSubmit(form, async ({ from, to, ...body }) => {
  body.date = from || to ? `${day(from)}-${day(to)}` : '';
  said.textContent = t('正在查询…');
  let answer;
  try {
    answer = await api('POST', '/api/fetch/search', body);
  } catch (problem) {
    said.textContent = '';
    throw problem;
  }
  const { studies, more, error } = answer;
  device = body.device;
  rows.replaceChildren(...studies.map(rowOf));
  results.hidden = !studies.length;
  if (error) said.textContent = (WHY[error] ?? WHY.find_failed)();
  else if (!studies.length) said.textContent = t('对方没有符合条件的检查');
  else said.textContent = more ? t('只显示前 {n} 项，请缩小范围', { n: studies.length }) : t('找到 {n} 项检查', { n: studies.length });
});

function show(studies) {
  for (const study of studies) {
    const cell = rows.querySelector(`[data-study="${CSS.escape(study.study_uid)}"] [data-state]`);
    if (cell) cell.textContent = STATES[study.state](study);
  }
}

fetching?.addEventListener('click', () => {
  const studies = [...rows.querySelectorAll('input:checked')].map((box) => box.closest('tr').dataset.study);
  if (!studies.length) {
    said.textContent = t('请先选择要调取的检查');
    return;
  }
  busy(fetching, async () => {
    try {
      let state = await api('POST', '/api/fetch', { device, studies });
      job = state.id;
      cancelling.hidden = false;
      while (!state.over) {
        show(state.studies);
        await new Promise((done) => { setTimeout(done, EVERY); });
        state = await api('GET', `/api/fetch/${job}`);
      }
      show(state.studies);
      said.textContent = t('调取结束');
    } finally {
      cancelling.hidden = true;
    }
  }, form);
});

cancelling?.addEventListener('click', () => busy(cancelling, () => api('DELETE', `/api/fetch/${job}`)));
