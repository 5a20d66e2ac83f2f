"""Stored values to shades: modality LUT, VOI LUT or window, padding, polarity (PS3.3 §C.11, §C.7.5.1.1.2, §C.7.6.16).

Runs in worker processes only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom.pixels.attributes import Attributes
from dicom.pixels.decode import Image
from dicom.pixels.luts import read_lut

Array = NDArray[Any]
Window = tuple[float, float, str]  # centre, width, function
_STRIP = 1 << 19  # pixels that are looked up at a time
_COUNTS = frozenset({"NM", "PT"})  # 8-bit counts use a part of their range only


def grayscale(image: Image, array: Array, number: int, window: Window | None) -> NDArray[np.uint8]:
    """Frame `number` (1-based) as shades 0…255, dark to bright as the photometric interpretation says.

    `window` takes the place of the dataset's own. Padding and values that are no number come out black.
    """
    stored = meaningful(image, array)
    hidden = _hidden(image, stored, array.dtype)
    visible = stored if hidden is None else stored[~hidden]
    if not visible.size:
        return np.zeros(stored.shape, np.uint8)
    pipeline = _pipeline(image, number, window)
    low, high = visible.min(), visible.max()
    if hidden is not None:
        stored = np.where(hidden, low, stored)
    if array.dtype.kind == "f" or array.dtype.itemsize > 2:
        out = pipeline.shades(stored.astype(np.float64))
    else:  # at most 65,536 different values: compute each once, then look up
        table = pipeline.shades(np.arange(int(low), int(high) + 1, dtype=np.float64))
        out = _looked_up(table, stored, int(low))
    if hidden is not None:
        out[hidden] = 0
    return out


def _looked_up(table: NDArray[np.uint8], stored: Array, low: int) -> NDArray[np.uint8]:
    """`table[stored - low]`. A difference too large for the type wraps around, and is right again without its sign."""
    plain = np.dtype(f"u{stored.dtype.itemsize}")
    out = np.empty(stored.shape, np.uint8)
    step = max(1, _STRIP // max(stored[:1].size, 1))
    for first in range(0, len(stored), step):  # in strips: an index is eight bytes, eight times an 8-bit picture
        strip = stored[first : first + step]
        index = strip.astype(strip.dtype.newbyteorder("="), copy=False).view(plain)
        if low:
            index = index - plain.type(low % (1 << 8 * plain.itemsize))
        # In range as it is: "clip" only spares the check.
        table.take(index, mode="clip", out=out[first : first + step])
    return out


def meaningful(image: Image, array: Array) -> Array:
    """Without what old devices hid beside the stored bits; sign extended. Bits that stand at the upper end of the word
    (High Bit above Bits Stored - 1) come down.
    """
    bits, allocated = image.bits_stored, array.dtype.itemsize * 8
    if array.dtype.kind == "f" or bits >= min(allocated, 63) or image.bits_allocated == 1:
        return array
    wide: Any = array.astype(np.int64 if allocated > 16 else np.int32)
    above = image.attributes.short(0x00280102, bits - 1) + 1 - bits
    if 0 < above <= allocated - bits and int((wide & (1 << allocated) - 1).max()) >> bits:
        wide >>= above
    if image.signed:  # up and down again, in place: what stands above falls off, and the sign comes with it
        wide <<= wide.itemsize * 8 - bits
        wide >>= wide.itemsize * 8 - bits
    else:
        wide &= (1 << bits) - 1
    values: Array = wide
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pipeline:
    """The transformations of one frame, and what its dataset says of them."""

    image: Image
    modality: Attributes  # where the rescale values stand: a functional group's item, else the dataset
    voi: Attributes
    window: Window | None

    def shades(self, stored: Array) -> NDArray[np.uint8]:
        """Stored values, from the lowest to the highest of the frame, as shades."""
        out = self._voi(self._modality(stored))
        a = self.image.attributes
        inverse = self.image.photometric == "MONOCHROME1" or a.text(0x20500020) == "INVERSE"
        return 255 - out if inverse else out

    def _modality(self, values: Array) -> Array:
        for item in self.image.attributes.items(0x00283000)[:1]:
            lut = read_lut(item, 0x00283002, 0x00283006, signed=self.image.signed)
            return lut.apply(values).astype(np.float64)
        a = self.modality
        slope, intercept = (a.numbers(0x00281053) or [1.0])[0], (a.numbers(0x00281052) or [0.0])[0]
        return values * (slope or 1.0) + intercept

    def _voi(self, values: Array) -> NDArray[np.uint8]:
        a = self.voi
        if self.window is not None:
            return apply_window(values, *self.window)
        for item in a.items(0x00283010)[:1]:
            # The first input is signed where modality values can be (PS3.3 §C.11.2.1.1).
            signed = self.image.signed or bool(values.min(initial=0) < 0)
            lut = read_lut(item, 0x00283002, 0x00283006, signed=signed)
            out = lut.apply(np.floor(values + 0.5)) / lut.top * 255
            return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)
        centers, widths = a.numbers(0x00281050), a.numbers(0x00281051)
        function = a.text(0x00281056).upper() or "LINEAR"
        if centers and widths and (widths[0] >= 1 if function == "LINEAR" else widths[0] > 0):
            return apply_window(values, centers[0], widths[0], function)
        low, high = self._whole(values)
        return apply_window(values, (low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT")

    def _whole(self, values: Array) -> tuple[float, float]:
        """Without a window: the whole range of an 8-bit image, so that a film does not flicker, else that in use."""
        image = self.image
        if image.bits_stored <= 8 and image.attributes.text(0x00080060) not in _COUNTS:
            half = 1 << (image.bits_stored - 1)
            ends = np.array([-half, half - 1] if image.signed else [0, 2 * half - 1], np.float64)
            low, high = sorted(self._modality(ends).tolist())
            if high > low:
                return low, high
        return float(values.min()), float(values.max())


def _pipeline(image: Image, number: int, window: Window | None) -> _Pipeline:
    groups = _functional(image.attributes, number)
    return _Pipeline(
        image=image,
        modality=_find(image, groups, 0x00289145, 0x00281053),
        voi=_find(image, groups, 0x00289132, 0x00281050),
        window=window,
    )


def _functional(a: Attributes, number: int) -> list[Attributes]:
    """Per-frame then shared functional groups (PS3.3 §C.7.6.16)."""
    out: list[Attributes] = []
    if 0x52009230 in a:
        frames = a.items(0x52009230)
        if number <= len(frames):
            out.append(frames[number - 1])
    if 0x52009229 in a:
        out += a.items(0x52009229)[:1]
    return out


def _find(image: Image, groups: list[Attributes], sequence: int, tag: int) -> Attributes:
    """The item that carries `tag`: a functional group's, else the dataset itself."""
    for group in groups:
        for item in group.items(sequence):
            if tag in item:
                return item
    return image.attributes


def apply_window(values: Array, center: float, width: float, function: str) -> NDArray[np.uint8]:
    """PS3.3 §C.11.2.1.2 and §C.11.2.1.3, output 0…255."""
    kind = function.upper()
    if kind == "SIGMOID":
        out = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / max(width, 1e-9), -500, 500)))
    elif kind == "LINEAR_EXACT":
        out = ((values - center) / max(width, 1e-9) + 0.5) * 255.0
    else:
        width = max(width, 1.0)
        if width == 1.0:
            return np.where(values <= center - 0.5, 0, 255).astype(np.uint8)
        out = ((values - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0
    return np.asarray(np.clip(np.floor(out + 0.5), 0, 255), np.uint8)


def _hidden(image: Image, stored: Array, dtype: np.dtype[Any]) -> NDArray[np.bool_] | None:
    """Where values fill up the rectangle (PS3.3 §C.7.5.1.1.2, in floats §C.7.6.24) or are no number; None: nowhere."""
    a = image.attributes
    out = ~np.isfinite(stored) if dtype.kind == "f" else None
    if dtype.kind == "f":
        tags = (0x00280122, 0x00280124) if dtype.itemsize == 4 else (0x00280123, 0x00280125)
        code = f"f{dtype.itemsize}"
    else:
        tags, code = (0x00280120, 0x00280121), "i2" if image.signed else "u2"
    size = int(code[1])
    first, last = (a.raw(tag)[:size] for tag in tags)
    if len(first) == size:
        value = np.frombuffer(first, a.order + code)[0].item()
        limit = np.frombuffer(last, a.order + code)[0].item() if len(last) == size else value
        if value == limit:
            filled = stored == value
        else:
            filled = (stored >= min(value, limit)) & (stored <= max(value, limit))
        out = filled if out is None else out | filled
    return out if out is not None and out.any() else None
