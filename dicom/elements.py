"""A bounded walk over the elements of a dataset, by hand: explicit and implicit VR, both byte orders (PS3.5 §7).

It reads tags and lengths and steps over values, so a 5 GB instance costs a few hundred bytes of reading. It never
decodes a value, and stops with a reason when the input exceeds its budget. The same walk runs in a worker with a
larger budget when the small one does not suffice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dicom.errors import RefusedError

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, FLOAT_PIXELS, DOUBLE_PIXELS = 0x7FE00010, 0x7FE00008, 0x7FE00009
EXTENDED_OFFSETS = 0x7FE00001
WAVEFORM_SEQUENCE, WAVEFORM_DATA = 0x54000100, 0x54001010

LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS"),
        *(b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
MOST_TOP_LEVEL = 20_000
"""A tag stands once in a dataset and real ones have hundreds; two kilobytes deflated can hold a hundred thousand."""
MOST_MADE = 200_000
"""Elements and items of which something is made (JSON, a dataset written anew), which costs far more than a step."""
_CHUNK = 64 << 10
_LONG_LE = struct.Struct("<I")
_EXPLICIT_LE = struct.Struct("<HH2sH")
_NUMBERS = {
    True: (struct.Struct("<HH"), struct.Struct("<H"), struct.Struct("<I")),
    False: (struct.Struct(">HH"), struct.Struct(">H"), struct.Struct(">I")),
}
_HEADER_SIZES = {**dict.fromkeys(SHORT_VRS, 8), **dict.fromkeys(LONG_VRS, 12)}


class Element(NamedTuple):
    """One element. `offset` is that of its value from the start of the dataset; `vr` is '' under implicit VR."""

    tag: int
    vr: str
    offset: int
    length: int  # UNDEFINED for sequences and fragments that end with a delimiter
    end: int  # offset behind the whole element, delimiter included


@dataclass(slots=True)
class Budget:
    """What a walk may still cost; shared by nested walks of one dataset."""

    elements: int = 10_000
    header_bytes: int = 256 << 10
    depth: int = 32
    made: int = MOST_MADE


class Window:
    """`length` bytes behind `read(offset, size)`, seen through a window that is moved as the walk proceeds."""

    __slots__ = ("_base", "_buffer", "_read", "length")

    def __init__(self, length: int, read: Callable[[int, int], bytes | memoryview]) -> None:
        self.length = length
        self._read = read
        self._base = 0
        self._buffer: bytes | memoryview = b""

    @classmethod
    def of(cls, data: bytes | memoryview) -> Window:
        """The whole of a buffer in memory: the window never moves."""
        window = cls(len(data), lambda offset, size: data[offset : offset + size])
        window._buffer = data
        return window

    @property
    def view(self) -> tuple[bytes | memoryview, int]:
        """What the window shows now, and the offset it starts at."""
        return self._buffer, self._base

    def locate(self, offset: int, size: int) -> tuple[bytes | memoryview, int]:
        """A buffer and an index into it where `size` bytes from `offset` can be read; RefusedError if they are not."""
        index = offset - self._base
        if index >= 0 and index + size <= len(self._buffer):
            return self._buffer, index
        if offset + size > self.length:
            raise RefusedError(code="truncated")
        self._buffer = self._read(offset, min(max(size, _CHUNK), self.length - offset))
        self._base = offset
        if len(self._buffer) < size:
            raise RefusedError(code="truncated")
        return self._buffer, 0

    def bytes(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`."""
        if not size:
            return b""
        if size > _CHUNK and not 0 <= offset - self._base <= len(self._buffer) - size:
            # The window stays where it is, so that the pixels do not lie here while pictures are made of them.
            data = self._read(offset, size) if offset + size <= self.length else b""
            if len(data) < size:
                raise RefusedError(code="truncated")
            return bytes(data)
        buffer, index = self.locate(offset, size)
        return bytes(buffer[index : index + size])


class Walker:
    """Walks one dataset. Offsets count from the first byte of the window."""

    __slots__ = ("_budget", "_window", "explicit", "little")

    def __init__(self, window: Window, *, explicit: bool, little: bool, budget: Budget | None = None) -> None:
        self._window = window
        self._budget = budget or Budget()
        self.explicit = explicit
        self.little = little

    @property
    def window(self) -> Window:
        return self._window

    def elements(
        self, start: int = 0, end: int | None = None, *, depth: int = 0, explicit: bool | None = None
    ) -> Iterator[Element]:
        """The elements from `start` to `end` (or to an item delimiter). Sequences are stepped over.

        Raises RefusedError with `truncated`, `malformed`, `too_deep` or `too_many_elements`.
        """
        window, budget = self._window, self._budget
        limit = window.length if end is None else end
        explicit = self.explicit if explicit is None else explicit
        pair, short, long = _NUMBERS[self.little]
        locate = window.locate
        position = start
        if depth > budget.depth:
            raise RefusedError(code="too_deep")
        while position < limit:
            if limit - position < 8:
                raise RefusedError(code="truncated")
            buffer, i = locate(position, 8)
            group, number = pair.unpack_from(buffer, i)
            tag = group << 16 | number
            budget.elements -= 1
            budget.header_bytes -= 12
            if budget.elements < 0 or budget.header_bytes < 0:
                raise RefusedError(code="too_many_elements")
            vr = ""
            inner = explicit
            if group == 0xFFFE:
                if tag == ITEM_END:
                    return
                raise RefusedError(code="malformed")
            if explicit:
                name = bytes(buffer[i + 4 : i + 6])
                if name in SHORT_VRS:
                    vr = name.decode("ascii")
                    length = short.unpack_from(buffer, i + 6)[0]
                    offset = position + 8
                elif name in LONG_VRS:
                    vr = name.decode("ascii")
                    if limit - position < 12:
                        raise RefusedError(code="truncated")
                    buffer, i = locate(position, 12)
                    length = long.unpack_from(buffer, i + 8)[0]
                    offset = position + 12
                elif name.isalpha() and name.isupper():  # a VR invented by a device: two-byte length
                    vr = "UN"
                    length = short.unpack_from(buffer, i + 6)[0]
                    offset = position + 8
                else:  # an element written without VR in an explicit dataset
                    length = long.unpack_from(buffer, i + 4)[0]
                    offset = position + 8
                    inner = False
                if vr == "UN" and length == UNDEFINED:
                    inner = False  # PS3.5 §6.2.2 note: its content is implicit VR
            else:
                length = long.unpack_from(buffer, i + 4)[0]
                offset = position + 8
            if length == UNDEFINED:
                if vr in {"OB", "OW"} or tag in {PIXEL_DATA, FLOAT_PIXELS, DOUBLE_PIXELS}:
                    after = self._skip_fragments(offset, limit)
                else:
                    after = self._skip_sequence(offset, limit, depth + 1, explicit=inner)
            else:
                after = offset + length
                if after > limit:
                    raise RefusedError(code="truncated")
            yield Element(tag, vr, offset, length, after)
            position = after

    def select(self, wanted: frozenset[int], groups: frozenset[int] = frozenset()) -> list[Element]:
        """The top-level elements wanted by tag or by group, every length of the dataset checked. Several times faster
        than `elements`.
        """
        found: list[Element] = []
        position, limit, count = 0, self._window.length, 0
        while position < limit:
            if self.explicit and self.little:
                before = self._budget.elements
                position = self._select_fast(position, wanted, groups, found)
                count += before - self._budget.elements
            if position < limit:  # something the fast loop does not know: one step the thorough way
                element = next(self.elements(position), None)
                if element is None:
                    break
                if element.tag in wanted or element.tag >> 16 in groups:
                    found.append(element)
                position = element.end
                count += 1
            if count > MOST_TOP_LEVEL:
                raise RefusedError(code="too_many_elements")
        return found

    def _select_fast(
        self, position: int, wanted: frozenset[int], groups: frozenset[int], found: list[Element]
    ) -> int:
        """Adds what lies in the window from `position` on; where to go on. Stops before what it does not know."""
        buffer, base = self._window.view
        unpack, long, sizes, room = _EXPLICIT_LE.unpack_from, _LONG_LE.unpack_from, _HEADER_SIZES, len(buffer) - 12
        looked = groups | {tag >> 16 for tag in wanted} | {0xFFFE}
        budget, i, count = self._budget, position - base, 0
        if i < 0:
            return position
        for count in range(budget.elements + 2):  # noqa: B007 - how many were passed
            if i > room:
                break
            group, number, vr, length = unpack(buffer, i)
            size = sizes.get(vr, 0)
            if size != 8:
                if not size:
                    break
                (length,) = long(buffer, i + 8)
                if length == UNDEFINED:
                    break
            if group in looked:
                if group == 0xFFFE:
                    break
                tag = group << 16 | number
                if tag in wanted or group in groups:
                    start = base + i + size
                    found.append(Element(tag, vr.decode("ascii"), start, length, start + length))
            i += size + length
        if base + i > self._window.length:
            raise RefusedError(code="truncated")
        budget.elements -= count
        budget.header_bytes -= 12 * count
        if budget.elements < 0 or (not count and budget.header_bytes < 0):
            raise RefusedError(code="too_many_elements")
        return base + i

    def items(self, element: Element, *, depth: int = 1) -> Iterator[tuple[int, int | None, bool]]:
        """The items of a sequence as (start, end or None for a delimiter, explicit) to be given to `elements`."""
        explicit = self.explicit and not (element.vr == "UN" and element.length == UNDEFINED)
        limit = element.end
        position = element.offset
        while position < limit:
            tag, length = self._item_header(position, limit)
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise RefusedError(code="malformed")
            self.spend(1)
            start = position + 8
            if length == UNDEFINED:
                yield start, None, explicit
                position = self._skip_item(start, limit, depth, explicit=explicit)
            else:
                if start + length > limit:
                    raise RefusedError(code="truncated")
                yield start, start + length, explicit
                position = start + length

    def fragments(self, element: Element) -> Iterator[tuple[int, int]]:
        """(offset, length) of each fragment of encapsulated Pixel Data, the basic offset table first (PS3.5 §A.4)."""
        position = element.offset
        while True:
            tag, length = self._item_header(position, element.end)
            if tag == SEQUENCE_END:
                return
            yield position + 8, length
            position += 8 + length

    def make(self, count: int) -> None:
        """Something will be made of `count` elements. Raises RefusedError `too_many_elements` beyond the budget."""
        self._budget.made -= count
        if self._budget.made < 0:
            raise RefusedError(code="too_many_elements")

    def spend(self, count: int) -> None:
        """`count` elements were passed. Raises RefusedError `too_many_elements` beyond the budget."""
        budget = self._budget
        budget.elements -= count
        budget.header_bytes -= 12 * count
        if budget.elements < 0 or budget.header_bytes < 0:
            raise RefusedError(code="too_many_elements")

    def _item_header(self, position: int, limit: int) -> tuple[int, int]:
        if limit - position < 8:
            raise RefusedError(code="truncated")
        buffer, i = self._window.locate(position, 8)
        group, number, length = struct.unpack_from("<HHI" if self.little else ">HHI", buffer, i)
        return group << 16 | number, length

    def _skip_sequence(self, position: int, limit: int, depth: int, *, explicit: bool) -> int:
        if depth > self._budget.depth:
            raise RefusedError(code="too_deep")
        while True:
            tag, length = self._item_header(position, limit)
            self.spend(1)
            position += 8
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM:
                raise RefusedError(code="malformed")
            if length == UNDEFINED:
                position = self._skip_item(position, limit, depth, explicit=explicit)
            else:
                position += length
                if position > limit:
                    raise RefusedError(code="truncated")

    def _skip_item(self, position: int, limit: int, depth: int, *, explicit: bool) -> int:
        if depth + 1 > self._budget.depth:
            raise RefusedError(code="too_deep")
        while True:
            if explicit and self.little:
                position = self._hop(position, limit)
            if self._item_header(position, limit)[0] == ITEM_END:
                self.spend(1)
                return position + 8
            position = next(self.elements(position, limit, depth=depth + 1, explicit=explicit)).end

    def _hop(self, position: int, limit: int) -> int:
        """Over plain elements of known length as far as the window shows them: most of what a sequence holds."""
        buffer, base = self._window.view
        room = min(len(buffer), limit - base) - 12
        unpack, sizes, count, most = _EXPLICIT_LE.unpack_from, _HEADER_SIZES, 0, self._budget.elements
        while 0 <= (i := position - base) <= room and count <= most:
            group, _, vr, length = unpack(buffer, i)
            size = sizes.get(vr, 0)
            if not size or group == 0xFFFE:
                break
            if size == 12:
                length = int.from_bytes(buffer[i + 8 : i + 12], "little")
                if length == UNDEFINED:
                    break
            position += size + length
            count += 1
        if position > limit:
            raise RefusedError(code="truncated")
        self.spend(count)
        return position

    def _skip_fragments(self, position: int, limit: int) -> int:
        order = "<HHI" if self.little else ">HHI"
        locate = self._window.locate
        unpack = struct.Struct(order).unpack_from
        while True:
            if limit - position < 8:
                raise RefusedError(code="truncated")
            buffer, i = locate(position, 8)
            group, number, length = unpack(buffer, i)
            position += 8
            if group != 0xFFFE:
                raise RefusedError(code="malformed")
            if number == 0xE0DD:
                return position
            if number != 0xE000 or length == UNDEFINED:
                raise RefusedError(code="malformed")
            position += length
            if position > limit:
                raise RefusedError(code="truncated")
