// Loads the frames around the one on screen, nearest first, while nothing more urgent is asked for.
import { Enums, imageLoadPoolManager } from '@cornerstonejs/core';

import { loadFrame } from './engine.js';

const BYTES = 256 * 1024 * 1024;
const AT_ONCE = 4;

/** Begin; `current()` tells where the reader is. Returns the function that stops it. */
export function prefetchAround(set, current) {
  const { instance } = set.frames[0];
  const figure = (tag) => Number(instance[tag]?.Value?.[0] ?? 1);
  const frameBytes = figure('00280010') * figure('00280011') * figure('00280002') * Math.ceil(figure('00280100') / 8);
  let budget = Math.max(1, Math.floor(BYTES / Math.max(1, frameBytes)));
  const wanted = new Set(set.frames.map((_, index) => index));
  let running = 0;
  let stopped = false;

  const next = () => {
    let best = -1;
    const here = current();
    for (const index of wanted) {
      if (best < 0 || Math.abs(index - here) < Math.abs(best - here)) best = index;
    }
    return best;
  };
  const fill = () => {
    while (!stopped && running < AT_ONCE && budget > 0 && wanted.size) {
      const index = next();
      wanted.delete(index);
      budget -= 1;
      running += 1;
      const { imageId } = set.frames[index];
      const load = () =>
        (stopped ? Promise.resolve() : loadFrame(imageId, true))
          .catch(() => {
            stopped = true; // the reader will be told when the frame is asked for; do not hammer the archive
          })
          .finally(() => {
            running -= 1;
            fill();
          });
      imageLoadPoolManager.addRequest(load, Enums.RequestType.Prefetch, { imageId }, 5);
    }
  };
  fill();
  return () => {
    stopped = true;
  };
}
