"""Run as a program: uploads into an archive until its index cannot grow, then room comes back. SQLite itself fails here.

argv: root, `file` (no file may grow beyond so many bytes) or `disk` (the index lies on a full tmpfs), size in KB, whether
every group is followed by a checkpoint (1) or none is (0), a folder for two copies: as it is when full, and at the end.
Prints every answer as it comes, and last how SQLite failed and where.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import shutil
import sqlite3
import sys
import traceback
from pathlib import Path

from dicom import committer
from dicom.archive import Archive
from dicom.model import Limits, Scope
from tests.archive.files import make
from tests.fuzz.disk import whole

LIMITS = Limits(pack_bytes=4096, batch_bytes=2048)  # packs stay small: it is the index that finds no room
WANTED, BEFORE = 400, 8
failed: set[tuple[str, str]] = set()


def note(error: Exception):
    """What SQLite said, and the line at which it did."""
    if isinstance(error, sqlite3.Error):
        line = traceback.extract_tb(error.__traceback__)[-1].line or ""
        failed.add((error.sqlite_errorname, "COMMIT" if "COMMIT" in line else "a statement"))
    return real(error)


class Checkpoints(logging.Handler):
    def emit(self, record) -> None:
        if "checkpoint" in record.getMessage():
            failed.add((record.error, "a checkpoint"))


real, committer.public_error = committer.public_error, note
logging.getLogger("dicom.committer").addHandler(Checkpoints())


class Room:
    """Ends, and comes back."""

    def __init__(self, root: Path, kind: str, kilobytes: int) -> None:
        self.ballast, self.kind, self.bytes = root / "ballast", kind, kilobytes << 10

    def end(self) -> None:
        if self.kind == "file":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.bytes, resource.RLIM_INFINITY))
            return
        with self.ballast.open("wb", buffering=0) as file:
            left = shutil.disk_usage(self.ballast.parent).free - self.bytes
            file.write(bytes(max(left, 0)))

    def come_back(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.ballast.unlink(missing_ok=True)


async def send(archive: Archive, numbers, said: list) -> None:
    """Uploads, four at a time, until twelve were refused."""
    pending = list(numbers)
    while pending and sum(result.outcome == "refused" for *_, result in said) < 12:
        some, pending = pending[:4], pending[4:]
        files = [make(f"1.2.3.1.{n}", PatientName=f"Wang^{n}", StudyDescription="x" * 60) for n in some]
        results = await asyncio.gather(*(archive.ingest(data, organisation="A", source="t") for data in files))
        for data, result in zip(files, results, strict=True):
            said.append(("A", data, result))
            print(result.outcome, "A", result.sop_uid, result.digest, result.reason, flush=True)


def copied(root: Path, to: Path) -> None:
    """As a power cut would leave it: nobody is writing, nothing was closed."""
    shutil.copytree(root, to, ignore=shutil.ignore_patterns("ballast"))
    print("copied", to, flush=True)


async def main(root: Path, room: Room, copies: Path, *, checkpoints: bool) -> None:
    committer._WAL_LIMIT = -1 if checkpoints else 1 << 40
    archive = Archive.open(root, worker_count=0, limits=LIMITS)
    await archive.start()
    said: list = []
    await send(archive, range(BEFORE), said)
    room.end()
    await send(archive, range(BEFORE, WANTED), said)
    refused = {result.sop_uid for *_, result in said if result.outcome == "refused"}
    shown = {row.sop_uid for row in archive.instances(Scope(organisations=frozenset({"A"})))}
    assert refused and not refused & shown, "what was refused is shown"
    whole(archive, said, "full")
    room.come_back()
    copied(root, copies / "full")
    again: list = []
    await send(archive, sorted(int(uid.rpartition(".")[2]) for uid in refused), again)
    assert {result.outcome for *_, result in again} == {"stored"}, "it does not go on"
    whole(archive, said + again, "with room again")
    await archive.close()
    copied(root, copies / "end")


if __name__ == "__main__":
    place, kind, size, often, folder = sys.argv[1:]
    asyncio.run(main(Path(place), Room(Path(place), kind, int(size)), Path(folder), checkpoints=often == "1"))
    for name, where in sorted(failed):
        print("failed", name, where.replace(" ", "_"), flush=True)
