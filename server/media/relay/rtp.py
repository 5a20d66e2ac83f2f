"""RTP packets as bytes (RFC 3550 §5.1, RFC 8285): read where needed, rewritten in one go."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEAD = struct.Struct("!BBHII")


@dataclass(slots=True)
class Packet:
    """A received packet. `body` is what follows header and extensions, padding included where `padded`."""

    marker: int
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    body: bytes
    padded: bool
    extensions: bytes           # of the one-byte kind, without its head; empty where there are none


def parse(data: bytes) -> Packet:
    """ValueError when the header's lengths do not fit."""
    if len(data) < 12 or data[0] >> 6 != 2:
        raise ValueError("not RTP")
    first, second, sequence, timestamp, ssrc = _HEAD.unpack_from(data)
    at = 12 + 4 * (first & 15)
    extensions = b""
    if first & 16:
        if len(data) < at + 4:
            raise ValueError("extension")
        profile, words = struct.unpack_from("!HH", data, at)
        at += 4
        if profile == 0xBEDE:
            extensions = data[at : at + 4 * words]
        at += 4 * words
    if at > len(data):
        raise ValueError("header")
    return Packet(
        marker=second & 128, payload_type=second & 127, sequence=sequence, timestamp=timestamp, ssrc=ssrc,
        body=data[at:], padded=bool(first & 32), extensions=extensions,
    )


def build(packet: Packet, *, payload_type: int, sequence: int, timestamp: int, ssrc: int, body: bytes) -> bytes:
    """The packet for a receiver: no extensions, no contributing sources; marker and padding stay."""
    first = 0xA0 if packet.padded else 0x80
    return _HEAD.pack(first, packet.marker | payload_type, sequence, timestamp, ssrc) + body


def padding(*, payload_type: int, sequence: int, timestamp: int, ssrc: int, size: int) -> bytes:
    """A packet of nothing but padding, 1 to 255 bytes of it (RFC 3550 §5.1)."""
    return _HEAD.pack(0xA0, payload_type, sequence, timestamp, ssrc) + bytes(size - 1) + bytes([size])


def extension(block: bytes, wanted: int) -> bytes:
    """The value of a one-byte header extension (RFC 8285 §4.2); empty where it is missing."""
    at = 0
    while at < len(block):
        head = block[at]
        if head == 0:
            at += 1
            continue
        if head >> 4 == 15:
            break
        size = (head & 15) + 1
        if head >> 4 == wanted:
            return block[at + 1 : at + 1 + size]
        at += 1 + size
    return b""


def restored(packet: Packet, *, payload_type: int, ssrc: int) -> Packet | None:
    """The original of a retransmission (RFC 4588 §4); None for mere padding, which repairs nothing."""
    size = len(packet.body)
    if packet.padded and size:
        size -= packet.body[-1]
    if size <= 2:
        return None
    return Packet(
        marker=packet.marker, payload_type=payload_type, sequence=int.from_bytes(packet.body[:2]),
        timestamp=packet.timestamp, ssrc=ssrc, body=packet.body[2:], padded=packet.padded, extensions=b"",
    )


def newer(a: int, b: int) -> bool:
    """Whether sequence number `a` comes after `b` (RFC 1982, 16 bits)."""
    return 0 < (a - b) & 0xFFFF < 0x8000
