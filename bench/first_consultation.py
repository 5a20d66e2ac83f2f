"""The first consultation in figures: `make bench`, or `python -m bench.first_consultation [--quick]`.

Each figure is measured on the real application. The peer of the room is a bare call of two pages in the same browser,
runs interleaved. Quote ratios and medians; a busy machine makes every figure worse.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench import paging, rooming, signing, starting
from bench.common import Row, show


async def rows(*, quick: bool) -> list[Row]:
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        root = Path(folder)
        for part in (starting.rows, paging.rows, signing.rows, rooming.rows):
            made = await part(root / part.__module__.rpartition(".")[2], quick=quick)
            for row in made:
                print(f"  {row.name}: {row.ours:.1f} {row.unit}", flush=True)
            found += made
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarser answer within two minutes")
    given = parser.parse_args()
    show("first_consultation", asyncio.run(rows(quick=given.quick)))




if __name__ == "__main__":
    main()
