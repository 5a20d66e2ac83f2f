// Words of the browser. Source strings are Chinese; English comes from the script /static/i18n/en.js, made of
// server/locale/en, which an English page runs before its modules.

export const lang = document.documentElement.lang.startsWith('en') ? 'en' : 'zh';

const catalogue = globalThis.words ?? {};

/** `text` in the page's language; `{name}` is replaced by `values.name`. */
export function t(text, values = {}) {
  const found = catalogue[text] ?? text;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
