// A worker that answers one question: is there a WebGL that is not drawn by the processor?
const PROCESSOR = /swiftshader|llvmpipe|softpipe|software|microsoft basic render/i;

function fast() {
  const gl = new OffscreenCanvas(1, 1).getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const named = gl.getExtension('WEBGL_debug_renderer_info');
  const renderer = String(gl.getParameter(named ? named.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension('WEBGL_lose_context')?.loseContext();
  return !PROCESSOR.test(renderer);
}

try {
  postMessage(fast());
} catch {
  postMessage(false);
}
