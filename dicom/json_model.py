"""A dataset as DICOM JSON (PS3.18 Annex F), straight from the element walk, with names decoded and repaired.

Large binary values become `BulkDataURI: "bulk:<path>"`; `web.with_base` puts the real address in when served, since
only then is it known under which host the client reached us. A path is tags and item numbers: `54000100.0.54001010`.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from typing import Any

from dicom import charset as charsets
from dicom.charset import Charset
from dicom.elements import PIXEL_DATA, UNDEFINED, Element, Walker
from dicom.errors import RefusedError
from dicom.texts import SAMPLED, ItemCharset, samples_of

BULK = "bulk:"
_INLINE_LIMIT = 1024
_TEXT_LIMIT = 4 << 20
_MULTI = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"})
_SINGLE = frozenset({"LT", "ST", "UT", "UR"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_CHARSET = 0x00080005

Dictionary = Callable[[int], str]


class JsonWriter:
    """Makes the JSON value of one dataset. `dictionary(tag)` gives the VR of a public tag ('' if unknown)."""

    def __init__(self, walker: Walker, dictionary: Dictionary, *, max_depth: int = 32) -> None:
        self._walker = walker
        self._dictionary = dictionary
        self._order = "<" if walker.little else ">"
        self._max_depth = max_depth
        self._signed = False

    def dataset(self) -> dict[str, Any]:
        """The whole dataset. Raises RefusedError where it cannot be walked or is too much."""
        walker = self._walker
        elements = list(walker.elements())
        label = b""
        samples: list[bytes] = []
        for element in elements:
            if element.tag == _CHARSET:
                label = self._value(element)
            elif element.tag == 0x00280103:
                if element.length == 2:
                    self.sign(self._value(element))
            elif self.sampled(element):
                samples.append(self._value(element))
        found = charsets.detect(label, samples_of(walker, elements, samples, self.vr_of, label))
        return self._objects(elements, found, "", 0)

    def _objects(
        self, elements: list[Element], charset: Charset | ItemCharset, path: str, depth: int
    ) -> dict[str, Any]:
        self._walker.make(1 + len(elements))
        out: dict[str, Any] = {}
        for element in elements:
            out.update(self.named(element, charset, path, depth))
        return out

    def named(self, element: Element, charset: Charset | ItemCharset, path: str = "", depth: int = 0) -> dict[str, Any]:
        """The element under its name; nothing for what JSON leaves out (PS3.18 §F.2.2: group lengths, file header)."""
        tag = element.tag
        if tag & 0xFFFF == 0 or tag >> 16 in {0x0000, 0x0002}:
            return {}
        name = f"{tag:08X}"
        if tag == _CHARSET:
            return {name: {"vr": "CS", "Value": ["ISO_IR 192"]}}  # JSON is UTF-8 whatever the dataset was
        return {name: self._element(element, charset, f"{path}{name}", depth)}

    def sampled(self, element: Element) -> bool:
        """Whether the character set is to be told from its value, too."""
        return element.length <= _TEXT_LIMIT and self.vr_of(element) in SAMPLED

    def sign(self, value: bytes) -> None:
        """Pixel Representation (0028,0103), which decides `US or SS`."""
        self._signed = value in {b"\x01\x00", b"\x00\x01"}

    def learn_sign(self) -> None:
        """Read Pixel Representation, which decides `US or SS`, for a caller that only wants `vr_of`."""
        for element in self._walker.select(frozenset({0x00280103})):
            self.sign(self._value(element) if element.length == 2 else b"")

    def vr_of(self, element: Element) -> str:
        """The VR as written, or from the dictionary where none is."""
        vr = element.vr
        if not vr or (vr == "UN" and element.length == UNDEFINED):
            vr = self._dictionary(element.tag) or ("SQ" if element.length == UNDEFINED else "UN")
            if element.length == UNDEFINED and element.tag != PIXEL_DATA:
                vr = "SQ"
        elif (
            vr == "UN"
        ):  # written by a device that did not know the tag (PS3.5 §6.2.2); sequences stay as they are
            known = self._dictionary(element.tag)
            vr = known if known and known != "SQ" else vr
        if " or " in vr:  # US or SS, OB or OW, …
            if vr.startswith("US or SS"):
                return "SS" if self._signed else "US"
            return "OW"
        return vr

    def _value(self, element: Element) -> bytes:
        return self._walker.window.bytes(element.offset, element.length)

    def _element(self, element: Element, charset: Charset | ItemCharset, path: str, depth: int) -> dict[str, Any]:
        vr = self.vr_of(element)
        out: dict[str, Any] = {"vr": vr}
        if vr == "SQ":
            if element.length:
                out["Value"] = self._items(element, charset, path, depth)
        elif vr in _BINARY or element.length == UNDEFINED:
            out.update(self._binary(element, vr, path))
        elif element.length > _TEXT_LIMIT:
            out["BulkDataURI"] = BULK + path
        elif element.length:
            values = self._values(vr, self._value(element), charset)
            if values:
                out["Value"] = values
        return out

    def _items(self, element: Element, charset: Charset | ItemCharset, path: str, depth: int) -> list[dict[str, Any]]:
        if depth >= self._max_depth:
            raise RefusedError(code="too_deep")
        out = []
        walker = self._walker
        for number, (start, end, explicit) in enumerate(walker.items(element)):
            limit = end if end is not None else element.end
            elements = list(walker.elements(start, limit, depth=depth + 1, explicit=explicit))
            inner = ItemCharset(charset, elements, self._value, self.vr_of)
            out.append(self._objects(elements, inner, f"{path}.{number}.", depth + 1))
        return out

    def _binary(self, element: Element, vr: str, path: str) -> dict[str, Any]:
        if element.length == UNDEFINED or element.length > _INLINE_LIMIT or element.tag == PIXEL_DATA:
            return {"BulkDataURI": BULK + path}
        if not element.length:
            return {}
        data = swapped(self._value(element), vr) if self._order == ">" else self._value(element)
        return {"InlineBinary": base64.b64encode(data).decode("ascii")}

    def _values(self, vr: str, data: bytes, charset: Charset | ItemCharset) -> list[Any]:
        if vr in _NUMBERS:
            return self._numbers(vr, data)
        if vr == "AT":
            count = len(data) // 4
            pairs = struct.unpack(f"{self._order}{2 * count}H", data[: 4 * count])
            return [f"{pairs[i]:04X}{pairs[i + 1]:04X}" for i in range(0, 2 * count, 2)]
        text = charset.decode(data)
        if vr == "PN":
            return [_person(part) for part in text.rstrip(" \x00").split("\\")]
        if vr in _SINGLE:
            text = text.rstrip(" \x00")
            return [text] if text else []
        parts = [part.strip(" \x00") for part in text.split("\\")]
        if not any(parts):
            return []
        if vr in {"DS", "IS"}:
            return [_decimal(vr, part) for part in parts]
        return [part or None for part in parts] if vr in _MULTI else parts

    def _numbers(self, vr: str, data: bytes) -> list[Any]:
        code = _NUMBERS[vr]
        width = struct.calcsize(code)
        count = len(data) // width
        values = struct.unpack(f"{self._order}{count}{code}", data[: count * width])
        if code in "fd":
            return [
                v
                if math.isfinite(v)
                else ("NaN" if math.isnan(v) else ("Infinity" if v > 0 else "-Infinity"))
                for v in values
            ]
        return list(values)


def swapped(data: bytes, vr: str) -> bytes:
    """Big-endian words of an O* value as little-endian ones."""
    width = WIDTHS.get(vr, 1)
    if width == 1 or len(data) % width:
        return data
    out = bytearray(len(data))
    for i in range(width):
        out[i::width] = data[width - 1 - i :: width]
    return bytes(out)


def _person(text: str) -> dict[str, str] | None:
    groups = [group.strip(" \x00") for group in text.split("=")[:3]]
    out = {
        name: group.rstrip("^")
        for name, group in zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)
        if group.rstrip("^")
    }
    return out or None


def _decimal(vr: str, text: str) -> Any:
    """A number where it is one (PS3.18 §F.2.3.1 allows a string where it is not)."""
    if not text:
        return None
    try:
        if vr == "IS":
            return int(text)
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def find(walker: Walker, path: str, dictionary: Dictionary) -> tuple[Element, str]:
    """The element at a bulk data path and its VR. Raises LookupError."""
    parts = path.split(".")
    if len(parts) % 2 == 0 or len(parts) > 33:
        raise LookupError(path)
    start, limit, explicit = 0, walker.window.length, walker.explicit
    for depth, i in enumerate(range(0, len(parts), 2)):
        tag = int(parts[i], 16)
        element = next(
            (e for e in walker.elements(start, limit, depth=depth, explicit=explicit) if e.tag == tag), None
        )
        if element is None:
            raise LookupError(path)
        if i + 1 == len(parts):
            return element, JsonWriter(walker, dictionary).vr_of(element)
        items = list(walker.items(element))
        number = int(parts[i + 1])
        if number >= len(items):
            raise LookupError(path)
        start, end, explicit = items[number]
        limit = end if end is not None else element.end
    raise LookupError(path)
