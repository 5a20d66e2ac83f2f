// Pictures that no camera takes, as video tracks: a moving test pattern, and a curtain.

/** A canvas drawn by draw(context) every `every` ms, as a track; it ends with the track. */
function drawn(draw, every) {
  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 360;
  const ctx = canvas.getContext('2d', { willReadFrequently: true }); // drawn in memory: a read-back from a busy graphics process stalls
  draw(ctx);
  const timer = setInterval(draw, every, ctx);
  const [track] = canvas.captureStream(1000 / every).getVideoTracks();
  const stop = track.stop.bind(track);
  track.stop = () => { clearInterval(timer); stop(); };
  track.drawn = true;
  return track;
}

/** A picture that moves and tells the time: what the other side sees is live. */
export function testPattern(label) {
  const colours = ['#d9d9d9', '#d8d83c', '#3cd8d8', '#3cd83c', '#d83cd8', '#d83c3c', '#3c5ad8'];
  const track = drawn((ctx) => {
    colours.forEach((colour, at) => {
      ctx.fillStyle = colour;
      ctx.fillRect((at * 640) / 7, 0, 640 / 7 + 1, 260);
    });
    ctx.fillStyle = '#10151b';
    ctx.fillRect(0, 260, 640, 100);
    ctx.fillStyle = '#8fbaf5';
    ctx.fillRect((performance.now() / 8) % 640, 262, 40, 8);
    ctx.fillStyle = '#e7ecf2';
    ctx.font = '24px system-ui, sans-serif';
    ctx.fillText(`${label} ${new Date().toLocaleTimeString('sv')}`, 24, 320);
  }, 66);
  track.pattern = true;
  return track;
}

/** A still curtain with a word on it. It is drawn again and again, so that whoever comes later receives it too. */
export function curtain(label) {
  return drawn((ctx) => {
    ctx.fillStyle = '#1d3d5c';
    ctx.fillRect(0, 0, 640, 360);
    ctx.fillStyle = '#18344f';
    for (let x = 0; x < 640; x += 80) ctx.fillRect(x, 0, 28, 360);
    ctx.fillStyle = '#e7ecf2';
    ctx.font = '36px system-ui, sans-serif';
    ctx.textAlign = 'center';
    ctx.fillText(label, 320, 192);
  }, 200);
}
