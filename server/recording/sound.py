"""The sound of a film: every voice decoded and laid where it belongs, silence where there is none, all mixed."""

from __future__ import annotations

from collections import deque

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48000
TOLERANCE = RATE // 100         # of 10 ms: what follows within it follows without a seam
LONGEST = RATE // 5             # of a packet: 120 ms by RFC 6716, and some more


class Mixer:
    """Stereo, 48,000 samples a second; everything is taken once and in order."""

    def __init__(self) -> None:
        self.taken = 0                                          # samples
        self._waiting = np.zeros((2, 0), np.float32)

    def add(self, at: int, sound: NDArray[np.float32]) -> None:
        """Sound (2 × samples, ±1) from sample `at` on; what would lie before the samples taken is left out."""
        if at < self.taken:
            sound, at = sound[:, self.taken - at :], self.taken
        start = at - self.taken
        end = start + sound.shape[1]
        if end > self._waiting.shape[1]:
            self._waiting = np.pad(self._waiting, ((0, 0), (0, end - self._waiting.shape[1])))
        self._waiting[:, start:end] += sound

    def take(self, until: int) -> NDArray[np.float32]:
        """The samples up to `until` (2 × samples, ±1)."""
        size = max(0, until - self.taken)
        short = size - self._waiting.shape[1]
        sound = self._waiting[:, :size] if short <= 0 else np.pad(self._waiting, ((0, 0), (0, short)))
        self._waiting = self._waiting[:, size:].copy()
        self.taken += size
        return np.clip(sound, -1, 1)


class Voice:
    """One stream's units on their way to the mixer."""

    def __init__(self, mixer: Mixer) -> None:
        self._mixer = mixer
        self._queue: deque[tuple[int, bytes]] = deque()
        self._next = 0                                          # the sample after what was laid last
        self._decoder = av.CodecContext.create("opus", "r")
        if isinstance(self._decoder, av.AudioCodecContext):
            self._decoder.sample_rate, self._decoder.layout = RATE, "stereo"

    def add(self, at: int, data: bytes) -> None:
        """A unit whose first sample is the film's sample `at`."""
        self._queue.append((at, data))

    def lay(self, until: int) -> None:
        """Decode what begins before a sample and lay it into the mixer."""
        while self._queue and self._queue[0][0] < until:
            at, data = self._queue.popleft()
            try:
                frames = self._decoder.decode(av.Packet(data))
            except av.FFmpegError:
                continue
            for frame in frames:
                sound = frame.to_ndarray()[:, :LONGEST].astype(np.float32)
                if abs(at - self._next) <= TOLERANCE:
                    at = self._next
                elif at < self._next:                           # two clocks apart: nothing is heard twice
                    sound, at = sound[:, self._next - at :], self._next
                self._mixer.add(at, sound)
                at = self._next = at + sound.shape[1]
