// Pictures on their way, kept in this browser until the server has acknowledged them: a reload or a battery that dies
// loses none. They go when they have arrived, when the person cancels, after two days, and when somebody else signs in.
import { browserStore } from './browser-store.js';

const KEEP_MS = 2 * 24 * 3600 * 1000; // as long as the server keeps what has arrived

/** A memory for one membership. */
export async function pictureMemory(membership) {
  const store = await browserStore('huizhen-pictures', 'pictures');
  return {
    /** {key, consultation, kind, title, blob, upload, at} of one consultation, the oldest first. */
    async of(consultation) {
      const all = await store.all();
      const mine = all.filter((one) => one.membership === membership && Date.now() - one.at < KEEP_MS);
      for (const one of all) if (!mine.includes(one)) await store.drop(one.key);
      return mine.filter((one) => one.consultation === consultation).sort((a, b) => a.at - b.at);
    },
    /** Whether it is still waiting: another tab may have sent it meanwhile. */
    has: async (key) => !store.keeps || store.has(key),
    keep: (entry) => store.put({ ...entry, membership }),
    drop: store.drop,
  };
}
