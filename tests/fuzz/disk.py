"""A failing disk at every single system call of ingest: refused with the right reason, nothing half there, then all is well.

Each run stores the same uploads, and the n-th call of one kind fails with ENOSPC, EIO or EMFILE, or writes a part only,
once or from then on.
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
from dicom.model import Scope
from tests.archive.dying import LIMITS, uploads
from tests.fuzz import _run

CALLS = ("open", "pwrite", "pwritev", "pread", "fsync", "fdatasync", "rename", "mkdir")
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EMFILE)
SHORT = 0  # no failure: a write takes half of what it is given
WRITES = ("pwrite", "pwritev")
OFTEN = (1, 10**9)  # fails once; from then on
RUN_THROUGH = {"acknowledge", "checkpoint", "index.commit.done"}  # behind the point where all is durable


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
                    if self.number == SHORT:
                        return real(args[0], self._half(args[1]), *args[2:])
                    raise OSError(self.number, "broken disk")
            return real(*args, **kwargs)

        return wrapped

    def _half(self, given):
        if self.call == "pwritev":
            return [given[0][: (len(given[0]) + 1) // 2]]
        return given[: (len(given) + 1) // 2]

    @contextmanager
    def installed(self):
        with mock.patch.object(os, self.call, self(getattr(os, self.call))):
            yield


async def send(archive: Archive) -> list:
    """All uploads side by side in two groups: (organisation, result)."""
    out = []
    for some in _batched(uploads(6, large=3, shared=2), 4):
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
            told = "disk_full" if breaking.number in {errno.ENOSPC, SHORT} else "io_error"
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
    Archive.rescan(root)
    rebuilt = Archive.open(root, worker_count=0, limits=LIMITS)
    whole(rebuilt, said + again, f"{where}, rebuilt from the packs alone")
    await rebuilt.close()
    return breaking.seen


def runs():
    """(call, number, how often) and then every n of them."""
    failing = [(call, number, often) for call in CALLS for number in NUMBERS for often in OFTEN]
    return failing + [(call, SHORT, often) for call in WRITES for often in OFTEN]


async def search(count: int, *, only=None, tell=lambda _found: None, **_given) -> _run.Findings:
    """Every place, until `count` runs are done; `only` picks some of `runs()`. Nothing is left to chance."""
    found = _run.Findings("a failing disk")
    for call, number, often in only or runs():
        for nth in itertools.count(1):
            if found.ran >= count:
                return found
            where = f"{call} {nth} {errno.errorcode.get(number, 'short')} {'once' if often == 1 else 'for good'}"
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


async def points(_count: int, *, tell=lambda _found: None, **_given) -> _run.Findings:
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


if __name__ == "__main__":
    sys.exit(_run.main(__doc__, 10_000, search, points))
