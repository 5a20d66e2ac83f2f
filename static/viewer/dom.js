// Small helpers to build the viewer's elements. No innerHTML anywhere: text is always text.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes (`class`, `aria-…`, `on…` listeners, properties) and children. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, setting] of Object.entries(attributes)) {
    if (setting === undefined || setting === null || setting === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), setting);
    else node.setAttribute(name, setting === true ? '' : setting);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An icon of the sprite that `static/build.mjs` makes. */
export function icon(iconsUrl, name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'vw-icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${iconsUrl}#${name}`);
  svg.append(use);
  return svg;
}

/** `t` for a page that brings none: the source text with its `{places}` filled. */
export function plainText(message, places = {}) {
  return message.replace(/\{(\w+)\}/g, (whole, name) => (name in places ? String(places[name]) : whole));
}
