"""When what a log holds was said and seen: every stream's RTP clock on one clock, the relay's.

Sender reports tie a stream's RTP timestamps to its sender's clock (NTP): so sound and picture of a seat lie as their
sender has them, whatever each of them met on its way. Senders' clocks are tied to the relay's by the packets that came
fastest: what of (arrival - sent) is least within a minute is taken for the way itself, anything more for its delays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.recording.log import Clock, Condition, Entry, Mark, Media, Stream

RATES = {"audio": 48000, "video": 90000}
BUCKET = 10_000_000             # µs over which the fastest packet is looked for
AROUND = 2                      # buckets to either side whose fastest counts as well
MOST_STREAMS = 4096
Key = tuple[int, int]           # file and number
Floats = NDArray[np.float64]
Curve = tuple[Floats, Floats]   # where, and what there


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of recording without a pause: `at` s in the film, `began` s since 1970, `seconds` long."""

    at: float
    began: float
    seconds: float


class Unwrapped:
    """RTP timestamps without their return to zero."""

    def __init__(self) -> None:
        self._last: int | None = None

    def __call__(self, timestamp: int) -> int:
        if self._last is None:
            self._last = timestamp
        else:
            self._last += (timestamp - self._last + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        return self._last


@dataclass(slots=True, kw_only=True)
class Track:
    """A stream as surveyed. `reports`: (timestamp, µs of NTP); `fastest`: bucket → least (arrival - timestamp), µs."""

    seat: str
    kind: str
    clock: Key
    codecs: dict[int, str]
    unwrapped: Unwrapped = field(default_factory=Unwrapped)
    reports: list[tuple[int, int]] = field(default_factory=list)
    fastest: dict[int, tuple[float, int]] = field(default_factory=dict)     # with that packet's timestamp

    @property
    def rate(self) -> int:
        return RATES[self.kind]

    def arrived(self, at: int, timestamp: int) -> None:
        """A packet's arrival, µs."""
        extended = self.unwrapped(timestamp)
        took = at - extended * 1e6 / self.rate
        known = self.fastest.get(at // BUCKET)
        if known is None or took < known[0]:
            self.fastest[at // BUCKET] = (took, extended)


class Timeline:
    """Places RTP timestamps: made from one reading of the whole log."""

    def __init__(self, tracks: dict[Key, Track], spans: list[Span], seats: list[str]) -> None:
        self.tracks, self.spans, self.seats = tracks, spans, seats
        self._shifts = {key: _shift(track) for key, track in tracks.items()}
        self._ways = _ways(tracks, self._shifts)

    def moment(self, key: Key, timestamp: int) -> float:
        """µs since 1970 of an unwrapped timestamp, by the relay's clock."""
        track = self.tracks[key]
        at, shift = self._shifts[key]
        sent = timestamp * 1e6 / track.rate + float(np.interp(timestamp, at, shift))
        centre, way = self._ways[_domain(key, track)]
        return sent + float(np.interp(sent + way[0], centre, way))


def _domain(key: Key, track: Track) -> tuple[str, Key]:
    """What clock the stream's sender has counted by; without a report the stream's own."""
    return ("clock", track.clock) if track.reports else ("stream", key)


def _shift(track: Track) -> Curve:
    """(timestamps, µs): what to add to a timestamp's own µs for the sender's NTP; each the middle of five reports."""
    if not track.reports:
        return np.zeros(1), np.zeros(1)
    reports = sorted(track.reports)
    shifts = [ntp - at * 1e6 / track.rate for at, ntp in reports]
    middle = [float(np.median(shifts[max(0, x - 2) : x + 3])) for x in range(len(shifts))]
    return np.array([float(at) for at, _ in reports]), np.array(middle)


def _ways(tracks: dict[Key, Track], shifts: dict[Key, Curve]) -> dict[tuple[str, Key], Curve]:
    """For every clock (µs of arrival, µs to add): the fastest way of its packets around that time."""
    least: dict[tuple[str, Key], dict[int, float]] = {}
    for key, track in tracks.items():
        found = least.setdefault(_domain(key, track), {})
        for bucket, (took, timestamp) in track.fastest.items():
            way = took - float(np.interp(timestamp, *shifts[key]))
            found[bucket] = min(way, found.get(bucket, way))
    made = {}
    for domain, found in least.items():
        centres = sorted(found)
        around = [min(found[y] for y in centres if abs(y - x) <= AROUND) for x in centres]
        if centres:
            made[domain] = np.array([(x + 0.5) * BUCKET for x in centres]), np.array(around)
    return made


class Spans:
    """The stretches of recording, as the marks tell; an end that was not written is the last thing that was."""

    def __init__(self) -> None:
        self.found: list[Span] = []
        self._began: int | None = None
        self._last = 0
        self._length = 0.0

    def add(self, entry: Entry) -> bool:
        """Whether a stretch ends with or before this entry."""
        ends = isinstance(entry, Mark) and entry.what in {"running", "paused", "ended"}
        if isinstance(entry, Mark) and ends:
            self.end(entry.at if entry.what != "running" else self._last)
            if entry.what == "running":
                self._began = entry.at
        self._last = entry.at
        return ends

    def end(self, at: int | None = None) -> None:
        """The present stretch, if any, ends: with the last entry where nothing else is known."""
        if self._began is not None:
            seconds = max(0.0, ((self._last if at is None else at) - self._began) / 1e6)
            self.found.append(Span(at=self._length, began=self._began / 1e6, seconds=seconds))
            self._length += seconds
            self._began = None


def survey(entries: Iterable[Entry], condition: Condition) -> Timeline:
    """Read a log once; `condition` is that of the same reading."""
    tracks: dict[Key, Track] = {}
    spans = Spans()
    for entry in entries:
        spans.add(entry)
        if isinstance(entry, Stream):
            key = (condition.file, entry.stream)
            if key not in tracks and entry.kind in RATES and len(tracks) < MOST_STREAMS:
                tracks[key] = Track(
                    seat=entry.seat, kind=entry.kind, clock=(condition.file, entry.clock), codecs=entry.codecs
                )
        elif isinstance(entry, Media | Clock):
            track = tracks.get((condition.file, entry.stream))
            if track is not None and isinstance(entry, Media) and len(entry.data) >= 12:
                track.arrived(entry.at, int.from_bytes(entry.data[4:8]))
            elif track is not None and isinstance(entry, Clock) and entry.ntp:
                track.reports.append((track.unwrapped(entry.timestamp), entry.ntp * 1_000_000 >> 32))
    spans.end()
    heard = [x.seat for x in tracks.values() if x.fastest]
    return Timeline(tracks, spans.found, list(dict.fromkeys(heard)))
