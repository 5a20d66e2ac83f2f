"""Speech with redundancy (RFC 2198): its inner payload types are the receiver's, or only the newest block remains."""

from __future__ import annotations


def retyped(body: bytes, payload_type: int) -> bytes:
    """The same blocks under the payload type that the receiver uses for Opus. ValueError for a broken header."""
    out = bytearray(body)
    at = 0
    while True:
        if at >= len(out):
            raise ValueError("redundancy header")
        follows = out[at] & 128
        out[at] = follows | payload_type
        if not follows:
            return bytes(out)
        at += 4


def primary(body: bytes) -> bytes:
    """The newest block alone, for a receiver that knows no redundancy. ValueError for a broken header."""
    at = older = 0
    while True:
        if at >= len(body):
            raise ValueError("redundancy header")
        if not body[at] & 128:
            break
        if at + 4 > len(body):
            raise ValueError("redundancy header")
        older += int.from_bytes(body[at + 2 : at + 4]) & 0x3FF
        at += 4
    if at + 1 + older > len(body):
        raise ValueError("redundancy blocks")
    return body[at + 1 + older :]
