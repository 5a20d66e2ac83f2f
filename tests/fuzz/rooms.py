"""Random histories of a room whose lines break anywhere: ten thousand of them, a hundred thousand messages."""

from __future__ import annotations

import asyncio
import logging
import random
import sys

from tests.fuzz import _run
from tests.realtime.history import History, wander

STEPS = 40
BATCH = 50


def one(seed: int, number: int, found: _run.Findings) -> None:
    """One history; the loop is its own."""
    history = History()
    try:
        wander(history, random.Random(f"{seed}/{number}").randrange, STEPS)
        history.check()
    except Exception as error:
        found.fail(f"history {number} of seed {seed}: {type(error).__name__}: {error}")
    finally:
        found.ran += 1
        found.seen["messages"] += sum(x.n for x in (*history.pages.values(), *history.gone))
        found.seen["page loads"] += history.tabs
        history.close()


async def search(count: int, *, seed: int, first: int, tell=lambda _found: None) -> _run.Findings:
    found = _run.Findings("rooms")
    logging.getLogger("huizhen.room").disabled = True      # the store fails on purpose

    def batch(start: int, end: int) -> None:
        for number in range(start, end):
            one(seed, number, found)

    for start in range(first, first + count, BATCH):
        await asyncio.to_thread(batch, start, min(start + BATCH, first + count))
        tell(found)
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 10_000, search))
