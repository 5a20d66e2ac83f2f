// The way that media will take, tried before it is needed: this page sends to itself through the TURN relay, as much as
// a small picture with speech, over the path and the ports that the call uses. Only the relay can be tried without the
// other side; where it carries this, a direct path is no worse.

const KBPS = 400;
const BYTES = 1000;
const SEND_MS = 2000;
const LATE_MS = 500;
const CONNECT_MS = 6000;

/**
 * Resolves {ok, kbps, lost, ms}: whether a path came about, what of 400 kbit/s arrived, the share that did not, the
 * time to the relay and back of the quickest tenth (on a thin line the rest only queues). signal: AbortSignal; null when it is given up.
 */
export async function probePath(servers, { signal }) {
  const ends = [0, 1].map(() => new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: 'relay' }));
  const [near, far] = ends;
  const gone = new Promise((resolve) => signal.addEventListener('abort', () => resolve('gone'), { once: true }));
  const wait = (ms) => Promise.race([gone, new Promise((resolve) => setTimeout(resolve, ms))]);
  try {
    near.onicecandidate = ({ candidate }) => candidate && far.addIceCandidate(candidate).catch(() => {});
    far.onicecandidate = ({ candidate }) => candidate && near.addIceCandidate(candidate).catch(() => {});
    const channel = near.createDataChannel('probe', { ordered: false, maxRetransmits: 0 });
    const times = [];
    let first = 0;
    let last = 0;
    far.ondatachannel = (event) => {
      event.channel.binaryType = 'arraybuffer';
      event.channel.onmessage = ({ data }) => {
        last = performance.now();
        first ||= last;
        times.push(last - new Float64Array(data, 0, 1)[0]);
      };
    };
    const open = new Promise((resolve) => { channel.onopen = () => resolve('open'); });
    await near.setLocalDescription();
    await far.setRemoteDescription(near.localDescription);
    await far.setLocalDescription();
    await near.setRemoteDescription(far.localDescription);
    const came = await Promise.race([open, wait(CONNECT_MS)]);
    if (signal.aborted) return null;
    if (came !== 'open') return { ok: false };
    const packet = new Float64Array(BYTES / 8);
    const began = performance.now();
    let sent = 0;
    while (performance.now() - began < SEND_MS && !signal.aborted) {
      // what is due by now, so that a slow timer does not send less
      for (; sent < ((performance.now() - began) * KBPS) / 8 / BYTES; sent += 1) {
        packet[0] = performance.now();
        channel.send(packet);
      }
      await wait(20);
    }
    await wait(LATE_MS);
    if (signal.aborted) return null;
    const left = sent - channel.bufferedAmount / BYTES; // the rest never got away: too thin, but not lost
    times.sort((a, b) => a - b);
    return {
      ok: true,
      kbps: times.length > 1 ? Math.round(Math.min(KBPS, ((times.length - 1) * BYTES * 8) / (last - first))) : 0,
      lost: left > 0 ? Math.max(0, Number((1 - times.length / left).toFixed(3))) : 1,
      ms: times.length ? Math.round(times[Math.floor(times.length / 10)]) : null,
    };
  } catch {
    return signal.aborted ? null : { ok: false };
  } finally {
    for (const end of ends) end.close();
  }
}
