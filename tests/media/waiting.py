"""Waiting for what must come, with patience for a busy machine."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 45) -> None:
    """Returns when the condition holds; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - packets have no event
            await asyncio.sleep(0.02)
