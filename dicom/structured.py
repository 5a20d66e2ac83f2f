"""A structured report, or a key object selection, as a tree to be read (PS3.3 §A.35, §C.17.3).

`read_structured` gives plain values for JSON::

    {"title": "CT Chest Report", "code": "18748-4, LN",
     "completion": "COMPLETE", "verification": "VERIFIED", "date": "2010-01-02 10:11:12",
     "observers": ["Doe John, Clinic, 2010-01-02 10:20:00"],
     "patient": ["Zhang San", …]                      only where asked for
     "items": [{"type": "NUM", "relation": "CONTAINS", "name": "Diameter", "code": "M-02550, SNM3",
                "text": "3.2", "unit": "cm", "note": "",
                "link": {"study", "series", "instance", "frames": [1]} or null,   where the reference is resolved
                "items": [ … ]}],
     "cut": false}                                     whether items were left out for their number

Runs in worker processes only; every text is a value of the dataset, to be escaped by whoever shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dicom.charset import Charset, detect, of_item
from dicom.errors import CannotRenderError
from dicom.pixels.attributes import Attributes

_MOST_ITEMS = 5000
_DEEPEST = 30
_LONGEST = 20_000
_DATES = {"DATE": 0x0040A121, "TIME": 0x0040A122, "DATETIME": 0x0040A120}
_REFERENCES = frozenset({"COMPOSITE", "IMAGE", "WAVEFORM"})
# Texts, meanings and names of the tree; so much of one tells the character set.
_TEXTS, _SHORT = (0x0040A160, 0x0040A123, 0x00080104, 0x0040A075), 400
_CHARSET = 0x00080005


def read_structured(top: Attributes) -> dict[str, Any]:
    """The content tree. Raises CannotRenderError `no_content` where there is none."""
    if 0x0040A730 not in top and 0x0040A040 not in top:
        raise CannotRenderError(code="no_content")
    reader = _Reader(top)
    root = reader.item(top, 0)
    return {
        "title": root["name"],
        "code": root["code"],
        "completion": top.text(0x0040A491),
        "verification": top.text(0x0040A493),
        "date": f"{_date(top.text(0x00080023))} {_time(top.text(0x00080033))}".strip(),
        "observers": [reader.observer(item) for item in top.items(0x0040A073)[:20]],
        "items": root["items"],
        "cut": reader.left < 0,
    }


@dataclass(slots=True)
class _Reader:
    """Reads items one by one; the character set is found from the document's texts together."""

    top: Attributes
    left: int = _MOST_ITEMS
    charset: Charset = field(init=False)
    places: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.charset = detect(self.top.raw(0x00080005), list(_samples(self.top, 0)))
        self.places = _evidence(self.top)

    def words(self, a: Attributes, tag: int) -> str:
        """A text as the document's character set has it, control characters but line breaks left out."""
        raw, charset = a.raw(tag)[:_LONGEST], self.charset
        if a is not self.top and not raw.isascii():
            texts = [a.raw(known)[:_SHORT] for known in _TEXTS]
            charset = of_item(charset, a.raw(_CHARSET) if _CHARSET in a else None, texts)
        text = charset.decode(raw).replace("\r\n", "\n").replace("\r", "\n")
        return "".join(c for c in text if c == "\n" or c.isprintable()).strip()

    def coded(self, a: Attributes, tag: int) -> tuple[str, str]:
        """Meaning, and "value, scheme", of the first code."""
        for item in a.items(tag)[:1]:
            value = next(filter(None, (self.words(item, t) for t in (0x00080100, 0x00080119, 0x00080120))), "")
            code = ", ".join(filter(None, (value, self.words(item, 0x00080102))))
            return self.words(item, 0x00080104) or value, code
        return "", ""

    def name(self, a: Attributes, tag: int) -> str:
        """A person's name as it is read, ideographs first."""
        groups = self.words(a, tag).split("=")
        chosen = next((group for group in (*groups[1:2], *groups[:1]) if group.strip("^ ")), "")
        return " ".join(part for part in chosen.split("^") if part)

    def observer(self, a: Attributes) -> str:
        """Who verified, where, when."""
        parts = (self.name(a, 0x0040A075), self.words(a, 0x0040A027), _moment(a.text(0x0040A030)))
        return ", ".join(filter(None, parts))

    def item(self, a: Attributes, depth: int) -> dict[str, Any]:
        """One content item and those below it."""
        self.left -= 1
        kind = a.text(0x0040A040) or ("" if 0x0040DB73 in a else "CONTAINER")
        meaning, code = self.coded(a, 0x0040A043)
        text, unit, note = self.value(a, kind)
        items = []
        if depth < _DEEPEST:
            for child in a.items(0x0040A730):
                if self.left <= 0:
                    self.left = -1
                    break
                items.append(self.item(child, depth + 1))
        return {
            "type": kind,
            "relation": a.text(0x0040A010),
            "name": meaning,
            "code": code,
            "text": text,
            "unit": unit,
            "note": note,
            "link": self.link(a) if kind in _REFERENCES else None,
            "items": items,
        }

    def value(self, a: Attributes, kind: str) -> tuple[str, str, str]:
        """Text, unit, and what else is said (a code, a qualifier)."""
        if kind == "TEXT":
            return self.words(a, 0x0040A160), "", ""
        if kind == "CODE":
            meaning, code = self.coded(a, 0x0040A168)
            return meaning, "", code
        if kind == "NUM":
            for item in a.items(0x0040A300)[:1]:
                _, unit = self.coded(item, 0x004008EA)
                return self.words(item, 0x0040A30A), unit.split(",", maxsplit=1)[0], self.coded(a, 0x0040A301)[0]
            return "", "", self.coded(a, 0x0040A301)[0]
        if kind in _DATES:
            shown = {"DATE": _date, "TIME": _time, "DATETIME": _moment}[kind]
            return shown(a.text(_DATES[kind])), "", ""
        if kind == "PNAME":
            return self.name(a, 0x0040A123), "", ""
        if kind == "UIDREF":
            return a.text(0x0040A124), "", ""
        if kind in _REFERENCES:
            return next((item.text(0x00081155) for item in a.items(0x00081199)[:1]), ""), "", ""
        if kind in {"SCOORD", "SCOORD3D"}:
            return a.text(0x00700023), "", _coordinates(a)
        if kind == "TCOORD":
            return a.text(0x0040A130), "", " ".join(f"{n:g}" for n in a.numbers(0x0040A138)[:20])
        if 0x0040DB73 in a:  # an item by reference: where it stands in the tree
            raw = a.raw(0x0040DB73)
            return ".".join(map(str, np.frombuffer(raw[: len(raw) // 4 * 4], a.order + "u4").tolist())), "", ""
        return "", "", ""

    def link(self, a: Attributes) -> dict[str, Any] | None:
        """Where the referenced instance lies, as the document's evidence says; None where it does not say."""
        for item in a.items(0x00081199)[:1]:
            place = self.places.get(item.text(0x00081155))
            if place is not None:
                return {**place, "frames": [int(n) for n in item.numbers(0x00081160) if 0 < n < 1e9][:50]}
        return None


def _samples(a: Attributes, depth: int) -> list[bytes]:
    """Values that tell the character set: texts, meanings and names of the tree."""
    out = [raw for tag in _TEXTS if (raw := a.raw(tag)[:_SHORT])]
    if depth < _DEEPEST:
        for tag in (0x0040A043, 0x0040A168, 0x0040A073, 0x0040A730):
            for item in a.items(tag):
                out += _samples(item, depth + 1)
                if len(out) > _MOST_ITEMS:
                    return out
    return out


def _evidence(top: Attributes) -> dict[str, dict[str, Any]]:
    """Study and series of every instance that the document lists (PS3.3 §C.17.2.3)."""
    out: dict[str, dict[str, Any]] = {}
    for tag in (0x0040A375, 0x0040A385):
        for study in top.items(tag):
            for series in study.items(0x00081115):
                for instance in series.items(0x00081199)[:_MOST_ITEMS]:
                    uid = instance.text(0x00081155)
                    place = {"study": study.text(0x0020000D), "series": series.text(0x0020000E), "instance": uid}
                    if all(_is_uid(value) for value in place.values()):
                        out.setdefault(uid, place)
    return out


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and all(c in "0123456789." for c in text)


def _coordinates(a: Attributes) -> str:
    raw = a.raw(0x00700022)
    numbers = np.frombuffer(raw[: len(raw) // 4 * 4], a.order + "f4").tolist()
    shown = " ".join(f"{n:g}" for n in numbers[:40])
    return f"{shown} …" if len(numbers) > 40 else shown


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdecimal() else text


def _time(text: str) -> str:
    digits = text.split(".", maxsplit=1)[0]
    if not digits.isdecimal() or len(digits) not in {2, 4, 6}:
        return text
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _moment(text: str) -> str:
    return f"{_date(text[:8])} {_time(text[8:14])}".strip() if text[:8].isdecimal() else text
