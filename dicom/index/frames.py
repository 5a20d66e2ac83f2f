"""The frame table of encapsulated pixels as bytes: per frame a count, then (offset, length) pairs; zlib."""

from __future__ import annotations

import struct
import zlib

Ranges = tuple[tuple[tuple[int, int], ...], ...]


def pack_ranges(ranges: Ranges) -> bytes | None:
    """None for an empty table."""
    if not ranges:
        return None
    numbers: list[int] = [len(ranges)]
    for frame in ranges:
        numbers.append(len(frame))
        for offset, length in frame:
            numbers += (offset, length)
    return zlib.compress(struct.pack(f"<{len(numbers)}Q", *numbers), 1)


def unpack_ranges(data: bytes | None) -> Ranges:
    """The inverse of `pack_ranges`."""
    if not data:
        return ()
    raw = zlib.decompress(data)
    numbers = struct.unpack(f"<{len(raw) // 8}Q", raw)
    out: list[tuple[tuple[int, int], ...]] = []
    i = 1
    for _ in range(numbers[0]):
        count = numbers[i]
        out.append(tuple((numbers[i + 1 + 2 * k], numbers[i + 2 + 2 * k]) for k in range(count)))
        i += 1 + 2 * count
    return tuple(out)
