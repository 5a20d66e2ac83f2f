"""A simulated power cut over packs and index together.

Every passing of a fault point takes a picture of all files. What an fsync between two points made durable is known from
the point's name; everything else that was written may be on the disk or not, sector by sector, and a new name may be
there or not. An image of the disk is drawn from that, opened, and asked for everything acknowledged by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

from dicom.archive import Archive
from dicom.model import Limits, Scope
from tests.archive.files import make

SECTOR = 512
BESIDE = frozenset({"stage.create", "stage.write"})  # passed by other threads than the writer's
LIMITS = Limits(inline_bytes=4096, memory_bytes=64 << 10, pack_bytes=6000, batch_bytes=2048)
INDEX, LOG = "index.sqlite", "index.sqlite-wal"
Files = dict[str, bytes]


@dataclass
class Moment:
    """All files at a fault point, and what had been acknowledged before it."""

    point: str
    files: Files
    acknowledged: int


@dataclass
class History:
    """What happened to the disk from its first moment, where everything is durable."""

    moments: list[Moment] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str, str]] = field(default_factory=list)  # outcome, organisation, SOP, digest


class Camera:
    """Reads the files through descriptors that stay open: closing one would drop SQLite's own locks on it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[tuple[str, int], int] = {}
        self._last: Files = {}

    def take(self) -> Files:
        files: Files = {}
        for path in sorted(self._root.rglob("*")):
            name = path.relative_to(self._root).as_posix()
            if name.endswith("-shm") or name.startswith("cache/"):
                continue
            try:
                stat = path.stat()
                if not path.is_file():
                    continue
                key = (name, stat.st_ino)
                if key not in self._open:
                    self._open[key] = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            data = os.pread(self._open[key], 1 << 24, 0)
            last = self._last.get(name)
            files[name] = last if last == data else data  # unchanged files are kept once
        self._last = files
        return files

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)


async def record(root: Path, *, uploads: int, seed: int) -> History:
    """Four clients upload: small and staged bodies, custody, duplicates, quarantine. Returns what the disk went through."""
    chance = random.Random(seed)
    history, camera = History(), Camera(root)
    recording, one_at_a_time = False, threading.Lock()

    def fault(name: str) -> None:
        if recording:
            with one_at_a_time:  # bodies are staged in threads beside the writer's
                before = len(history.acknowledged)
                history.moments.append(Moment(point=name, files=camera.take(), acknowledged=before))

    archive = Archive.open(root, worker_count=0, limits=LIMITS, fault=fault)
    await archive.start()
    await archive.ingest(make("1.2.3.1.0"), organisation="A", source="test")
    history.moments.append(Moment(point="begin", files=camera.take(), acknowledged=0))
    recording = True
    plan = []
    for _ in range(uploads):
        n, size = chance.randrange(uploads), chance.choice((4, 4, 4, 6000))
        pixels = bytes([chance.randrange(3)]) * size
        plan.append((chance.choice("AB"), make(f"1.2.3.1.{n}", pixels=pixels, Rows=size // 4)))

    async def client() -> None:
        while plan:
            organisation, data = plan.pop()
            result = await archive.ingest(data, organisation=organisation, source="test")
            assert result.outcome in {"stored", "duplicate", "conflict"}
            history.acknowledged.append((result.outcome, organisation, result.sop_uid, result.digest))

    await asyncio.gather(*(client() for _ in range(4)))
    await archive.close()
    history.moments.append(
        Moment(point="end", files=camera.take(), acknowledged=len(history.acknowledged))
    )
    camera.close()
    return history


def synced(point: str, after: Files) -> tuple[set[str], bool]:
    """Which files' bytes an fsync made durable between a point and the next, and whether directory entries too."""
    packs = {name for name in after if name.startswith("packs/")}
    match point:
        case "pack.fsync" | "pack.create.fsync":
            return packs, False
        case "stage.fsync":
            return {name for name in after if name.startswith("staging/")}, False
        case "pack.create.dirsync" | "stage.dirsync" | "drop.dirsync":
            return set(), True
        case "index.commit":
            return {LOG}, False
        case "checkpoint":
            return {INDEX, LOG}, False
        case _:
            return set(), False


def draw(chance: random.Random, durable: bytes, written: bytes) -> bytes:
    """The durable bytes with some of the later sectors on them."""
    length = chance.choice((len(durable), len(written), chance.randint(0, max(len(durable), len(written)))))
    length = max(length, min(len(durable), len(written)))
    out = bytearray(durable[:length].ljust(length, b"\0"))
    share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    for start in range(0, length, SECTOR):
        if chance.random() < share:
            piece = written[start : min(start + SECTOR, length)]
            out[start : start + len(piece)] = piece
    return bytes(out)


class Disk:
    """The images a power cut may leave, by the interval in which it came."""

    def __init__(self, history: History) -> None:
        self.history = history
        # durable[i]: bytes by file, and names that are sure to be there, when interval i begins
        first = history.moments[0]
        bytes_, names = dict(first.files), set(first.files)
        self._durable: list[tuple[Files, set[str]]] = []
        last = first  # of the writer: what it was about to do is done when it comes to its next point
        for moment in history.moments[:-1]:
            if moment.point not in BESIDE:
                files, entries = synced(last.point, moment.files)
                if last.point == "stage.rename":  # the bytes were synced under the old name
                    files |= {name for name in set(moment.files) - set(last.files) if name.startswith("packs/")}
                for name in files & set(moment.files):
                    bytes_[name] = moment.files[name]
                if entries:
                    names = set(moment.files)
                    bytes_ = {name: data for name, data in bytes_.items() if name in names}
                last = moment
            self._durable.append((dict(bytes_), set(names)))

    def __len__(self) -> int:
        return len(self._durable)

    def image(self, interval: int, chance: random.Random) -> Files:
        """One possible content of the disk after a cut between fault point `interval` and the next."""
        here, following = self.history.moments[interval], self.history.moments[interval + 1]
        durable, names = self._durable[interval]
        written = chance.choice((here.files, following.files))
        if here.point == "checkpoint":
            return self._checkpointing(here.files, following.files, chance)
        out: Files = {}
        for name in sorted(set(written) | names):
            if name not in names and chance.random() < 0.5:
                continue  # a new name that no directory sync has made durable
            if name not in written and chance.random() < 0.5:
                continue  # removed or renamed, and the removal reached the disk
            before = durable.get(name, b"")
            out[name] = draw(chance, before, written.get(name, before))
        return out

    @staticmethod
    def _checkpointing(before: Files, after: Files, chance: random.Random) -> Files:
        """SQLite writes the pages, syncs the index, and only then empties its log, which was durable all along."""
        out = dict(before)
        if chance.random() < 0.7:
            out[INDEX] = draw(chance, before[INDEX], after[INDEX])
        else:
            out[INDEX], out[LOG] = after[INDEX], draw(chance, before[LOG], after.get(LOG, b""))
        return out


async def check(files: Files, folder: Path, acknowledged: list[tuple[str, str, str, str]]) -> None:
    """The archive opens; what was acknowledged is there with its bytes; what is visible is whole; counts agree."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    archive = Archive.open(folder, worker_count=0, limits=LIMITS)
    try:
        for outcome, organisation, sop, digest in acknowledged:
            if outcome == "conflict":
                assert digest in {row.digest for row in archive.quarantine(frozenset({organisation}))}
            else:
                row = archive.instance(Scope(organisations=frozenset({organisation})), "1.2.3", None, sop)
                assert row.digest == digest
        for organisation in "AB":
            scope = Scope(organisations=frozenset({organisation}))
            rows = archive.instances(scope)
            for row in rows:
                data = archive.read_file(row)[row.place.prefix_length :]
                assert hashlib.sha256(data).hexdigest() == row.digest
            study = archive.study(scope, "1.2.3")
            assert (study.instance_count if study else 0) == len(rows)
    finally:
        await archive.close()


async def cut(root: Path, *, points: int, seed: int, uploads: int = 40) -> int:
    """Record one history and cut the power at `points` moments drawn from it. Returns how many were tried."""
    history = await record(root / "live", uploads=uploads, seed=seed)
    disk = Disk(history)
    for number in range(points):
        chance = random.Random(f"{seed}:{number}")
        interval = number % len(disk) if points >= len(disk) else chance.randrange(len(disk))
        moment = history.moments[interval]
        try:
            await check(disk.image(interval, chance), root / "image", history.acknowledged[: moment.acknowledged])
        except Exception as error:
            error.add_note(f"seed {seed}, number {number}, power cut behind {moment.point} ({interval})")
            raise
    return points
