"""Whether this machine's clock may be believed: it never stands before what has already been recorded.

A clock that was set back makes deadlines and evidence lie, so pages and /readyz say so until it has been set right.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=5)


class ClockWatch:
    """Remembers the newest moment in the audit."""

    def __init__(self) -> None:
        self._newest: datetime | None = None

    def remember(self, moment: datetime | None) -> None:
        """A moment that stands in a record (UTC)."""
        if moment is not None and (self._newest is None or moment > self._newest):
            self._newest = moment

    def behind(self, now: datetime) -> timedelta:
        """How far the clock stands before the newest record; zero when it may be believed."""
        if self._newest is None or self._newest - now <= TOLERANCE:
            return timedelta()
        return self._newest - now
