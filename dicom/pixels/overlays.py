"""Overlay planes (PS3.3 §C.9.2): graphics drawn over an image. Runs in worker processes only.

Only graphics (type G) are drawn: a region of interest (type R) marks pixels that its filling would hide.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom.pixels.attributes import Attributes
from dicom.pixels.decode import Image

_GROUPS = range(0x6000, 0x6020, 2)


def graphics(image: Image, array: NDArray[Any], number: int) -> NDArray[np.bool_] | None:
    """Where graphics lie over frame `number` (1-based) of the image's size, None without any.

    `array` holds the stored values as decoded: old devices kept overlays in bits above the stored ones.
    """
    a = image.attributes
    found: NDArray[np.bool_] | None = None
    for group in _GROUPS:
        base = group << 16
        if base | 0x0010 not in a or a.text(base | 0x0040) not in {"G", ""}:
            continue
        plane = _separate(a, base, number) if base | 0x3000 in a else _embedded(image, array, base)
        if plane is None:
            continue
        if found is None:
            found = np.zeros((image.rows, image.columns), np.bool_)
        _lay(found, plane, _origin(a, base))
    return found


def _separate(a: Attributes, base: int, number: int) -> NDArray[np.bool_] | None:
    """The plane of Overlay Data for this frame: one plane stands on all, several from Image Frame Origin on."""
    rows, columns = a.short(base | 0x0010), a.short(base | 0x0011)
    index = 0
    count = int((a.numbers(base | 0x0015) or [0])[0])
    if count > 0:
        index = number - max(a.short(base | 0x0051, 1), 1)
        if not 0 <= index < count:
            return None
    size = rows * columns
    first, last = index * size // 8, math.ceil((index + 1) * size / 8)
    raw = a.raw(base | 0x3000)
    if not size or len(raw) < last:
        return None
    if a.order == ">" and a.vr(base | 0x3000) == "OW":
        raw = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2").astype("<u2").tobytes()
    bits = np.unpackbits(np.frombuffer(raw[first:last], np.uint8), bitorder="little")
    skip = index * size % 8
    return bits[skip : skip + size].reshape(rows, columns).astype(np.bool_)


def _embedded(image: Image, array: NDArray[Any], base: int) -> NDArray[np.bool_] | None:
    """The plane in one bit of each sample, where that bit is none of the image's own."""
    a = image.attributes
    bit = a.short(base | 0x0102)
    high = a.short(0x00280102, image.bits_stored - 1)
    own = high - image.bits_stored < bit <= high
    if array.ndim != 2 or array.dtype.kind == "f" or own or bit >= image.bits_allocated:
        return None
    return ((array >> bit) & 1).astype(np.bool_)


def _origin(a: Attributes, base: int) -> tuple[int, int]:
    """Row and column of the image, 0-based, under the plane's first pixel. It may lie outside."""
    raw = a.raw(base | 0x0050)
    if len(raw) < 4:
        return 0, 0
    row, column = np.frombuffer(raw[:4], a.order + "i2").tolist()
    return row - 1, column - 1


def _lay(found: NDArray[np.bool_], plane: NDArray[np.bool_], origin: tuple[int, int]) -> None:
    top, left = origin
    first_row, first_column = max(top, 0), max(left, 0)
    last_row = min(top + plane.shape[0], found.shape[0])
    last_column = min(left + plane.shape[1], found.shape[1])
    if first_row < last_row and first_column < last_column:
        found[first_row:last_row, first_column:last_column] |= plane[
            first_row - top : last_row - top, first_column - left : last_column - left
        ]
