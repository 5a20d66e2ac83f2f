"""Rates of one socket: a token bucket per message family. The clock is passed in."""

from server.signalling.schema import RATES, Family

FLOOD_REFUSALS = 300        # refused within FLOOD_SECONDS: the socket is ended
FLOOD_SECONDS = 10.0
FRAMES_PER_SECOND, FRAMES_AT_ONCE = 250, 900      # of all kinds: more than every family together may send


class Limiter:
    """Buckets that start full; `take` says whether a message of the family may pass at moment `now` (seconds)."""

    __slots__ = ("_buckets", "_frames", "_heard", "_refused", "_window")

    def __init__(self, now: float) -> None:
        self._buckets: dict[Family, tuple[float, float]] = {}      # (tokens, when counted); full where absent
        self._frames, self._heard = float(FRAMES_AT_ONCE), now
        self._refused = 0
        self._window = now

    def hear(self, now: float) -> bool:
        """Counts a frame before anybody reads it; False when nobody should."""
        self._frames = min(FRAMES_AT_ONCE, self._frames + (now - self._heard) * FRAMES_PER_SECOND) - 1
        self._heard = now
        return self._frames >= 0

    def take(self, family: Family, now: float) -> bool:
        rate = RATES[family]
        left, at = self._buckets.get(family, (float(rate.burst), now))
        tokens = min(rate.burst, left + (now - at) * rate.per_second)
        self._buckets[family] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def refused(self, now: float) -> bool:
        """Counts a refusal; True when this socket has been refused so often that it is a flood."""
        if now - self._window > FLOOD_SECONDS:
            self._window, self._refused = now, 0
        self._refused += 1
        return self._refused > FLOOD_REFUSALS

    def retry_ms(self, family: Family) -> int:
        """How long until one message of the family passes."""
        rate = RATES[family]
        tokens, _ = self._buckets.get(family, (float(rate.burst), 0.0))
        return max(0, round((1 - tokens) / rate.per_second * 1000))
