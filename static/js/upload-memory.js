// What this browser remembers of an unfinished upload: names, sizes and the server's upload ids, never the bytes.
// It is forgotten when everything is through, when the technician says so, and when somebody else signs in here.
import { browserStore } from './browser-store.js';

const KEEP_MS = 2 * 24 * 3600 * 1000; // as long as the server keeps what has arrived

/** A memory for one membership. */
export async function memory(membership) {
  const store = await browserStore('huizhen-uploads', 'files');
  const known = new Map();
  for (const one of await store.all()) {
    if (one.membership === membership && Date.now() - one.at < KEEP_MS) known.set(one.key, one);
    else await store.drop(one.key);
  }
  return {
    /** What is known of a file, by its fingerprint. */
    of: (key) => known.get(key),
    /** Entries of earlier visits that were not through. */
    unfinished: () => [...known.values()].filter((one) => !one.result),
    keep: (key, values) => {
      const entry = { ...known.get(key), key, membership, at: Date.now(), ...values };
      known.set(key, entry);
      return store.put(entry);
    },
    drop: (key) => { known.delete(key); return store.drop(key); },
    clear: () => { known.clear(); return store.clear(); },
  };
}
