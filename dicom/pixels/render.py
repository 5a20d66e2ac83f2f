"""Pictures of frames: modality LUT, VOI window, colours, size, JPEG or PNG (PS3.3 §C.11, PS3.18 §10.4.1.1.3)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from dicom.errors import CannotRenderError
from dicom.pixels.annotate import annotate
from dicom.pixels.decode import Attributes, Image

Array = NDArray[Any]
_TABLE_LIMIT = 1 << 17
_MAX_SIDE = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a picture is wanted. `window` is (centre, width, function); `viewport` (width, height[, sx, sy, sw, sh]).

    A negative `sw` or `sh` mirrors the region. `annotation` names what is written into the picture.
    """

    format: str = "jpeg"
    quality: int = 90
    window: tuple[float, float, str] | None = None
    viewport: tuple[float, ...] | None = None
    annotation: tuple[str, ...] = ()


def warm() -> None:
    """Load Pillow's encoders."""
    picture = Pictures.fromarray(np.zeros((8, 8), np.uint8))
    for name in ("JPEG", "PNG"):
        picture.save(io.BytesIO(), name)


def render(image: Image, number: int, wanted: Rendering) -> bytes:
    """The picture of frame `number` (1-based). Raises CannotRenderError."""
    array = image.frame(number)
    crop = _region(array, wanted.viewport)
    if crop is not None:  # cut out of the finished picture: a part looks as it does in the whole
        array = _mirrored(_colours(image, array, number, wanted), crop, wanted.viewport)
        target = _target(array.shape[1], array.shape[0], wanted.viewport)
    else:
        target = _target(array.shape[1], array.shape[0], wanted.viewport)
        if image.samples == 1 and target and array.ndim == 2:
            # Windowing every pixel of a radiograph for a thumbnail is wasted: thin out first, to twice the size wanted.
            step = min(array.shape[1] // (2 * target[0]), array.shape[0] // (2 * target[1]))
            if step > 1:
                array = array[::step, ::step]
        array = _colours(image, array, number, wanted)
    picture = Pictures.fromarray(np.ascontiguousarray(array))
    if target and picture.size != target:
        picture = picture.resize(target, Pictures.Resampling.BILINEAR)
    if wanted.annotation:
        picture = annotate(picture, image.dataset, wanted.annotation)
    out = io.BytesIO()
    if wanted.format == "png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, "JPEG", quality=max(1, min(100, wanted.quality)))
    return out.getvalue()


def _mirrored(array: Array, crop: tuple[int, int, int, int], viewport: tuple[float, ...] | None) -> Array:
    out = array[crop[1] : crop[3], crop[0] : crop[2]]
    if viewport is None or len(viewport) < 6:
        return out
    return out[:: -1 if viewport[5] < 0 else 1, :: -1 if viewport[4] < 0 else 1]


def _colours(image: Image, array: Array, number: int, wanted: Rendering) -> Array:
    if array.ndim == 3:
        if array.dtype != np.uint8:
            array = (np.clip(array.astype(np.int64) >> max(image.bits_stored - 8, 0), 0, 255)).astype(
                np.uint8
            )
        return np.ascontiguousarray(array[..., :3])
    if image.photometric == "PALETTE COLOR":
        return _palette(image, array)
    if image.photometric not in {"MONOCHROME1", "MONOCHROME2", ""} and image.samples != 1:
        raise CannotRenderError(code="photometric_not_supported")
    return grayscale(image, array, number, wanted.window)


def grayscale(image: Image, array: Array, number: int, window: tuple[float, float, str] | None) -> Array:
    """Stored values → modality values → VOI → 0…255, dark to bright as the photometric interpretation says."""
    functional = _functional(image.attributes, number)
    inverse = image.photometric == "MONOCHROME1"
    shape = image.attributes.text(0x20500020)
    if shape:
        inverse = shape == "INVERSE"
    if array.dtype.kind == "f" or array.dtype.itemsize > 2:
        out = _voi(image, _modality(image, array.astype(np.float64), functional), functional, window)
        return 255 - out if inverse else out
    stored = _meaningful(image, array)
    low, high = int(stored.min()), int(stored.max())
    if high - low >= _TABLE_LIMIT:
        raise CannotRenderError(code="range_too_wide")
    # At most 65,536 different values: compute each once, then look up.
    values = np.arange(low, high + 1, dtype=np.float64)
    padding = _padding(image)
    table = _voi(
        image, _modality(image, values, functional), functional, window, stored=values, padding=padding
    )
    if inverse:
        table = 255 - table
    return table[(stored - low).astype(np.intp) if low else stored.astype(np.intp)]


def _meaningful(image: Image, array: Array) -> Array:
    """Without what old devices hid above the stored bits; sign extended."""
    allocated = array.dtype.itemsize * 8
    bits = image.bits_stored
    if bits >= allocated or image.bits_allocated == 1:
        return array.astype(np.int32) if array.dtype.kind == "i" else array
    masked = array.astype(np.int32) & ((1 << bits) - 1)
    if image.signed:
        masked = np.where(masked & (1 << (bits - 1)), masked - (1 << bits), masked)
    return masked


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


def _modality(image: Image, values: Array, groups: list[Attributes]) -> Array:
    a = _find(image, groups, 0x00289145, 0x00281053)
    for item in image.attributes.items(0x00283000):
        table, first = _lut(item, 0x00283002, 0x00283006, signed=image.signed)
        index = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
        return table[index].astype(np.float64)
    slope, intercept = (a.numbers(0x00281053) or [1.0])[0], (a.numbers(0x00281052) or [0.0])[0]
    return values * (slope or 1.0) + intercept


def _voi(
    image: Image,
    values: Array,
    groups: list[Attributes],
    window: tuple[float, float, str] | None,
    *,
    stored: Array | None = None,
    padding: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    a = _find(image, groups, 0x00289132, 0x00281050)
    if window is None:
        for item in a.items(0x00283010)[:1]:
            table, first = _lut(item, 0x00283002, 0x00283006, signed=bool(values.min() < 0))
            index = np.clip(np.floor(values).astype(np.int64) - first, 0, len(table) - 1)
            top = float(table.max()) or 1.0
            return np.asarray(np.clip(table[index] / top * 255 + 0.5, 0, 255), np.uint8)
        centers, widths = a.numbers(0x00281050), a.numbers(0x00281051)
        if centers and widths and widths[0] >= 1:
            window = centers[0], widths[0], a.text(0x00281056) or "LINEAR"
    if window is None:
        seen = values
        if stored is not None and padding is not None:
            seen = values[(stored < padding[0]) | (stored > padding[1])]
        if not len(seen):
            seen = values
        low, high = float(seen.min()), float(seen.max())
        window = (low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT"
    return apply_window(values, *window)


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


def _padding(image: Image) -> tuple[float, float] | None:
    a = image.attributes
    code = "h" if image.signed else "H"
    first = a.raw(0x00280120)
    if len(first) < 2:
        return None
    value = float(np.frombuffer(first[:2], a.order + code)[0])
    last = a.raw(0x00280121)
    limit = float(np.frombuffer(last[:2], a.order + code)[0]) if len(last) >= 2 else value
    return min(value, limit), max(value, limit)


def _lut(item: Attributes, descriptor: int, data: int, *, signed: bool) -> tuple[Array, int]:
    """A lookup table and the value of its first entry (PS3.3 §C.11.1.1)."""
    raw, values = item.raw(descriptor), item.raw(data)
    if len(raw) < 6 or not values:
        raise CannotRenderError(code="lut_damaged")
    count, first, bits = np.frombuffer(raw[:6], item.order + "u2").tolist()
    if signed and first >= 1 << 15:
        first -= 1 << 16
    count = count or 1 << 16
    if bits <= 8 and len(values) < 2 * count:
        table = np.frombuffer(values, np.uint8)[:count].astype(np.uint16)
    else:
        table = np.frombuffer(values[: len(values) // 2 * 2], item.order + "u2")[:count]
    if not len(table):
        raise CannotRenderError(code="lut_damaged")
    return table, first


def _palette(image: Image, array: Array) -> Array:
    a = image.attributes
    if 0x00281201 not in a:
        raise CannotRenderError(code="segmented_palette" if 0x00281221 in a else "no_palette")
    out = np.empty((*array.shape, 3), np.uint8)
    for i, (descriptor, data) in enumerate(
        ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))
    ):
        table, first = _lut(a, descriptor, data, signed=image.signed)
        bits = int(np.frombuffer(a.raw(descriptor)[:6], a.order + "u2")[2])
        if bits > 8 and int(table.max()) > 255:
            table = table >> 8
        out[..., i] = table.astype(np.uint8)[np.clip(array.astype(np.int32) - first, 0, len(table) - 1)]
    return out


def _region(array: Array, viewport: tuple[float, ...] | None) -> tuple[int, int, int, int] | None:
    if viewport is None or len(viewport) < 6:
        return None
    sx, sy, sw, sh = viewport[2:6]
    left, top = max(int(sx), 0), max(int(sy), 0)
    right = min(int(sx + abs(sw)) if sw else array.shape[1], array.shape[1])
    bottom = min(int(sy + abs(sh)) if sh else array.shape[0], array.shape[0])
    if right <= left or bottom <= top:
        raise CannotRenderError(code="empty_viewport")
    return left, top, right, bottom


def _target(width: int, height: int, viewport: tuple[float, ...] | None) -> tuple[int, int] | None:
    """The size that fits into the viewport with the aspect ratio kept."""
    if viewport is None:
        return None
    scale = min(viewport[0] / width, viewport[1] / height)
    return max(1, min(_MAX_SIDE, round(width * scale))), max(1, min(_MAX_SIDE, round(height * scale)))
