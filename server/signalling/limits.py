"""Rates of one socket: a token bucket per message family. The clock is passed in."""

from server.signalling.schema import RATES, Family

FLOOD_REFUSALS = 300        # refused within FLOOD_SECONDS: the socket is ended
FLOOD_SECONDS = 10.0


class Limiter:
    """Buckets that start full; `take` says whether a message of the family may pass at moment `now` (seconds)."""

    def __init__(self, now: float) -> None:
        self._tokens = {family: float(rate.burst) for family, rate in RATES.items()}
        self._at = dict.fromkeys(RATES, now)
        self._refused = 0
        self._window = now

    def take(self, family: Family, now: float) -> bool:
        rate = RATES[family]
        tokens = min(rate.burst, self._tokens[family] + (now - self._at[family]) * rate.per_second)
        self._at[family] = now
        self._tokens[family] = tokens - 1 if tokens >= 1 else tokens
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
        return max(0, round((1 - self._tokens[family]) / rate.per_second * 1000))
