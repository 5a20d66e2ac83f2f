"""Attributes of a dataset as the worker processes read them: by tag, when asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import isfinite
from typing import Literal

from dicom.elements import Element, Walker

PIXEL_GROUPS = frozenset({0x0008, 0x0018, 0x0020, 0x0028, 0x2050, 0x5200, 0x7FE0, *range(0x6000, 0x6020, 2)})
"""In which something says how pixels are to be read and shown."""


# Of all that an explicit VR can hold; implicit VR has no bound, and a number takes fifty times its text in memory.
_LONGEST_TEXT = 1 << 16


class Attributes:
    """Top-level attributes of a dataset by tag, read when asked for."""

    def __init__(self, walker: Walker, elements: Iterable[Element] | None = None) -> None:
        self.walker = walker
        self._elements: dict[int, Element] = {}
        for element in walker.elements() if elements is None else elements:
            self._elements.setdefault(element.tag, element)

    @classmethod
    def of_item(cls, walker: Walker, start: int, end: int, *, explicit: bool) -> Attributes:
        """The attributes of one sequence item."""
        return cls(walker, walker.elements(start, end, depth=2, explicit=explicit))

    def __contains__(self, tag: int) -> bool:
        return tag in self._elements

    def raw(self, tag: int, most: int = 64 << 20) -> bytes:
        """The value's bytes, at most the first `most`; b'' if absent or above 64 MB."""
        element = self._elements.get(tag)
        if element is None or element.length > 64 << 20:
            return b""
        return self.walker.window.bytes(element.offset, min(element.length, most))

    def vr(self, tag: int) -> str:
        """The VR written in the dataset, '' if absent or implicit."""
        element = self._elements.get(tag)
        return element.vr if element else ""

    def short(self, tag: int, default: int = 0) -> int:
        """A US value."""
        raw = self.raw(tag, 2)
        return int(struct.unpack(self.order + "H", raw[:2])[0]) if len(raw) >= 2 else default

    @property
    def order(self) -> Literal["<", ">"]:
        """Byte order in numpy's and struct's notation."""
        return "<" if self.walker.little else ">"

    def text(self, tag: int) -> str:
        """A code string, or another short value in ASCII."""
        return self.raw(tag, _LONGEST_TEXT).decode("ascii", "replace").strip(" \x00")

    def numbers(self, tag: int) -> list[float]:
        """DS or IS values; what is no number is left out."""
        out = []
        for part in self.text(tag).split("\\"):
            try:
                out.append(float(part))
            except ValueError:
                continue
        return [number for number in out if isfinite(number)]

    def items(self, tag: int) -> list[Attributes]:
        """The items of a sequence."""
        element = self._elements.get(tag)
        if element is None:
            return []
        return [
            Attributes.of_item(self.walker, start, end if end is not None else element.end, explicit=explicit)
            for start, end, explicit in self.walker.items(element)
        ]
