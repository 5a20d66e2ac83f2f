// The menu of the toolbar for what is needed now and then.
import { el, icon } from '../ui.js';

export class More {
  /** menu: a <details data-menu>; out of sight while there is nothing in it. */
  constructor({ menu }) {
    this.menu = menu;
    this.panel = menu?.querySelector('.menu-panel');
    this.items = [];
  }

  /** words(): what it says, name: its icon, run(), shown(): whether it can be used now, on(): whether it is switched on. */
  add({ id, name, words, run, shown = () => true, on = null }) {
    const text = el('span');
    const button = el('button', { type: 'button', class: 'menu-item', id }, icon(name), text);
    button.addEventListener('click', () => {
      this.menu.open = false;
      run();
    });
    this.panel.append(button);
    this.items.push({ button, text, words, shown, on });
    this.draw();
    return button;
  }

  draw() {
    for (const { button, text, words, shown, on } of this.items) {
      const said = words();
      if (text.textContent !== said) text.textContent = said;
      button.hidden = !shown();
      if (on) button.setAttribute('aria-pressed', String(on()));
    }
    if (this.menu) this.menu.hidden = !this.items.some(({ button }) => !button.hidden);
  }
}
