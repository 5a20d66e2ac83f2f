// Which files were dropped or chosen, and the little that a browser can read of them to group them by study.

const LITTER = new Set(['.DS_Store', 'Thumbs.db', 'desktop.ini']);
const HEAD_BYTES = 64 * 1024;

/** Files of a drop, folders walked through: [{file, path}]. Call it inside the drop event: the items die with it. */
export function filesOfDrop(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === 'file').map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return gather(entries);
}

/** Files of an `<input type=file>`, also one with webkitdirectory. */
export function filesOfInput(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })).filter(({ path }) => wanted(path));
}

const wanted = (path) => !LITTER.has(path.split('/').at(-1)) && !path.startsWith('__MACOSX/');

async function gather(entries) {
  const found = [];
  const walk = async (entry, before) => {
    if (entry instanceof File) found.push({ file: entry, path: entry.name });
    else if (entry?.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, path: before + entry.name });
    } else if (entry?.isDirectory) {
      const reader = entry.createReader();
      for (;;) { // readEntries gives at most a hundred at a time
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) break;
        for (const one of some) await walk(one, `${before}${entry.name}/`);
      }
    }
  };
  for (const entry of entries) await walk(entry, '');
  return found.filter(({ path }) => wanted(path));
}

/** How a file is known again after a reload, without reading it. */
export const fingerprint = ({ file, path }) => `${path}|${file.size}|${file.lastModified}`;

/**
 * {zip, study, modality, date} as far as the first bytes tell. Only a guess for grouping: the server reads the file
 * itself, and what it answers counts.
 */
export async function peek(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5)) return { zip: true };
  return {
    study: value(bytes, 0x0020, 0x000d, 'UI', /^[0-9.]{3,64}$/),
    modality: value(bytes, 0x0008, 0x0060, 'CS', /^[A-Z0-9]{2,16}$/),
    date: value(bytes, 0x0008, 0x0020, 'DA', /^\d{8}$/),
  };
}

/** The first element of this tag with a plausible value, explicit or implicit little endian (PS3.5 §7.1). */
function value(bytes, group, element, vr, shape) {
  const tag = [group & 255, group >> 8, element & 255, element >> 8];
  for (let at = bytes.indexOf(tag[0]); at >= 0 && at + 8 < bytes.length; at = bytes.indexOf(tag[0], at + 1)) {
    if (bytes[at + 1] !== tag[1] || bytes[at + 2] !== tag[2] || bytes[at + 3] !== tag[3]) continue;
    const explicit = bytes[at + 4] === vr.charCodeAt(0) && bytes[at + 5] === vr.charCodeAt(1);
    const length = explicit ? bytes[at + 6] | (bytes[at + 7] << 8) : bytes[at + 4] | (bytes[at + 5] << 8);
    if (length > 64 || (!explicit && (bytes[at + 6] || bytes[at + 7]))) continue;
    const text = String.fromCharCode(...bytes.subarray(at + 8, at + 8 + length)).replace(/[\0 ]+$/, '');
    if (shape.test(text)) return text;
  }
  return '';
}
