// From DICOM JSON (PS3.18 annex F) to what a reader opens: stacks of frames, ECGs, documents.

const ECG_CLASSES = '1.2.840.10008.5.1.4.1.1.9.1.';
const PDF_CLASS = '1.2.840.10008.5.1.4.1.1.104.1';
// Have rows and columns but mean nothing without the image they belong to.
const DERIVED_CLASSES = new Set([
  '1.2.840.10008.5.1.4.1.1.66.4', // segmentation
  '1.2.840.10008.5.1.4.1.1.66.7', // label map
  '1.2.840.10008.5.1.4.1.1.77.1.6', // whole slide: needs a viewer of its own
]);
const VIDEO_SYNTAXES = '1.2.840.10008.1.2.4.10';

/** The values of an attribute; [] when it is absent. */
export function values(item, tag) {
  return item?.[tag]?.Value ?? [];
}

/** The first value of an attribute, or undefined. */
export function value(item, tag) {
  return values(item, tag)[0];
}

/** The first value as a number, or undefined (DICOM JSON allows numbers in strings for DS and IS). */
export function number(item, tag) {
  const raw = value(item, tag);
  if (raw === undefined || raw === null || raw === '') return undefined;
  const parsed = Number(raw);
  return Number.isFinite(parsed) ? parsed : undefined;
}

/** `20261122`, `140530.00` → `2026-11-22 14:05`; '' when the file has no date. */
export function dateTime(item, dateTag, timeTag) {
  const date = String(value(item, dateTag) ?? '');
  const time = String(value(item, timeTag) ?? '');
  if (!/^\d{8}$/.test(date)) return '';
  const day = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6, 8)}`;
  return /^\d{4}/.test(time) ? `${day} ${time.slice(0, 2)}:${time.slice(2, 4)}` : day;
}

/** 'image', 'ecg', 'pdf' or 'other'. */
export function kindOf(instance) {
  const sopClass = String(value(instance, '00080016') ?? '');
  if (sopClass.startsWith(ECG_CLASSES)) return 'ecg';
  if (sopClass === PDF_CLASS) return 'pdf';
  const syntax = String(value(instance, '00083002') ?? value(instance, '00020010') ?? '');
  if (DERIVED_CLASSES.has(sopClass) || syntax.startsWith(VIDEO_SYNTAXES)) return 'other';
  return number(instance, '00280010') && number(instance, '00280011') ? 'image' : 'other';
}

function byPlace(a, b) {
  const order = (item) => [number(item, '00200013') ?? Infinity, number(item, '00201041') ?? Infinity];
  const [an, al] = order(a);
  const [bn, bl] = order(b);
  return an - bn || al - bl || String(value(a, '00080018')).localeCompare(String(value(b, '00080018')));
}

/** Frames per second the file asks for: recommended rate, cine rate, frame time; undefined when it is silent. */
function frameRate(instance) {
  const time = number(instance, '00181063');
  return number(instance, '00082144') ?? number(instance, '00180040') ?? (time ? 1000 / time : undefined);
}

/**
 * Projection images often know their pixel size only at the detector (0018,1164). Lengths are then measured
 * there, and the viewer says so; PixelSpacing wins where both stand.
 */
function useDetectorSpacing(instance) {
  if (instance['00280030']?.Value || !instance['00181164']?.Value) return false;
  instance['00280030'] = { vr: 'DS', Value: instance['00181164'].Value };
  return true;
}

/**
 * Films and ultrasound have no place in the patient. The engine then distrusts their pixel size too, so they get a
 * plane of their own; it never leaves this page.
 */
function usePlainPlane(instance) {
  if (instance['00200037']?.Value || instance['52009229'] || instance['52009230']) return;
  instance['00200037'] = { vr: 'DS', Value: [1, 0, 0, 0, 1, 0] };
  instance['00200032'] = { vr: 'DS', Value: [0, 0, 0] };
}

function common(archive, series, first) {
  return {
    studyUid: archive.studyUid,
    seriesUid: series.uid,
    modality: value(first, '00080060') ?? series.modality,
    number: number(first, '00200011') ?? series.number,
    description: String(value(first, '0008103E') ?? series.description ?? ''),
    date: dateTime(first, '00080022', '00080032') || dateTime(first, '00080020', '00080030'),
  };
}

function stack(archive, series, instances, part) {
  const first = instances[0];
  const frames = [];
  for (const instance of instances) {
    const sopUid = String(value(instance, '00080018'));
    const count = number(instance, '00280008') ?? 1;
    for (let frame = 1; frame <= count; frame += 1) {
      frames.push({ sopUid, frame, imageId: `wadors:${archive.frameUrl(series.uid, sopUid, frame)}`, instance });
    }
  }
  instances.forEach(usePlainPlane);
  const detector = instances.map(useDetectorSpacing).some(Boolean);
  return {
    ...common(archive, series, first),
    id: `${series.uid}/${part}`,
    kind: 'image',
    frames,
    multiframe: instances.length === 1 && frames.length > 1,
    frameRate: frameRate(first),
    color: (number(first, '00280002') ?? 1) > 1 || value(first, '00280004') === 'PALETTE COLOR',
    detectorPlane: detector,
    thumbnailUrl: archive.thumbnailUrl(series.uid),
  };
}

/**
 * What one series offers to open: multi-frame objects stand alone, single frames of one size make a stack,
 * everything else is a card of its own.
 */
export function displaySets(archive, series, instances) {
  const sets = [];
  const stacks = new Map();
  for (const instance of [...instances].sort(byPlace)) {
    const kind = kindOf(instance);
    const sopUid = String(value(instance, '00080018'));
    if (kind !== 'image') {
      sets.push({ ...common(archive, series, instance), id: `${series.uid}/${sopUid}`, kind, sopUid });
    } else if ((number(instance, '00280008') ?? 1) > 1) {
      sets.push(stack(archive, series, [instance], sopUid));
    } else {
      const size = ['00280010', '00280011', '00280002'].map((tag) => number(instance, tag) ?? 1).join('x');
      if (!stacks.has(size)) {
        stacks.set(size, []);
        sets.push(size);
      }
      stacks.get(size).push(instance);
    }
  }
  return sets.map((set) => (typeof set === 'string' ? stack(archive, series, stacks.get(set), set) : set));
}

/** The series of a QIDO-RS answer in reading order. */
export function seriesList(items) {
  return items
    .map((item) => ({
      uid: String(value(item, '0020000E')),
      number: number(item, '00200011'),
      modality: String(value(item, '00080060') ?? ''),
      description: String(value(item, '0008103E') ?? ''),
      count: number(item, '00201209'),
    }))
    .sort((a, b) => (a.number ?? Infinity) - (b.number ?? Infinity) || a.uid.localeCompare(b.uid) || 0);
}
