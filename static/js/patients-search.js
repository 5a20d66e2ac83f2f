// Find a patient while typing: name, pinyin, number, or what a card reader types. Always POST: no name in an address.
import { api } from './api.js';
import { t } from './i18n.js';
import { ageOf, bornOn, el, icon, showProblem } from './ui.js';

export const SEX = { M: t('男'), F: t('女'), O: t('其他'), U: t('未知') };
const SYSTEM = { resident_id: t('身份证'), passport: t('护照'), other_document: t('其他证件'), card: t('就诊卡'), local: t('设备病人号') };

/** The line that recognises a person: sex, age, birth date. */
export const facts = (p) => [SEX[p.sex], ageOf(p) || t('年龄不详'), bornOn(p)].filter(Boolean).join(' · ');

/** The numbers of a person as words; documents are masked by the server. */
export const numbers = (p) => [...p.identifiers.map((x) => `${SYSTEM[x.system]} ${x.value}`), p.phone].filter(Boolean).join(' · ');

/**
 * Puts a search field with its results into `element`.
 * actions(patient) → nodes at the end of a row; pick(patient) on Enter or click on the name; none(text) → nodes when
 * nobody is found. Returns {focus, again, text}.
 */
export function mountSearch(element, { actions = () => [], pick = null, none = () => [], changed = null, label = t('找患者') } = {}) {
  const id = `find-${Math.random().toString(36).slice(2)}`;
  const input = el('input', { class: 'input', type: 'search', id, autocomplete: 'off', maxlength: 200, enterkeyhint: 'search', placeholder: t('姓名、拼音、证件号、卡号、电话，或刷卡') });
  const status = el('p', { class: 'hint', role: 'status' });
  const list = el('ul', { class: 'list found-list' });
  element.replaceChildren(el('div', { class: 'field' }, el('label', { for: id }, label), input), status, list);
  let timer = 0;
  let asked = 0;

  function row(p) {
    const name = p.name || t('未知患者');
    const words = [el('b', { 'data-user': '' }, name), ' ', el('span', {}, facts(p)), el('br'), el('small', { class: 'muted', 'data-user': '' }, numbers(p))];
    const who = pick ? el('button', { class: 'found-who', type: 'button', onclick: () => pick(p) }, words)
      : p.readable ? el('a', { class: 'found-who', href: `/patients/${p.id}` }, words) : el('span', { class: 'found-who' }, words);
    return el('li', { 'data-patient': p.id }, icon(p.unknown ? 'circle-help' : 'user'), who, el('span', { class: 'row' }, actions(p)));
  }
  async function run() {
    const text = input.value.trim();
    const turn = ++asked;
    if (!text) { list.replaceChildren(); status.textContent = ''; changed?.([]); return []; }
    try {
      const { patients } = await api('POST', '/api/patients/search', { text });
      if (turn !== asked) return patients;
      status.textContent = patients.length ? t('找到 {n} 位', { n: patients.length }) : t('本机构没有登记过这位患者');
      list.replaceChildren(...(patients.length ? patients.map(row) : [el('li', {}, none(text))]));
      changed?.(patients);
      return patients;
    } catch (problem) {
      if (problem.name !== 'Problem') throw problem;
      if (turn === asked) { status.textContent = problem.message; showProblem(problem); }
      return [];
    }
  }
  input.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(run, 250); });
  input.addEventListener('keydown', async (event) => {
    if (event.key === 'ArrowDown') { event.preventDefault(); list.querySelector('button, a')?.focus(); }
    if (event.key !== 'Enter') return;
    event.preventDefault(); // card readers end with Enter: one hit is the person
    clearTimeout(timer);
    const found = await run();
    if (found.length === 1 && pick) pick(found[0]);
    else list.querySelector('button, a')?.focus();
  });
  list.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const stops = [...list.querySelectorAll('.found-who')];
    const next = stops.indexOf(event.target.closest('li')?.querySelector('.found-who')) + step;
    (stops[next] ?? (step < 0 ? input : stops.at(-1))).focus();
  });
  return { focus: () => input.focus(), again: run, get text() { return input.value.trim(); } };
}
