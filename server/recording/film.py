"""One film of a log: two readings of it, the first for its clocks, the second for what is seen and heard."""

from __future__ import annotations

import fractions
from collections.abc import Callable
from pathlib import Path
from typing import cast

import av
import numpy as np

from server.media.relay import rtp
from server.recording import log, vault
from server.recording.picture import PER_SECOND, Canvas, Screen
from server.recording.sound import RATE, Mixer, Voice
from server.recording.timeline import Key, Span, Spans, Timeline, Track, Unwrapped, survey
from server.recording.units import Order, Pictures, Speech

BEHIND = 4_000_000              # µs by which the film follows the log, so that what comes late finds its place
STEP = 200_000                  # µs of the log between two looks at what is ready
SAMPLES = 960                   # of one Opus packet
KEYFRAMES = 5 * PER_SECOND
Film = dict[str, object]


class NothingRecorded(Exception):
    """The log holds no stretch with anything in it."""


class WrongKey(Exception):
    """No chunk of the log opens."""


class Line:
    """One stream between the log and its decoder."""

    def __init__(self, key: Key, track: Track, sink: Voice | Screen, units: Speech | Pictures) -> None:
        self.key, self.track, self.sink, self.units = key, track, sink, units
        self.order, self.unwrapped = Order(), Unwrapped()

    def lay(self, now: int | None, timeline: Timeline, span: Span) -> None:
        """Give what need not wait to the decoder's queue, each unit at its place in the film."""
        for gap, packet in self.order.ready(now):
            for unit in self.units.take(gap, packet):
                moment = timeline.moment(self.key, self.unwrapped(unit.timestamp)) / 1e6 - span.began
                if isinstance(self.sink, Voice) and 0 <= moment < span.seconds:
                    self.sink.add(round((span.at + moment) * RATE), unit.data)
                elif isinstance(self.sink, Screen):
                    place = span.at + min(max(0.0, moment), span.seconds)
                    self.sink.add(round(place * PER_SECOND), unit.data)


class Reel:
    """The file that is being written."""

    def __init__(self, file: vault.Writer, canvas: Canvas) -> None:
        self.mixer = Mixer()
        self._canvas = canvas
        self._container = av.open(file, "w", format="webm")
        picture = self._container.add_stream("libvpx", rate=PER_SECOND)
        picture.width, picture.height, picture.pix_fmt = canvas.width, canvas.height, "yuv420p"
        picture.time_base = picture.codec_context.time_base = fractions.Fraction(1, PER_SECOND)
        picture.bit_rate = 350_000 + 250_000 * len(canvas.places)
        picture.codec_context.gop_size, picture.codec_context.thread_count = KEYFRAMES, 1
        picture.options = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"}
        sound = self._container.add_stream("libopus", rate=RATE)
        sound.layout, sound.format, sound.bit_rate = "stereo", "flt", 96_000
        self._picture, self._sound = picture, sound
        self._moment, self._shown = 0, -PER_SECOND

    def write(self, until: float, voices: list[Voice], *, last: bool = False) -> None:
        """The film up to `until` seconds."""
        while self._moment < round(until * PER_SECOND) or (last and self._moment == 0):
            changed = self._canvas.show(self._moment)
            final = last and self._moment + 1 >= round(until * PER_SECOND)
            if changed or final or self._moment - self._shown >= PER_SECOND:
                frame = self._canvas.frame()
                frame.pts, frame.time_base = self._moment, fractions.Fraction(1, PER_SECOND)
                self._container.mux(self._picture.encode(frame))
                self._shown = self._moment
            self._moment += 1
        samples = round(until * RATE)
        while self.mixer.taken + SAMPLES <= samples or (last and self.mixer.taken < samples):
            end = self.mixer.taken + SAMPLES
            for voice in voices:
                voice.lay(end)
            sound = np.ascontiguousarray(self.mixer.take(end).T.reshape(1, -1))
            frame_of_sound = av.AudioFrame.from_ndarray(sound, format="flt", layout="stereo")
            frame_of_sound.sample_rate, frame_of_sound.pts = RATE, end - SAMPLES
            frame_of_sound.time_base = fractions.Fraction(1, RATE)
            self._container.mux(self._sound.encode(frame_of_sound))

    def close(self) -> None:
        """What the encoders still hold, and the file's index."""
        self._container.mux(self._picture.encode(None))
        self._container.mux(self._sound.encode(None))
        self._container.close()


def make(folder: Path, key: bytes, target: Path, progress: Callable[[float], None]) -> Film:
    """Make the film of a log as a vault at `target`; what is answered is muxing.Muxed as a mapping.

    NothingRecorded, WrongKey, OSError, av.FFmpegError.
    """
    condition = log.Condition()
    timeline = survey(log.read(folder, key, condition), condition)
    if condition.damaged and not condition.chunks:
        raise WrongKey
    duration = sum(x.seconds for x in timeline.spans)
    if not timeline.seats or not duration:
        raise NothingRecorded
    canvas = Canvas(len(timeline.seats))
    with vault.Writer(target, key) as file:
        reel = Reel(file, canvas)
        _run(folder, key, timeline, reel, canvas, progress)
        reel.close()
        size = file.size
    return {
        "duration": duration, "size": size, "width": canvas.width, "height": canvas.height,
        "seats": timeline.seats, "whole": condition.whole,
        "spans": [{"at": x.at, "began": x.began, "seconds": x.seconds} for x in timeline.spans],
    }


def _line(key: Key, track: Track, timeline: Timeline, canvas: Canvas, mixer: Mixer) -> Line:
    if track.kind == "audio":
        return Line(key, track, Voice(mixer), Speech(track.codecs))
    pictures = Pictures()
    return Line(key, track, canvas.screen(timeline.seats.index(track.seat), pictures), pictures)


def _run(
    folder: Path, key: bytes, timeline: Timeline, reel: Reel, canvas: Canvas, progress: Callable[[float], None]
) -> None:
    condition, spans, lines = log.Condition(), Spans(), cast("dict[Key, Line]", {})
    voices: list[Voice] = []
    total = max(1, sum(path.stat().st_size for _, path in log.files(folder)))
    number, looked = 0, 0

    def finish() -> None:
        """The stretch is over: nothing more of it will come."""
        nonlocal number
        span = timeline.spans[number]
        for line in lines.values():
            line.lay(None, timeline, span)
        number += 1
        reel.write(span.at + span.seconds, voices, last=number == len(timeline.spans))

    for entry in log.read(folder, key, condition):
        if spans.add(entry) and len(spans.found) > number:
            finish()
        if isinstance(entry, log.Media) and number < len(timeline.spans):
            track = timeline.tracks.get((condition.file, entry.stream))
            if track is None or track.seat not in timeline.seats:
                continue
            line = lines.get((condition.file, entry.stream))
            if line is None:
                line = lines[condition.file, entry.stream] = _line(
                    (condition.file, entry.stream), track, timeline, canvas, reel.mixer
                )
                if isinstance(line.sink, Voice):
                    voices.append(line.sink)
            line.order.push(entry.at, rtp.parse(entry.data))
        if entry.at - looked >= STEP and number < len(timeline.spans):
            looked = entry.at
            span = timeline.spans[number]
            for line in lines.values():
                line.lay(entry.at, timeline, span)
            written = (entry.at - BEHIND) / 1e6 - span.began
            if written > 0:
                reel.write(span.at + min(written, span.seconds), voices)
            progress(min(1.0, condition.done / total))
    if number < len(timeline.spans):
        finish()
