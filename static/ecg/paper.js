// Draws ECG paper and tracings on canvases, in device pixels, so that a millimetre is the same everywhere.
import { columns } from './signal.js';

export const SKINS = {
  dark: { ground: '#12161b', fine: '#2a2226', bold: '#4d3238', ink: '#eaf2ff', text: '#aebbcc', mark: '#ffd65c' },
  paper: { ground: '#fffafa', fine: '#f6d5d8', bold: '#e59aa3', ink: '#111111', text: '#333333', mark: '#0b57a4' },
};
export const PULSE_MV = 1;
export const PULSE_MS = 200;
const MARGIN_MM = 3;
const GUTTER_MM = 13; // room at the left for the calibration pulse
const ROW_MM = { '3x4': 30, '6x2': 25, '12x1': 20, one: 60 };
const SPEEDS = { 25: 1, 50: 2 };

/**
 * Geometry of a sheet, all in device pixels: `mm` is one millimetre; lengths of the paper follow from it.
 * `scale` is 'fit' (the whole sheet in `box`, at 25 mm/s) or millimetres per CSS pixel for life size.
 */
export function measure({ rows, layout, speed, gain, span, box, ratio, scale }) {
  const rowMm = ROW_MM[layout] * Math.max(1, layout === 'one' ? 1 : gain / 10 > 1 ? 1.3 : 1);
  const heightMm = rows.length * rowMm + 2 * MARGIN_MM;
  const fitMm = 2 * MARGIN_MM + GUTTER_MM + (span / 1000) * 25;
  const widthMm = 2 * MARGIN_MM + GUTTER_MM + (span / 1000) * speed;
  const css = scale === 'fit' ? Math.max(1.6, Math.min(box.width / fitMm, box.height / heightMm)) : 1 / scale;
  const mm = css * ratio;
  const sheet = { mm, ratio, rowMm, speed, gain, layout, span };
  sheet.width = Math.round(Math.max(widthMm * mm, Math.min(box.width * ratio, fitMm * SPEEDS[speed] * mm)));
  sheet.height = Math.round(heightMm * mm);
  sheet.pxPerMs = (speed * mm) / 1000;
  sheet.pxPerMv = gain * mm;
  sheet.left = Math.round((MARGIN_MM + GUTTER_MM) * mm);
  sheet.cells = rows.flatMap((row, at) => {
    const baseline = Math.round((MARGIN_MM + (at + 0.5) * rowMm) * mm);
    return row.map((cell) => ({
      ...cell,
      row: at,
      x0: sheet.left + (cell.from - row[0].from) * sheet.pxPerMs,
      x1: sheet.left + (cell.to - row[0].from) * sheet.pxPerMs,
      baseline,
      top: baseline - (rowMm / 2) * mm,
      bottom: baseline + (rowMm / 2) * mm,
    }));
  });
  return sheet;
}

/** The millimetre grid, once per sheet. */
export function drawGrid(pen, sheet, skin) {
  pen.fillStyle = skin.ground;
  pen.fillRect(0, 0, sheet.width, sheet.height);
  const lines = (step, colour, width) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (let at = 0; at * step * sheet.mm <= sheet.width; at += 1) {
      const x = Math.round(at * step * sheet.mm) + 0.5;
      pen.moveTo(x, 0);
      pen.lineTo(x, sheet.height);
    }
    for (let at = 0; at * step * sheet.mm <= sheet.height; at += 1) {
      const y = Math.round(at * step * sheet.mm) + 0.5;
      pen.moveTo(0, y);
      pen.lineTo(sheet.width, y);
    }
    pen.stroke();
  };
  // Below two pixels a millimetre the fine lines would be a grey wash.
  if (sheet.mm >= 2) lines(1, skin.fine, 1);
  lines(5, skin.bold, 1);
}

/** Calibration pulses, lead names and tracings. `recording` gives microvolts. */
export function drawTraces(pen, sheet, recording, skin, missing) {
  pen.lineJoin = 'round';
  pen.lineWidth = Math.max(1, Math.round(sheet.ratio));
  const rows = new Set();
  for (const cell of sheet.cells) {
    if (!rows.has(cell.row)) {
      rows.add(cell.row);
      drawPulse(pen, sheet, cell.baseline, skin);
    }
    const samples = recording.lead(cell.lead);
    if (samples) drawTrace(pen, sheet, cell, samples, recording.hz, skin);
    drawName(pen, sheet, cell, samples ? cell.lead : `${cell.lead} ${missing}`, skin);
  }
}

/** 1 mV for 200 ms, left of the row: proof of gain and speed. */
function drawPulse(pen, sheet, baseline, skin) {
  const width = PULSE_MS * sheet.pxPerMs;
  const height = PULSE_MV * sheet.pxPerMv;
  const end = sheet.left - 2 * sheet.mm;
  const start = end - width;
  pen.strokeStyle = skin.ink;
  pen.beginPath();
  pen.moveTo(Math.max(0, start - 1.5 * sheet.mm), baseline + 0.5);
  pen.lineTo(start, baseline + 0.5);
  pen.lineTo(start, baseline - height + 0.5);
  pen.lineTo(end, baseline - height + 0.5);
  pen.lineTo(end, baseline + 0.5);
  pen.lineTo(end + 1.5 * sheet.mm, baseline + 0.5);
  pen.stroke();
}

function drawTrace(pen, sheet, cell, samples, hz, skin) {
  const first = Math.max(0, Math.round((cell.from / 1000) * hz));
  const last = Math.min(samples.length, Math.round((cell.to / 1000) * hz));
  if (last <= first) return;
  const perColumn = hz / 1000 / sheet.pxPerMs;
  const y = (microvolts) => cell.baseline - (microvolts / 1000) * sheet.pxPerMv + 0.5;
  // Where the device had no signal the line is broken, never bridged.
  let broken = true;
  const line = (x, value) => {
    if (Number.isNaN(value)) {
      broken = true;
    } else {
      pen[broken ? 'moveTo' : 'lineTo'](x, y(value));
      broken = false;
    }
  };
  pen.save();
  pen.beginPath();
  pen.rect(cell.x0, 0, cell.x1 - cell.x0 + 1, sheet.height);
  pen.clip();
  pen.strokeStyle = skin.ink;
  pen.beginPath();
  if (perColumn <= 1) {
    for (let at = first; at < last; at += 1) line(cell.x0 + (at - first) / perColumn, samples[at]);
  } else {
    columns(samples, first, last, perColumn, (column, entry, low, high, exit) => {
      const x = cell.x0 + column + 0.5;
      line(x, entry);
      if (low <= high) {
        line(x, low);
        line(x, high);
      }
      line(x, exit);
    });
  }
  pen.stroke();
  pen.restore();
}

function drawName(pen, sheet, cell, name, skin) {
  const size = Math.max(12 * sheet.ratio, 3.2 * sheet.mm);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = 'top';
  pen.fillStyle = skin.ground;
  const x = cell.x0 + 1.2 * sheet.mm;
  const top = cell.top + 0.8 * sheet.mm;
  pen.globalAlpha = 0.75;
  pen.fillRect(x - 2, top - 1, pen.measureText(name).width + 4, size + 2);
  pen.globalAlpha = 1;
  pen.fillStyle = skin.text;
  pen.fillText(name, x, top);
}

/** The caliper between two points in device pixels, and its three figures. */
export function caliper(sheet, [a, b]) {
  const ms = Math.abs(b.x - a.x) / sheet.pxPerMs;
  const mv = (a.y - b.y) / sheet.pxPerMv;
  return { ms, mv, bpm: ms >= 1 ? 60000 / ms : null };
}

/** Draw the caliper; `held` is the end that the arrow keys move. */
export function drawCaliper(pen, sheet, [a, b], lines, skin, held) {
  pen.strokeStyle = skin.mark;
  pen.fillStyle = skin.mark;
  pen.lineWidth = Math.max(1, Math.round(sheet.ratio));
  const [top, bottom] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
  pen.beginPath();
  for (const point of [a, b]) {
    pen.moveTo(point.x + 0.5, Math.max(0, top - 6 * sheet.mm));
    pen.lineTo(point.x + 0.5, Math.min(sheet.height, bottom + 6 * sheet.mm));
    pen.moveTo(Math.min(a.x, b.x) - 2 * sheet.mm, point.y + 0.5);
    pen.lineTo(Math.max(a.x, b.x) + 2 * sheet.mm, point.y + 0.5);
  }
  pen.stroke();
  const hold = held === 1 ? b : a;
  pen.beginPath();
  pen.arc(hold.x + 0.5, hold.y + 0.5, 4 * sheet.ratio, 0, 2 * Math.PI);
  pen.stroke();
  const size = 14 * sheet.ratio;
  pen.font = `${size}px system-ui, sans-serif`;
  pen.textBaseline = 'top';
  const width = Math.max(...lines.map((line) => pen.measureText(line).width)) + 12 * sheet.ratio;
  const height = (lines.length * 1.35 + 0.5) * size;
  const x = Math.min(Math.max(a.x, b.x) + 3 * sheet.mm, sheet.width - width);
  const y = Math.max(0, Math.min(top - height / 2, sheet.height - height));
  pen.fillStyle = skin.ground;
  pen.globalAlpha = 0.9;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 1;
  pen.fillStyle = skin.mark;
  lines.forEach((line, at) => pen.fillText(line, x + 6 * sheet.ratio, y + (0.35 + at * 1.35) * size));
}
