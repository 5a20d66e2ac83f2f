// One IndexedDB store of entries by their `key`. In a browser that has none (private window) it holds nothing and every
// call works.

function open(name, store) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(store, { keyPath: 'key' });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export async function browserStore(name, store) {
  let database = null;
  try {
    database = await open(name, store);
  } catch { /* nothing is kept */ }
  const run = (mode, work) => new Promise((resolve) => {
    if (!database) { resolve(undefined); return; }
    const change = database.transaction(store, mode);
    const request = work(change.objectStore(store));
    change.oncomplete = () => resolve(request.result);
    change.onabort = change.onerror = () => resolve(undefined);
  });
  return {
    keeps: Boolean(database),
    all: async () => (await run('readonly', (entries) => entries.getAll())) ?? [],
    has: async (key) => Boolean(await run('readonly', (entries) => entries.getKey(key))),
    put: (entry) => run('readwrite', (entries) => entries.put(entry)),
    drop: (key) => run('readwrite', (entries) => entries.delete(key)),
    clear: () => run('readwrite', (entries) => entries.clear()),
  };
}
