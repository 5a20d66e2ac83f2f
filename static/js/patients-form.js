// The registration dialog: identity number checked as typed, sex and birth date read from it, likely duplicates beside it.
import { api } from './api.js';
import { t } from './i18n.js';
import { SEX, facts, numbers } from './patients-search.js';
import { ageOf, bornOn, clearProblem, dateText, dialog, el, icon, serverNow, showProblem } from './ui.js';

const WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/** GB 11643: {value, birth, sex} of a complete and right number, {error} of a wrong one, {} while it is being typed. */
export function readResident(text) {
  const value = text.normalize('NFKC').replace(/\s+/g, '').toUpperCase();
  if (value.length < 18) return {};
  if (!/^\d{17}[\dX]$/.test(value)) return { error: t('身份证号应为 17 位数字加一位数字或 X') };
  const sum = WEIGHTS.reduce((total, weight, n) => total + weight * Number(value[n]), 0);
  if ('10X98765432'[sum % 11] !== value[17]) return { error: t('身份证号有误（校验码不符），请逐位核对') };
  const birth = `${value.slice(6, 10)}-${value.slice(10, 12)}-${value.slice(12, 14)}`;
  if (Number.isNaN(Date.parse(birth)) || birth > dateText(serverNow())) return { error: t('身份证号中的出生日期不存在') };
  return { value, birth, sex: Number(value[16]) % 2 ? 'M' : 'F' };
}

export const summary = () => el('section', { class: 'error-summary', role: 'alert', tabindex: '-1', hidden: true }, el('h2', {}, t('还有几处需要处理')), el('ul'));

const field = (id, label, control, { hint = '', wide = false } = {}) => {
  control.id = `f-${id}`;
  control.setAttribute('aria-describedby', `f-${id}-error`);
  return el('div', { class: wide ? 'field wide' : 'field' }, el('label', { for: control.id }, label), hint && el('p', { class: 'hint' }, hint), el('p', { class: 'error-text', id: `f-${id}-error` }), control);
};
const line = (value = '', props = {}) => { const node = el('input', { class: 'input', maxlength: 64, autocomplete: 'off', ...props }); node.value = value; return node; };

/** `given` and the registered person side by side, differences marked. */
export function sideBySide(left, right, titles) {
  const rows = [[t('姓名'), (p) => p.name || '—'], [t('性别'), (p) => SEX[p.sex]], [t('出生'), (p) => bornOn(p) || ageOf(p) || t('不详')], [t('证件与卡'), (p) => numbers(p) || '—']];
  return el('table', { class: 'table compare' }, el('thead', {}, el('tr', {}, el('th', {}), titles.map((x) => el('th', {}, x)))),
    el('tbody', {}, rows.map(([word, read]) => el('tr', { class: read(left) === read(right) ? '' : 'differs' }, el('th', { scope: 'row' }, word),
      el('td', { 'data-user': '' }, read(left)), el('td', { 'data-user': '' }, read(right))))));
}

/**
 * Asks for a patient's data. Resolves to the patient registered (or the one already there), null when given up.
 * options: text (what was looked for), unknown, mother ({id, name}), patient (correct this one instead).
 */
export async function askPatient({ text = '', unknown = false, mother = null, patient = null } = {}) {
  const typed = text.normalize('NFKC').trim();
  const isNumber = /^\d{15,17}[\dXx]?$/.test(typed.replace(/\s/g, ''));
  const name = line(patient?.name ?? (isNumber || /[|{;?]/.test(typed) || /^[\x20-\x7e]+$/.test(typed) ? '' : typed));
  const system = el('select', { class: 'input' }, [['resident_id', t('身份证')], ['passport', t('护照')], ['other_document', t('其他证件')]].map(([value, word]) => el('option', { value }, word)));
  const number = line(isNumber ? typed : '', { inputmode: 'text' });
  const card = line('', { maxlength: 40 });
  const sexes = ['M', 'F', 'O', 'U'].map((value) => el('label', { class: 'choice' }, el('input', { type: 'radio', name: 'sex', value, checked: value === (patient?.sex ?? 'U') }), SEX[value]));
  const birth = line(patient ? bornOn(patient) : (mother ? dateText(serverNow()) : ''), { type: 'date', max: dateText(serverNow()) });
  const phone = line(patient?.phone, { type: 'tel', maxlength: 32 });
  const guardian = line(patient?.guardian ?? mother?.name ?? '');
  const payer = line(patient?.payer);
  const allergies = line(patient?.allergies, { maxlength: 200 });
  const stated = el('p', { class: 'hint', role: 'status' });
  const twins = el('section', { class: 'note note-warn', hidden: true, 'aria-label': t('可能已经登记过') });
  const errors = summary();
  let chosen = null;
  let box = null;

  const sex = () => sexes.map((x) => x.querySelector('input')).find((x) => x.checked)?.value ?? 'U';
  const identifiers = () => [[system.value, number], ['card', card]].filter(([, node]) => node.value.trim());
  const details = () => ({
    name: name.value.trim(), sex: sex(), birth_date: birth.value || (patient?.birth_estimated ? patient.birth_date : null), identifiers: identifiers().map(([kind, node]) => ({ system: kind, value: node.value.trim() })), phone: phone.value.trim(),
    guardian: guardian.value.trim(), payer: payer.value.trim(), allergies: allergies.value.trim(), unknown, mother: mother?.id ?? null,
  });
  function checkNumber() {
    const problem = number.closest('.field').querySelector('.error-text');
    const read = system.value === 'resident_id' ? readResident(number.value) : {};
    problem.textContent = read.error ?? '';
    number.toggleAttribute('aria-invalid', Boolean(read.error));
    stated.textContent = '';
    if (!read.birth) return;
    birth.value = read.birth;
    sexes.forEach((x) => { const node = x.querySelector('input'); node.checked = node.value === read.sex; });
    stated.replaceChildren(icon('circle-check'), ' ', t('号码正确：{sex}，{birth} 出生', { sex: SEX[read.sex], birth: read.birth }));
  }
  let timer = 0;
  let turn = 0;
  async function lookForTwins() {
    const given = details();
    if (patient || (!given.name && !given.identifiers.length && !given.phone)) return;
    const mine = ++turn;
    const { duplicates } = await api('POST', '/api/patients/duplicates', given).catch(() => ({ duplicates: [] }));
    if (mine !== turn) return;
    twins.hidden = !duplicates.length;
    twins.replaceChildren(icon('users'), el('div', { class: 'grow' }, el('b', {}, t('可能已经登记过，请先核对')), duplicates.slice(0, 3).map(({ patient: known }) => el('div', { class: 'twin' },
      sideBySide(given, known, [t('正在登记'), t('已登记')]),
      el('button', { class: 'button button-small', type: 'button', onclick: () => { chosen = known; box.close(); box.dispatchEvent(new Event('cancel')); } }, icon('user-check'), t('是同一人，用已有的记录'))))));
  }
  for (const node of [name, number, system, card, phone, birth]) {
    node.addEventListener('input', () => { if (node === number || node === system) checkNumber(); clearTimeout(timer); timer = setTimeout(lookForTwins, 350); });
  }
  const body = [errors,
    unknown ? el('p', {}, t('身份不明也可以先会诊：只填能看出来的，核实后再更正或合并。')) : null,
    twins,
    el('div', { class: 'fields' },
      field('name', unknown || mother ? t('姓名（选填）') : t('姓名'), name, { hint: mother ? t('不填则记为“{name}之婴”', { name: mother.name }) : '' }),
      field('system', t('证件类型'), system),
      el('div', { class: 'field' }, el('label', { for: 'f-number' }, t('证件号码')), el('p', { class: 'error-text' }), number, stated),
      el('div', { class: 'field' }, el('span', { class: 'label', id: 'f-sex-label' }, t('性别')), el('p', { class: 'error-text' }), el('div', { class: 'choices', id: 'f-sex', role: 'radiogroup', tabindex: '-1', 'aria-labelledby': 'f-sex-label' }, sexes)),
      field('birth_date', t('出生日期'), birth, { hint: patient?.birth_estimated ? t('现在是估计的（{age}）；知道准确日期时填写', { age: ageOf(patient) }) : '' }), field('phone', t('电话'), phone),
      el('div', { class: 'field' }, el('label', { for: 'f-card' }, t('就诊卡号')), el('p', { class: 'error-text' }), card),
      field('guardian', t('监护人'), guardian), field('payer', t('费用支付方'), payer), field('allergies', t('过敏史'), allergies, { wide: true }))];
  number.id = 'f-number';
  card.id = 'f-card';
  if (patient) body[3].querySelectorAll('.field').forEach((x) => { if (x.contains(system) || x.contains(number) || x.contains(card)) x.hidden = true; });

  const answer = dialog({
    title: patient ? t('更正资料') : mother ? t('登记新生儿') : unknown ? t('登记身份不明患者') : t('登记患者'), wide: true, body,
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: patient ? t('保存') : t('登记'), value: 'yes', kind: 'primary' }],
    check: async () => {
      clearProblem(errors.closest('form'));
      try {
        const given = details();
        if (patient) {
          const { name: n, sex: s, birth_date, phone: p, guardian: g, payer: y, allergies: a } = given;
          chosen = await api('PATCH', `/api/patients/${patient.id}`, { version: patient.version, name: n, sex: s, birth_date, phone: p, guardian: g, payer: y, allergies: a });
        } else chosen = await api('POST', '/api/patients', given);
        return true;
      } catch (problem) {
        if (problem.name !== 'Problem') throw problem;
        const filled = identifiers().map(([, node]) => node.id.slice(2)); // the server counts the numbers that were given
        problem.fields = problem.fields?.map((x) => ({ ...x, path: x.path.replace(/^identifiers\.(\d+)\.value$/, (whole, n) => filled[n] ?? whole) }));
        showProblem(problem, errors.closest('form'));
        if (problem.code === 'conflict') lookForTwins();
        return false;
      }
    },
  });
  box = errors.closest('dialog');
  if (isNumber) { checkNumber(); lookForTwins(); }
  await answer;
  return chosen;
}
