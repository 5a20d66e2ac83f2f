// The parts of the report editor: a text with phrases, rows of diagnoses, key images. Each has `node` and `value`.
import { t } from './i18n.js';
import { el, icon } from './ui.js';

// "/" after nothing, a space, or Chinese text and punctuation; never inside 120/80.
const ASKED = /(?:^|[\s\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])\/([^\s/]*)$/;

/** A labelled text in which `/` offers phrases: {node, input, value}. */
export function textField({ path, label, hint = '', number = 0, phrases, kind, touch, rows = 3 }) {
  const id = `f-${path.replaceAll('.', '-')}`;
  const input = el('textarea', { id, rows, maxlength: 20000, 'aria-describedby': `${id}-error`, 'aria-autocomplete': 'list' });
  const error = el('p', { class: 'error-text', id: `${id}-error` });
  const heading = number
    ? el('label', { class: 'report-question', for: id }, el('b', { class: 'report-n' }, String(number)), el('span', { 'data-user': '' }, label))
    : el('label', { for: id }, label);
  const list = phraseList(input, phrases, kind, touch);
  input.addEventListener('input', () => { touch(); list.follow(); });
  const node = el('div', { class: `field report-field${number ? ' report-answer' : ''}` }, heading, hint && el('p', { class: 'hint' }, hint), error,
    el('div', { class: 'report-text' }, input, list.node));
  return { node, input, get value() { return input.value; }, set value(text) { input.value = text; } };
}

/** The addendum of an appended version. */
export function addenda({ phrases, touch }) {
  return textField({ path: 'addendum', label: t('补充内容'), phrases, kind: 'findings', touch, rows: 5 });
}

function phraseList(input, phrases, kind, touch) {
  const id = `${input.id}-phrases`;
  const node = el('ul', { class: 'report-phrases', id, role: 'listbox', 'data-user': '', 'aria-label': t('常用语'), hidden: true });
  let found = [];
  let at = 0;
  const own = [...phrases.filter((x) => x.field === kind), ...phrases.filter((x) => x.field !== kind)];

  function close() {
    node.hidden = true;
    input.removeAttribute('aria-activedescendant');
    input.removeAttribute('aria-controls');
  }
  function choose(text) {
    const end = input.selectionStart;
    const begin = end - asked().length - 1;
    input.setRangeText(text, begin, end, 'end');
    close();
    input.focus();
    touch();
  }
  const asked = () => ASKED.exec(input.value.slice(0, input.selectionStart))?.[1] ?? null;
  function draw() {
    node.replaceChildren(...found.map((x, i) => el('li', { role: 'option', id: `${id}-${i}`, 'aria-selected': String(i === at), onpointerdown: (event) => { event.preventDefault(); choose(x.text); } }, x.text)));
    input.setAttribute('aria-controls', id);
    input.setAttribute('aria-activedescendant', `${id}-${at}`);
    node.hidden = false;
    node.children[at]?.scrollIntoView({ block: 'nearest' });
  }
  function follow() {
    const words = asked();
    if (words === null) { close(); return; }
    const [ours, others] = [own.filter((x) => x.field === kind), own.filter((x) => x.field !== kind)];
    // Without a word only the field's own phrases; a word searches them all.
    found = (words ? [...ours, ...others].filter((x) => x.text.includes(words)) : ours.length ? ours : others).slice(0, 12);
    at = 0;
    if (found.length) draw();
    else close();
  }
  input.addEventListener('keydown', (event) => {
    if (node.hidden || event.isComposing) return;
    if (event.key === 'Escape') { close(); event.preventDefault(); event.stopPropagation(); }
    if (event.key === 'Enter') { choose(found[at].text); event.preventDefault(); }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      at = (at + (event.key === 'ArrowDown' ? 1 : found.length - 1)) % found.length;
      draw();
      event.preventDefault();
    }
  });
  input.addEventListener('blur', close);
  return { node, follow };
}

/** Rows of name, ICD-10 code and certainty. */
export function diagnosisRows(touch) {
  const list = el('div', { class: 'report-diagnoses' });
  const options = () => [['', t('确定程度')], ['confirmed', t('确诊')], ['probable', t('很可能')], ['possible', t('可能')], ['excluded', t('已排除')]];
  function row(value = {}) {
    const name = el('input', { class: 'input', maxlength: 200, 'aria-label': t('诊断名称'), placeholder: t('诊断名称'), oninput: touch });
    const code = el('input', { class: 'input report-code', maxlength: 12, 'aria-label': t('ICD-10 编码'), placeholder: 'ICD-10', autocapitalize: 'characters', spellcheck: 'false', oninput: touch });
    const certainty = el('select', { class: 'input', 'aria-label': t('确定程度'), onchange: touch }, options().map(([key, label]) => el('option', { value: key }, label)));
    name.value = value.name ?? '';
    code.value = value.code ?? '';
    certainty.value = value.certainty ?? '';
    const line = el('div', { class: 'report-diagnosis' }, name, code, certainty,
      el('button', { class: 'button button-quiet button-icon', type: 'button', 'aria-label': t('去掉这一项诊断'), onclick: () => { line.remove(); touch(); } }, icon('x')));
    line.read = () => ({ code: code.value.trim().toUpperCase(), name: name.value.trim(), certainty: certainty.value });
    return line;
  }
  const add = el('button', { class: 'button button-small', type: 'button', onclick: () => { const line = row(); list.append(line); line.querySelector('input').focus(); } }, icon('plus'), t('添加诊断'));
  return {
    node: el('div', { class: 'stack-8' }, list, el('div', {}, add)),
    get value() { return [...list.children].map((line) => line.read()).filter((x) => x.name || x.code); },
    set value(values) { list.replaceChildren(...values.map(row)); },
  };
}

/** Key images in the order of the paper, with captions. `add(entry, dataUrl)` puts one at the end. */
export function keyImages({ report, touch }) {
  const list = el('ol', { class: 'report-images' });
  const none = el('p', { class: 'hint' }, t('在影像或心电上按“放入报告”（K），图像会出现在这里。'));
  const said = () => { none.hidden = list.childElementCount > 0; };
  function move(item, by) {
    const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (!other) return;
    if (by < 0) other.before(item);
    else other.after(item);
    touch();
    item.querySelector('input').focus();
  }
  function row(entry, source) {
    const caption = el('input', { class: 'input input-small', maxlength: 200, 'aria-label': t('图注'), placeholder: t('图注'), oninput: touch });
    caption.value = entry.caption ?? '';
    const tool = (name, label, run) => el('button', { class: 'button button-quiet button-icon button-small', type: 'button', 'aria-label': label, title: label, onclick: run }, icon(name));
    const item = el('li', {}, el('img', { src: source ?? `/api/reports/${report}/key-images/${entry.document}`, alt: t('关键图像'), loading: 'lazy' }), caption,
      el('div', { class: 'row-tight' }, tool('chevron-left', t('前移'), () => move(item, -1)), tool('chevron-right', t('后移'), () => move(item, 1)),
        tool('trash-2', t('移除'), () => { item.remove(); said(); touch(); })));
    item.read = () => ({ ...entry, caption: caption.value.trim() });
    return item;
  }
  return {
    node: el('div', {}, none, list),
    add(entry, source) { list.append(row(entry, source)); said(); },
    get value() { return [...list.children].map((item) => item.read()); },
    set value(entries) {
      const shown = new Map([...list.children].map((item) => [item.read().document, item.querySelector('img').src]));
      list.replaceChildren(...entries.map((entry) => row(entry, shown.get(entry.document))));
      said();
    },
  };
}
