"""What decoding a frame will take, by what the dataset and its code stream say, before anything is allocated for it.

A header of a few bytes can claim 60,000 × 60,000 pixels, and the decoders believe it. JPEG: ITU-T T.81 §B.2; JPEG-LS:
ITU-T T.87 §C.2; JPEG 2000: ITU-T T.800 §A.5 and §A.6. What OpenJPEG 2.5 keeps beside the samples was measured.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom.errors import CannotRenderError

if TYPE_CHECKING:
    from dicom.pixels.decode import Image

_FREELY = 32 << 20  # so much is given to whoever claims it, without a question
_PLAUSIBLY = 256 << 20
# Samples in one byte of a code stream, at the very most and twice that: two bits for 64 samples in four-fold subsampled
# colours; one bit a sample without loss; two bytes for 128 in PackBits (PS3.5 §G.3.1).
_DCT, _LOSSLESS, _PACKED = 2048, 16, 128
_TILE_HEAD = 14  # bytes of SOT and SOD
# A constant picture is next to nothing in JPEG 2000 and JPEG-LS, so any claim is possible; but no picture is like that.
_CONSTANT = 8192
_TILE, _TILE_COMPONENT, _BLOCK = 6 << 10, 1200, 200  # bytes of OpenJPEG for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a JPEG, JPEG-LS or JPEG 2000 code stream says of its picture; `bits` of a sample.

    `taken`: bytes that decoding takes, the decoded samples and what the codec itself keeps. `least`: bytes that such a
    code stream has, whatever the picture.
    """

    rows: int
    columns: int
    samples: int
    taken: int
    least: int


def check_jpeg(data: bytes, image: Image) -> None:
    """Raises CannotRenderError `size_differs` where JPEG or JPEG-LS is of another size than the dataset says,
    `too_large_to_decode` where decoding would take more than Limits.decoding_bytes, `code_stream_damaged` where so few
    bytes cannot be so large a picture or say no size.
    """
    _check(_jpeg(data), len(data), image)


def check_jpeg_2000(data: bytes, image: Image) -> None:
    """The same for JPEG 2000 and HTJ2K."""
    _check(_jpeg_2000(data), len(data), image)


def check_packed(data: bytes, image: Image) -> None:
    """The same for RLE, which says nothing of its size: the dataset's must be possible."""
    width = max(image.bits_allocated // 8, 1)
    size = image.rows * image.columns * image.samples * width
    taken, least = size + size // width, size // _PACKED
    _check(Claim(rows=image.rows, columns=image.columns, samples=size, taken=taken, least=least), len(data), image)


def _check(claim: Claim, length: int, image: Image) -> None:
    if (claim.rows, claim.columns) != (image.rows, image.columns):
        raise CannotRenderError(code="size_differs")
    if claim.taken > image.dataset.limits.decoding_bytes:
        raise CannotRenderError(code="too_large_to_decode")
    if claim.taken > _FREELY and claim.least > length:
        raise CannotRenderError(code="code_stream_damaged")
    if claim.taken > _PLAUSIBLY and claim.samples > _CONSTANT * length:
        raise CannotRenderError(code="too_large_to_decode")


def _jpeg(data: bytes) -> Claim:
    frame: tuple[int, int, int, int, int] | None = None
    i = 2
    while i + 9 <= len(data) and data[i] == 0xFF:
        marker, length = data[i + 1], int.from_bytes(data[i + 2 : i + 4], "big")
        if marker == 0xFF:
            i += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}) or marker == 0xF7:
            bits, rows, columns, components = struct.unpack_from(">BHHB", data[i + 4 : i + 10].ljust(6, b"\x00"))
            frame = frame or (marker, bits, rows, columns, components)
        elif marker == 0xDA and frame is not None:
            return _jpeg_claim(*frame, scanned=data[i + 4])
        i += 2 + length
    if frame is None:
        raise CannotRenderError(code="code_stream_damaged")
    return _jpeg_claim(*frame, scanned=0)


def _jpeg_claim(marker: int, bits: int, rows: int, columns: int, components: int, *, scanned: int) -> Claim:
    samples = rows * columns * components
    taken = samples * (1 if bits <= 8 else 2)
    least = 0
    if marker != 0xF7:
        least = samples // (_LOSSLESS if marker in {0xC3, 0xC7, 0xCB, 0xCF} else _DCT)
        if marker in {0xC2, 0xC6, 0xCA, 0xCE} or scanned < components:
            taken += 2 * samples  # several scans: libjpeg keeps the coefficients of the whole picture
    return Claim(rows=rows, columns=columns, samples=samples, taken=taken, least=least)


def _jpeg_2000(data: bytes) -> Claim:
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 43:
        raise CannotRenderError(code="code_stream_damaged")
    x1, y1, x0, y0, wide, high, left, top, components = struct.unpack_from(">8IH", data, start + 8)
    rows, columns, depth = y1 - y0, x1 - x0, (data[start + 42] & 0x7F) + 1
    samples = rows * columns * components
    tiles = -(-max(x1 - left, 0) // max(wide, 1)) * -(-max(y1 - top, 0) // max(high, 1))
    # 32 bits a sample inside; the array made of it at the end is 8, 16 or 32 bits wide.
    taken = samples * (4 + (1 if depth <= 8 else 2 if depth <= 16 else 4))
    taken += tiles * (_TILE + _TILE_COMPONENT * components) + samples // _block(data, start) * _BLOCK
    return Claim(rows=rows, columns=columns, samples=samples, taken=taken, least=tiles * _TILE_HEAD)


def _block(data: bytes, start: int) -> int:
    """For how many samples there is a code-block or a precinct by the main header: each has a record of its own."""
    fewest = 1 << 12
    at = start + 4 + int.from_bytes(data[start + 4 : start + 6], "big")
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in {0x90, 0x93}:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker == 0x52 and len(body) >= 10:
            fewest = min(fewest, 1 << (body[6] & 15) + (body[7] & 15) + 4)
            if body[0] & 1:  # precincts, from the lowest resolution up, each of which has four times the samples
                levels = body[5]
                sizes = [(size & 15) + (size >> 4) + 2 * (levels - i) for i, size in enumerate(body[10 : 11 + levels])]
                fewest = min([fewest, *(1 << size for size in sizes)])
        at += 2 + length
    return fewest
