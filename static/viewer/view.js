// The view in image coordinates, so that another screen of another size can show the same part of the image.
// Everything here works for both ways of drawing (WebGL and processor).

/** Device pixels per image row on screen. */
function scaleOf(viewport) {
  const camera = viewport.getCamera();
  if (viewport.useCPURendering) return camera.scale;
  return viewport.canvas.height / ((2 * camera.parallelScale) / spacingOf(viewport)[1]);
}

function spacingOf(viewport) {
  return viewport.getImageData().spacing;
}

/** Canvas pixels per CSS pixel. */
export function ratioOf(viewport) {
  return viewport.useCPURendering ? 1 : window.devicePixelRatio || 1; // see vite.config.js
}

// The engine's processor drawing takes an index for the corner of a pixel, its WebGL drawing for the centre. Here
// and everywhere else in the viewer an index means the centre: pixel (0, 0) has its centre at (0, 0).
function halfPixel(viewport) {
  return viewport.useCPURendering ? 0.5 : 0;
}

/** World point → continuous index. */
function indexOf(viewport, world) {
  const { origin, direction, spacing } = viewport.getImageData();
  const offset = world.map((coordinate, axis) => coordinate - origin[axis]);
  const along = (axis) => offset[0] * direction[axis * 3] + offset[1] * direction[axis * 3 + 1] + offset[2] * direction[axis * 3 + 2];
  const half = halfPixel(viewport);
  return [along(0) / spacing[0] - half, along(1) / spacing[1] - half];
}

/** Continuous index (column, row) → world point, in the plane of the image. */
function worldOf(viewport, [column, row]) {
  const { origin, direction, spacing } = viewport.getImageData();
  const half = halfPixel(viewport);
  const [x, y] = [(column + half) * spacing[0], (row + half) * spacing[1]];
  return [0, 1, 2].map((axis) => origin[axis] + x * direction[axis] + y * direction[3 + axis]);
}

/** Continuous index (column, row) → CSS pixel within the viewport's element. */
export function indexToCanvas(viewport, index) {
  return viewport.worldToCanvas(worldOf(viewport, index));
}

/** The index in the middle of the view. */
function middle(viewport) {
  const ratio = ratioOf(viewport);
  const { width, height } = viewport.canvas;
  return indexOf(viewport, viewport.canvasToWorld([width / ratio / 2, height / ratio / 2]));
}

/**
 * {center: [column, row], span, rotation, flipHorizontal, invert, scale}: `span` is how many image rows fit the
 * shorter side of the view; `scale` (device pixels per image row) is only told, never applied elsewhere.
 */
export function readView(viewport) {
  const { width, height } = viewport.canvas;
  const scale = scaleOf(viewport);
  return {
    center: middle(viewport).map((part) => Math.round(part * 100) / 100),
    span: Math.round((Math.min(width, height) / scale) * 100) / 100,
    rotation: Math.round(viewport.getRotation()),
    flipHorizontal: Boolean(viewport.flipHorizontal),
    invert: Boolean(viewport.getProperties().invert),
    scale: Math.round(scale * 10000) / 10000,
  };
}

/** Show the part of the image that another screen's `readView` described. */
export function writeView(viewport, { center, span, rotation, flipHorizontal }) {
  if (typeof flipHorizontal === 'boolean' && flipHorizontal !== Boolean(viewport.flipHorizontal)) {
    viewport.setCamera({ flipHorizontal });
  }
  if (Number.isFinite(rotation)) viewport.setRotation(((rotation % 360) + 360) % 360);
  const { width, height } = viewport.canvas;
  if (Number.isFinite(span) && span > 0) setScale(viewport, Math.min(width, height) / span);
  if (Array.isArray(center) && center.every(Number.isFinite)) centerOn(viewport, center);
}

/** One image pixel per device pixel, on the pixel grid: every canvas pixel is exactly one pixel of the file. */
export function setOneToOne(viewport) {
  setScale(viewport, 1);
  const { width, height } = viewport.canvas;
  const center = middle(viewport);
  // The middle of an even number of canvas pixels lies between two of them, so it must lie between two of the
  // image's; of an odd number on one's centre. A quarter turn swaps which side decides for which axis.
  const turned = Math.round(viewport.getRotation() / 90) % 2 === 1;
  const sides = turned ? [height, width] : [width, height];
  const place = (part, side) => (side % 2 ? Math.round(part) : Math.floor(part) + 0.5);
  centerOn(viewport, [place(center[0], sides[0]), place(center[1], sides[1])]);
}

function setScale(viewport, scale) {
  if (viewport.useCPURendering) {
    viewport.setCamera({ scale });
    return;
  }
  viewport.setCamera({ parallelScale: (viewport.canvas.height / scale) * spacingOf(viewport)[1] * 0.5 });
}

function centerOn(viewport, index) {
  const { focalPoint, position, viewPlaneNormal } = viewport.getCamera();
  const wanted = worldOf(viewport, index);
  if (viewport.useCPURendering) {
    viewport.setCamera({ focalPoint: wanted });
    return;
  }
  // Keep the camera's depth: only the part of the move within the image plane counts.
  const move = wanted.map((part, axis) => part - focalPoint[axis]);
  const depth = move.reduce((sum, part, axis) => sum + part * viewPlaneNormal[axis], 0);
  const flat = move.map((part, axis) => part - depth * viewPlaneNormal[axis]);
  viewport.setCamera({
    focalPoint: focalPoint.map((part, axis) => part + flat[axis]),
    position: position.map((part, axis) => part + flat[axis]),
  });
}
