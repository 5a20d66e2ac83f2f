"""3,000 simulated power cuts over packs and index together, 15 histories of four uploading clients each."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.durability.power import cut

HISTORIES = 15


def main() -> int:
    """Status 1, with the seed and the place, at the first cut that loses something."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--points", "--count", dest="points", type=int, default=3000)
    options.add_argument("--seed", type=int, default=100)
    given = options.parse_args()
    logging.disable(logging.WARNING)  # every image is recovered, and says so
    done = 0
    for number in range(HISTORIES):
        with tempfile.TemporaryDirectory() as folder:
            points = given.points // HISTORIES
            done += asyncio.run(cut(Path(folder), points=points, seed=given.seed + number, uploads=40))
        print(f"\rpower cuts: {done} of {given.points} ", end="", file=sys.stderr, flush=True)
    print(f"\npower cuts: {done}, nothing acknowledged was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
