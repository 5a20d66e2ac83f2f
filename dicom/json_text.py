"""DICOM JSON of many datasets as text. The instances of a series differ in a few elements only: what an element says is
made once, and known again by its bytes.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

from dicom import charset as charsets
from dicom.charset import Charset
from dicom.elements import SHORT_VRS, Element, Walker
from dicom.json_model import Dictionary, JsonWriter
from dicom.texts import SAMPLED, samples_of

_HEADER = struct.Struct("<HH2sH")
_SMALL = 256
_MOST = 20_000  # elements kept in mind: a few MB
_SAMPLED = frozenset(vr.encode() for vr in SAMPLED)
_CHARSET, _SIGN = 0x00080005, 0x00280103


@dataclass(slots=True)
class _Cut:
    """A dataset cut into elements: (its bytes, tag, VR, offset of the value) of the small plain ones, an Element of
    each other, and what tells how text and numbers are to be read.
    """

    pieces: list[tuple[bytes, int, bytes, int] | Element]
    samples: list[bytes]
    label: bytes = b""
    sign: bytes = b""


def dumps(value: Any) -> bytes:
    """JSON as it is stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Texts:
    """Makes the JSON of datasets that have much in common."""

    def __init__(self, dictionary: Dictionary) -> None:
        self._dictionary = dictionary
        self._known: dict[Charset, dict[bytes, bytes]] = {}

    def text(self, walker: Walker, again: Walker, *, max_depth: int) -> bytes:
        """The whole dataset as JSON. `again`: another walker of it with a budget of its own. Raises RefusedError."""
        writer = JsonWriter(walker, self._dictionary, max_depth=max_depth)
        cut = _cut(walker)
        if cut is None:
            return dumps(JsonWriter(again, self._dictionary, max_depth=max_depth).dataset())
        writer.sign(cut.sign)
        for one in cut.pieces:
            if isinstance(one, Element) and writer.sampled(one):
                cut.samples.append(walker.window.bytes(one.offset, one.length))
        others = [x for x in cut.pieces if isinstance(x, Element)]
        charset = charsets.detect(cut.label, samples_of(walker, others, cut.samples, writer.vr_of, cut.label))
        if sum(map(len, self._known.values())) > _MOST:
            self._known.clear()
        known = self._known.setdefault(charset, {})
        walker.make(1 + len(cut.pieces))
        out: list[bytes] = []
        for one in cut.pieces:
            if isinstance(one, Element):
                said = dumps(writer.named(one, charset))[1:-1]
            elif (found := known.get(one[0])) is not None:
                said = found
            else:
                piece, tag, vr, offset = one
                length = len(piece) - 8
                element = Element(tag, vr.decode("ascii"), offset, length, offset + length)
                said = known[piece] = dumps(writer.named(element, charset))[1:-1]
            if said:
                out.append(said)
        return b"{" + b",".join(out) + b"}"


def _cut(walker: Walker) -> _Cut | None:
    """None where a tag comes twice or out of order, or the dataset is not explicit little endian."""
    if not (walker.explicit and walker.little):
        return None
    cut = _Cut(pieces=[], samples=[])
    window, pieces, unpack = walker.window, cut.pieces, _HEADER.unpack_from
    position, limit, before = 0, window.length, -1
    while position < limit:
        passed = len(pieces)
        buffer, i = window.locate(position, min(12, limit - position))
        base, whole = position - i, len(buffer)
        while i <= whole - 8:
            group, number, vr, length = unpack(buffer, i)
            end = i + 8 + length
            if vr not in SHORT_VRS or length > _SMALL or end > whole or group == 0xFFFE:
                break
            tag = group << 16 | number
            if tag <= before:
                return None
            before = tag
            piece = bytes(buffer[i:end])
            if tag == _CHARSET:
                cut.label = piece[8:]
            elif tag == _SIGN:
                cut.sign = piece[8:] if length == 2 else b""
            elif vr in _SAMPLED and not piece.isascii():
                cut.samples.append(piece[8:])
            pieces.append((piece, tag, vr, base + i + 8))
            i = end
        position = base + i
        walker.spend(len(pieces) - passed)
        if position >= limit:
            break
        element = next(walker.elements(position), None)
        if element is None:
            break
        if element.tag <= before:
            return None
        before = element.tag
        if element.tag == _SIGN and element.length == 2:
            cut.sign = window.bytes(element.offset, 2)
        elif element.tag == _CHARSET:
            cut.label = window.bytes(element.offset, element.length)
        pieces.append(element)
        position = element.end
    return cut
