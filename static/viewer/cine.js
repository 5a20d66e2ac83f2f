// Runs through the active stack at a settable rate. A frame that is late is waited for, never skipped over.

const SLOWEST = 1;
const FASTEST = 60;

export class Cine {
  constructor(viewer) {
    this.viewer = viewer;
    this.fps = null; // as the file asks, until the reader says otherwise
    this.running = false;
  }

  /** Frames per second in force for the active stack. */
  rate() {
    const asked = this.fps ?? this.viewer.active?.set?.frameRate;
    return Math.max(SLOWEST, Math.min(FASTEST, Math.round(asked ?? (this.viewer.active?.set?.multiframe ? 15 : 10))));
  }

  setRate(fps) {
    this.fps = Math.max(SLOWEST, Math.min(FASTEST, Math.round(fps)));
    this.viewer.hold(this.viewer.hands.active); // tells the face
  }

  toggle() {
    if (this.running) this.stop();
    else this.start();
  }

  start() {
    const { active } = this.viewer;
    if (!active.set || active.set.frames.length < 2) return;
    this.running = true;
    this.viewer.root.classList.add('vw-playing');
    let due = performance.now();
    const beat = async (now) => {
      if (!this.running || this.viewer.active !== active) return;
      if (now >= due && active.settled()) {
        due = Math.max(due + 1000 / this.rate(), now);
        await active.step(1, true);
      }
      if (this.running) this.asked = requestAnimationFrame(beat);
    };
    this.asked = requestAnimationFrame(beat);
    this.viewer.hold(this.viewer.hands.active);
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    cancelAnimationFrame(this.asked);
    this.viewer.root.classList.remove('vw-playing');
    this.viewer.hold(this.viewer.hands.active);
  }
}
