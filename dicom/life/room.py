"""Room on the disk and each organisation's share of it: uploads are refused before the disk is full, reports go on."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from dicom.index import life
from dicom.model import Limits

# What the house itself stores goes on while uploads are refused: signed reports, and bytes taken back from a backup.
ESSENTIAL = frozenset({"report", "repair"})
_COUNT_SECONDS = 5.0
_LOOK_SECONDS, _PLENTY = 0.2, 4 << 30  # no disk of ours takes that much in the meantime


class Room:
    """Whether an instance may come in. Figures of what is held are at most some seconds old."""

    def __init__(self, root: Path, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._held: dict[str, int] = {}
        self._newest = 0  # id of the last instance that was counted
        self._counted_at: float | None = None
        self.free: Callable[[], int] = _looker(root, limits.reserve_bytes)
        """Bytes free for us; tests put their own here."""

    @property
    def low(self) -> bool:
        """Less is free than the reserve: uploads are refused."""
        return self._limits.reserve_bytes > 0 and self.free() < self._limits.reserve_bytes

    @property
    def due(self) -> bool:
        """Whether what is held should be counted before the next answer."""
        if not self._limits.quota_bytes and not self._limits.quotas:
            return False
        return self._counted_at is None or self._clock() - self._counted_at >= _COUNT_SECONDS

    def count(self, connection: sqlite3.Connection) -> None:
        """Add what came since the last count."""
        self._counted_at = self._clock()
        newest, sizes = life.bytes_since(connection, self._newest)
        self._newest = newest
        for organisation, size in sizes.items():
            self._held[organisation] = self._held.get(organisation, 0) + size

    def quota(self, organisation: str) -> int:
        """Bytes the organisation may hold; 0: no limit."""
        return self._limits.quotas.get(organisation, self._limits.quota_bytes)

    def refusal(self, organisation: str, source: str) -> str | None:
        """`disk_full` or `over_quota` if an instance from this door must not come in now."""
        if source in ESSENTIAL:
            return None
        if self.low:
            return "disk_full"
        quota = self.quota(organisation)
        return "over_quota" if quota and self._held.get(organisation, 0) >= quota else None


def _looker(root: Path, reserve: int) -> Callable[[], int]:
    """Bytes free below `root`. Asked for every instance, on the event loop: while there is plenty, the system is asked
    only now and then, since its answer waits for a disk that is busy.
    """
    free, looked = 0, -math.inf

    def look() -> int:
        nonlocal free, looked
        now = time.monotonic()
        if free < reserve + _PLENTY or now - looked >= _LOOK_SECONDS:
            stat = os.statvfs(root)
            free, looked = stat.f_bavail * stat.f_frsize, now
        return free

    return look
