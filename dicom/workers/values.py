"""Parts of a value for the server, which never holds the whole of one."""

from __future__ import annotations

import os
import zlib
from typing import Any

from dicom.errors import UnsupportedError
from dicom.syntaxes import DEFLATED

_STEP = 1 << 20


def value(args: dict[str, Any]) -> bytes:
    """`length` bytes from `offset` of the (inflated) dataset, every `width` of them turned around; what is left over at
    the end stays. Raises UnsupportedError `pixel_data_short`.
    """
    blob, offset, length, width = args["blob"], args["offset"], args["length"], args["width"]
    fd = os.open(blob["path"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        if blob["syntax"] == DEFLATED:
            data = _inflated(fd, blob["offset"], blob["length"], offset, length)
        else:
            data = os.pread(fd, min(length, max(blob["length"] - offset, 0)), blob["offset"] + offset)
    finally:
        os.close(fd)
    if len(data) < length:
        raise UnsupportedError(code="pixel_data_short")
    return _turned(data, width)


def _turned(data: bytes, width: int) -> bytes:
    if width == 1:
        return data
    usable = len(data) - len(data) % width
    out = bytearray(data)
    for i in range(width):
        out[i:usable:width] = data[width - 1 - i : usable : width]
    return bytes(out)


def _inflated(fd: int, base: int, packed: int, offset: int, length: int) -> bytes:
    """A part of what comes out; what comes before it is let go of."""
    inflater, at, read, left, out = zlib.decompressobj(-15), 0, 0, b"", bytearray()
    try:
        while len(out) < length and not inflater.eof:
            if not left:
                left = os.pread(fd, min(_STEP, packed - read), base + read)
                read += len(left)
                if not left:
                    break
            piece = inflater.decompress(left, _STEP)
            left = inflater.unconsumed_tail
            out += piece[max(offset - at, 0) :]
            at += len(piece)
    except zlib.error:
        return b""
    return bytes(out[:length])
