"""What a compressed image says of itself in its first bytes: transfer syntax and Image Pixel Description.

A label can lie or be too coarse (`image/jpeg` is four transfer syntaxes), the code stream cannot.
JPEG: ITU-T T.81 §B.2; JPEG-LS: ITU-T T.87 §C.2; JPEG 2000: ITU-T T.800 §A.5 and §A.6, HTJ2K: ITU-T T.814 §A.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom import syntaxes as x
from dicom.errors import RefusedError

HEAD_BYTES = 256 << 10
_START_2000 = b"\xff\x4f\xff\x51"
_FRAMES = {0xC0: x.JPEG_BASELINE, 0xC1: x.JPEG_EXTENDED, 0xC3: x.JPEG_LOSSLESS_ANY, 0xF7: x.JPEG_LS}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStream:
    """`start` is where the code stream begins in the part (behind the boxes of a JP2 file), `length` 0 to its end."""

    syntax: str
    rows: int
    columns: int
    samples: int
    bits: int
    photometric: str
    signed: bool = False
    start: int = 0
    length: int = 0


def read_codestream(head: bytes) -> CodeStream:
    """From the first bytes (up to HEAD_BYTES) of JPEG, JPEG-LS, JPEG 2000 or HTJ2K. RefusedError otherwise."""
    try:
        if head.startswith(b"\xff\xd8"):
            return _jpeg(head)
        found = head.find(_START_2000)
        if found >= 0:
            return _jpeg_2000(head, found)
    except (IndexError, struct.error) as error:
        raise RefusedError(code="bulkdata_not_supported") from error
    raise RefusedError(code="bulkdata_not_supported")


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        if marker == _SCAN:
            return
        at += 2 + max(length, 2)


def _jpeg(data: bytes) -> CodeStream:
    frame: tuple[int, bytes] | None = None
    adobe: int | None = None
    for marker, body in _segments(data):
        if marker == 0xEE and body.startswith(b"Adobe"):
            adobe = body[11]
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):
            frame = marker, body
        elif marker == _SCAN and frame is not None:
            return _jpeg_frame(*frame, scan=body, adobe=adobe)
    raise RefusedError(code="bulkdata_not_supported")


def _jpeg_frame(marker: int, body: bytes, *, scan: bytes, adobe: int | None) -> CodeStream:
    syntax = _FRAMES.get(marker)
    bits, rows, columns, samples = struct.unpack_from(">BHHB", body)
    if syntax is None or samples not in {1, 3} or not rows or not columns:
        raise RefusedError(code="bulkdata_not_supported")
    first = scan[1 + 2 * scan[0]]  # predictor of a lossless scan, NEAR of JPEG-LS
    if marker == 0xC3 and first == 1:
        syntax = x.JPEG_LOSSLESS
    elif marker == 0xF7 and first:
        syntax = x.JPEG_LS_NEAR
    photometric = "MONOCHROME2"
    if samples == 3:
        named = bytes(body[6::3][:3]) == b"RGB"
        lossy = marker in {0xC0, 0xC1}
        ybr = "YBR_FULL" if body[7] == 0x11 else "YBR_FULL_422"
        photometric = ybr if lossy and not named and adobe != 0 else "RGB"
    return CodeStream(
        syntax=syntax, rows=rows, columns=columns, samples=samples, bits=bits, photometric=photometric
    )


def _jpeg_2000(data: bytes, start: int) -> CodeStream:
    x1, y1, x0, y0 = struct.unpack_from(">4I", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    high_throughput = reversible = colour = False
    at = start + 4 + int.from_bytes(data[start + 4 : start + 6], "big")
    while data[at] == 0xFF and data[at + 1] not in {0x90, 0x93}:
        marker = data[at + 1]
        if marker == 0x50:
            high_throughput = True
        elif marker == 0x52:
            colour, reversible = data[at + 8] == 1, data[at + 13] == 1
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if samples not in {1, 3} or x1 <= x0 or y1 <= y0 or max(x1 - x0, y1 - y0) > 0xFFFF:
        raise RefusedError(code="bulkdata_not_supported")
    if high_throughput:
        syntax = x.HTJ2K[0] if reversible else x.HTJ2K[2]
    else:
        syntax = x.JPEG_2000_LOSSLESS if reversible else x.JPEG_2000
    photometric = "MONOCHROME2"
    if samples == 3:
        photometric = ("YBR_RCT" if reversible else "YBR_ICT") if colour else "RGB"
    boxed = start >= 8 and data[start - 4 : start] == b"jp2c"
    length = int.from_bytes(data[start - 8 : start - 4], "big") if boxed else 0
    return CodeStream(
        syntax=syntax, rows=y1 - y0, columns=x1 - x0, samples=samples, bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80), photometric=photometric, start=start, length=length - 8 if length > 8 else 0,
    )  # fmt: skip
