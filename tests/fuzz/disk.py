"""A failing disk at every single system call of ingest: refused with the right reason, nothing half there, then all is well.

Each run stores the same uploads, and the n-th call of one kind fails with ENOSPC, EIO or EMFILE, once or from then on.
`python -m tests.fuzz.disk [--count N]`: at most N of these runs.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from dicom.archive import Archive
from dicom.faults import POINTS
from dicom.model import Limits, Scope
from tests.archive.files import make
from tests.fuzz import _run

# Small limits, so that staging, several packs and several groups happen with tiny files.
LIMITS = Limits(inline_bytes=4096, memory_bytes=64 << 10, pack_bytes=4096, batch_bytes=2048)
CALLS = ("open", "pwrite", "pwritev", "pread", "fsync", "fdatasync", "rename", "mkdir")
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EMFILE)
OFTEN = (1, 10**9)  # fails once; from then on
RUN_THROUGH = {"acknowledge", "checkpoint", "index.commit.done"}  # behind the point where all is durable


def uploads() -> list[tuple[str, bytes]]:
    """Small ones, staged ones, custody, other bytes under a held identity."""
    out = []
    for n in range(6):
        pixels = bytes([n]) * (6000 if n % 3 == 2 else 4)
        data = make(f"1.2.3.1.{n}", pixels=pixels, Rows=len(pixels) // 4)
        out.append(("A", data))
        if n % 2 == 0:
            out.append(("B", data))
    return [*out, ("A", make("1.2.3.1.0", pixels=b"\x09\x09\x09\x09"))]


class Breaking:
    """Counts the calls of one kind below a folder; the chosen ones fail."""

    def __init__(self, root: Path, call: str, nth: int, number: int, often: int) -> None:
        self.root, self.call, self.nth, self.number, self.often = str(root), call, nth, number, often
        self.seen = self.failed = 0

    def __call__(self, real):
        def wrapped(*args, **kwargs):
            mine = not isinstance(args[0], str | os.PathLike) or str(args[0]).startswith(self.root)
            if mine:
                self.seen += 1
                if self.nth <= self.seen < self.nth + self.often:
                    self.failed += 1
                    raise OSError(self.number, "broken disk")
            return real(*args, **kwargs)

        return wrapped

    @contextmanager
    def installed(self):
        with mock.patch.object(os, self.call, self(getattr(os, self.call))):
            yield


async def send(archive: Archive) -> list:
    """All uploads side by side in two groups: (organisation, result)."""
    out = []
    for some in _batched(uploads(), 4):
        results = await asyncio.gather(*(archive.ingest(data, organisation=org, source="t") for org, data in some))
        out += [(org, data, result) for (org, data), result in zip(some, results, strict=True)]
    return out


def _batched(items, size):
    return [items[n : n + size] for n in range(0, len(items), size)]


def whole(archive: Archive, said: list, where: str) -> None:
    """What was acknowledged is there with its bytes; what is visible is whole, counted, and was not refused."""
    for org in ("A", "B"):
        scope = Scope(organisations=frozenset({org}))
        rows = {row.sop_uid: row for row in archive.instances(scope)}
        for row in rows.values():
            data = archive.read_file(row)
            assert hashlib.sha256(data[row.place.prefix_length :]).hexdigest() == row.digest, f"{where}: half of {row.sop_uid}"
        study = archive.study(scope, "1.2.3")
        assert (study.instance_count if study else 0) == len(rows), f"{where}: counts"
        for owner, _, result in said:
            if owner == org and result.outcome in {"stored", "duplicate"}:
                assert rows[result.sop_uid].digest == result.digest, f"{where}: {result.sop_uid} was acknowledged"
    waiting = {row.digest for row in archive.quarantine(frozenset({"A"}))}
    for _, _, result in said:
        if result.outcome == "conflict":
            assert result.digest in waiting, f"{where}: quarantine was acknowledged"


async def run(root: Path, breaking: Breaking, where: str) -> int:
    """One run with the disk that breaks; how many calls of the kind there were. AssertionError for what must not be."""
    archive = Archive.open(root, worker_count=0, limits=LIMITS)
    await archive.start()
    try:
        with breaking.installed():
            said = await send(archive)
    except BaseException:
        await archive.close()
        raise
    for _, _, result in said:
        if result.outcome == "refused":
            told = {errno.ENOSPC: "disk_full"}.get(breaking.number, "io_error")
            assert result.reason == told, f"{where}: refused as {result.reason}"
            assert breaking.failed, f"{where}: refused on a sound disk"
    whole(archive, said, f"{where}, at once")
    again = await send(archive)
    assert all(result.outcome != "refused" for *_, result in again), f"{where}: the next upload does not go through"
    whole(archive, said + again, f"{where}, again")
    await archive.close()
    assert not list((root / "staging").iterdir()), f"{where}: staging is left"
    reopened = Archive.open(root, worker_count=0, limits=LIMITS)
    whole(reopened, said + again, f"{where}, opened again")
    await reopened.close()
    return breaking.seen


def runs():
    """(call, number, how often) and then every n of them."""
    return [(call, number, often) for call in CALLS for number in NUMBERS for often in OFTEN]


async def search(count: int, *, only=None, tell=lambda _found: None) -> _run.Findings:
    """Every place, until `count` runs are done; `only` picks some of `runs()`."""
    found = _run.Findings("a failing disk")
    for call, number, often in only or runs():
        for nth in itertools.count(1):
            if found.ran >= count:
                return found
            where = f"{call} {nth} {errno.errorcode[number]} {'once' if often == 1 else 'for good'}"
            with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-", ignore_cleanup_errors=True) as folder:
                root = Path(folder).resolve()
                breaking = Breaking(root, call, nth, number, often)
                try:
                    async with asyncio.timeout(30):
                        await run(root, breaking, where)
                except Exception as error:
                    found.fail(f"{where}: {type(error).__name__}: {error}")
            found.ran += 1
            found.seen[call] += 1
            tell(found)
            if not breaking.failed:
                break  # there are no more calls of this kind
    return found


async def points(*, tell=lambda _found: None) -> _run.Findings:
    """The same at the named points, which SQLite's own writes are known by."""
    found = _run.Findings("a failing disk at named points")
    for point, number in itertools.product([x for x in POINTS if x not in RUN_THROUGH], NUMBERS):
        with tempfile.TemporaryDirectory(prefix="huizhen-fuzz-") as folder:
            broken = True

            def fault(name, point=point, number=number):
                if broken and name == point:
                    raise OSError(number, "broken disk")

            archive = Archive.open(Path(folder), worker_count=0, limits=LIMITS, fault=fault)
            await archive.start()
            said = await send(archive)
            broken = False
            try:
                whole(archive, said, point)
                again = await send(archive)
                assert all(result.outcome != "refused" for *_, result in again), f"{point}: the next does not go through"
                whole(archive, said + again, point)
            except Exception as error:
                found.fail(f"{point} {errno.errorcode[number]}: {type(error).__name__}: {error}")
            await archive.close()
        found.ran += 1
        tell(found)
    return found


def main() -> int:
    """Status 1 where anything failed."""
    given = _run.options(__doc__, 10_000).parse_args()

    async def both() -> list[_run.Findings]:
        return [await search(given.count, tell=lambda x: _run.progress(x, given.count)), await points()]

    return max(_run.ended(found) for found in asyncio.run(both()))


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)
    sys.exit(main())
