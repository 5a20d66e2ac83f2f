// Colour tables. The engine wants them as numbers; DICOM JSON carries them as bytes, inline or by address.
import { ArchiveError, reasonOfStatus } from './archive.js';

const TABLES = ['00281201', '00281202', '00281203'];

/** Turn an instance's palette tables (PS3.3 §C.7.6.3.1.6) into numbers; other instances are left alone. */
export async function completePalette(instance) {
  if (instance['00280004']?.Value?.[0] !== 'PALETTE COLOR') return;
  const bits = Number(instance['00281101']?.Value?.[2] ?? 16);
  await Promise.all(
    TABLES.filter((tag) => instance[tag] && !instance[tag].Value).map(async (tag) => {
      const bytes = await bytesOf(instance[tag]);
      const values = bits === 8 ? Array.from(bytes) : words(bytes);
      instance[tag] = { vr: 'OW', Value: values };
    }),
  );
}

async function bytesOf(element) {
  if (element.InlineBinary) return Uint8Array.from(atob(element.InlineBinary), (letter) => letter.charCodeAt(0));
  // Only ever from our own server, whatever host the address was built with.
  const { pathname, search } = new URL(element.BulkDataURI, window.location.href);
  const response = await fetch(pathname + search, { headers: { Accept: 'application/octet-stream' } }).catch(() => {
    throw new ArchiveError('network');
  });
  if (!response.ok) throw new ArchiveError(reasonOfStatus(response.status), response.status);
  return new Uint8Array(await response.arrayBuffer());
}

function words(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength >> 1 }, (_, at) => view.getUint16(2 * at, true));
}
