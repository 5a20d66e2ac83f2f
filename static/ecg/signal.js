// The tracing as numbers: decoding, leads by their clinical names, order on the paper. No drawing here.

export const STANDARD = ['I', 'II', 'III', 'aVR', 'aVL', 'aVF', 'V1', 'V2', 'V3', 'V4', 'V5', 'V6'];
// Frontal leads in the order of their axes, aVR turned round (Cabrera).
const CABRERA = ['aVL', 'I', '-aVR', 'II', 'aVF', 'III', 'V1', 'V2', 'V3', 'V4', 'V5', 'V6'];
const UNITS = { uV: 1, µV: 1, mV: 1000, V: 1e6 };

/** Devices write lead names in many ways; the twelve standard ones get their clinical form. */
export function leadName(raw) {
  const plain = String(raw ?? '').replace(/^\s*(MDC_ECG_)?(LEAD[_\s]*)?/i, '').replace(/\s*\(.*$/, '').trim();
  return STANDARD.find((name) => name.toLowerCase() === plain.toLowerCase()) ?? plain;
}

/** Base64 of little-endian int16 → values in microvolts; NaN where the device had no signal. */
function decode(lead) {
  const bytes = Uint8Array.from(atob(lead.samples), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const factor = UNITS[lead.unit] ?? 1;
  const out = new Float32Array(bytes.length >> 1);
  for (let at = 0; at < out.length; at += 1) {
    const raw = view.getInt16(2 * at, true);
    out[at] = raw === lead.gap ? NaN : (raw * lead.scale + (lead.offset ?? 0)) * factor;
  }
  return out;
}

/** A recording: `hz`, `duration` in ms, and `lead(name)` → Float32Array in microvolts or null. */
export class Recording {
  constructor(json) {
    this.hz = Number(json.samplingHz);
    if (!(this.hz > 0) || !json.leads?.length) throw new Error('ecg: no samples');
    this.leads = new Map(json.leads.map((lead) => [leadName(lead.name), decode(lead)]));
    this.names = [...this.leads.keys()];
    this.duration = (Math.max(...[...this.leads.values()].map((samples) => samples.length)) / this.hz) * 1000;
    this.measurements = json.measurements ?? {};
    this.annotations = json.annotations ?? [];
    this.acquired = json.acquired ?? null;
    this.twelve = STANDARD.some((name) => this.leads.has(name));
  }

  /** Samples of a lead in microvolts; '-aVR' is aVR turned round; null when the device did not record it. */
  lead(name) {
    if (!name.startsWith('-')) return this.leads.get(name) ?? null;
    const turned = this.leads.get(name.slice(1));
    return turned ? turned.map((value) => -value) : null;
  }

  /** The leads in paper order; a device with other leads shows those it has. */
  order(cabrera) {
    if (!this.twelve) return this.names;
    return cabrera ? CABRERA : STANDARD;
  }
}

/**
 * Where each lead stands on the paper: rows of cells {lead, from, to} with `from`/`to` in ms.
 * '3x4' has a rhythm strip of lead II beneath; leads in one row follow each other in time, as on paper.
 */
export function arrange(recording, layout, cabrera, start, span) {
  const order = recording.order(cabrera);
  const cell = (lead, from, to) => ({ lead, from, to });
  if (layout === '12x1' || !recording.twelve) return order.map((lead) => [cell(lead, start, start + span)]);
  const [rowCount, columns] = layout === '3x4' ? [3, 4] : [6, 2];
  const width = span / columns;
  const rows = [];
  for (let row = 0; row < rowCount; row += 1) {
    rows.push(
      Array.from({ length: columns }, (_, column) =>
        cell(order[column * rowCount + row], start + column * width, start + (column + 1) * width),
      ),
    );
  }
  if (layout === '3x4') rows.push([cell('II', start, start + span)]);
  return rows;
}

/** One column of device pixels never hides a peak: lowest and highest value, and where the line goes in and out. */
export function columns(samples, first, last, perColumn, visit) {
  let from = first;
  for (let column = 0; from < last; column += 1) {
    const to = Math.min(last, Math.max(from + 1, Math.round(first + (column + 1) * perColumn)));
    let low = Infinity;
    let high = -Infinity;
    for (let at = from; at < to; at += 1) {
      const value = samples[at];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    visit(column, samples[from], low, high, samples[to - 1]);
    from = to;
  }
}
