"""Frames as numpy arrays, whatever their transfer syntax. Runs in worker processes only (native codecs can crash)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicom.errors import CannotRenderError
from dicom.header import read_header
from dicom.model import PixelKind, PixelLayout
from dicom.pixels.attributes import PIXEL_GROUPS, Attributes
from dicom.pixels.claims import check_jpeg, check_jpeg_2000, check_packed
from dicom.syntaxes import JPEG_2000_FAMILY, JPEG_FAMILY, JPEG_LS_FAMILY, NATIVE, RLE

if TYPE_CHECKING:
    from dicom.workers.ops import Dataset

Array = NDArray[Any]
_STRIP = 1 << 18  # samples that are computed with at a time
_FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}


def warm() -> None:
    """Load the codecs that are asked for most."""
    small = np.zeros((8, 8), np.uint8)
    imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(small))
    imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(small))
    imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(small))


@dataclass(slots=True, kw_only=True)
class Image:
    """The pixels of one instance. `frame` gives (rows, columns[, 3]) arrays; colours come as RGB by pixel."""

    dataset: Dataset
    attributes: Attributes
    layout: PixelLayout
    ranges: list[list[int]] | None  # fragments of the wanted frame, where the index knew them
    syntax: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: int
    result_photometric: str = ""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of one stored sample, in the byte order of the dataset."""
        if self.layout.keyword in _FLOATS:
            return np.dtype(_FLOATS[self.layout.keyword]).newbyteorder(self.attributes.order)
        width = max(self.bits_allocated // 8, 1)
        if width not in {1, 2, 4, 8}:
            raise CannotRenderError(code="odd_bits_allocated")
        return np.dtype(f"{'i' if self.signed else 'u'}{width}").newbyteorder(self.attributes.order)

    def raw(self, number: int) -> bytes:
        """The stored bytes of a frame (1-based): its slice, or its code stream."""
        layout = self.layout
        if number < 1 or number > layout.frames:
            raise CannotRenderError(code="no_such_frame")
        window = self.dataset.window
        if layout.kind in {PixelKind.NATIVE, PixelKind.BITS}:
            bits = self.rows * self.columns * self.samples * self.bits_allocated
            if layout.kind is PixelKind.BITS:
                first, last = (number - 1) * bits // 8, (number * bits + 7) // 8
            else:
                first, last = (number - 1) * layout.frame_length, number * layout.frame_length
            if last > layout.length:
                raise CannotRenderError(code="pixel_data_short")
            if not self._words():
                return window.bytes(layout.offset + first, last - first)
            begin, end = first & ~1, min(last + 1 & ~1, layout.length & ~1)
            pairs = (
                np.frombuffer(window.bytes(layout.offset + begin, end - begin), ">u2").astype("<u2").tobytes()
            )
            return pairs[first - begin : last - begin]
        if layout.kind is PixelKind.UNCERTAIN:
            raise CannotRenderError(code="frames_unclear")
        parts = self.ranges if self.ranges is not None else [list(r) for r in layout.ranges[number - 1]]
        return b"".join(window.bytes(offset, length) for offset, length in parts)

    def native_bytes(self, number: int) -> bytes:
        """A native frame as little-endian bytes, its layout untouched."""
        data = self.raw(number)
        if self.layout.kind is PixelKind.BITS:
            return np.packbits(self._bits(data, number), bitorder="little").tobytes()
        width = self.bits_allocated // 8
        if self.attributes.order == "<" or width <= 1 or len(data) % width:
            return data
        return np.frombuffer(data, f">u{width}").astype(f"<u{width}").tobytes()

    def _words(self) -> bool:
        """Whether 8-bit samples were written as OW in a big endian dataset: they lie in swapped pairs."""
        order = self.attributes.order
        return order == ">" and self.bits_allocated <= 8 and self.attributes.vr(0x7FE00010) == "OW"

    def frame(self, number: int) -> Array:
        """One frame, decoded. Raises CannotRenderError."""
        if not self.rows or not self.columns or self.samples not in {1, 3, 4}:
            raise CannotRenderError(code="no_dimensions")
        size = self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)
        if size > self.dataset.limits.decoded_bytes:
            raise CannotRenderError(code="too_large_to_decode")
        data = self.raw(number)
        self.result_photometric = self.photometric
        if self.syntax in NATIVE or self.syntax == "1.2.840.10008.1.2.1.98":
            return self._native(data, number)
        return self._decoded(data)

    def _bits(self, data: bytes, number: int) -> Array:
        count = self.rows * self.columns * self.samples
        skip = (number - 1) * count % 8 if self.layout.kind is PixelKind.BITS else 0
        return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[skip : skip + count]

    def _native(self, data: bytes, number: int) -> Array:
        shape = (self.rows, self.columns)
        if self.bits_allocated == 1:
            return self._bits(data, number).reshape(shape)
        if self.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"} and self.samples == 3 and self.bits_allocated == 8:
            quads = np.frombuffer(data, np.uint8)[: self.rows * self.columns * 2].reshape(-1, 4)
            ybr = np.empty((quads.shape[0], 2, 3), np.uint8)
            ybr[:, 0, 0], ybr[:, 1, 0] = quads[:, 0], quads[:, 1]
            ybr[:, :, 1] = quads[:, 2:3]
            ybr[:, :, 2] = quads[:, 3:4]
            self.result_photometric = "RGB"
            return to_rgb(ybr.reshape(*shape, 3), partial=self.photometric == "YBR_PARTIAL_422")
        count = self.rows * self.columns * self.samples
        array = np.frombuffer(data, self.dtype, count)
        if self.samples == 1:
            return array.reshape(shape)
        return self._colour(array, self.planar)

    def _colour(self, array: Array, planar: int) -> Array:
        if planar:
            array = array.reshape(self.samples, self.rows, self.columns).transpose(1, 2, 0)
        else:
            array = array.reshape(self.rows, self.columns, self.samples)
        if self.photometric in {"YBR_FULL", "YBR_FULL_422"}:
            self.result_photometric = "RGB"
            return to_rgb(np.ascontiguousarray(array[..., :3]), bits=self.bits_stored)
        return np.ascontiguousarray(array)

    def _decoded(self, data: bytes) -> Array:
        if self.syntax == RLE:
            return self._rle(data)
        if self.syntax in JPEG_FAMILY:
            array = self._jpeg(data)
        elif self.syntax in JPEG_LS_FAMILY:
            check_jpeg(data, self)
            array = _decode(imagecodecs.jpegls_decode, data)
        elif self.syntax in JPEG_2000_FAMILY:
            check_jpeg_2000(data, self)
            array = _decode(imagecodecs.jpeg2k_decode, data)
            self.result_photometric = (
                "RGB" if self.photometric in {"YBR_RCT", "YBR_ICT"} else self.photometric
            )
        else:
            raise CannotRenderError(code="transfer_syntax_not_decoded")
        if array.shape[:2] != (self.rows, self.columns):
            raise CannotRenderError(code="size_differs")
        if self.samples == 3 and self.result_photometric in {"YBR_FULL", "YBR_FULL_422"}:
            self.result_photometric = "RGB"
            array = to_rgb(array, bits=self.bits_stored)
        return self._as_declared(array)

    def _as_declared(self, array: Array) -> Array:
        """In the sample type the dataset declares (JPEG-LS and JPEG know no sign, JPEG 2000 may disagree)."""
        if array.dtype.kind == "f" or array.ndim == 3:
            return array
        width = max(self.bits_allocated // 8, 1)
        if self.signed and array.dtype.kind == "u":
            bits = self.bits_stored
            if array.dtype.itemsize == width and bits < 8 * width and int(array.max()) >> bits:
                return array.view(f"i{width}")  # coded over the whole width: the sign is there already
            if array.dtype.itemsize == width and bits:
                spare = 8 * width - bits  # shifted up and down again in its own width: the upper bits become the sign
                signed: Array = (array << array.dtype.type(spare)).view(f"i{width}")
                signed >>= np.dtype(f"i{width}").type(spare)
                return signed
            wide = array.astype(np.int64)
            wide = np.where(wide & (1 << (bits - 1)), wide - (1 << bits), wide) if bits < 64 else wide
            return wide.astype(f"i{width}")
        if not self.signed and array.dtype.kind == "i":
            if array.dtype.itemsize == width:
                plain: Array = array.view(f"u{width}") & np.dtype(f"u{width}").type((1 << self.bits_stored) - 1)
                return plain
            return (array.astype(np.int64) & ((1 << self.bits_stored) - 1)).astype(f"u{width}")
        return array.astype(f"{array.dtype.kind}{width}", copy=False)

    def _jpeg(self, data: bytes) -> Array:
        check_jpeg(data, self)
        if self.samples == 1:
            return _decode(imagecodecs.jpeg8_decode, data)
        stored = jpeg_colours(data, self.photometric)
        lossless = self.syntax not in {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
        if lossless:
            return _decode(imagecodecs.jpeg8_decode, data)
        array = _decode(lambda d: imagecodecs.jpeg8_decode(d, colorspace=stored, outcolorspace="RGB"), data)
        self.result_photometric = "RGB"
        return array

    def _rle(self, data: bytes) -> Array:
        """PS3.5 Annex G: byte planes, the most significant first, sample by sample."""
        width = max(self.bits_allocated // 8, 1)
        pixels = self.rows * self.columns
        if len(data) < 64:
            raise CannotRenderError(code="code_stream_damaged")
        count, *offsets = struct.unpack("<16I", data[:64])
        if count != width * self.samples or count > 15:
            raise CannotRenderError(code="code_stream_damaged")
        check_packed(data, self)
        planes = np.zeros((pixels, self.samples, width), np.uint8)
        for i in range(count):
            end = offsets[i + 1] if i + 1 < count else len(data)
            if not 64 <= offsets[i] <= end <= len(data):
                raise CannotRenderError(code="code_stream_damaged")
            plane = np.frombuffer(unpack_bits(data[offsets[i] : end], pixels), np.uint8)[:pixels]
            sample, byte = divmod(i, width)
            planes[: len(plane), sample, width - 1 - byte] = plane  # zeros where it is short: senders drop the tail
        array = planes.reshape(-1).view(f"<{'i' if self.signed else 'u'}{width}")
        if self.samples == 1:
            return array.reshape(self.rows, self.columns)
        return self._colour(array, 0)


def read_image(dataset: Dataset, ranges: list[list[int]] | None, known: dict[str, Any] | None = None) -> Image:
    """The image of a dataset. `known`: the fields of its layout, where the index knew them. Raises CannotRenderError
    `no_pixels`.
    """
    walker = dataset.walker
    a = Attributes(walker, walker.select(frozenset(), PIXEL_GROUPS))
    if known is not None and not dataset.inflated:
        layout = PixelLayout(**{**known, "kind": PixelKind(known["kind"])})
    else:
        layout = read_header(dataset.window, dataset.syntax, dataset.budget).pixels
    if layout.kind is PixelKind.NONE:
        raise CannotRenderError(code="no_pixels")
    bits = a.short(0x00280100, 8)
    return Image(
        dataset=dataset,
        attributes=a,
        layout=layout,
        ranges=None if dataset.inflated else ranges,
        syntax=dataset.syntax,
        rows=a.short(0x00280010),
        columns=a.short(0x00280011),
        samples=a.short(0x00280002, 1),
        bits_allocated=bits,
        bits_stored=min(a.short(0x00280101, bits) or bits, bits),
        signed=bool(a.short(0x00280103)),
        photometric=a.text(0x00280004),
        planar=a.short(0x00280006),
    )


def _decode(function: Any, data: bytes) -> Array:
    try:
        return np.asarray(function(data))
    except MemoryError:
        raise
    except Exception as error:
        raise CannotRenderError(code="code_stream_damaged") from error


def unpack_bits(data: bytes, expected: int) -> bytes:
    """One RLE segment; it may be shorter than expected or a little longer."""
    try:
        return bytes(imagecodecs.packbits_decode(data, out=expected + 1024))
    except Exception:
        return _unpack_bits_slowly(data, expected)


def _unpack_bits_slowly(data: bytes, expected: int) -> bytes:
    out = bytearray()
    i = 0
    while i < len(data) and len(out) < expected:
        n = data[i]
        i += 1
        if n < 128:
            out += data[i : i + n + 1]
            i += n + 1
        elif n > 128 and i < len(data):
            out += data[i : i + 1] * (257 - n)
            i += 1
    return bytes(out)


def to_rgb(ybr: Array, *, bits: int = 8, partial: bool = False) -> Array:
    """YBR_FULL, or 8-bit YBR_PARTIAL_422, to RGB in the same sample type (PS3.3 §C.7.6.3.1.2)."""
    top, middle = float((1 << bits) - 1), float(1 << (bits - 1))
    red, green_cb, green_cr, blue = (1.5960, 0.3917, 0.8130, 2.0173) if partial else (1.402, 0.344136, 0.714136, 1.772)
    out = np.empty(ybr.shape, ybr.dtype.newbyteorder("="))
    step = max(1, _STRIP // max(ybr[:1].size, 1))
    for first in range(0, len(ybr), step):  # in strips: the floats between are many times as large as the picture
        strip, rgb = ybr[first : first + step], out[first : first + step]
        y, cb, cr = (strip[..., i].astype(np.float32) for i in range(3))
        cb, cr = cb - middle, cr - middle
        if partial:
            y = 1.1644 * (y - 16)
        for i, channel in enumerate((y + red * cr, y - green_cb * cb - green_cr * cr, y + blue * cb)):
            rgb[..., i] = np.clip(channel + 0.5, 0, top).astype(out.dtype)
    return out


def jpeg_colours(data: bytes, photometric: str) -> str:
    """In which colours a three-component JPEG was coded: by its markers, its component names, then the dataset."""
    i = 2
    while i + 4 <= len(data) and data[i] == 0xFF:
        marker, length = data[i + 1], int.from_bytes(data[i + 2 : i + 4], "big")
        body = data[i + 4 : i + 2 + length]
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            return "RGB" if body[11] == 0 else "YCBCR"
        if marker == 0xE0 and body.startswith(b"JFIF"):
            return "YCBCR"
        if marker in {0xDA, 0xD9}:
            break
        if 0xC0 <= marker <= 0xC3 and len(body) >= 15 and bytes(body[6::3][:3]) == b"RGB":
            return "RGB"
        i += 2 + length
    return "RGB" if photometric == "RGB" else "YCBCR"
