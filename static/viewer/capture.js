// The image on screen as a picture for the report: cut to the image, with the reader's measurements drawn in.
import { annotation } from '@cornerstonejs/tools';

import { lengthText, probeText } from './engine.js';
import { indexToCanvas, ratioOf } from './view.js';

const INK = 'rgb(255, 214, 92)';

/** PNG data URL, no side longer than `side` pixels. */
export function captureCanvas(viewport, imageId, side, t) {
  const { canvas } = viewport;
  const ratio = ratioOf(viewport);
  const toCanvas = (world) => viewport.worldToCanvas(world).map((part) => part * ratio);
  const box = imageBox(viewport, ratio);
  const shrink = Math.min(1, side / Math.max(box.width, box.height));
  const picture = document.createElement('canvas');
  picture.width = Math.max(1, Math.round(box.width * shrink));
  picture.height = Math.max(1, Math.round(box.height * shrink));
  const pen = picture.getContext('2d');
  pen.fillStyle = 'black';
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(canvas, box.x, box.y, box.width, box.height, 0, 0, picture.width, picture.height);
  const place = (world) => {
    const [x, y] = toCanvas(world);
    return [(x - box.x) * shrink, (y - box.y) * shrink];
  };
  drawMeasures(pen, viewport, imageId, place, t);
  return picture.toDataURL('image/png');
}

/** The part of the canvas that the image covers, in whole device pixels. */
function imageBox(viewport, ratio) {
  const [columns, rows] = viewport.getImageData().dimensions;
  const corner = (column, row) => indexToCanvas(viewport, [column, row]).map((part) => part * ratio);
  const corners = [corner(-0.5, -0.5), corner(columns - 0.5, -0.5), corner(-0.5, rows - 0.5), corner(columns - 0.5, rows - 0.5)];
  const { width, height } = viewport.canvas;
  const between = (axis, limit) => {
    const parts = corners.map((point) => point[axis]);
    const low = Math.max(0, Math.floor(Math.min(...parts)));
    const high = Math.min(limit, Math.ceil(Math.max(...parts)));
    return high > low ? [low, high] : [0, limit];
  };
  const [left, right] = between(0, width);
  const [top, bottom] = between(1, height);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

function drawMeasures(pen, viewport, imageId, place, t) {
  pen.strokeStyle = INK;
  pen.fillStyle = INK;
  pen.lineWidth = 1.5;
  pen.font = '14px system-ui, sans-serif';
  pen.shadowColor = 'black';
  pen.shadowBlur = 2;
  for (const [name, text] of [['Length', lengthText], ['Probe', probeText]]) {
    for (const item of annotation.state.getAnnotations(name, viewport.element) ?? []) {
      if (item.metadata.referencedImageId !== imageId || !item.isVisible) continue;
      const points = item.data.handles.points.map(place);
      const stats = Object.values(item.data.cachedStats ?? {})[0];
      const lines = [text(stats, t) ?? []].flat();
      if (points.length === 2) {
        pen.beginPath();
        pen.moveTo(...points[0]);
        pen.lineTo(...points[1]);
        pen.stroke();
      }
      for (const [x, y] of points) {
        pen.beginPath();
        pen.arc(x, y, 3, 0, 2 * Math.PI);
        pen.stroke();
      }
      const [x, y] = points.at(-1);
      lines.forEach((line, row) => pen.fillText(line, x + 8, y + 16 * row));
    }
  }
}
