"""Waveforms as values in physical units (PS3.3 §C.10.9, PS3.17 Annex C): sensitivity, correction and baseline applied.

JSON for the browser (`waveforms_to_json`, served at `…/instances/{i}/waveform`)::

    {"samplingHz": 1000.0,
     "leads": [{"name": "V1",        clinical name: I II III aVR aVL aVF V1–V9 V3R–V9R X Y Z, else the device's label
                "unit": "uV",        "uV" for every voltage, else the UCUM code of the device
                "scale": 1.25, "offset": 0.0,
                "samples": "…",      base64 of little-endian int16; value in `unit` = sample × scale + offset
                "skewMs": 0.0,       this lead's samples were taken that much later than the first lead's
                "low": 0.05, "high": 300.0, "notch": 0.0,   the device's filters in Hz, null if not said
                "gap": null}],       sample value that stands for "no signal", null if none
     "label": "RHYTHM", "originality": "ORIGINAL", "durationMs": 10000.0, "offsetMs": 0.0,
     "acquired": "2013-01-25T10:59:19" or null,
     "measurements": {"heartRate", "rr", "pr", "qrs", "qt", "qtc", "axis", "pAxis", "tAxis", "p"},
                                          only those present; ms, beats per minute, degrees
     "annotations": [{"text", "value", "unit", "lead", "sample"}],    lead and sample null where it is about the whole
     "groups": [ … ]}                further multiplex groups (a median beat): the keys from samplingHz to offsetMs

The first level is the group a clinician reads: the longest original one. All leads of a group have equal length.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom.charset import Charset, detect
from dicom.elements import WAVEFORM_SEQUENCE, Budget, Walker
from dicom.errors import RefusedError, UnsupportedError
from dicom.pixels.attributes import Attributes

_LEADS = {
    1: "I",
    2: "II",
    61: "III",
    62: "aVR",
    63: "aVL",
    64: "aVF",
    65: "-aVR",
    **{n: f"V{n - 2}" for n in range(3, 10)},
    **{n: f"V{n - 8}R" for n in range(10, 16)},
    16: "X",
    17: "Y",
    18: "Z",
    66: "V8",
    67: "V9",
    68: "V8R",
    69: "V9R",
    70: "D",
    71: "A",
    72: "J",
}
_NAMES = {name.upper(): name for name in _LEADS.values()}
_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d+)\Z")
_PLAIN = re.compile(
    r"^\s*(?:MDC_ECG_)?(?:ECG[\s_]*)?(?:LEAD|CH(?:ANNEL)?|导联)?[\s_:\-]*|\s*(?:导联)?\s*(?:\(.*\))?\s*$",
    re.IGNORECASE,
)
_MICROVOLTS = {"uV": 1.0, "µV": 1.0, "μV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3}
_TYPES = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("SS", 16): "<i2",
    ("US", 16): "<u2",
    ("SL", 32): "<i4",
    ("UL", 32): "<u4",
}
# Measurements by the meaning of their concept, else by code (SCP-ECG as devices send it, LOINC).
_MEASURES = {
    "5.10.2.1-3": "rr",
    "5.13.5-7": "pr",
    "5.13.5-9": "qrs",
    "5.13.5-11": "qt",
    "5.10.2.5-5": "qtc",
    "5.10.3-11": "pAxis",
    "5.10.3-13": "axis",
    "5.10.3-15": "tAxis",
    "8867-4": "heartRate",
    "8625-6": "pr",
    "8633-0": "qrs",
    "8634-8": "qt",
    "8636-3": "qtc",
    "8632-2": "axis",
    "8626-4": "pAxis",
    "8638-9": "tAxis",
}
_MEANINGS = {
    "PR INTERVAL": "pr",
    "QRS DURATION": "qrs",
    "QT INTERVAL": "qt",
    "QTC INTERVAL": "qtc",
    "RR INTERVAL": "rr",
    "VENT RATE": "heartRate",
    "VENTRICULAR HEART RATE": "heartRate",
    "VENTRICULAR RATE": "heartRate",
    "HEART RATE": "heartRate",
    "QRS AXIS": "axis",
    "P AXIS": "pAxis",
    "T AXIS": "tAxis",
    "P DURATION": "p",
}
_MAX_BYTES = 256 << 20
_LONGEST_TEXT = 1 << 16  # bytes of one value that are looked at to tell its character set


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One lead. `samples` in `unit`; `raw × scale + offset` gives microvolts (or `unit` when it is no voltage)."""

    lead: str
    unit: str  # "mV" for every voltage, else the UCUM code
    samples: NDArray[np.float32]
    raw: NDArray[Any]
    scale: float
    offset: float
    skew_ms: float = 0.0
    low: float | None = None
    high: float | None = None
    notch: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What the device wrote: a statement (`text`) or a measurement (`value`, `unit`)."""

    text: str = ""
    name: str = ""  # one of the measurement names, '' if unknown
    value: float | None = None
    unit: str = ""
    lead: str | None = None
    sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """One multiplex group."""

    sampling_hz: float
    channels: tuple[Channel, ...]
    label: str = ""
    originality: str = ""
    offset_ms: float = 0.0
    acquired: str | None = None
    padding: int | None = None
    annotations: tuple[Annotation, ...] = ()

    @property
    def sample_count(self) -> int:
        return len(self.channels[0].raw) if self.channels else 0


def read_waveforms(walker: Walker) -> tuple[Waveform, ...]:
    """Every multiplex group, the one a clinician reads first. Raises UnsupportedError (`no_waveform`, …)."""
    top = Attributes(walker)
    if WAVEFORM_SEQUENCE not in top:
        raise UnsupportedError(code="no_waveform")
    charset = detect(top.raw(0x00080005), _samples(walker))
    acquired = _moment(top.text(0x0008002A))
    groups = [_group(item, charset, acquired) for item in top.items(WAVEFORM_SEQUENCE)]
    if not groups or not any(group.channels for group in groups):
        raise UnsupportedError(code="no_waveform")
    notes = _annotations(top, groups, charset)
    order = sorted(
        range(len(groups)),
        key=lambda i: (groups[i].originality == "DERIVED", -groups[i].sample_count / groups[i].sampling_hz),
    )
    out = []
    for place, i in enumerate(order):
        g = groups[i]
        mine = tuple(note for number, note in notes if number == i or (place == 0 and number is None))
        out.append(
            Waveform(
                sampling_hz=g.sampling_hz,
                channels=g.channels,
                label=g.label,
                originality=g.originality,
                offset_ms=g.offset_ms,
                acquired=acquired,
                padding=g.padding,
                annotations=mine,
            )
        )
    return tuple(out)


def _samples(walker: Walker) -> list[bytes]:
    """Values that tell the character set: names, the device's statements, groups and leads; none where there are too
    many. The budget is its own, so that what is read of the waveform is not refused for it.
    """
    found: list[bytes] = []
    budget = Budget(elements=100_000, header_bytes=2 << 20)
    with suppress(RefusedError):
        top = Attributes(Walker(walker.window, explicit=walker.explicit, little=walker.little, budget=budget))
        found += [top.raw(tag) for tag in (0x00080080, 0x00081010, 0x00081030, 0x00100010, 0x00104000)]
        for note in top.items(0x0040B020):
            found.append(note.raw(0x00700006))
            found += [concept.raw(0x00080104) for concept in note.items(0x0040A043)[:1]]
        for group in top.items(WAVEFORM_SEQUENCE):
            found.append(group.raw(0x003A0020))
            for channel in group.items(0x003A0200):
                found.append(channel.raw(0x003A0203))
                found += [source.raw(0x00080104) for source in channel.items(0x003A0208)[:1]]
    return [value[:_LONGEST_TEXT] for value in found]


def _group(item: Attributes, charset: Charset, acquired: str | None) -> Waveform:
    hz = (item.numbers(0x003A001A) or [0.0])[0]
    count, samples = item.short(0x003A0005), _long(item, 0x003A0010)
    bits, kind = item.short(0x54001004), item.text(0x54001006)
    if hz <= 0 or not count or not samples:
        raise UnsupportedError(code="waveform_damaged")
    if (kind, bits) not in _TYPES:
        raise UnsupportedError(code="waveform_encoding")
    dtype = np.dtype(_TYPES[kind, bits]).newbyteorder(item.order if bits > 8 else "=")
    if count * samples * dtype.itemsize > _MAX_BYTES:
        raise UnsupportedError(code="too_large_to_decode")
    data = item.raw(0x54001010)
    if len(data) < count * samples * dtype.itemsize:
        raise UnsupportedError(code="waveform_short")
    matrix = np.frombuffer(data, dtype, count * samples).reshape(samples, count)
    channels = []
    for number, definition in enumerate(item.items(0x003A0200)[:count]):
        channels.append(_channel(definition, matrix[:, number], number, charset, signed=kind.startswith("S")))
    return Waveform(
        sampling_hz=float(hz),
        channels=tuple(channels),
        label=charset.decode(item.raw(0x003A0020)).strip(),
        originality=item.text(0x003A0004),
        offset_ms=(item.numbers(0x00181068) or [0.0])[0],
        acquired=acquired,
        padding=_padding(item, dtype),
    )


def _channel(a: Attributes, raw: NDArray[Any], number: int, charset: Charset, *, signed: bool) -> Channel:
    stored = a.short(0x003A021A)
    raw = raw.astype(raw.dtype.newbyteorder("="))
    if signed and 0 < stored < raw.dtype.itemsize * 8:
        top = 1 << stored
        if int(raw.min(initial=0)) >= 0 and top // 2 <= int(raw.max(initial=0)) < top:
            # 12-bit samples whose sign was not carried into the 16-bit word: a device's mistake, undone.
            raw = np.where(raw >= top // 2, raw.astype(np.int32) - top, raw).astype(raw.dtype)
    unit = next((i.text(0x00080100) or i.text(0x00080119) for i in a.items(0x003A0211)), "")
    sensitivity = (a.numbers(0x003A0210) or [1.0])[0]
    correction = (a.numbers(0x003A0212) or [1.0])[0]
    baseline = (a.numbers(0x003A0213) or [0.0])[0]
    factor = _MICROVOLTS.get(unit, 1.0)
    scale, offset = sensitivity * correction * factor, baseline * factor
    volts = unit in _MICROVOLTS
    values = raw.astype(np.float64) * scale + offset
    return Channel(
        lead=_lead(a, number, charset),
        unit="mV" if volts else unit,
        samples=(values / 1000.0 if volts else values).astype(np.float32),
        raw=raw,
        scale=scale,
        offset=offset,
        skew_ms=1000.0 * (a.numbers(0x003A0214) or [0.0])[0],
        low=next(iter(a.numbers(0x003A0220)), None),
        high=next(iter(a.numbers(0x003A0221)), None),
        notch=next(iter(a.numbers(0x003A0222)), None),
    )


def _lead(a: Attributes, number: int, charset: Charset) -> str:
    """The clinical name: by code, else by the code's meaning or the label, cleaned of what devices put around it."""
    labels = [charset.decode(a.raw(0x003A0203))]
    for item in a.items(0x003A0208)[:1]:
        if found := _CODE.match(item.text(0x00080100)):
            name = _LEADS.get(int(found[1]))
            if name:
                return name
        labels.append(charset.decode(item.raw(0x00080104)))
    for label in labels:
        plain = _PLAIN.sub("", label.strip(" \x00")).strip()
        if plain.upper() in _NAMES:
            return _NAMES[plain.upper()]
    return next((label.strip(" \x00") for label in labels if label.strip(" \x00")), str(number + 1))


def _annotations(
    top: Attributes, groups: list[Waveform], charset: Charset
) -> list[tuple[int | None, Annotation]]:
    """(multiplex group or None for the whole, annotation)."""
    out: list[tuple[int | None, Annotation]] = []
    for item in top.items(0x0040B020)[:2000]:
        text = charset.decode(item.raw(0x00700006)).strip()
        name = unit = ""
        for concept in item.items(0x0040A043)[:1]:
            meaning = charset.decode(concept.raw(0x00080104)).strip()
            name = _MEANINGS.get(meaning.upper(), "") or _MEASURES.get(concept.text(0x00080100), "")
            text = text or meaning
        for code in item.items(0x004008EA)[:1]:
            unit = code.text(0x00080100)
        value = next(iter(item.numbers(0x0040A30A)), None)
        channels = np.frombuffer(item.raw(0x0040A0B0)[:4].ljust(4, b"\0"), item.order + "u2").tolist()
        group, channel = (channels[0] - 1, channels[1]) if channels[0] else (None, 0)
        lead = None
        if group is not None and 0 <= group < len(groups) and 0 < channel <= len(groups[group].channels):
            lead = groups[group].channels[channel - 1].lead
        position = item.raw(0x0040A132)
        sample = int(np.frombuffer(position[:4], item.order + "u4")[0]) - 1 if len(position) >= 4 else None
        note = Annotation(text=text, name=name, value=value, unit=unit, lead=lead, sample=sample)
        out.append((group if lead or sample is not None else None, note))
    return out


def _long(a: Attributes, tag: int) -> int:
    raw = a.raw(tag)
    return int(np.frombuffer(raw[:4], a.order + "u4")[0]) if len(raw) >= 4 else 0


def _padding(item: Attributes, dtype: np.dtype[Any]) -> int | None:
    raw = item.raw(0x5400100A)
    return int(np.frombuffer(raw[: dtype.itemsize], dtype)[0]) if len(raw) >= dtype.itemsize else None


def _moment(text: str) -> str | None:
    digits = text.split(".", maxsplit=1)[0].split("+", maxsplit=1)[0].split("-", maxsplit=1)[0]
    if not digits.isdecimal() or len(digits) < 8:
        return None
    d = digits.ljust(14, "0")
    return f"{d[:4]}-{d[4:6]}-{d[6:8]}T{d[8:10]}:{d[10:12]}:{d[12:14]}"


def waveforms_to_json(waveforms: tuple[Waveform, ...]) -> dict[str, Any]:
    """The JSON form; see the module's docstring."""
    first, *others = waveforms
    measurements: dict[str, float] = {}
    for note in first.annotations:
        if note.name and note.value:  # devices write 0 for what they could not measure
            measurements.setdefault(note.name, note.value)
    if "rr" in measurements and measurements["rr"] > 0:
        measurements.setdefault("heartRate", 60_000.0 / measurements["rr"])
    return {
        **_group_json(first),
        "acquired": first.acquired,
        "measurements": measurements,
        "annotations": [
            {"text": n.text, "value": n.value, "unit": n.unit, "lead": n.lead, "sample": n.sample}
            for n in first.annotations
            if not (n.name and n.value is not None)
        ],
        "groups": [_group_json(other) for other in others],
    }


def _group_json(w: Waveform) -> dict[str, Any]:
    return {
        "samplingHz": w.sampling_hz,
        "leads": [_lead_json(channel, w.padding) for channel in w.channels],
        "label": w.label,
        "originality": w.originality,
        "durationMs": 1000.0 * w.sample_count / w.sampling_hz,
        "offsetMs": w.offset_ms,
    }


def _lead_json(channel: Channel, padding: int | None) -> dict[str, Any]:
    raw, scale, offset = channel.raw, channel.scale, channel.offset
    gap = padding
    if raw.dtype.itemsize > 2 or (
        raw.dtype.kind == "u" and raw.dtype.itemsize == 2 and int(raw.max(initial=0)) > 32767
    ):
        # 32-bit samples are carried as 16-bit ones with a scale of their own: finer than any screen or paper.
        low, high = float(raw.min()), float(raw.max())
        step = max((high - low) / 65534.0, 1e-12)
        middle = (low + high) / 2
        raw = np.rint((raw.astype(np.float64) - middle) / step)
        offset, scale = offset + middle * scale, step * scale
        gap = None
    return {
        "name": channel.lead,
        "unit": "uV" if channel.unit == "mV" else channel.unit,
        "scale": scale,
        "offset": offset,
        "samples": base64.b64encode(raw.astype("<i2").tobytes()).decode("ascii"),
        "skewMs": channel.skew_ms,
        "low": channel.low,
        "high": channel.high,
        "notch": channel.notch,
        "gap": gap,
    }
