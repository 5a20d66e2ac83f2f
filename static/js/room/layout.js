// Where things stand: the right column's tabs, the video that floats, drags and grows, and the narrow screens.
import { t } from '../i18n.js';
import { el, icon } from '../ui.js';

const NARROW = matchMedia('(max-width: 1023px)');

/** Whom to ring, with numbers that a telephone dials. */
export function phoneList(contacts) {
  return el('ul', { class: 'room-phones' }, contacts.map((contact) => el('li', {},
    el('span', { 'data-user': true }, `${contact.organisation} · ${contact.name}`),
    ...[contact.phone, contact.organisation_phone].filter(Boolean).map((number) => el('a', { href: `tel:${number}` }, icon('phone'), number)))));
}

/** Tabs of the WAI-ARIA pattern. onShow(name) after every change. Returns {show(name), current()}. */
export function tabs(list, onShow = () => {}) {
  const all = [...list.querySelectorAll('[role=tab]')];
  const nameOf = (tab) => tab.id.replace('tab-', '');
  let current = '';
  const show = (name, focus = false) => {
    current = name;
    for (const tab of all) {
      const on = nameOf(tab) === name;
      tab.setAttribute('aria-selected', String(on));
      tab.tabIndex = on ? 0 : -1;
      document.getElementById(tab.getAttribute('aria-controls')).hidden = !on;
      if (on && focus) tab.focus();
    }
    onShow(name);
  };
  list.addEventListener('click', (event) => {
    const tab = event.target.closest('[role=tab]');
    if (tab) show(nameOf(tab));
  });
  list.addEventListener('keydown', (event) => {
    const seen = all.filter((tab) => tab.offsetParent !== null);
    const at = seen.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (at < 0 || !step) return;
    event.preventDefault();
    show(nameOf(seen[(at + step + seen.length) % seen.length]), true);
  });
  return { show, current: () => current };
}

/** The images are a column of their own on a wide screen, a tab on a narrow one; the element only moves. */
export function followWidth({ material, home, panel, tabbed }) {
  const place = () => {
    const target = NARROW.matches ? panel : home;
    if (material.parentElement !== target) target.prepend(material);
    if (NARROW.matches) {
      if (!tabbed.current()) tabbed.show('chat');
    } else if (!tabbed.current() || tabbed.current() === 'images') tabbed.show('questions');
  };
  NARROW.addEventListener('change', place);
  place();
  return { narrow: () => NARROW.matches };
}

/** The video can leave its column: it floats over the images, is dragged by hand or keys, and grows. */
export function floatingVideo({ box, floatButton, growButton }) {
  const set = (name, on, button) => {
    box.classList.toggle(name, on);
    button.setAttribute('aria-pressed', String(on));
    if (!box.classList.contains('floating')) {
      box.style.left = '';
      box.style.top = '';
    }
  };
  floatButton.addEventListener('click', () => set('floating', !box.classList.contains('floating'), floatButton));
  growButton.addEventListener('click', () => set('grown', !box.classList.contains('grown'), growButton));
  growButton.title = t('放大画面');
  const move = (left, top) => {
    box.style.left = `${Math.max(4, Math.min(innerWidth - box.offsetWidth - 4, left))}px`;
    box.style.top = `${Math.max(4, Math.min(innerHeight - box.offsetHeight - 4, top))}px`;
  };
  let held = null;
  box.addEventListener('pointerdown', (event) => {
    if (!box.classList.contains('floating') || event.target.closest('button')) return;
    const at = box.getBoundingClientRect();
    held = { x: event.clientX - at.left, y: event.clientY - at.top };
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener('pointermove', (event) => { if (held) move(event.clientX - held.x, event.clientY - held.y); });
  for (const end of ['pointerup', 'pointercancel']) box.addEventListener(end, () => { held = null; });
  floatButton.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [-24, 0], ArrowRight: [24, 0], ArrowUp: [0, -24], ArrowDown: [0, 24] }[event.key];
    if (!step || !box.classList.contains('floating')) return;
    event.preventDefault();
    const at = box.getBoundingClientRect();
    move(at.left + step[0], at.top + step[1]);
  });
}
