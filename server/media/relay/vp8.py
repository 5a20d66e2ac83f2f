"""The payload descriptor of VP8 (RFC 7741 §4.2): where a whole picture begins, and its numbers for another receiver."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Described:
    """`picture`: its number, None where the sender gives none; `bits`: of that number. `place`: its first byte."""

    key: bool                   # the first packet of a whole picture
    picture: int | None
    bits: int
    place: int


def read(body: bytes) -> Described | None:
    """None where the body is too short to be VP8."""
    if len(body) < 2:
        return None
    at, picture, bits, place = 1, None, 0, 0
    if body[0] & 0x80:
        flags, at = body[1], 2
        if flags & 0x80:
            if len(body) < at + 2:
                return None
            place = at
            if body[at] & 0x80:
                picture, bits, at = (body[at] & 0x7F) << 8 | body[at + 1], 15, at + 2
            else:
                picture, bits, at = body[at], 7, at + 1
        at += bool(flags & 0x40) + bool(flags & 0x30)
    if len(body) <= at:
        return None
    return Described(key=body[0] & 0x17 == 0x10 and not body[at] & 1, picture=picture, bits=bits, place=place)


def renumbered(body: bytes, seen: Described, picture: int) -> bytes:
    """The same payload under another picture number."""
    out = bytearray(body)
    if seen.bits == 15:
        out[seen.place], out[seen.place + 1] = 0x80 | picture >> 8 & 0x7F, picture & 0xFF
    elif seen.bits == 7:
        out[seen.place] = picture & 0x7F
    return bytes(out)
