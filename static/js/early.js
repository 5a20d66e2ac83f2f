// The one script that runs before the page is drawn: what is pressed while the modules are still on their way (a thin
// link, a slow machine) is kept and done once they listen, instead of being lost. DOMContentLoaded comes after them.
(() => {
  let pressed = null;
  const keep = (event) => {
    const target = event.type === 'submit' ? event.submitter ?? event.target : event.target.closest?.('button[type="button"]');
    if (!target) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    pressed?.removeAttribute('aria-busy');
    pressed = target;
    target.setAttribute('aria-busy', 'true');
  };
  for (const type of ['click', 'submit']) addEventListener(type, keep, true);
  addEventListener('DOMContentLoaded', () => {
    for (const type of ['click', 'submit']) removeEventListener(type, keep, true);
    if (!pressed) return;
    pressed.removeAttribute('aria-busy');
    if (pressed.matches('form')) pressed.requestSubmit();
    else pressed.click();
  });
})();
