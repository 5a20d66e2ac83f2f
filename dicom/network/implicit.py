"""Explicit little endian rewritten as implicit (PS3.5 §7.1.3), for receivers that know the default syntax alone.

Values stay as they are; only the element headers change, and with them the lengths of sequences, which become
undefined lengths closed by delimiters. Large values are named by where they lie and never held whole.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from dicom.elements import UNDEFINED, Budget, Element, Walker, Window
from dicom.retrieve import ByteRange

_HEAD = struct.Struct("<HHI")
_ITEM = _HEAD.pack(0xFFFE, 0xE000, UNDEFINED)
_ITEM_END = _HEAD.pack(0xFFFE, 0xE00D, 0)
_SEQUENCE_END = _HEAD.pack(0xFFFE, 0xE0DD, 0)
_ELEMENTS = 500_000
_SMALL = 64 << 10  # a value up to this length is copied
_ENOUGH = 256 << 10  # what is copied goes out once it is as long as this


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A piece that is made when its turn comes; `length` bytes (None: not known before)."""

    make: Callable[[], Awaitable[bytes]]
    length: int | None


Piece = bytes | ByteRange | Later


class Span(NamedTuple):
    """`length` bytes from `offset` of the explicit dataset, which go out as they are."""

    offset: int
    length: int


class Source:
    """A dataset in explicit little endian, given in pieces of known length. `read` blocks."""

    def __init__(self, pieces: Sequence[Piece], read: Callable[[ByteRange], bytes]) -> None:
        self._pieces = pieces
        self._read = read
        self._starts = [0, *accumulate(len(x) if isinstance(x, bytes) else x.length or 0 for x in pieces)]

    def window(self) -> Window:
        """For a walk. Blocks when it is moved; what is still to be made can be stepped over and not looked into."""
        return Window(self._starts[-1], self._look)

    def parts(self, span: Span) -> Iterator[tuple[Piece, int, int]]:
        """The pieces that a span runs through: piece, offset in it, length."""
        offset, end = span.offset, span.offset + span.length
        n = bisect_right(self._starts, offset) - 1
        while offset < end:
            length = min(end, self._starts[n + 1]) - offset
            if length:
                yield self._pieces[n], offset - self._starts[n], length
            offset, n = offset + length, n + 1

    def is_there(self, span: Span) -> bool:
        """Whether nothing of it is still to be made."""
        return not any(isinstance(piece, Later) for piece, _, _ in self.parts(span))

    def _look(self, offset: int, size: int) -> bytes:
        out = bytearray()
        for piece, start, length in self.parts(Span(offset, size)):
            if isinstance(piece, bytes):
                out += piece[start : start + length]
            elif isinstance(piece, ByteRange):
                out += self._read(ByteRange(pack=piece.pack, offset=piece.offset + start, length=length))
            else:
                break
        return bytes(out)


def check(source: Source) -> None:
    """Raises RefusedError where the dataset cannot be walked. Blocks."""
    for _ in _walked(source.window()):
        pass


def to_implicit(source: Source) -> Iterator[bytes | Span]:
    """The dataset in implicit little endian: what was rewritten, and where the large values lie. Blocks.

    Raises RefusedError where it cannot be walked; encapsulated pixels cannot be asked for.
    """
    window, values = source.window(), source.window()
    held = bytearray()
    for one in _walked(window):
        if isinstance(one, bytes):
            held += one
        elif one.length <= _SMALL and source.is_there(one):
            held += values.bytes(one.offset, one.length)
        else:
            yield bytes(held)
            held.clear()
            yield one
        if len(held) >= _ENOUGH:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def _walked(window: Window) -> Iterator[bytes | Span]:
    budget = Budget(elements=_ELEMENTS, header_bytes=64 << 20)
    return _dataset(Walker(window, explicit=True, little=True, budget=budget), 0, None, 0, explicit=True)


def _dataset(walker: Walker, start: int, end: int | None, depth: int, *, explicit: bool) -> Iterator[bytes | Span]:
    for element in walker.elements(start, end, depth=depth, explicit=explicit):
        group, number = element.tag >> 16, element.tag & 0xFFFF
        if not number and depth == 0 and group != 2:
            continue  # a group's length would be wrong now; it is retired everywhere but in group 0002
        if element.vr == "SQ" or element.length == UNDEFINED:
            yield _HEAD.pack(group, number, UNDEFINED)
            yield from _items(walker, element, depth)
            yield _SEQUENCE_END
        else:
            yield _HEAD.pack(group, number, element.length)
            yield Span(element.offset, element.length)


def _items(walker: Walker, element: Element, depth: int) -> Iterator[bytes | Span]:
    for first, last, explicit in walker.items(element, depth=depth + 1):
        yield _ITEM
        yield from _dataset(walker, first, last, depth + 1, explicit=explicit)
        yield _ITEM_END
