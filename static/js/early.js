// The one script that runs before the page is drawn: what is pressed, chosen or typed while the modules are still on
// their way (a thin link, a slow machine) is kept and told to them once they listen, instead of being lost.
// DOMContentLoaded comes after them.
(() => {
  let pressed = null;
  const entered = new Set(); // controls that were typed into or chosen; nothing is held back
  const keep = (event) => {
    const target = event.type === 'submit' ? event.submitter ?? event.target : event.target.closest?.('button[type="button"]');
    if (!target) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    pressed?.removeAttribute('aria-busy');
    pressed = target;
    target.setAttribute('aria-busy', 'true');
  };
  const note = (event) => entered.add(event.target);
  for (const type of ['click', 'submit']) addEventListener(type, keep, true);
  for (const type of ['input', 'change']) addEventListener(type, note, true);
  addEventListener('DOMContentLoaded', () => {
    for (const type of ['click', 'submit']) removeEventListener(type, keep, true);
    for (const type of ['input', 'change']) removeEventListener(type, note, true);
    for (const control of entered) {
      for (const type of ['input', 'change']) control.dispatchEvent(new Event(type, { bubbles: true }));
    }
    if (!pressed) return;
    pressed.removeAttribute('aria-busy');
    if (pressed.matches('form')) pressed.requestSubmit();
    else pressed.click();
  });
})();
