// How loud a track is, by an AnalyserNode: RMS of the last 2,048 samples as 0…1 over a 60 dB scale.

let context = null;

/** One context for the page; browsers keep it suspended until the person has touched the page. */
export function audioContext() {
  context ??= new AudioContext();
  if (context.state !== 'running') context.resume().catch(() => {});
  return context;
}

/** Whether the system has taken the sound away, as iOS does for a telephone call. */
export const audioInterrupted = () => context?.state === 'interrupted';

const samples = new Float32Array(2048);

/** How loud it is at an AnalyserNode of 2,048 samples, in dBFS. */
export function loudness(analyser) {
  analyser.getFloatTimeDomainData(samples);
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return 10 * Math.log10(sum / samples.length + 1e-9);
}

export class Meter {
  /** fn(level, decibels) about ten times a second while the track lives. */
  constructor(track, fn) {
    this.track = track.clone(); // keeps measuring while the sent one is muted
    this.track.enabled = true;
    const ctx = audioContext();
    this.source = ctx.createMediaStreamSource(new MediaStream([this.track]));
    this.analyser = ctx.createAnalyser();
    this.source.connect(this.analyser);
    this.timer = setInterval(() => {
      const decibels = loudness(this.analyser);
      fn(Math.max(0, Math.min(1, (decibels + 60) / 60)), decibels);
    }, 100);
  }

  stop() {
    clearInterval(this.timer);
    this.source.disconnect();
    this.track.stop();
  }
}

/** A short two-tone chime for the loudspeaker test; resolves when it ended. */
export async function playChime(sinkId = '') {
  const ctx = audioContext();
  await ctx.resume();
  if (sinkId && ctx.setSinkId) await ctx.setSinkId(sinkId).catch(() => {});
  const gain = ctx.createGain();
  gain.connect(ctx.destination);
  gain.gain.value = 0.2;
  [[660, 0], [880, 0.35]].forEach(([hertz, at]) => {
    const tone = ctx.createOscillator();
    tone.frequency.value = hertz;
    tone.connect(gain);
    tone.start(ctx.currentTime + at);
    tone.stop(ctx.currentTime + at + 0.3);
  });
  await new Promise((resolve) => { setTimeout(resolve, 800); });
  gain.disconnect();
}
