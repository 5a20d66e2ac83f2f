"""Bodies in pieces, and parts of them: Range and If-Range (RFC 9110 §13.1.5, §14.2)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from dicom.retrieve import ByteRange

UNSATISFIABLE = (0, 0)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Bytes that somebody (a worker) makes when their turn comes; `length` where it is known before."""

    make: Callable[[], Awaitable[bytes]]
    length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Pieces that are found when their turn comes: an instance of a series that is still to be converted."""

    find: Callable[[], Awaitable[list[Piece]]]
    length: None = None


Piece: TypeAlias = "bytes | ByteRange | Made | Later"


def asked_range(request: web.Request, etag: str, total: int) -> tuple[int, int] | None:
    """(start, stop) of the one range asked for; UNSATISFIABLE; None to send the whole.

    Several ranges, other units and what cannot be read are ignored, as the standard allows; so is a range whose
    If-Range names another representation.
    """
    text = request.headers.get("Range", "").strip()
    found = _RANGE.match(text)
    if request.method != "GET" or found is None or found.group(1) == found.group(2) == "":
        return None
    if request.headers.get("If-Range", etag).strip() != etag:
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), total)
        return (total - length, total) if length else UNSATISFIABLE
    start, stop = int(first), min(int(last or total - 1) + 1, total)
    if last and int(last) < int(first):
        return None
    return (start, stop) if start < total else UNSATISFIABLE


def cut(pieces: list[Piece], start: int, stop: int) -> list[Piece]:
    """What lies between two offsets. Every piece has a known length."""
    out: list[Piece] = []
    position = 0
    for piece in pieces:
        length = len(piece) if isinstance(piece, bytes) else (piece.length or 0)
        low, high = max(start - position, 0), min(stop - position, length)
        position += length
        if low >= high:
            continue
        if isinstance(piece, bytes):
            out.append(piece[low:high])
        elif isinstance(piece, ByteRange):
            out.append(ByteRange(pack=piece.pack, offset=piece.offset + low, length=high - low))
        elif isinstance(piece, Made):
            out.append(_part(piece, low, high))
    return out


def _part(piece: Made, low: int, high: int) -> Made:
    async def make() -> bytes:
        return (await piece.make())[low:high]

    return Made(make=make, length=high - low)
