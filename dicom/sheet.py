"""A waveform as a clinical sheet: A4 across, millimetre paper, 25 mm/s and 10 mm/mV (PS3.18 §8.7.4, rendered media).

Twelve leads stand as 3 × 4 with lead II as rhythm below; what the device did not store of the limb leads is computed
from I and II (Einthoven, Goldberger). Any other waveform is stacked, a row a channel. Who the patient is does not
appear unless asked for, as with pictures; age and sex do, since an ECG cannot be read without them.

All lengths are millimetres from the upper left corner. Runs in worker processes only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom.waveform import Channel, Waveform, waveforms_to_json

Array = NDArray[Any]
WIDTH, HEIGHT = 297.0, 210.0
GRID = (10.0, 35.0, 285.0, 195.0)  # left, top, right, bottom of the paper
_START = 25.0  # where time 0 is; the calibration pulses stand before it
_SPAN = 250.0
SPEED, GAIN = 25.0, 10.0  # mm/s, mm/mV
_SECONDS = _SPAN / SPEED
_STANDARD = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_TWELVE = frozenset(name for row in _STANDARD for name in row)
_MOST_ROWS = 16
_MOST_POINTS = 5000
_STATEMENTS = 6
_LONGEST = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words with their baseline's place; `anchor` is start, middle or end; `size` in mm."""

    x: float
    y: float
    words: str
    size: float = 3.2
    anchor: str = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What is drawn on the paper: polylines of (n, 2) points, and words."""

    traces: tuple[Array, ...]
    marks: tuple[Array, ...]  # calibration pulses and the bars between leads
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the dataset says around the waveform. `lines` stand at the upper left, chosen by the caller."""

    lines: tuple[str, ...] = ()
    device: str = ""
    ecg: bool = False  # a storage class of electrocardiograms


def lay_out(waveforms: tuple[Waveform, ...], facts: Facts) -> Sheet:
    """The sheet of the group a clinician reads (the first)."""
    wave = waveforms[0]
    leads = {channel.lead: channel for channel in wave.channels if channel.unit == "mV"}
    computed = _limb_leads(leads)
    complete = {**computed, **leads}
    pen = _Pen(wave)
    if complete.keys() >= _TWELVE:
        _twelve(pen, complete)
        note = " ".join(name for row in _STANDARD for name in row if name in computed and name not in leads)
        if note:
            pen.texts.append(Text(x=GRID[0], y=199.5, words=f"{note} = I, II", size=2.6))
    else:
        _stacked(pen, wave, facts)
    return Sheet(traces=tuple(pen.traces), marks=tuple(pen.marks), texts=(*pen.texts, *_words(waveforms, facts, pen)))


class _Pen:
    """Collects what is drawn. `speed` in mm/s."""

    def __init__(self, wave: Waveform) -> None:
        self.wave = wave
        self.speed, self.gain = SPEED, f"{GAIN:g} mm/mV"
        self.shown = min(_SECONDS, wave.sample_count / wave.sampling_hz)
        self.traces: list[Array] = []
        self.marks: list[Array] = []
        self.texts: list[Text] = []

    def trace(self, channel: Channel, baseline: float, scale: float, begin: float, end: float) -> None:
        """Seconds `begin` to `end`, each at its own place in time; a gap leaves the paper empty."""
        hz = self.wave.sampling_hz
        first = max(0, int(np.ceil((begin - channel.skew_ms / 1000) * hz)))
        values = _levelled(channel, self.wave)
        part = values[first : int(np.ceil((end - channel.skew_ms / 1000) * hz))]
        times = (first + np.arange(len(part))) / hz + channel.skew_ms / 1000
        points = np.column_stack((_START + times * self.speed, baseline - part * scale))
        for run in _runs(points):
            self.traces.append(_thinned(run))

    def pulse(self, baseline: float) -> None:
        """1 mV for 0.2 s."""
        left, high = GRID[0] + 4, baseline - GAIN
        points = ((left, baseline), (left + 1, baseline), (left + 1, high), (left + 6, high))
        self.marks.append(np.array((*points, (left + 6, baseline), (left + 7, baseline))))

    def bar(self, x: float, baseline: float) -> None:
        """Where one lead ends and the next begins."""
        self.marks.append(np.array(((x, baseline - 9), (x, baseline - 6))))

    def name(self, x: float, baseline: float, words: str) -> None:
        self.texts.append(Text(x=x, y=baseline - 11.5, words=words[:24], size=3.6))


def _twelve(pen: _Pen, leads: dict[str, Channel]) -> None:
    quarter = _SECONDS / 4
    for row, names in enumerate(_STANDARD):
        baseline = GRID[1] + 20 + 40 * row
        pen.pulse(baseline)
        for column, name in enumerate(names):
            begin = column * quarter
            pen.trace(leads[name], baseline, GAIN, begin, min(begin + quarter, pen.shown))
            pen.name(_START + begin * SPEED + 1, baseline, name)
            if column:
                pen.bar(_START + begin * SPEED, baseline)
    baseline = GRID[1] + 20 + 40 * 3
    pen.pulse(baseline)
    pen.trace(leads["II"], baseline, GAIN, 0, pen.shown)
    pen.name(_START + 1, baseline, "II")


def _stacked(pen: _Pen, wave: Waveform, facts: Facts) -> None:
    """A row a channel. An ECG keeps its paper speed and gain; anything else is fitted, and says between what values."""
    channels = wave.channels[:_MOST_ROWS]
    height = (GRID[3] - GRID[1]) / len(channels)
    duration = wave.sample_count / wave.sampling_hz
    if not facts.ecg:
        pen.gain = ""
        if duration > _SECONDS or duration < _SECONDS / 10:
            pen.speed, pen.shown = _SPAN / duration, duration
    for i, channel in enumerate(channels):
        middle = GRID[1] + height * (i + 0.5)
        label = channel.lead
        if facts.ecg and channel.unit == "mV":
            pen.pulse(middle)
            pen.trace(channel, middle, GAIN, 0, pen.shown)
        else:
            values = _levelled(channel, wave)
            seen = values[np.isfinite(values)]
            reach = float(np.abs(seen).max()) if seen.size else 0.0
            pen.trace(channel, middle, height * 0.42 / reach if reach else 0.0, 0, pen.shown)
            label = f"{label} ±{reach:.4g} {channel.unit}"
        pen.texts.append(Text(x=GRID[0] + 1, y=middle - height / 2 + 3.4, words=label[:40], size=3.0))
    if len(wave.channels) > len(channels):
        words = f"{len(channels)} / {len(wave.channels)}"
        pen.texts.append(Text(x=GRID[0], y=199.5, words=words, size=2.6))


def _levelled(channel: Channel, wave: Waveform) -> Array:
    """Values around their median, since the level of a trace means nothing; what stands for no signal is NaN."""
    values = channel.samples.astype(np.float64)
    if wave.padding is not None:
        values = np.where(channel.raw == wave.padding, np.nan, values)
    known = values[np.isfinite(values)]
    return values - (float(np.median(known)) if known.size else 0.0)


def _limb_leads(leads: dict[str, Channel]) -> dict[str, Channel]:
    """III, aVR, aVL and aVF from I and II taken at the same time; none otherwise."""
    one, two = leads.get("I"), leads.get("II")
    if one is None or two is None or one.skew_ms != two.skew_ms:
        return {}
    a, b = one.samples, two.samples
    made = {"III": b - a, "aVR": -(a + b) / 2, "aVL": a - b / 2, "aVF": b - a / 2}
    return {name: replace(two, lead=name, samples=samples.astype(np.float32)) for name, samples in made.items()}


def _runs(points: Array) -> list[Array]:
    """The stretches without a gap."""
    known = np.isfinite(points[:, 1])
    edges = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
    pieces = np.split(points, edges)
    return [piece for piece in pieces if len(piece) > 1 and np.isfinite(piece[0, 1])]


def _thinned(run: Array) -> Array:
    """No more points than can be seen, every peak kept: lowest and highest of each stretch, in their order."""
    if len(run) <= _MOST_POINTS:
        return run
    step = -(-len(run) * 2 // _MOST_POINTS)
    whole = run[: len(run) // step * step].reshape(-1, step, 2)
    rows = np.arange(len(whole))
    ends = np.sort(np.column_stack((whole[:, :, 1].argmin(1), whole[:, :, 1].argmax(1))), axis=1)
    picked = np.stack((whole[rows, ends[:, 0]], whole[rows, ends[:, 1]]), axis=1).reshape(-1, 2)
    return np.concatenate((picked, run[len(whole) * step :]))


def _words(waveforms: tuple[Waveform, ...], facts: Facts, pen: _Pen) -> list[Text]:
    wave = waveforms[0]
    data = waveforms_to_json(waveforms)
    lines = (*facts.lines, (wave.acquired or "").replace("T", " "))
    out = [Text(x=GRID[0], y=11 + 4.6 * i, words=words[:_LONGEST]) for i, words in enumerate(filter(None, lines))]
    out += [
        Text(x=105, y=11 + 4.6 * i, words=words) for i, words in enumerate(_measured(data["measurements"])) if words
    ]
    statements = [
        note["text"] if note["value"] is None else f"{note['text']} {note['value']:g} {note['unit']}"
        for note in data["annotations"]
        if note["text"] and note["sample"] is None and note["value"] != 0  # 0: what could not be measured
    ]
    out += [
        Text(x=168, y=9.5 + 3.8 * i, words=words[:_LONGEST], size=2.8)
        for i, words in enumerate(statements[:_STATEMENTS])
    ]
    duration = wave.sample_count / wave.sampling_hz
    foot = (
        f"{pen.speed:.4g} mm/s", pen.gain, _filters(wave), f"0–{pen.shown:.4g} s / {duration:.4g} s",
        f"{wave.sampling_hz:g} Hz", facts.device,
    )  # fmt: skip
    out.append(Text(x=GRID[2], y=204.5, words=" · ".join(part for part in foot if part), size=3.0, anchor="end"))
    return out


def _measured(found: dict[str, float]) -> list[str]:
    def say(label: str, names: tuple[str, ...], unit: str) -> str:
        values = [f"{found[name]:.0f}" if name in found else "–" for name in names]
        return f"{label} {'/'.join(values)} {unit}" if any(name in found for name in names) else ""

    return [
        say("HR", ("heartRate",), "bpm"),
        " · ".join(filter(None, (say("PR", ("pr",), "ms"), say("QRS", ("qrs",), "ms")))),
        say("QT/QTc", ("qt", "qtc"), "ms"),
        say("P/QRS/T", ("pAxis", "axis", "tAxis"), "°"),
    ]


def _filters(wave: Waveform) -> str:
    """The device's filters where all channels agree on them."""
    kinds = {(channel.low, channel.high, channel.notch) for channel in wave.channels}
    if len(kinds) != 1:
        return ""
    low, high, notch = kinds.pop()
    parts = []
    if low is not None or high is not None:
        parts.append(f"{low if low is not None else 0:g}–{f'{high:g}' if high is not None else '∞'} Hz")
    if notch:
        parts.append(f"~ {notch:g} Hz")
    return " ".join(parts)
