"""When packets of one browser arrived, told to it ten times a second: its congestion control decides what it sends."""

from __future__ import annotations

import time

from server.media.relay import rtcp

EVERY = 0.1
FURTHEST = 700                  # packets in one report: it stays below a datagram


class Arrivals:
    """By transport-wide sequence number, over all streams of a connection."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._next: int | None = None
        self._count = 0
        self.media = 0

    def add(self, number: int, ssrc: int) -> None:
        self._at.setdefault(number, time.monotonic())
        self.media = ssrc

    def report(self, sender: int) -> bytes | None:
        """What arrived since the last report; None where nothing did."""
        if not self._at:
            return None
        newest = first = next(iter(self._at))
        for number in self._at:
            if 0 < (number - newest) & 0xFFFF < 0x8000:
                newest = number
            if 0 < (first - number) & 0xFFFF < 0x8000:
                first = number
        if self._next is not None and 0 <= (first - self._next) & 0xFFFF < FURTHEST:
            first = self._next                  # what is missing at the front is reported missing
        if (newest - first) & 0xFFFF >= FURTHEST:
            first = (newest - FURTHEST + 1) & 0xFFFF
        arrivals = {x: at for x, at in self._at.items() if (x - first) & 0xFFFF <= (newest - first) & 0xFFFF}
        data = rtcp.feedback(sender, self.media, count=self._count, arrivals=arrivals, first=first, last=newest)
        self._count = (self._count + 1) & 0xFF
        self._next = (newest + 1) & 0xFFFF
        self._at.clear()
        return data
