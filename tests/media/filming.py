"""For the recording's tests: RTP of a flash with a beep as a browser sends it, and what a film shows and lets hear."""

import fractions
import io
import struct
from dataclasses import dataclass, field

import av
import numpy as np

from server.recording import vault

RATE = 15
NTP = 2_208_988_800                 # s from 1900 to 1970


def film_of(seconds: float, flashes, *, shade=60, size=(160, 120)) -> list[bytes]:
    """VP8 frames, 15 a second: grey, and white for 200 ms from each flash on. Whole ones every second."""
    codec = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = *size, "yuv420p"
    codec.time_base, codec.bit_rate, codec.gop_size = fractions.Fraction(1, RATE), 300_000, RATE
    codec.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    found = []
    for number in range(round(seconds * RATE)):
        bright = any(x <= number / RATE + 1e-9 < x + 0.2 for x in flashes)
        frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 235 if bright else shade, np.uint8), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts = number
        found += [bytes(x) for x in codec.encode(frame)]
    return found


def sound_of(seconds: float, beeps, *, tone=1000) -> list[bytes]:
    """Opus packets of 20 ms: silence, and a tone for 200 ms from each beep on."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48000, "stereo", "flt", 64000
    at = np.arange(round(seconds * 48000)) / 48000
    loud = np.zeros_like(at)
    for x in beeps:
        loud[(at >= x) & (at < x + 0.2)] = 0.5
    wave = (np.sin(2 * np.pi * tone * at) * loud).astype(np.float32)
    found = []
    for number in range(len(wave) // 960):
        part = np.repeat(wave[number * 960 : (number + 1) * 960], 2).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="flt", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * 960, fractions.Fraction(1, 48000)
        found += [bytes(x) for x in codec.encode(frame)]
    return found


@dataclass
class Sender:
    """RTP packets and sender reports of one stream with origins of its own. `ntp`: its clock (s since 1970) at media 0."""

    ssrc: int
    payload_type: int
    rate: int
    ntp: float
    sequence: int = 65500
    origin: int = 0xFFFF0000
    sent: list[bytes] = field(default_factory=list)

    def timestamp(self, at: float) -> int:
        return self.origin + round(at * self.rate) & 0xFFFFFFFF

    def packet(self, at: float, body: bytes, *, marker: bool = False) -> bytes:
        data = struct.pack(
            "!BBHII", 0x80, self.payload_type | 128 * marker, self.sequence & 0xFFFF, self.timestamp(at), self.ssrc) + body
        self.sequence += 1
        self.sent.append(data)
        return data

    def picture(self, at: float, frame: bytes, most: int = 900) -> list[bytes]:
        """A frame in packets (RFC 7741)."""
        parts = [frame[x : x + most] for x in range(0, len(frame), most)]
        return [self.packet(at, (b"\x10" if not n else b"\0") + x, marker=n == len(parts) - 1) for n, x in enumerate(parts)]

    def clock(self, at: float) -> int:
        """NTP, 64 bits, of a media time."""
        return int((self.ntp + NTP + at) * (1 << 32))

    def report(self, at: float) -> bytes:
        return struct.pack("!BBHIQIII", 0x80, 200, 6, self.ssrc, self.clock(at), self.timestamp(at), len(self.sent), 0)


@dataclass
class Shown:
    """A decoded film: seconds of every picture with the brightness of its columns, and the sound (2 × samples)."""

    pictures: list[tuple[float, np.ndarray]]
    sound: np.ndarray
    duration: float

    def at(self, moment: float) -> np.ndarray:
        """The columns that stand at a moment."""
        return next(columns for at, columns in reversed(self.pictures) if at <= moment)

    def flashes(self, part: int, parts: int) -> list[float]:
        """When a tile turns white."""
        found, before = [], True
        for at, columns in self.pictures:
            width = len(columns) // parts
            bright = columns[part * width + width // 4 : (part + 1) * width - width // 4].mean() > 190
            if bright and not before:
                found.append(at)
            before = bright
        return found

    def beeps(self, tone: int = 1000, window: int = 240) -> list[float]:
        """When a tone begins: where its share of 5 ms first rises over a third."""
        wave = self.sound.mean(axis=0)
        wave = wave[: len(wave) // window * window].reshape(-1, window)
        turn = np.exp(-2j * np.pi * tone * np.arange(window) / 48000)
        loud = np.abs(wave @ turn) / window * 2 > 0.17
        return [n * window / 48000 for n in range(1, len(loud)) if loud[n] and not loud[n - 4 if n > 4 else 0 : n].any()]


def shown(path, key) -> Shown:
    """Decode a film whole."""
    data = vault.read(path, key, 0, vault.size(path, key))
    pictures, sound = [], []
    with av.open(io.BytesIO(data)) as container:
        assert {x.codec_context.name for x in container.streams} <= {"vp8", "libvpx", "opus", "libopus"}
        duration = container.duration / 1e6
        for frame in container.decode(*container.streams):
            if isinstance(frame, av.VideoFrame):
                columns = frame.to_ndarray(format="gray")
                middle = columns.shape[0] // 2
                pictures.append((float(frame.time), columns[middle - 20 : middle + 20].mean(axis=0)))
            else:
                sound.append((frame.pts, frame.to_ndarray()))
    return Shown(pictures, np.concatenate([x for _, x in sound], axis=1), duration)
