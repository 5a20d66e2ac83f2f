"""DICOM JSON (PS3.18 Annex F) as a dataset in explicit little endian, its bulk data left where they are.

The result is a list of pieces: bytes, or a `Span` of the file in which the bulk data lie, so that gigabytes of pixels
never pass through the process that reads the JSON. Runs in worker processes.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom.elements import LONG_VRS, PIXEL_DATA, SHORT_VRS, UNDEFINED
from dicom.errors import RefusedError
from dicom.recode import FIRST_FRAGMENT, LAST_FRAGMENT, element_head, padding

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_SINGLE = frozenset({"LT", "ST", "UT", "UR"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_VRS = frozenset(vr.decode() for vr in LONG_VRS | SHORT_VRS)
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_LONGEST = 0xFFFFFFFE
_CHARSET = 0x00080005
_DECIMAL_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes that lie in a file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What a BulkDataURI stands for: one part, or one for each frame. `encapsulated`: fragments of Pixel Data."""

    spans: tuple[Span, ...]
    encapsulated: bool


Piece = bytes | Span
FindBulk = Callable[[str], Bulk]


def pieces_length(pieces: Sequence[Piece]) -> int:
    """Bytes of all pieces together."""
    return sum(piece.length if isinstance(piece, Span) else len(piece) for piece in pieces)


class JsonReader:
    """Writes datasets. `find` answers a BulkDataURI or refuses it, `vr_of` gives the VR of a public tag."""

    def __init__(self, find: FindBulk, vr_of: Callable[[int], str], *, max_depth: int, max_elements: int) -> None:
        self._find = find
        self._vr_of = vr_of
        self._max_depth = max_depth
        self._left = max_elements

    def dataset(self, value: Any, depth: int = 0) -> list[Piece]:
        """One dataset, its elements in order. Raises RefusedError (`bad_metadata`, `too_deep`, …)."""
        if not isinstance(value, Mapping):
            raise RefusedError(code="bad_metadata")
        if depth > self._max_depth:
            raise RefusedError(code="too_deep")
        out: list[Piece] = []
        for tag, attribute in sorted((tag_of(name), attribute) for name, attribute in value.items()):
            self._left -= 1
            if self._left < 0:
                raise RefusedError(code="too_many_elements")
            # Group lengths are retired, group 0002 is ours to write, and delimiters are no elements of a dataset.
            if tag & 0xFFFF == 0 or tag >> 16 in {0x0000, 0x0002, 0xFFFE}:
                continue
            if not isinstance(attribute, Mapping):
                raise RefusedError(code="bad_metadata")
            out += self._element(tag, attribute, depth)
        return out

    def _element(self, tag: int, attribute: Mapping[str, Any], depth: int) -> list[Piece]:
        vr = attribute.get("vr") or self._vr_of(tag)[:2] or "UN"
        if not isinstance(vr, str) or vr not in _VRS:
            raise RefusedError(code="bad_metadata")
        if tag == _CHARSET:
            return _written(tag, "CS", [b"ISO_IR 192"])  # JSON and XML are Unicode whatever the dataset was
        if "BulkDataURI" in attribute:
            bulk = self._find(str(attribute["BulkDataURI"]))
            if bulk.encapsulated:
                return _fragments(tag, bulk)
            return _written(tag, vr, list(bulk.spans))
        if "InlineBinary" in attribute:
            try:
                return _written(tag, vr, [base64.b64decode(attribute["InlineBinary"], validate=True)])
            except (binascii.Error, TypeError, ValueError) as error:
                raise RefusedError(code="bad_metadata") from error
        values = attribute.get("Value") or []
        if not isinstance(values, list):
            raise RefusedError(code="bad_metadata")
        if vr == "SQ":
            items: list[Piece] = []
            for item in values:
                inner = self.dataset(item or {}, depth + 1)
                items += [struct.pack("<HHI", 0xFFFE, 0xE000, _bounded(pieces_length(inner))), *inner]
            return _written(tag, vr, items)
        try:
            return _written(tag, vr, [_value(vr, values)])
        except (struct.error, ValueError, TypeError, OverflowError) as error:
            raise RefusedError(code="bad_metadata") from error


def tag_of(name: Any) -> int:
    """The tag of an attribute's name, eight hexadecimal digits. Raises RefusedError."""
    if not isinstance(name, str) or len(name) != 8 or not name.isalnum():
        raise RefusedError(code="bad_metadata")
    try:
        return int(name, 16)
    except ValueError as error:
        raise RefusedError(code="bad_metadata") from error


def text_of(dataset: Mapping[str, Any], name: str) -> str:
    """The first value of a text attribute, '' where there is none."""
    attribute = dataset.get(name)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""


def _bounded(length: int) -> int:
    if length > _LONGEST:
        raise RefusedError(code="too_large")
    return length


def _written(tag: int, vr: str, value: list[Piece]) -> list[Piece]:
    length = pieces_length(value)
    pad = padding(vr) if length % 2 else b""
    return [element_head(tag, vr, _bounded(length + len(pad))), *value, *([pad] if pad else [])]


def _fragments(tag: int, bulk: Bulk) -> list[Piece]:
    """Encapsulated Pixel Data (PS3.5 §A.4): an empty offset table, one fragment for each part."""
    if tag != PIXEL_DATA:
        raise RefusedError(code="bad_metadata")
    out: list[Piece] = [struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED), FIRST_FRAGMENT]
    for span in bulk.spans:
        odd = span.length % 2
        out += [struct.pack("<HHI", 0xFFFE, 0xE000, _bounded(span.length + odd)), span, b"\x00" * odd]
    return [*out, LAST_FRAGMENT]


def _value(vr: str, values: list[Any]) -> bytes:
    if vr in _BINARY:
        if values:
            raise ValueError("binary values come as InlineBinary or BulkDataURI")
        return b""
    if vr in _NUMBERS:
        return b"".join(struct.pack("<" + _NUMBERS[vr], _number(vr, value)) for value in values)
    if vr == "AT":
        return b"".join(struct.pack("<HH", int(str(v)[:4], 16), int(str(v)[4:], 16)) for v in values)
    if vr == "PN":
        return "\\".join(_person(value) for value in values).encode()
    if vr in {"DS", "IS"}:
        return "\\".join(_digits(value) for value in values).encode("ascii")
    texts = ["" if value is None else str(value) for value in values]
    if any(isinstance(value, list | Mapping) for value in values) or (vr in _SINGLE and len(texts) > 1):
        raise ValueError("no text")
    return "\\".join(texts).encode("ascii" if vr == "UI" else "utf-8")


def _number(vr: str, value: Any) -> int | float:
    """A number, or its text (PS3.18 §F.2.3.1)."""
    return float(value) if vr in {"FL", "FD"} else int(value)


def _person(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return "=".join(str(value.get(group) or "") for group in _GROUPS).rstrip("=") if isinstance(value, Mapping) else ""


def _digits(value: Any) -> str:
    """DS and IS as text of at most 16 bytes (PS3.5 §6.2)."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    text = str(value)
    digits = _DECIMAL_LENGTH
    while len(text) > _DECIMAL_LENGTH:
        digits -= 1
        text = f"{value:.{digits}g}"
    return text
