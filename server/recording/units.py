"""Packets of a log in their order again, and what they carry: Opus (RFC 7587, RFC 2198) and VP8 (RFC 7741) as units."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from server.media.relay import rtp

WAIT = 1_500_000                # µs that a missing packet is waited for; the relay has asked for it eight times by then
FAR = 1000                      # so much further back is no late packet but a new beginning
MOST_PIXELS = 4096 * 2304


@dataclass(frozen=True, slots=True)
class Unit:
    """What a decoder takes: the timestamp as sent; `whole`: a picture that needs no other."""

    timestamp: int
    data: bytes
    whole: bool = True


class Order:
    """Packets by sequence number, a gap waited for and then left."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int, rtp.Packet]] = []      # extended number, arrival, packet
        self._numbers: set[int] = set()
        self._next: int | None = None
        self._newest = 0

    def push(self, at: int, packet: rtp.Packet) -> None:
        """A packet that came at `at` µs."""
        if not self._numbers and self._next is None:
            self._newest = packet.sequence
        number = self._newest + ((packet.sequence - self._newest + 0x8000 & 0xFFFF) - 0x8000)
        if self._next is not None and number < self._next - FAR:
            number += 0x10000
        if number in self._numbers or (self._next is not None and number < self._next):
            return
        self._newest = max(self._newest, number)
        self._numbers.add(number)
        heapq.heappush(self._held, (number, at, packet))

    def ready(self, now: int | None) -> Iterator[tuple[bool, rtp.Packet]]:
        """(whether something is missing before it, packet) of what need not wait; None: nothing more will come."""
        while self._held:
            number, at, packet = self._held[0]
            if number != self._next and now is not None and at > now - WAIT:
                return
            heapq.heappop(self._held)
            self._numbers.discard(number)
            gap = self._next is not None and number != self._next
            self._next = number + 1
            yield gap, packet


def _payload(packet: rtp.Packet) -> bytes:
    size = len(packet.body)
    if packet.padded and size:
        size -= packet.body[-1]
    return packet.body[: max(0, size)]


class Speech:
    """Opus units of a stream; what is missing is taken from the redundancy of what follows."""

    def __init__(self, codecs: dict[int, str]) -> None:
        self._codecs = codecs
        self._last: int | None = None

    def take(self, _gap: bool, packet: rtp.Packet) -> Iterator[Unit]:
        """The units of a packet that have not been there yet."""
        body = _payload(packet)
        if self._codecs.get(packet.payload_type) == "red":
            try:
                blocks = _blocks(body)
            except ValueError:
                return
        else:
            blocks = [(0, body)]
        for back, data in blocks:
            timestamp = packet.timestamp - back & 0xFFFFFFFF
            if data and (self._last is None or 0 < (timestamp - self._last & 0xFFFFFFFF) < 0x80000000):
                self._last = timestamp
                yield Unit(timestamp, data)


def _blocks(body: bytes) -> list[tuple[int, bytes]]:
    """(timestamp offset, bytes) of a redundant packet (RFC 2198 §3), oldest first; ValueError."""
    heads, at = [], 0
    while True:
        if at >= len(body):
            raise ValueError("redundancy header")
        if not body[at] & 128:
            break
        if at + 4 > len(body):
            raise ValueError("redundancy header")
        head = int.from_bytes(body[at + 1 : at + 4])
        heads.append((head >> 10, head & 0x3FF))
        at += 4
    at += 1
    found = []
    for back, size in heads:
        found.append((back, body[at : at + size]))
        at += size
    if at > len(body):
        raise ValueError("redundancy blocks")
    return [*found, (0, body[at:])]


class Pictures:
    """VP8 frames of a stream that a decoder can show: after a loss none until a whole one."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._timestamp: int | None = None
        self._lost = True

    def take(self, gap: bool, packet: rtp.Packet) -> Iterator[Unit]:
        """The frame that this packet completes."""
        if gap:
            self._lost, self._timestamp = True, None
        body = _payload(packet)
        if not body:
            return                                      # padding alone
        start, data = _described(body)
        if start or packet.timestamp != self._timestamp:
            self._parts, self._timestamp = ([], packet.timestamp) if start else ([], None)
        if self._timestamp is None:
            return
        self._parts.append(data)
        if packet.marker:
            frame, self._parts, self._timestamp = b"".join(self._parts), [], None
            whole = bool(frame) and not frame[0] & 1
            if whole:
                self._lost = not _small(frame)
            if frame and not self._lost:
                yield Unit(packet.timestamp, frame, whole)

    def failed(self) -> None:
        """A frame could not be decoded."""
        self._lost = True


def _described(body: bytes) -> tuple[bool, bytes]:
    """(whether a frame begins, bytes) after the payload descriptor (RFC 7741 §4.2)."""
    at, first = 1, body[0]
    if first & 0x80 and len(body) > 1:
        extended = body[1]
        at = 2
        if extended & 0x80:
            at += 2 if len(body) > at and body[at] & 0x80 else 1
        if extended & 0x40:
            at += 1
        if extended & 0x30:
            at += 1
    return first & 0x17 == 0x10, body[at:]


def _small(frame: bytes) -> bool:
    """Whether a whole frame's size is one that we decode (RFC 6386 §9.1)."""
    if len(frame) < 10:
        return False
    width, height = int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF
    return 0 < width * height <= MOST_PIXELS
