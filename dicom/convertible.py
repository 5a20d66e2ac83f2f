"""Which transfer syntaxes an instance can be had in, and what such a file consists of (PS3.18 §8.7.3.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom.model import InstanceRow, PixelKind
from dicom.syntaxes import DECODED, ENCODED, EXPLICIT_LE, JPEG_BASELINE, READABLE, VIDEO

if TYPE_CHECKING:
    from dicom.retrieve import ByteRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """Bytes that a worker makes when their turn comes; `length` where it is known before."""

    make: Callable[[], Awaitable[bytes]]
    length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A part-10 file in another transfer syntax: `head`, the pixels or the first frame of them (bytes, or where they
    lie), what of the pixels is still to come, `tail`.
    """

    head: bytes
    first: bytes | ByteRange
    more: tuple[Coming, ...]
    tail: bytes


def why_not(row: InstanceRow, target: str) -> str:
    """Why an instance cannot be given in a transfer syntax, as its row tells; '' if nothing speaks against it."""
    p, stored = row.pixels, row.transfer_syntax
    if target == stored:
        return ""
    if target != EXPLICIT_LE and target not in ENCODED:
        return "transfer_syntax_not_encoded"
    if p.kind is PixelKind.NONE:  # explicit VR whatever the label says: only implicit and big endian are told apart
        return ""
    if stored in VIDEO:
        return "video_not_decoded"
    if p.kind is PixelKind.UNCERTAIN:
        return "frames_unclear"
    if stored not in READABLE and stored not in DECODED:
        return "transfer_syntax_not_decoded"
    if target == EXPLICIT_LE:
        return ""
    bits = row.bits_allocated or 0
    if p.keyword != "PixelData" or bits not in {8, 16} or (target == JPEG_BASELINE and bits != 8):
        return "bits_not_supported"
    if p.kind is PixelKind.NATIVE and p.frames * p.frame_length > p.length:
        return "pixel_data_short"
    return ""
