"""Mutated files through every door, and whatever is kept looked at in every way: stored or refused, never anything else.

How a case comes and what is looked at is drawn by its number: some of all the looks, so that a case costs what it did.

`python -m tests.fuzz.files [--count N] [--seed S] [--first N]`; a failing case runs alone with `--first N --count 1`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import struct
import sys
import time
import zlib
from functools import cache
from pathlib import Path

from aiohttp import ClientPayloadError, web
from aiohttp.test_utils import TestClient, TestServer

from dicom.archive import Archive
from dicom.model import Scope
from dicom.part10 import build_prefix
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, LEAVES, SCOPE_FOR
from server.paper.leaf import Leaves
from tests.archive.files import make, name_of, real_files
from tests.fuzz import _run
from tests.fuzz._looks import GOOD, Plan, deliver, look

SECONDS = 2.0
# What a process takes more than before the first case, at one moment. A worker's hard limit is a gigabyte
# (Limits.worker_memory_bytes), but what a file claims is weighed before it is decoded (dicom/pixels/claims.py).
MEMORY_MB = {"server": 600, "worker": 400}
A_HOUSE = 500  # cases before the archive is thrown away for an empty one
AT_ONCE = 6
LARGEST = 600_000  # bytes of a seed that is used as often as the others
CT, EXPLICIT, IMPLICIT, DEFLATED = (
    "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99",
)
BROKEN_OFF = 499
EVERYTHING = Plan()
STREAMED = re.compile(r"^/wado|/bulkdata/7FE00010$|/frames/1,2$")
SYNTAXES = [EXPLICIT, IMPLICIT, DEFLATED, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"] + [
    f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 102, 201)
]
VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV"
).split()
LONG = set(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
HEADS = re.compile(rb"(?s)(?=..\x00?.(" + b"|".join(VRS) + rb"))")
LIES = [0, 1, 2, 7, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF]
# In an order of its own: that of a set changes with every process, and so would the case of a number.
SIZES = (b"\x28\x00\x10\x00US", b"\x28\x00\x11\x00US", b"\x28\x00\x02\x00US", b"\x28\x00\x00\x01US", b"\x28\x00\x01\x01US",
         b"\x28\x00\x02\x01US", b"\x28\x00\x03\x01US", b"\x28\x00\x06\x00US")  # fmt: skip
PATHS = [b"../../../../etc/passwd", b"..\\..\\windows\\win.ini", b"/etc/shadow", b"%2e%2e%2f", b"1.2/../3", b"\x00\x00/", b"<script>", b"';--"]
ITEM, SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
CLOSED = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
OTHERS = {b"II*\x00\x08\x00\x00\x00": b"", b"MM\x00*": b"", b"MZ\x90\x00": b"", b"\x7fELF": b"", b"%PDF-1.7\n": b"\n%%EOF\n",
          b"<html><script>alert(1)</script>": b"", b"PK\x03\x04": b"PK\x05\x06" + bytes(18), b"GIF89a": b";", b"#!/bin/sh\n": b""}  # fmt: skip


@cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Every file of the pydicom package: first those with pixels, then folders of short ones, last the few large ones."""
    found = [(name_of(path), path.read_bytes()) for path in real_files()]
    return tuple(sorted(found, key=lambda x: (len(x[1]) > LARGEST, "/" in x[0], x[0])))


@cache
def places(number: int) -> tuple[int, ...]:
    """Where elements seem to begin in a seed."""
    return tuple(match.start() for match in HEADS.finditer(seeds()[number][1][: 64 << 10])) or (132,)


def flip(chance, data, _at):
    for _ in range(chance.choice([1, 1, 1, 1, 3, 10, 100])):
        where = chance.randrange(len(data))
        data[where] ^= 1 << chance.randrange(8)


def flip_header(chance, data, _at):
    for _ in range(chance.choice([1, 1, 1, 3, 10])):
        data[chance.randrange(min(len(data), 4000))] = chance.randrange(256)


def cut(chance, data, _at):
    del data[chance.randrange(len(data)) :]


def lie(chance, data, at):
    """A length that is none."""
    for where in chance.choices(at, k=chance.choice([1, 1, 4])):
        if chance.random() < 0.5:
            data[where + 6 : where + 8] = struct.pack("<H", chance.choice(LIES) & 0xFFFF)
        else:
            data[where + 8 : where + 12] = struct.pack("<I", chance.choice([*LIES, len(data)]))


def other_vr(chance, data, at):
    for where in chance.choices(at, k=chance.choice([1, 2, 8])):
        # Mostly one whose length stands in the same place, so that the walk goes on.
        same = [vr for vr in VRS if (vr in LONG) == (bytes(data[where + 4 : where + 6]) in LONG)]
        data[where + 4 : where + 6] = chance.choice(same if chance.random() < 0.8 else [*VRS, b"??", b"\x00\x00"])


def deep(chance, data, at):
    where = chance.choice(at)
    depth = chance.choice([1, 20, 31, 33, 200, 1000, 20_000])
    data[where:where] = (SEQUENCE + ITEM) * depth + CLOSED * (depth if chance.random() < 0.7 else 0)


def many(chance, data, at):
    count = 1_000_000 if chance.random() < 0.1 else chance.choice([100, 9_000, 12_000, 100_000])
    tiny = b"".join(struct.pack("<HH", 0x0011, 0x1000 | n) + b"LO\x00\x00" for n in range(250))
    where = chance.choice(at)
    data[where:where] = tiny * (count // 250)


def sizes(chance, data, _at):
    """Rows, Columns, Samples, Bits … that lie."""
    for tag in SIZES:
        where = data.find(tag)
        if where >= 0 and chance.random() < 0.5:
            data[where + 8 : where + 10] = struct.pack("<H", chance.choice([0, 1, 2, 3, 7, 8, 12, 16, 32, 255, 4096, 65535]))
    where = data.find(b"\x28\x00\x08\x00IS")
    if 0 <= where < len(data) - 8 and chance.random() < 0.5:
        length = struct.unpack_from("<H", data, where + 6)[0]
        data[where + 8 : where + 8 + length] = chance.choice([b"0", b"-1", b"9" * 12, b"1e9", b"abc"])[:length].ljust(length)


def polyglot(chance, data, _at):
    head, tail = chance.choice(list(OTHERS.items()))
    data[: len(head)] = head
    data += tail


def bomb(chance, data, _at):
    """A small deflated dataset that is a large one."""
    inner = bytes(data[data.find(b"\x08\x00\x05\x00") :]) if b"\x08\x00\x05\x00" in data else b""
    size = chance.choice([1 << 20, 40 << 20, 300 << 20] if chance.random() < 0.1 else [1 << 16, 1 << 20])
    blown = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, size)
    out = _deflated(chance.choice([b"", inner[:2000]]) + blown) + BLANK * (size >> 20)
    data[:] = build_prefix(sop_class=CT, sop_uid="1.2.3", transfer_syntax=DEFLATED) + out + _deflated(b"", zlib.Z_FINISH)


def _deflated(data: bytes, mode: int = zlib.Z_FULL_FLUSH) -> bytes:
    """Deflated so that other pieces may stand before and behind it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(mode)


BLANK = _deflated(bytes(1 << 20))


def paths(chance, data, _at):
    """A UID or a name that wants to be a path, of the same length."""
    found = list(re.finditer(rb"(?:UI|PN|LO|SH)(.)\x00([0-9A-Za-z.^ ]{8,})", bytes(data[:8000]), re.DOTALL))
    for match in chance.sample(found, min(len(found), chance.choice([1, 3]))):
        start, end = match.span(2)
        data[start:end] = chance.choice(PATHS)[: end - start].ljust(end - start, b"\x00")


def doubled(chance, data, _at):
    where = chance.randrange(len(data))
    data[where:where] = data[where : where + chance.randrange(1, 600)]


def other_syntax(chance, data, _at):
    """A transfer syntax that is not the dataset's."""
    start = data.find(b"\x08\x00\x05\x00")
    start = start if start > 0 else data.find(b"\x08\x00\x08\x00")
    if start > 0:
        data[:start] = build_prefix(sop_class=CT, sop_uid="1.2.3", transfer_syntax=chance.choice(SYNTAXES))


def stream(chance, data, _at):
    """Damage near the end, where the pixels are."""
    low = len(data) // 2
    for _ in range(chance.choice([1, 5, 50])):
        data[chance.randrange(low, len(data))] = chance.choice([0, 0xFF, 0xD8, 0xD9, chance.randrange(256)])


# What costs most comes seldom: deep, many and bomb each about 800 times in 100,000.
KINDS = {flip: 2, flip_header: 1, cut: 0.5, lie: 1, other_vr: 1, deep: 0.09, many: 0.09, sizes: 3, polyglot: 1, bomb: 0.09, paths: 1,
         doubled: 0.5, other_syntax: 2, stream: 3}  # fmt: skip


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """Case `number` of a seed: its name and bytes."""
    chance = random.Random(f"{seed}:{number}")
    which = int(len(seeds()) * chance.random() ** 2)  # the first more often
    name, whole = seeds()[which]
    data, told = bytearray(whole), []
    for kind in chance.choices(list(KINDS), list(KINDS.values()), k=chance.choice([1, 1, 1, 2, 3])):
        if len(data) > 200:
            kind(chance, data, places(which))
            told.append(kind.__name__)
    return f"{name} {'+'.join(told)}", bytes(data)


class House:
    """DICOMweb over an archive of its own, without login; every case is an organisation."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.slow: list[tuple[int, str, bytes]] = []
        self.alone = False

    async def __aenter__(self):
        self.archive = Archive.open(self.root, worker_count=2)
        await self.archive.start()
        app = web.Application(client_max_size=1 << 30)
        app[ARCHIVE], app[LEAVES], app[SCOPE_FOR] = self.archive, Leaves(), _whoever
        for method, path, handler, _action in ROUTES:
            app.router.add_route(method, path, handler)
        self.client = await TestClient(TestServer(app), auto_decompress=False).__aenter__()
        return self

    async def __aexit__(self, *_):
        await self.client.__aexit__(None, None, None)
        await self.archive.close()

    @property
    def pids(self) -> list[int]:
        return [os.getpid(), *self.archive.workers.pids]

    async def ask(self, method: str, path: str, organisation: str, accept: str = "*/*", **more):
        """(status, type, body, seconds)."""
        before, used, pids = time.monotonic(), _run.cpu_seconds(self.pids), set(self.pids)
        headers = {"X-Organisation": organisation, "Accept": accept, **more.pop("headers", {})}
        async with asyncio.timeout(60), self.client.request(method, path, headers=headers, **more) as answer:
            try:
                body = await answer.read()
            except ClientPayloadError:
                # A frame in the middle of a converted film did not decode: the head had left, so the rest is cut.
                assert path.count("/") == 7 or STREAMED.search(path), "only files, and frames by the row, are made while they are sent"
                return BROKEN_OFF, "application/problem+json", b"", time.monotonic() - before
        seconds = time.monotonic() - before
        if self.alone and pids == set(self.pids):  # a worker that was killed has taken too long by any clock
            seconds = min(seconds, _run.cpu_seconds(self.pids) - used)
        return answer.status, answer.content_type, body, seconds


async def _whoever(request, _action, _study):
    organisation = request.headers["X-Organisation"]
    return Scope(organisations=frozenset({organisation}), holder=organisation)


async def survive(house: House, organisation: str, data: bytes, plan: Plan = EVERYTHING) -> tuple[str, float]:
    """How it fared, and the longest answer. Raises AssertionError for what must not be."""
    kept, slowest = await deliver(house, organisation, data, plan)
    if not kept:
        return "refused", slowest
    scope = Scope(organisations=frozenset({organisation}))
    rows = [row for row in await asyncio.to_thread(house.archive.instances, scope) if row.sop_uid not in GOOD or plan.door == "single"]
    if plan.door == "single":
        assert len(rows) == 1, rows
    for row in rows[:1]:
        stored = (await asyncio.to_thread(house.archive.read_file, row))[row.place.prefix_length :]
        assert stored and (plan.door == "zip" or data.endswith(stored)), "other bytes"
        metadata = b""
        for name in plan.looks:
            body, seconds = await look(house, organisation, row, name, plan, metadata)
            slowest = max(slowest, seconds)
            metadata = body if name == "metadata" else metadata
    return "stored", slowest


async def one(house: House, found: _run.Findings, errors: _run.Errors, seed: int, number: int) -> None:
    """Run one case and note what it did."""
    (name, data), plan = mutant(seed, number), Plan.of(seed, number)
    wrong = ""
    try:
        outcome, seconds = await survive(house, f"m{number}", data, plan)
        if seconds > SECONDS:
            house.slow.append((number, name, data))
    except TimeoutError:
        outcome, wrong = "hung", "no answer within 60 s"
    except Exception as error:
        outcome, wrong = "failed", f"{type(error).__name__}: {error}"
    if errors.lines:
        wrong = f"{wrong} logged {errors.lines.pop()}"
        errors.lines.clear()
    found.ran += 1
    found.seen[outcome] += 1
    found.seen[f"by {plan.door}"] += 1
    if wrong:
        path = _run.keep(f"file-{seed}-{number}.dcm", data)
        found.fail(f"seed {seed} case {number} ({name}, {path}; {plan}): {wrong}")


async def ask_again(house: House, found: _run.Findings, seed: int) -> None:
    """The slow ones alone: the machine may have been busy, so what counts is what one answer costs the processors."""
    house.alone = True
    for number, name, data in house.slow:
        found.seen["asked again alone"] += 1
        cost = [(await survive(house, f"m{number}-{attempt}", data, Plan.of(seed, number)))[1] for attempt in range(2)]
        if min(cost) > SECONDS:
            path = _run.keep(f"file-{seed}-{number}.dcm", data)
            found.fail(f"seed {seed} case {number} ({name}, {path}): one answer costs {min(cost):.1f} s")


async def search(count: int, *, seed: int = _run.SEED, first: int = 0, tell=lambda _found: None) -> _run.Findings:
    """Run `count` cases from `first` on."""
    found, errors = _run.Findings("mutated files"), _run.Errors()
    before = {"server": _run.pss_mb(os.getpid())}
    logging.getLogger().addHandler(errors)
    try:
        for start in range(first, first + count, A_HOUSE):
            with _run.scratch() as folder:
                async with House(Path(folder)) as house:
                    before.setdefault("worker", max(map(_run.pss_mb, house.archive.workers.pids)))
                    numbers = iter(range(start, min(start + A_HOUSE, first + count)))

                    async def some(house=house, numbers=numbers):
                        for number in numbers:
                            await one(house, found, errors, seed, number)
                            if number % 25 == 0:
                                found.measure(server=os.getpid(), **{f"worker {n}": pid for n, pid in enumerate(house.archive.workers.pids)})
                                tell(found)

                    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
                    await ask_again(house, found, seed)
                    assert (await survive(house, "afterwards", make("1.2.3.4")))[0] == "stored", "it no longer works"
                    found.seen["worker deaths"] += house.archive.workers.deaths
        for what, taken in found.pss.items():
            kind = what.split()[0]
            if taken - before[kind] > MEMORY_MB[kind]:
                where = f"{found.after[what]} cases after the first"
                found.fail(f"the {what} took {taken} MB, {before[kind]} before, {where}")
    finally:
        logging.getLogger().removeHandler(errors)
    return found


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 100_000, search))
