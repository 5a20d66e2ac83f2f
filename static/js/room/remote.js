// The other's sound and picture in a call of two. Sound has an element of its own: a video element waits for the first
// picture, and a voice call has none.

export class Remote {
  /** audio, video: elements. playButton: shown while the browser wants a press before it plays sound. */
  constructor({ audio, video, playButton }) {
    Object.assign(this, { playButton });
    this.elements = { audio, video };
    this.streams = { audio: new MediaStream(), video: new MediaStream() };
  }

  /** output: id of the loudspeaker. */
  add(track, output) {
    const stream = this.streams[track.kind];
    for (const old of stream.getTracks()) if (old !== track) stream.removeTrack(old);
    stream.addTrack(track);
    if (this.elements[track.kind].srcObject !== stream) this.elements[track.kind].srcObject = stream;
    this.play(output);
  }

  play(output) {
    const { audio, video } = this.elements;
    if (output !== (audio.sinkId ?? output)) audio.setSinkId(output).catch(() => {});
    if (video.srcObject) video.play().catch(() => {});
    if (audio.srcObject) audio.play().then(() => { this.playButton.hidden = true; }, (error) => { this.playButton.hidden = error.name !== 'NotAllowedError'; });
  }

  clear() {
    for (const kind of ['audio', 'video']) {
      for (const track of this.streams[kind].getTracks()) this.streams[kind].removeTrack(track);
      this.elements[kind].srcObject = null;
    }
    this.elements.audio.muted = false;
  }
}
