// What this browser remembers of an unfinished upload: names, sizes and the server's upload ids, never the bytes.
// It is forgotten when everything is through, when the technician says so, and when somebody else signs in here.

const KEEP_MS = 2 * 24 * 3600 * 1000; // as long as the server keeps what has arrived
const STORE = 'files';

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('huizhen-uploads', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'key' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** A memory for one membership; in a browser that has none (private window) it remembers nothing and works. */
export async function memory(membership) {
  let database = null;
  try {
    database = await open();
  } catch { /* nothing is remembered */ }
  const run = (mode, work) => new Promise((resolve) => {
    if (!database) { resolve(undefined); return; }
    const change = database.transaction(STORE, mode);
    const request = work(change.objectStore(STORE));
    change.oncomplete = () => resolve(request?.result);
    change.onabort = () => resolve(undefined);
    change.onerror = () => resolve(undefined);
  });
  const all = (await run('readonly', (store) => store.getAll())) ?? [];
  const known = new Map();
  for (const one of all) {
    if (one.membership === membership && Date.now() - one.at < KEEP_MS) known.set(one.key, one);
    else await run('readwrite', (store) => store.delete(one.key));
  }
  return {
    /** What is known of a file, by its fingerprint. */
    of: (key) => known.get(key),
    /** Entries of earlier visits that were not through. */
    unfinished: () => [...known.values()].filter((one) => !one.result),
    keep: (key, values) => {
      const entry = { ...known.get(key), key, membership, at: Date.now(), ...values };
      known.set(key, entry);
      return run('readwrite', (store) => store.put(entry));
    },
    drop: (key) => { known.delete(key); return run('readwrite', (store) => store.delete(key)); },
    clear: () => { known.clear(); return run('readwrite', (store) => store.clear()); },
  };
}
