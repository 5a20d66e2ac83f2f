"""Pictures of frames: shades or colours, graphics, size, words, JPEG or PNG (PS3.18 §10.4.1.1.3)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from dicom.errors import CannotRenderError
from dicom.pixels.annotate import annotate
from dicom.pixels.decode import Image
from dicom.pixels.grayscale import grayscale, meaningful
from dicom.pixels.luts import read_palette, supplemental, through_palette
from dicom.pixels.overlays import graphics

Array = NDArray[Any]
_MAX_SIDE = 8192
_MAX_JPEG = 65500  # what libjpeg writes
# Colour models without a defined way to RGB; nobody may write them since 1999 (PS3.3 §C.7.6.3.1.2).
_RETIRED = frozenset({"ARGB", "CMYK", "HSV"})


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
        step = 1
        if image.samples == 1 and target and array.ndim == 2:
            # Windowing every pixel of a radiograph for a thumbnail is wasted: thin out first, to twice the size wanted.
            step = max(1, min(array.shape[1] // (2 * target[0]), array.shape[0] // (2 * target[1])))
        array = _colours(image, array, number, wanted, step)
    picture = Pictures.fromarray(np.ascontiguousarray(array))
    if target and picture.size != target:
        picture = _sized(picture, target)
    if wanted.annotation:
        picture = annotate(picture, image.dataset, wanted.annotation)
    out = io.BytesIO()
    if wanted.format != "png" and max(picture.size) > _MAX_JPEG:
        raise CannotRenderError(code="too_large_to_decode")
    if wanted.format == "png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, "JPEG", quality=max(1, min(100, wanted.quality)))
    return out.getvalue()


def _sized(picture: Pictures.Image, target: tuple[int, int]) -> Pictures.Image:
    """In the size wanted. Where each pixel is the mean of a whole number of others, the mean: a tenth of the work."""
    down, over = divmod(picture.height, target[1])
    across, beside = divmod(picture.width, target[0])
    if not over and not beside and picture.mode in {"L", "RGB"}:
        return picture.reduce((across, down))
    return picture.resize(target, Pictures.Resampling.BILINEAR)


def _mirrored(array: Array, crop: tuple[int, int, int, int], viewport: tuple[float, ...] | None) -> Array:
    out = array[crop[1] : crop[3], crop[0] : crop[2]]
    if viewport is None or len(viewport) < 6:
        return out
    return out[:: -1 if viewport[5] < 0 else 1, :: -1 if viewport[4] < 0 else 1]


def _colours(image: Image, array: Array, number: int, wanted: Rendering, step: int = 1) -> Array:
    """The frame, thinned out by `step`, as shades or RGB of 8 bits with its graphics drawn."""
    drawn = graphics(image, array, number)
    if step > 1:
        array = np.ascontiguousarray(array[::step, ::step])
    if array.ndim == 3:
        out = _eight_bits(image, array)
    elif image.photometric == "PALETTE COLOR":
        out = through_palette(read_palette(image), meaningful(image, array))
    else:
        out = grayscale(image, array, number, wanted.window)
        palette = supplemental(image)
        if palette is not None:
            stored = meaningful(image, array)
            coloured = (stored >= palette[0].first)[..., np.newaxis]
            out = np.where(coloured, through_palette(palette, stored), out[..., np.newaxis])
    if drawn is not None:
        if out.base is not None or not out.flags.writeable:  # the frame itself
            out = out.copy()
        out[drawn[::step, ::step]] = 255
    return out


def _eight_bits(image: Image, array: Array) -> Array:
    """Colours by their upper eight bits; of fewer stored bits, stretched to eight."""
    if image.photometric in _RETIRED or array.shape[2] != 3:
        raise CannotRenderError(code="photometric_retired")
    bits = image.bits_stored
    if bits < 8:
        return (array.astype(np.uint16) * 255 // ((1 << bits) - 1)).clip(0, 255).astype(np.uint8)
    if array.dtype != np.uint8:
        return (array >> (bits - 8)).clip(0, 255).astype(np.uint8)
    return array


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
