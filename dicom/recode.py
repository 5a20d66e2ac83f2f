"""A stored dataset written anew in explicit little endian, or around pixels of another transfer syntax.

Values keep their bytes (text is never decoded and encoded again); numbers of big endian datasets are swapped.
Runs in worker processes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from dicom.elements import EXTENDED_OFFSETS, LONG_VRS, PIXEL_DATA, UNDEFINED, Element, Walker
from dicom.errors import RefusedError, UnsupportedError
from dicom.json_model import swapped

_WIDTHS = {"US": 2, "SS": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "SV": 8, "UV": 8}
_PIXELS = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
# What no longer holds once the pixels are coded otherwise: tables of offsets, an icon coded like the image, signatures.
_DROPPED = frozenset({EXTENDED_OFFSETS, 0x7FE00002, 0x7FE00003, 0x00880200, 0xFFFAFFFA, 0xFFFCFFFC})
_TRUNCATED_TRAILER = 0xFFFCFFFC
_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The dataset before and behind the element that holds the pixels, that element left out."""

    before: bytes
    after: bytes
    pixel: Element | None


class Recoder:
    """Writes the dataset of a walker. `vr_of(element)` gives the VR of an element that carries none."""

    def __init__(self, walker: Walker, vr_of: Callable[[Element], str]) -> None:
        self._walker = walker
        self._vr_of = vr_of
        self._written = 0

    def around(self, changes: dict[int, tuple[str, bytes] | None], *, new_pixels: bool) -> Around:
        """The top level with `changes` (tag → VR and value, or None to leave it out) put in their places.

        `new_pixels`: the pixels will be coded otherwise than stored. Raises UnsupportedError, RefusedError.
        """
        before: list[bytes] = []
        after: list[bytes] = []
        pixel: Element | None = None
        todo = {tag: value for tag, value in changes.items() if value is not None}
        for element in self._walker.elements():
            tag = element.tag
            if tag & 0xFFFF == 0 or tag >> 16 <= 2:
                continue
            for earlier in sorted(t for t in todo if t < tag):
                vr, value = todo.pop(earlier)
                before.append(written(earlier, vr, value))
            if tag in _PIXELS:
                pixel = pixel or element
                continue
            if tag in changes or tag == _TRUNCATED_TRAILER or (new_pixels and tag in _DROPPED):
                new = todo.pop(tag, None)
                if new is not None:
                    before.append(written(tag, *new))
                continue
            (before if pixel is None else after).append(self._element(element, 0))
        before += [written(tag, *todo[tag]) for tag in sorted(todo)]
        return Around(before=b"".join(before), after=b"".join(after), pixel=pixel)

    def _element(self, element: Element, depth: int) -> bytes:
        vr = self._vr_of(element)
        if vr == "SQ":
            value = b"".join(self._item(*item, element, depth) for item in self._walker.items(element))
        elif element.length == UNDEFINED:
            raise UnsupportedError(code="encapsulated_inside")
        else:
            self._written += element.length
            if self._written > _LIMIT:
                raise RefusedError(code="too_large")
            value = self._walker.window.bytes(element.offset, element.length)
            if not self._walker.little:
                value = _swapped(value, vr)
        return written(element.tag, vr, value)

    def _item(self, start: int, end: int | None, explicit: bool, element: Element, depth: int) -> bytes:
        limit = element.end if end is None else end
        children = list(self._walker.elements(start, limit, depth=depth + 1, explicit=explicit))
        self._walker.make(1 + len(children))
        parts = [self._element(child, depth + 1) for child in children if child.tag & 0xFFFF]
        value = b"".join(parts)
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _swapped(value: bytes, vr: str) -> bytes:
    width = _WIDTHS.get(vr)
    if width is None:
        return swapped(value, vr)
    if len(value) % width:
        return value
    out = bytearray(len(value))
    for i in range(width):
        out[i::width] = value[width - 1 - i :: width]
    return bytes(out)


_SPACED = frozenset({"CS", "SH", "LO", "ST", "LT", "DS", "IS", "PN", "UT", "UC", "UR", "DA", "TM", "DT", "AE", "AS"})


def padding(vr: str) -> bytes:
    """The byte that makes a value of odd length even (PS3.5 §6.2)."""
    return b" " if vr in _SPACED else b"\x00"


def element_head(tag: int, vr: str, length: int) -> bytes:
    """What stands before a value of even `length` in explicit little endian (PS3.5 §7.1.2)."""
    code = vr.encode("ascii")
    if code not in LONG_VRS and length > 0xFFFE:
        code = b"UN"  # PS3.5 §6.2.2: a value too long for the two-byte length of its VR
    if code in LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, code, 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)


def written(tag: int, vr: str, value: bytes) -> bytes:
    """An element in explicit little endian, padded to even length."""
    if len(value) % 2:
        value += padding(vr)
    return element_head(tag, vr, len(value)) + value


def pixel_head(vr: str, length: int) -> bytes:
    """What stands before the value of Pixel Data."""
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr.encode("ascii"), 0, length)


def fragment(data: bytes) -> bytes:
    """One item of encapsulated Pixel Data, of even length (PS3.5 §A.4)."""
    if len(data) % 2:
        data += b"\x00"
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


FIRST_FRAGMENT = struct.pack("<HHI", 0xFFFE, 0xE000, 0)  # an empty offset table
LAST_FRAGMENT = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def derived_uid(sop_uid: str, digest: str, syntax: str) -> str:
    """The SOP Instance UID of the lossy form of an instance, always the same one (PS3.3 §C.7.6.1.1.5)."""
    value = sha256(f"{sop_uid}\x1f{digest}\x1f{syntax}".encode()).digest()[:16]
    return f"2.25.{int.from_bytes(value, 'big')}"
