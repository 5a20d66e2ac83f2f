"""Work that can wait lets what arrives go before it: senders wait for their answer, nobody for metadata made ahead."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

_CALM_SECONDS = 0.25
_PATIENCE = 2.0  # then a piece of the work is done all the same


class Calm:
    """When something was last heard of those who send instances."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = -_CALM_SECONDS
        self.hurried = asyncio.Event()
        """Set: wait for nobody."""

    def heard(self) -> None:
        """An instance begins to come, or has been answered. One that is long on its way holds nobody up."""
        self._heard = self._clock()

    async def wait(self) -> None:
        """Until nothing has been heard for a moment; two seconds at the most."""
        until = self._clock() + _PATIENCE
        while not self.hurried.is_set() and (left := min(self._heard + _CALM_SECONDS, until) - self._clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.hurried.wait()
