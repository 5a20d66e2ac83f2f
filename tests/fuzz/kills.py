"""kill -9 of the real server at random moments under four uploading clients, again and again over one data folder.

After every restart: each acknowledged instance is there with its digest, nothing is half there, and a scrub finds nothing
wrong. `python -m tests.fuzz.kills [--count N] [--seed S]`
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from dicom.archive import Archive
from dicom.life.scrub import scrub
from tests.archive.files import make
from tests.durability.house import House
from tests.durability.life import Launcher
from tests.durability.tab import Cut
from tests.fuzz import _run

LONGEST = 1.5  # seconds of one life
PATIENCE = 20.0  # and so long before, for the first acknowledgement; every third life goes without
STAGED = 9_000_000  # bytes, more than is held in memory
SCRUB_EVERY = 5


class Clients:
    """Four that upload until the server dies, each in its own way."""

    def __init__(self, house: House, life: int) -> None:
        self.house, self.life, self.n = house, life, 0

    def file(self, size: int = 4) -> bytes:
        self.n += 1
        study = f"1.2.{self.life + 1}.{self.n % 3}"
        pixels = self.n.to_bytes(4, "little") + os.urandom(8) + bytes(size)
        return make(f"1.2.{self.life + 1}.9.{self.n}", study=study, series=f"{study}.1", pixels=pixels[:size], Rows=max(1, size // 4000),
                    Columns=min(1000, size // 4))  # fmt: skip

    async def one_by_one(self) -> None:
        await (await self.house.browser("technician")).stow(self.file())

    async def many(self) -> None:
        await (await self.house.browser("technician")).stow(*(self.file(40_000) for _ in range(10)))

    async def large(self) -> None:
        await (await self.house.browser("technician")).stow(self.file(STAGED))

    async def browser(self) -> None:
        await (await self.house.browser("technician")).upload(self.file(5000), piece=1500)


async def _until_cut(step) -> None:
    with suppress(Cut):
        while True:
            await step()


async def one_life(house: House, number: int, seconds: float, patience: float) -> int:
    """Uploads, death, restart, inspection; how many more instances were acknowledged."""
    before, clients = len(house.acknowledged.instances), Clients(house, number)
    async with asyncio.TaskGroup() as group:
        for step in (clients.one_by_one, clients.many, clients.large, clients.browser):
            group.create_task(_until_cut(step))
        for _ in range(int(patience / 0.02)):  # a slow machine would else die before it has said yes to anything
            if len(house.acknowledged.instances) > before:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(house.kill)
    await asyncio.to_thread(house.start)
    await asyncio.to_thread(house.inspect)
    return len(house.acknowledged.instances) - before


async def scrubbed(house: House) -> int:
    """Whatever stands on the disk after a death, read to the end; how many were wrong."""
    await asyncio.to_thread(house.kill)
    with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-") as folder:
        root = Path(folder) / "archive"
        await asyncio.to_thread(shutil.copytree, house.data / "archive", root)
        archive = Archive.open(root, worker_count=0)
        await archive.start()
        report = await scrub(archive)
        await archive.close()
    await asyncio.to_thread(house.start)
    return report.damaged + len(report.gaps)


async def search(count: int, *, seed: int = _run.SEED, first: int = 0, tell=lambda _found: None) -> _run.Findings:
    """`count` deaths over one data folder; `first` is the number the first of them has."""
    launcher = Launcher()
    try:
        with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-") as folder:
            return await _kill(House(Path(folder), launcher), range(first, first + count), seed, tell)
    finally:
        launcher.close()


async def _kill(house: House, numbers: range, seed: int, tell) -> _run.Findings:
    found = _run.Findings("kill -9")
    house.build(cases={})
    await asyncio.to_thread(house.start)
    try:
        await house.browser("technician")
        for number in numbers:
            chance = random.Random(f"{seed}:{number}")
            try:
                found.seen["acknowledged"] += await one_life(
                    house, number, chance.uniform(0.0, LONGEST), chance.choice([0, PATIENCE, PATIENCE])
                )
                if number % SCRUB_EVERY == SCRUB_EVERY - 1 or number == numbers[-1]:
                    found.seen["scrubs"] += 1
                    if wrong := await scrubbed(house):
                        found.fail(f"death {number}: the scrub names {wrong}")
            except Exception as error:
                found.fail(f"death {number}: {type(error).__name__}: {error}")
                await asyncio.to_thread(house.restart)
            found.ran += 1
            found.measure(server=house.life.pid)
            tell(found)
        seen = house.archived()
        found.seen["kept, not acknowledged"] = len(set(seen) - set(house.acknowledged.instances))
        found.seen["kept"] = len(seen)
    finally:
        await house.close()
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 100, search))
