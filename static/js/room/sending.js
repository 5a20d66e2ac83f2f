// How a track goes on a rung of the ladder: a camera as the rung says, a screen sharp and slow.

const MOST_FPS = 5; // what is pointed at and read moves little
const LEAST_LINES = 720; // smaller, text cannot be read; below it frames are left out instead

/** track.screen: it shows a screen. video: {kbps, fps, lines} of the rung. */
export function pictureOf(track, video) {
  if (!track.screen) return video;
  return { kbps: video.kbps, fps: Math.max(1, Math.min(MOST_FPS, Math.round(video.fps / 5))), lines: Math.max(LEAST_LINES, video.lines * 2) };
}
