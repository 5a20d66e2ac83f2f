// How large a CSS pixel really is on this screen, as the reader measured it once.

const PHYSICAL = 'huizhen.mmPerPixel';
const NOMINAL = 25.4 / 96; // CSS says 96 to the inch; few screens agree

/** Millimetres of one CSS pixel on this screen, as the reader measured it once; else the nominal 96 per inch. */
export function millimetresPerPixel(write) {
  try {
    if (write) localStorage.setItem(PHYSICAL, String(write));
    const kept = Number(localStorage.getItem(PHYSICAL));
    return kept > 0.05 && kept < 1 ? kept : NOMINAL;
  } catch {
    return write ?? NOMINAL; // private windows may refuse storage: the setting then lasts for this page
  }
}
