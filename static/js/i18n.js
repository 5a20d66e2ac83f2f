// Words of the browser. Source strings are Chinese; English comes once from the catalogue built of server/locale/en.

export const lang = document.documentElement.lang.startsWith('en') ? 'en' : 'zh';

async function load() {
  if (lang !== 'en') return {};
  try {
    const answer = await fetch('/static/i18n/en.json', { credentials: 'same-origin' });
    return answer.ok ? await answer.json() : {};
  } catch {
    return {}; // offline: Chinese words are better than a page that does not start
  }
}

const catalogue = await load();

/** `text` in the page's language; `{name}` is replaced by `values.name`. */
export function t(text, values = {}) {
  const found = catalogue[text] ?? text;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
