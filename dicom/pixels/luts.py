"""Lookup tables of a dataset: modality and VOI LUTs, palettes, segmented and supplemental ones too (PS3.3 §C.7.9,
§C.11.1, §C.7.6.3.1.5). Runs in worker processes only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom.errors import CannotRenderError
from dicom.pixels.attributes import Attributes
from dicom.pixels.decode import Image

Array = NDArray[Any]
_CHANNELS = (
    (0x00281101, 0x00281201, 0x00281221),
    (0x00281102, 0x00281202, 0x00281222),
    (0x00281103, 0x00281203, 0x00281223),
)
_MOST = 1 << 16
_STRIP = 1 << 19  # pixels that are looked up at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """`values[i]` belongs to the input `first + i`; inputs beyond either end take the end's value. `bits`: declared."""

    values: Array
    first: int
    bits: int

    def apply(self, inputs: Array) -> Array:
        """The entries for integer inputs of any shape."""
        return self.values[np.clip(inputs.astype(np.int64) - self.first, 0, len(self.values) - 1)]

    @property
    def top(self) -> float:
        """The output that means full brightness. The declared depth counts, unless the entries do not keep to it, or
        12-bit entries are declared as 16 bits (devices do that, and the picture would be black).
        """
        used = int(self.values.max()).bit_length()
        kept = used <= self.bits <= 16 and not (self.bits == 16 and used <= 12)
        return float((1 << (self.bits if kept else max(used, 1))) - 1)


def read_lut(item: Attributes, descriptor: int, data: int, *, signed: bool) -> Lut:
    """A table by its descriptor (entries, first input, bits) and its data. Raises CannotRenderError `lut_damaged`."""
    count, first, bits = _described(item, descriptor, signed=signed)
    values = _entries(item, data, wide=bits > 8 or len(item.raw(data)) >= 2 * count)[:count]
    if not len(values):
        raise CannotRenderError(code="lut_damaged")
    return Lut(values=values.astype(np.uint16), first=first, bits=bits)


def read_palette(image: Image) -> tuple[Lut, Lut, Lut]:
    """Red, green and blue, segmented data expanded. Raises CannotRenderError `no_palette` or `lut_damaged`."""
    red, green, blue = (_channel(image, *tags) for tags in _CHANNELS)
    return red, green, blue


def through_palette(palette: tuple[Lut, Lut, Lut], stored: Array) -> NDArray[np.uint8]:
    """Stored values as RGB of 8 bits: of 16-bit entries the upper byte, unless only the lower one is in use."""
    out = np.empty((*stored.shape, 3), np.uint8)
    step = max(1, _STRIP // max(stored[:1].size, 1))
    for i, lut in enumerate(palette):
        wide = lut.bits > 8 and int(lut.values.max()) > 255
        entries = (lut.values >> 8 if wide else lut.values).astype(np.uint8)
        for first in range(0, len(stored), step):  # in strips: an index is eight bytes
            index = np.clip(stored[first : first + step].astype(np.int64) - lut.first, 0, len(entries) - 1)
            out[first : first + step, ..., i] = entries[index]
    return out


def supplemental(image: Image) -> tuple[Lut, Lut, Lut] | None:
    """The palette of a grayscale image whose values from the first mapped one on are colours (PS3.3 §C.7.6.19)."""
    a = image.attributes
    if a.text(0x00089205) not in {"COLOR", "MIXED"} or 0x00281101 not in a:
        return None
    return read_palette(image)


def _channel(image: Image, descriptor: int, data: int, segmented: int) -> Lut:
    a = image.attributes
    if data in a:
        return read_lut(a, descriptor, data, signed=image.signed)
    if segmented not in a:
        raise CannotRenderError(code="no_palette")
    count, first, bits = _described(a, descriptor, signed=image.signed)
    entries = _entries(a, segmented, wide=bits > 8).tolist()
    try:
        values = expand_segments(entries, wide=bits > 8)
    except IndexError:
        raise CannotRenderError(code="lut_damaged") from None
    if not values:
        raise CannotRenderError(code="lut_damaged")
    return Lut(values=np.asarray(values[:count], np.uint16), first=first, bits=bits)


def expand_segments(data: list[int], *, wide: bool) -> list[int]:
    """Segmented palette data as plain entries: discrete, linear and indirect segments (PS3.3 §C.7.9.2).

    An indirect segment names, by byte offset into the data, segments to be used again; one within those is refused.
    IndexError or CannotRenderError `lut_damaged` for data that ends early or means nothing.
    """
    out: list[int] = []
    _expand(data, 0, sys.maxsize, out, wide=wide, nested=False)
    return out


def _expand(data: list[int], place: int, most: int, out: list[int], *, wide: bool, nested: bool) -> None:
    done = 0
    while place + 1 < len(data) and done < most and len(out) <= _MOST:
        kind, length = data[place], data[place + 1]
        place += 2
        if kind == 0:
            out += data[place : place + length]
            place += length
        elif kind == 1 and out and length:
            start, stop = out[-1], data[place]
            place += 1
            out += [round(start + (stop - start) * (i + 1) / length) for i in range(length)]
        elif kind == 2 and not nested:
            if wide:
                offset, place = (data[place + 1] << 16 | data[place]) // 2, place + 2
            else:
                offset, place = sum(data[place + i] << 8 * i for i in range(4)), place + 4
            _expand(data, offset, length, out, wide=wide, nested=True)
        else:
            raise CannotRenderError(code="lut_damaged")
        done += 1


def _described(item: Attributes, descriptor: int, *, signed: bool) -> tuple[int, int, int]:
    raw = item.raw(descriptor)
    if len(raw) < 6:
        raise CannotRenderError(code="lut_damaged")
    count, first, bits = np.frombuffer(raw[:6], item.order + "u2").tolist()
    if signed and first >= 1 << 15:
        first -= 1 << 16
    return count or _MOST, first, bits


def _entries(item: Attributes, tag: int, *, wide: bool) -> Array:
    """A value as words or bytes. Bytes under OW in a big endian dataset lie in swapped pairs."""
    raw = item.raw(tag)
    words = np.frombuffer(raw[: len(raw) // 2 * 2], item.order + "u2")
    if wide:
        return words
    swapped = item.order == ">" and item.vr(tag) == "OW"
    return np.frombuffer(words.astype("<u2").tobytes() if swapped else raw, np.uint8)
