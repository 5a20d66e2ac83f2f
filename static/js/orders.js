// Exam orders: make one (patient, modality, procedure, place), and one with its number to copy and print.
import { api, pageData } from './api.js';
import { t } from './i18n.js';
import { ageOf, bornOn, busy, confirm, el, toast } from './ui.js';

const data = pageData();
const $ = (id) => document.getElementById(id);
const SEX = () => ({ M: t('男'), F: t('女') });

function factsOf(patient) {
  const number = patient.identifiers.map(({ value }) => value)[0];
  return [SEX()[patient.sex] ?? '', ageOf(patient), bornOn(patient), number].filter(Boolean).join(' · ');
}

function newOrder(form) {
  let patient = null;
  let asked = 0;
  const search = $('f-patient');
  const found = $('found');

  function pick(chosen) {
    patient = chosen;
    $('picked').hidden = !chosen;
    search.hidden = Boolean(chosen);
    found.replaceChildren();
    form.querySelector('.error-summary').hidden = true;
    if (!chosen) { search.value = ''; search.focus(); return; }
    $('picked').querySelector('b').textContent = chosen.name || t('未知患者');
    $('picked').querySelector('span').textContent = factsOf(chosen);
    $('f-patient-error').textContent = '';
  }

  async function look() {
    const text = search.value.trim();
    const mine = (asked += 1);
    if (!text) { found.replaceChildren(); return; }
    const answer = await busy(search, () => api('POST', '/api/patients/search', { text }));
    if (!answer || mine !== asked) return;
    found.replaceChildren(...(answer.patients.length
      ? answer.patients.map((one) => el('li', {}, el('button', { type: 'button', 'data-user': true, onclick: () => { pick(one); form.querySelector('[name=modality]:checked').focus(); } },
        el('b', {}, one.name || t('未知患者')), el('span', { class: 'muted' }, factsOf(one)))))
      : [el('li', { class: 'empty' }, t('没有找到这位患者，请先登记。'), el('a', { class: 'button button-small', href: '/patients' }, t('登记患者')))]));
  }
  let timer;
  search.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(look, 250); });
  if (search.value.trim()) look(); // typed before this module had come
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') { event.preventDefault(); clearTimeout(timer); look(); }
    if (event.key === 'ArrowDown') { event.preventDefault(); found.querySelector('button')?.focus(); }
  });
  found.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
    if (!step) return;
    event.preventDefault();
    (document.activeElement.closest('li')?.[step]?.querySelector('button') ?? (event.key === 'ArrowUp' ? search : document.activeElement)).focus();
  });
  $('another').addEventListener('click', () => pick(null));
  if (data.patient) pick(data.patient);
  else search.focus();

  const procedure = $('f-procedure');
  function suggest() {
    const modality = form.querySelector('[name=modality]:checked').value;
    $('suggestions').replaceChildren(...(data.procedures[modality] ?? []).map((words) =>
      el('button', { type: 'button', class: 'button button-small', onclick: () => { procedure.value = words; procedure.focus(); } }, words)));
  }
  form.querySelectorAll('[name=modality]').forEach((radio) => radio.addEventListener('change', suggest));
  suggest();

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const missing = [!patient && ['f-patient', t('请选择患者')], !procedure.value.trim() && ['f-procedure', t('请写明检查项目')]].filter(Boolean);
    $('f-patient-error').textContent = patient ? '' : t('请选择患者');
    $('f-procedure-error').textContent = procedure.value.trim() ? '' : t('请写明检查项目');
    if (missing.length) {
      const summary = form.querySelector('.error-summary');
      summary.querySelector('ul').replaceChildren(...missing.map(([id, words]) => el('li', {}, el('a', { href: `#${id}`, onclick: (click) => { click.preventDefault(); $(id).focus(); } }, words))));
      summary.hidden = false;
      summary.focus();
      return;
    }
    const order = await busy(form.querySelector('.button-primary'), () => api('POST', '/api/orders', {
      patient: patient.id, procedure: procedure.value.trim(), modality: form.querySelector('[name=modality]:checked').value,
      performing: $('f-performing').value, consultation: data.consultation,
    }), form);
    if (order) location.assign(`/orders/${order.id}`);
  });
}

function oneOrder() {
  $('copy').addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(data.accession);
      toast(t('检查号已复制'), { kind: 'good' });
    } catch {
      getSelection().selectAllChildren($('accession'));
      toast(t('浏览器不允许复制，检查号已选中，请按 Ctrl+C'));
    }
  });
  $('print').addEventListener('click', () => print());
  $('void')?.addEventListener('click', async (event) => {
    const why = await confirm({ title: t('作废检查单'), text: t('作废后，带这个检查号的影像不再自动匹配。'), action: t('作废'), danger: true, reason: t('作废原因'), choices: [t('开错项目'), t('患者不做了'), t('重复开单')] });
    if (!why) return;
    if (await busy(event.target, () => api('POST', `/api/orders/${data.id}/void`, { reason: why.reason }))) location.reload();
  });
}

if ($('order-form')) newOrder($('order-form'));
else oneOrder();
