"""Explicit little endian rewritten as implicit (PS3.5 §7.1.3), for receivers that know the default syntax alone.

Values stay as they are; only the element headers change, and with them the lengths of sequences, which become
undefined lengths closed by delimiters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dicom.elements import UNDEFINED, Budget, Element, Walker, Window

_HEAD = struct.Struct("<HHI")
_ITEM = _HEAD.pack(0xFFFE, 0xE000, UNDEFINED)
_ITEM_END = _HEAD.pack(0xFFFE, 0xE00D, 0)
_SEQUENCE_END = _HEAD.pack(0xFFFE, 0xE0DD, 0)
MOST = 256 << 20
_ELEMENTS = 500_000


def to_implicit(data: bytes) -> list[bytes | memoryview]:
    """The dataset in pieces. Raises RefusedError where it cannot be walked; encapsulated pixels cannot be asked for."""
    budget = Budget(elements=_ELEMENTS, header_bytes=64 << 20)
    walker = Walker(Window.of(data), explicit=True, little=True, budget=budget)
    return list(_dataset(walker, memoryview(data), 0, None, 0, explicit=True))


def _dataset(
    walker: Walker, data: memoryview, start: int, end: int | None, depth: int, *, explicit: bool
) -> Iterator[bytes | memoryview]:
    for element in walker.elements(start, end, depth=depth, explicit=explicit):
        group, number = element.tag >> 16, element.tag & 0xFFFF
        if not number and depth == 0 and group != 2:
            continue  # a group's length would be wrong now; it is retired everywhere but in group 0002
        if element.vr == "SQ" or element.length == UNDEFINED:
            yield _HEAD.pack(group, number, UNDEFINED)
            yield from _items(walker, data, element, depth)
            yield _SEQUENCE_END
        else:
            yield _HEAD.pack(group, number, element.length)
            yield data[element.offset : element.offset + element.length]


def _items(walker: Walker, data: memoryview, element: Element, depth: int) -> Iterator[bytes | memoryview]:
    for first, last, explicit in walker.items(element, depth=depth + 1):
        yield _ITEM
        yield from _dataset(walker, data, first, last, depth + 1, explicit=explicit)
        yield _ITEM_END
