// The lists of the request form: numbered questions, vital signs, diagnosis codes. All by keyboard.
import { t } from './i18n.js';
import { dateTime, el, icon, serverNow } from './ui.js';

const small = (name, label, run) => el('button', { class: 'button button-icon button-small button-quiet', type: 'button', 'aria-label': label, title: label, onclick: run }, icon(name));

/** Numbered questions in an <ol>. Returns {read(), write(list), add()}. */
export function mountQuestions(list, changed) {
  const areas = () => [...list.querySelectorAll('textarea')];
  const number = () => areas().forEach((node, n) => node.setAttribute('aria-label', t('问题 {n}', { n: n + 1 })));
  function move(item, step) {
    const other = step < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (step < 0) other.before(item); else other.after(item);
    item.querySelector('textarea').focus();
    number();
    changed();
  }
  function remove(item) {
    const near = item.previousElementSibling ?? item.nextElementSibling;
    if (!near) { item.querySelector('textarea').value = ''; changed(); return; }
    item.remove();
    near.querySelector('textarea').focus();
    number();
    changed();
  }
  function add(text = '', after = null) {
    const area = el('textarea', { class: 'input', rows: 1, maxlength: 1000, 'data-user': '' });
    area.value = text;
    const item = el('li', {}, area, el('span', { class: 'row-tight' },
      small('arrow-up', t('上移'), () => move(item, -1)), small('chevron-down', t('下移'), () => move(item, 1)), small('x', t('去掉这个问题'), () => remove(item))));
    area.addEventListener('input', changed);
    area.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.altKey && event.key === 'ArrowUp') { event.preventDefault(); move(item, -1); }
      if (event.altKey && event.key === 'ArrowDown') { event.preventDefault(); move(item, 1); }
      if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); add('', item).focus(); }
      if (event.key === 'Backspace' && !area.value && list.children.length > 1) { event.preventDefault(); remove(item); }
    });
    if (after) after.after(item); else list.append(item);
    number();
    return area;
  }
  return {
    add,
    read: () => areas().map((x) => x.value.trim()).filter(Boolean),
    write: (texts) => { list.replaceChildren(); (texts.length ? texts : ['']).forEach((x) => add(x)); },
  };
}

const VITALS = [['temperature', t('体温'), '℃'], ['pulse', t('脉搏'), '/min'], ['respiration', t('呼吸'), '/min'], ['systolic', t('收缩压'), 'mmHg'], ['diastolic', t('舒张压'), 'mmHg'], ['spo2', 'SpO₂', '%'], ['glucose', t('血糖'), 'mmol/L']];

/** Timed vital signs: one row a time. Returns {read(), write(list), add()}. */
export function mountVitals(box, changed) {
  function add(values = { at: new Date(serverNow()).toISOString() }) {
    const at = values.at ?? new Date(serverNow()).toISOString();
    const row = el('div', { class: 'vitals', 'data-at': at }, el('time', { class: 'muted', datetime: at }, dateTime(at)),
      VITALS.map(([key, label, unit]) => {
        const input = el('input', { class: 'input input-small', inputmode: 'decimal', maxlength: 6, 'data-key': key, 'aria-label': `${label} ${unit}`, oninput: changed });
        input.value = values[key] ?? '';
        return el('label', { class: 'vital' }, el('span', {}, label), input, el('small', { class: 'muted' }, unit));
      }), small('x', t('去掉这一行'), () => { row.remove(); changed(); }));
    box.append(row);
    return row.querySelector('input');
  }
  return {
    add,
    read: () => [...box.children].map((row) => ({ at: row.dataset.at, ...Object.fromEntries([...row.querySelectorAll('input')].map((x) => [x.dataset.key, x.value.trim()]).filter(([, v]) => v)) })).filter((x) => Object.keys(x).length > 1),
    write: (list) => { box.replaceChildren(); (list.length ? list : [undefined]).forEach((x) => add(x)); },
  };
}

/** Diagnoses with their ICD-10 code. Returns {read(), write(list), add()}. */
export function mountCodes(box, changed) {
  function add(values = {}) {
    const code = el('input', { class: 'input input-small code-input', maxlength: 12, placeholder: 'I21.9', 'aria-label': t('ICD-10 编码'), oninput: changed });
    const name = el('input', { class: 'input input-small grow', maxlength: 120, placeholder: t('诊断名称'), 'aria-label': t('诊断名称'), 'data-user': '', oninput: changed });
    code.value = values.code ?? '';
    name.value = values.name ?? '';
    const row = el('div', { class: 'row-tight' }, code, name, small('x', t('去掉这一行'), () => { row.remove(); changed(); }));
    box.append(row);
    return code;
  }
  return {
    add,
    read: () => [...box.children].map((row) => { const [code, name] = [...row.querySelectorAll('input')].map((x) => x.value.trim()); return { code: code.toUpperCase(), name }; }).filter((x) => x.code || x.name),
    write: (list) => { box.replaceChildren(); list.forEach((x) => add(x)); },
  };
}
