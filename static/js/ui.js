// What pages share: elements, icons, toasts with undo, dialogs, times that tick, problems beside their fields.
import { lang, t } from './i18n.js';

/** An element: el('p', {class: 'x', onclick: fn, hidden: true}, 'text', node). Text is always text, never markup. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'class') node.className = value;
    else if (value === true) node.setAttribute(name, '');
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const sprite = document.querySelector('meta[name="icons"]')?.content ?? '/static/dist/icons.svg';

/** An icon of static/icons.txt, hidden from readers: words stand beside it. */
export function icon(name, className = 'icon') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  svg.setAttribute('class', className);
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `${sprite}#${name}`);
  svg.append(use);
  return svg;
}

// ---- toasts ---------------------------------------------------------------------------------------------------

let stack = null;

/** A message at the bottom left. kind: info | good | bad. action: {label, run}. Returns a function that removes it. */
export function toast(text, { kind = 'info', action = null, seconds = kind === 'bad' ? 12 : 6, detail = '' } = {}) {
  stack ??= el('div', { class: 'toasts', popover: 'manual' });
  if (!stack.isConnected) document.body.append(stack);
  const icons = { info: 'info', good: 'circle-check', bad: 'triangle-alert' };
  const close = () => { clearTimeout(timer); box.remove(); };
  const box = el('div', { class: `toast toast-${kind}`, role: kind === 'bad' ? 'alert' : 'status' },
    icon(icons[kind]), el('p', {}, text, detail && el('small', {}, detail)),
    action && el('button', { class: 'button', type: 'button', onclick: () => { close(); action.run(); } }, action.label),
    el('button', { class: 'button button-icon', type: 'button', 'aria-label': t('关闭'), onclick: close }, icon('x')));
  let timer = setTimeout(close, seconds * 1000);
  box.addEventListener('pointerenter', () => clearTimeout(timer));
  box.addEventListener('pointerleave', () => { timer = setTimeout(close, seconds * 1000); });
  stack.append(box);
  // Shown anew each time, so that it stands above a dialog that has opened since.
  if (stack.showPopover) {
    if (stack.matches(':popover-open')) stack.hidePopover();
    stack.showPopover();
  }
  return close;
}

/** Tells what was done and offers to take it back for `seconds`. */
export function undo(text, run, seconds = 10) {
  return toast(text, { kind: 'good', seconds, action: { label: t('撤销'), run } });
}

// ---- dialogs --------------------------------------------------------------------------------------------------

/**
 * A modal dialog. body: nodes; actions: [{label, value, kind: primary|danger|quiet, apart}]. Resolves to the chosen
 * value, null when dismissed. `check(value)` may return false (or a promise of it) to keep the dialog open; `signal`
 * closes it when there is nothing to ask any more.
 */
export function dialog({ title, body = [], actions = [], wide = false, check = null, signal = null }) {
  return new Promise((resolve) => {
    const id = `dialog-${Math.random().toString(36).slice(2)}`;
    const buttons = actions.map(({ label, value, kind = '', apart = false }) =>
      el('button', { class: `button ${kind && `button-${kind}`} ${apart ? 'apart' : ''}`, type: kind === 'primary' || kind === 'danger-filled' ? 'submit' : 'button', value }, label));
    const form = el('form', { class: 'dialog-body', method: 'dialog' }, el('h2', { id }, title), ...[body].flat(), el('div', { class: 'actions' }, buttons));
    const box = el('dialog', { class: `dialog ${wide ? 'dialog-wide' : ''}`, 'aria-labelledby': id }, form,
      el('button', { class: 'button button-quiet button-icon button-small dialog-close', type: 'button', 'aria-label': t('关闭'), onclick: () => finish(null) }, icon('x')));
    const finish = (value) => { box.close(); box.remove(); resolve(value); };
    const choose = async (button) => {
      const value = button?.value ?? null;
      if (check && value !== null && button.type === 'submit') {
        button.setAttribute('aria-busy', 'true');
        const fine = await check(value);
        button.removeAttribute('aria-busy');
        if (fine === false) return;
      }
      finish(value);
    };
    buttons.filter((button) => button.type === 'button').forEach((button) => button.addEventListener('click', () => choose(button)));
    form.addEventListener('submit', (event) => { event.preventDefault(); choose(event.submitter ?? buttons.find((button) => button.type === 'submit')); });
    box.addEventListener('cancel', (event) => { event.preventDefault(); finish(null); });
    signal?.addEventListener('abort', () => finish(null));
    document.body.append(box);
    box.showModal();
    (form.querySelector('[autofocus], input, textarea, select') ?? buttons.at(-1))?.focus();
  });
}

/**
 * Asks before something is done. Resolves null (no) or {reason}. With `reason` (a label) the person must say why.
 * `text` says what will happen; `action` is the verb on the button.
 */
export async function confirm({ title, text = '', action, danger = false, reason = '', choices = [], signal = null }) {
  const error = el('p', { class: 'error-text', id: 'why-error' });
  const field = reason && el('textarea', { id: 'why', required: false, maxlength: 500, rows: 3, 'aria-describedby': 'why-error' });
  const body = [text && el('p', {}, text)];
  if (field) {
    const quick = choices.map((words) => el('button', { class: 'button button-small', type: 'button', onclick: () => { field.value = words; field.focus(); } }, words));
    body.push(el('div', { class: 'field' }, el('label', { for: 'why' }, reason), quick.length ? el('div', { class: 'row' }, quick) : null, error, field));
  }
  const chosen = await dialog({
    title, body, signal,
    actions: [{ label: t('取消'), value: '', kind: 'quiet' }, { label: action, value: 'yes', kind: danger ? 'danger-filled' : 'primary' }],
    check: () => {
      if (!field || field.value.trim()) return true;
      error.textContent = t('请写明原因');
      field.setAttribute('aria-invalid', 'true');
      field.focus();
      return false;
    },
  });
  return chosen === 'yes' ? { reason: field ? field.value.trim() : '' } : null;
}

// ---- problems -------------------------------------------------------------------------------------------------

/** Shows a refusal: beside its fields and in the summary on top when `form` has them, else as a toast. */
export function showProblem(problem, form = null) {
  clearProblem(form);
  const known = form ? (problem.fields ?? []).filter(({ path }) => fieldOf(form, path)) : [];
  const code = [problem.code, problem.requestId].filter(Boolean).join(' · ');
  if (!known.length) {
    const rest = (problem.fields ?? []).map(({ message }) => message).join(' ');
    toast([problem.detail || problem.message, rest].filter(Boolean).join(' '), { kind: 'bad', detail: code });
    return;
  }
  for (const { path, message } of known) {
    const control = fieldOf(form, path);
    const box = control.closest('.field');
    control.setAttribute('aria-invalid', 'true');
    box?.classList.add('field-error');
    const line = box?.querySelector('.error-text');
    if (line) line.textContent = message;
  }
  const summary = form.querySelector('.error-summary') ?? document.getElementById('error-summary');
  if (summary) {
    summary.querySelector('ul').replaceChildren(...problem.fields.map(({ path, message }) =>
      el('li', {}, el('a', { href: `#f-${path.replaceAll('.', '-')}`, onclick: (event) => { event.preventDefault(); fieldOf(form, path)?.focus(); } }, message))));
    summary.hidden = false;
    summary.focus();
    summary.scrollIntoView({ block: 'nearest' });
  } else fieldOf(form, known[0].path).focus();
}

export function clearProblem(form) {
  if (!form) return;
  form.querySelectorAll('[aria-invalid]').forEach((node) => node.removeAttribute('aria-invalid'));
  form.querySelectorAll('.field-error').forEach((node) => node.classList.remove('field-error'));
  form.querySelectorAll('.error-text').forEach((node) => { node.textContent = ''; });
  const summary = form.querySelector('.error-summary');
  if (summary) summary.hidden = true;
}

function fieldOf(form, path) {
  return form.querySelector(`#f-${CSS.escape(path.replaceAll('.', '-'))}`) ?? form.elements?.namedItem?.(path) ?? null;
}

/** Runs an action for a button: busy while it runs, refusals shown; resolves to its value, undefined when refused. */
export async function busy(button, run, form = null) {
  button?.setAttribute('aria-busy', 'true');
  try {
    return await run();
  } catch (problem) {
    if (problem.name === 'AbortError') return undefined;
    if (problem.name !== 'Problem') throw problem;
    showProblem(problem, form);
    return undefined;
  } finally {
    button?.removeAttribute('aria-busy');
  }
}

/** What a form holds, by name: text trimmed, passwords as they were typed. */
export function valuesOf(form) {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, form.elements[name].type === 'password' ? value : value.trim()]));
}

/** The parts of what was typed into one field: spaces, commas and semicolons of both scripts part them. */
export const parts = (text) => text.split(/[\s,，、;；\\]+/).filter(Boolean);

/** Runs `run(values, form)` when the form is sent, once at a time; refusals stand beside its fields. */
export function onSubmit(form, run) {
  form?.addEventListener('submit', (event) => {
    event.preventDefault();
    const button = event.submitter ?? form.querySelector('[type="submit"]');
    if (button?.getAttribute('aria-busy') === 'true') return;
    clearProblem(form);
    busy(button, () => run(valuesOf(form), form), form);
  });
}

/** A grey shape of the coming rows if `promise` takes over 200 ms (the delay stands in the CSS). */
export async function skeletonWhile(container, promise, rows = 6) {
  const shape = el('div', { 'aria-hidden': 'true' }, Array.from({ length: rows }, () => el('span', { class: 'skeleton skeleton-row' })));
  container.append(shape);
  container.setAttribute('aria-busy', 'true');
  try {
    return await promise;
  } finally {
    shape.remove();
    container.removeAttribute('aria-busy');
  }
}

export { ago, age, ageOf, bornOn, dateText, dateTime, remaining, serverNow, tick, timeText } from './times.js';
export { lang };
