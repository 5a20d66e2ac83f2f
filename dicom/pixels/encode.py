"""Frames into another transfer syntax. Runs in worker processes only (native codecs can crash)."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicom.errors import UnsupportedError
from dicom.pixels.decode import Image
from dicom.syntaxes import HTJ2K, JPEG_2000_LOSSLESS, JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS

Array = NDArray[Any]
_QUALITY = 90


def encode(image: Image, number: int, syntax: str) -> tuple[bytes, str]:
    """Frame `number` (1-based) as one code stream of `syntax`, and the photometric interpretation it then has.

    Every syntax but JPEG baseline keeps each sample. Raises UnsupportedError (`bits_not_supported`,
    `photometric_not_supported`) and what decoding raises.
    """
    array = image.frame(number)
    photometric = image.result_photometric
    if array.dtype.kind == "f" or array.dtype.itemsize > 2 or image.bits_allocated < 8:
        raise UnsupportedError(code="bits_not_supported")
    colour = array.ndim == 3
    if colour and (array.shape[2] != 3 or photometric != "RGB"):
        raise UnsupportedError(code="photometric_not_supported")
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    if syntax == JPEG_BASELINE:
        return _baseline(array, photometric), "YBR_FULL_422" if colour else photometric
    if syntax in {JPEG_LOSSLESS, JPEG_LS}:
        # Neither knows a sign: the two's complement is kept over the whole allocated width.
        plain = array.view(f"u{array.dtype.itemsize}")
        if syntax == JPEG_LS:
            return bytes(imagecodecs.jpegls_encode(plain)), photometric
        bits = 8 * array.dtype.itemsize
        return bytes(imagecodecs.jpeg8_encode(plain, lossless=True, predictor=1, bitspersample=bits)), photometric
    if syntax == JPEG_2000_LOSSLESS:
        data = imagecodecs.jpeg2k_encode(
            array, level=0, codecformat="j2k", reversible=True, bitspersample=_precision(image, array)
        )
    elif syntax == HTJ2K[0]:
        data = imagecodecs.htj2k_encode(array, reversible=True)
    else:
        raise UnsupportedError(code="transfer_syntax_not_encoded")
    return bytes(data), "YBR_RCT" if colour else photometric


def _baseline(array: Array, photometric: str) -> bytes:
    if array.dtype != np.uint8:
        raise UnsupportedError(code="bits_not_supported")
    if array.ndim == 3:
        data = imagecodecs.jpeg8_encode(
            array, level=_QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
        )
    elif photometric in {"MONOCHROME1", "MONOCHROME2"}:
        data = imagecodecs.jpeg8_encode(array, level=_QUALITY)
    else:
        raise UnsupportedError(code="photometric_not_supported")
    return bytes(data)


def _precision(image: Image, array: Array) -> int | None:
    """Bits Stored where every value fits into it; else the whole width (old devices hide overlays above)."""
    if array.dtype.kind == "i" or array.ndim == 3 or image.bits_stored >= array.dtype.itemsize * 8:
        return None
    return image.bits_stored if int(array.max()) < 1 << image.bits_stored else None
