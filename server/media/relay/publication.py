"""One stream that a seat sends: repaired where it can be, counted, kept for a moment, and handed to its subscribers.

Nothing is reordered or renumbered: a gap stays a gap, so that every subscriber sees and repairs its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from server.media.relay import rtcp, rtp

HISTORY = 512                   # packets kept for those who miss one; about a second of video
KEYFRAME_PAUSE = 0.5            # at most one request for a whole picture in so many seconds
NACK_EVERY = 0.1
NACK_TRIES = 8
GAP_LIMIT = 256                 # a jump further than this is a new beginning
Taker = Callable[["Publication", rtp.Packet], None]


class Publication:
    """`codecs`: payload type → 'opus' | 'red' | 'vp8', as negotiated with the sender."""

    def __init__(self, *, kind: str, ssrc: int, codecs: dict[int, str], send: Callable[[bytes], None]) -> None:
        self.kind, self.ssrc, self.codecs, self._send = kind, ssrc, codecs, send
        self.rate = 48000 if kind == "audio" else 90000
        self.own = secrets.randbits(32)             # we, as the sender of feedback
        self.takers: list[Taker] = []
        self.clock_takers: list[Callable[[Publication, rtcp.Clock], None]] = []
        self.highest = -1                           # extended: cycles and sequence number
        self.received = 0
        self.history: dict[int, rtp.Packet] = {}
        self._base = 0
        self._prior = (0, 0)
        self._jitter = 0.0
        self._transit: float | None = None
        self._clock: tuple[int, float] | None = None
        self._asked = -KEYFRAME_PAUSE
        self._waiting: asyncio.TimerHandle | None = None
        self._missing: dict[int, int] = {}          # sequence number → requests made
        self._repeating: asyncio.TimerHandle | None = None
        self.keyframes_asked = 0
        self.octets = 0
        self.kbps = 0.0                             # of the last second, and what share of it was lost
        self.loss = 0.0
        self._measured = (time.monotonic(), 0)

    def take(self, packet: rtp.Packet) -> None:
        """A packet in the order of arrival, repairs already restored."""
        if packet.payload_type not in self.codecs:
            return
        if self._seen(packet.sequence):
            return
        self._count(packet)
        self.octets += len(packet.body) + 12
        if self.kind == "video":
            self.history[packet.sequence] = packet
            if len(self.history) > HISTORY:
                del self.history[next(iter(self.history))]
        for taker in tuple(self.takers):
            taker(self, packet)

    def _seen(self, sequence: int) -> bool:
        """Whether this number was taken before (a repair that came twice)."""
        if self.kind == "video":
            return sequence in self.history
        return False

    def _count(self, packet: rtp.Packet) -> None:
        now = time.monotonic()
        self.received += 1
        if self.highest < 0:
            self._base = self.highest = packet.sequence
        else:
            step = (packet.sequence - self.highest) & 0xFFFF
            if step == 0 or step >= 0x8000:
                self._missing.pop(packet.sequence, None)
                return
            if self.kind == "video" and 1 < step <= GAP_LIMIT:
                missed = [(self.highest + x) & 0xFFFF for x in range(1, step)]
                self._missing.update(dict.fromkeys(missed, 1))
                self._send(rtcp.nack(self.own, self.ssrc, missed))
                self._repeat()
            elif step > GAP_LIMIT:
                self._missing.clear()
            self.highest += step
        transit = now * self.rate - packet.timestamp
        if self._transit is not None and abs(transit - self._transit) < 10 * self.rate:
            self._jitter += (abs(transit - self._transit) - self._jitter) / 16      # RFC 3550 §A.8
        self._transit = transit

    def _repeat(self) -> None:
        if self._repeating is None:
            self._repeating = asyncio.get_running_loop().call_later(NACK_EVERY, self._again)

    def _again(self) -> None:
        self._repeating = None
        self._missing = {x: tries + 1 for x, tries in self._missing.items() if tries < NACK_TRIES}
        if self._missing:
            newest = self.highest
            self._send(rtcp.nack(self.own, self.ssrc, sorted(self._missing, key=lambda x: -((newest - x) & 0xFFFF))))
            self._repeat()

    def want_keyframe(self) -> None:
        """A subscriber cannot go on without a whole picture; requests within half a second are one."""
        if self.kind != "video" or self._waiting is not None:
            return
        left = self._asked + KEYFRAME_PAUSE - time.monotonic()
        if left <= 0:
            self._ask()
        else:
            self._waiting = asyncio.get_running_loop().call_later(left, self._ask)

    def _ask(self) -> None:
        self._waiting = None
        self._asked = time.monotonic()
        self.keyframes_asked += 1
        self._send(rtcp.pli(self.own, self.ssrc))

    def clock(self, seen: rtcp.Clock) -> None:
        """A sender report of this stream: for lip-sync at every subscriber."""
        self._clock = (seen.ntp >> 16 & 0xFFFFFFFF, time.monotonic())
        for taker in self.clock_takers:
            taker(self, seen)

    def report(self) -> bytes | None:
        """The report block since the last one; None before the first packet."""
        if self.highest < 0:
            return None
        now = time.monotonic()
        since, octets = self._measured
        if now > since:
            self.kbps = (self.octets - octets) * 8 / 1000 / (now - since)
        self._measured = (now, self.octets)
        expected = self.highest - self._base + 1
        before_expected, before_received = self._prior
        self._prior = (expected, self.received)
        span = expected - before_expected
        lost = span - (self.received - before_received)
        share = min(255, (lost << 8) // span) if span > 0 and lost > 0 else 0
        self.loss = share / 256
        lsr, since = self._clock or (0, 0.0)
        return rtcp.report_block(
            ssrc=self.ssrc, share=share, total=max(0, min(0x7FFFFF, expected - self.received)),
            highest=self.highest & 0xFFFFFFFF, jitter=int(self._jitter) & 0xFFFFFFFF, lsr=lsr,
            dlsr=int((now - since) * 65536) & 0xFFFFFFFF if lsr else 0,
        )

    def close(self) -> None:
        """No more requests to the sender."""
        for timer in (self._waiting, self._repeating):
            if timer is not None:
                timer.cancel()
        self._waiting = self._repeating = None
        self.takers.clear()
        self.clock_takers.clear()
