// Original sound, as an electronic stethoscope needs it: taken without the browser's processing, sent in stereo and
// without redundancy or silence suppression. Stereo matters for one channel too: Chromium codes it in Opus's audio mode,
// which leaves low tones alone where the speech mode filters them.
// Pure: no page is needed.

const MOST = 128; // kbit/s
const KBPS = { video: MOST, small: MOST / 2 }; // by rung; beneath, the line is for speech

/** getUserMedia's wishes for a microphone. */
export const microphone = (original) => ({
  echoCancellation: !original, noiseSuppression: !original, autoGainControl: !original,
  ...(original ? { channelCount: { ideal: 2 }, sampleRate: { ideal: 48000 } } : {}),
});

/** How sound goes: as the ladder says, and where its rung leaves room for it as original sound, when that is `wanted`. */
export function soundOf(ladder, wanted) {
  const { rung, speech } = ladder.sending;
  const kbps = wanted ? KBPS[rung] : 0;
  return kbps ? { kbps, ptime: 20, red: false, original: true } : { ...speech, original: false };
}

/** A description with other parameters of Opus (RFC 7587 §6.1): without those named in `drop`, with the pairs `add`. */
export function opusWith(sdp, drop, add) {
  const numbers = [...sdp.matchAll(/a=rtpmap:(\d+) opus\/48000\/2/gi)].map(([, number]) => number);
  return sdp.replace(/a=fmtp:(\d+) ([^\r\n]*)/g, (whole, number, params) => {
    if (!numbers.includes(number)) return whole;
    const kept = params.split(';').map((pair) => pair.trim()).filter((pair) => pair && !drop.includes(pair.split('=')[0]));
    return `a=fmtp:${number} ${[...kept, ...add].join(';')}`;
  });
}

/** What we send to the side that describes itself so: original sound, or speech in one channel whatever it could take. */
export const opusToSend = (sdp, original) => (original
  ? opusWith(sdp, ['stereo', 'maxaveragebitrate', 'usedtx'], ['stereo=1', `maxaveragebitrate=${MOST * 1000}`, 'usedtx=0'])
  : opusWith(sdp, ['stereo'], []));

/** setLocalDescription with an ear for stereo: Chromium hears one channel unless its own description says two. */
export async function describeSelf(pc) {
  const { type, sdp } = pc.signalingState === 'have-remote-offer' ? await pc.createAnswer() : await pc.createOffer();
  await pc.setLocalDescription({ type, sdp: opusWith(sdp, ['stereo'], ['stereo=1']) });
}
