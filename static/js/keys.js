// Single keys, as a clinician at a worklist uses them; never while typing, never under a dialog, never with Ctrl or Alt.
import { t } from './i18n.js';
import { dialog, el } from './ui.js';

const groups = [];

/** keys: [{key: 'j', label: '下一条', run}]; `key` as KeyboardEvent.key. Returns a function that removes them. */
export function hotkeys(title, keys) {
  const group = { title, keys };
  groups.push(group);
  return () => groups.splice(groups.indexOf(group), 1);
}

const typing = (node) => node.closest?.('input:not([type="checkbox"], [type="radio"], [type="button"]), textarea, select, [contenteditable="true"]');

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target) || document.querySelector('dialog[open]')) return;
  for (const { keys } of [...groups].reverse()) {
    const found = keys.find(({ key }) => key === event.key);
    if (!found) continue;
    if (event.key === 'Enter' && event.target.closest?.('a, button, summary')) return; // the focused control's own Enter
    if (found.run(event) !== false) event.preventDefault();
    return;
  }
});

const NAMES = { ' ': () => t('空格'), ArrowDown: () => '↓', ArrowUp: () => '↑', ArrowLeft: () => '←', ArrowRight: () => '→', Escape: () => 'Esc' };

/** The list of keys that work on this page. */
export function showKeys() {
  const body = groups.map(({ title, keys }) => [
    el('h3', {}, title),
    el('dl', { class: 'keys-list' }, keys.flatMap(({ key, label }) => [el('dt', {}, el('kbd', {}, NAMES[key]?.() ?? key)), el('dd', {}, label)])),
  ]).flat();
  return dialog({ title: t('键盘快捷键'), body: [el('div', { class: 'stack' }, body)], actions: [{ label: t('知道了'), value: 'ok', kind: 'primary' }] });
}
