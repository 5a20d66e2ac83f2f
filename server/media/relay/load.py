"""How busy the relay's process is, and whether it takes on more pictures."""

from __future__ import annotations

from collections import deque

SPAN = 5.0                      # s that are looked at
CALM = 10.0                     # percent below the limit from which pictures are given again


class Load:
    """`most`: percent of one core."""

    def __init__(self, most: float) -> None:
        self.most, self.busy = most, False
        self.percent = 0.0
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, now: float, used: float) -> bool:
        """CPU seconds `used` since the process began, at `now` s; whether it is busy (after one span or more)."""
        self._seen.append((now, used))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPAN:
            self._seen.popleft()
        since, before = self._seen[0]
        if now - since >= SPAN:
            self.percent = 100 * (used - before) / (now - since)
            self.busy = self.percent > (self.most - CALM if self.busy else self.most)
        return self.busy
