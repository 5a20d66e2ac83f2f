// Whether images are better drawn without WebGL. Where a browser has no graphics card it draws WebGL on the processor,
// behind everything else that moves on the page: beside a call, opening one image was seen to hold the page for 90 s.
// Asked in a worker, since the question itself can take seconds there.

const PATIENCE = 3000;
let answer = null;

function ask() {
  return new Promise((resolve) => {
    if (!window.Worker || !window.OffscreenCanvas) {
      resolve(!document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true }));
      return;
    }
    const worker = new Worker('/static/js/graphics-probe.js');
    const done = (slow) => { clearTimeout(timer); worker.terminate(); resolve(slow); };
    const timer = setTimeout(() => done(true), PATIENCE);
    worker.onmessage = ({ data: fast }) => done(!fast);
    worker.onerror = () => done(true);
  });
}

/** Promise of true where the processor would draw WebGL; asked once per page. */
export function slowGraphics() {
  answer ??= ask();
  return answer;
}
