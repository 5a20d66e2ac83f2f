"""Simulated power cuts over packs and index together, 200 in each history of four uploading clients.

`python -m tests.fuzz.power_cuts [--count N] [--seed S] [--first N]`: `--first` counts histories.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.durability.power import cut
from tests.fuzz import _run

POINTS = 200  # cuts of one history


async def search(count: int, *, seed: int = _run.SEED, first: int = 0, tell=lambda _found: None) -> _run.Findings:
    """Histories from `first` on until `count` cuts are done; a history ends at the first cut that loses something."""
    found, number = _run.Findings("power cuts"), first
    while found.ran < count:
        points = min(POINTS, count - found.ran)
        with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-") as folder:
            try:
                await cut(Path(folder), points=points, seed=seed + number, uploads=40)
            except Exception as error:
                found.fail(f"history {number}: {type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
        found.ran += points
        found.seen["histories"] += 1
        number += 1
        tell(found)
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 3000, search))
