"""Compaction: what still counts of a pack with much dead weight is copied into a new one, and the old one is dropped.

Every record is copied as it is, number and all, so that a rescan makes the same of either copy. The order is what makes
it safe: the copies are durable (fdatasync) before the commit that moves the rows to them, and the old pack lies there
for a while after it (`keep`), for requests under way and for an older index that a backup may bring back.
A tombstone is copied like everything that still counts: it outlives the packs whose records it refers to.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dicom.errors import BusyError, DicomError
from dicom.index import compaction, life
from dicom.packs.append import OpenPack, pack_path, storage_error, sync_directory
from dicom.packs.read import PackFile, list_packs
from dicom.packs.record import ALIGN, PACK_HEADER, Kind, Record, body_is_whole, padding, read_record

if TYPE_CHECKING:
    from dicom.archive import Archive

log = logging.getLogger(__name__)
SHARE = 0.3  # of a pack that must be dead before it is worth the copying
_CHUNK = 4 << 20
assert not _CHUNK % ALIGN  # a record is appended in pieces, and only its last may need padding
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport:
    """What one compaction did, in packs and bytes. `skipped`: packs that hold damage and are left as they are."""

    compacted: int
    copied: int
    dropped: int
    freed: int
    waiting: int  # bytes of retired packs that are kept a while yet
    skipped: tuple[int, ...]


@dataclass(slots=True)
class _Plan:
    """What is to be copied of one pack."""

    pack: int
    size: int
    records: list[Record] = field(default_factory=list)
    kept: int = 0


class _Damaged(Exception):
    """A record that counts is not whole: the pack stays, for a scrub to name what is wrong."""


def plan_pack(connection: sqlite3.Connection, pack: int, file: PackFile, end: int) -> _Plan:
    """The records of a pack that still count. Raises _Damaged. Blocks; reads heads only."""
    places = {entry.offset for entry in life.entries(connection, pack, 0, end)}
    out = _Plan(pack, end)
    offset = PACK_HEADER.size
    while offset < end:
        record = read_record(file.read, offset, end)
        if record is None:
            raise _Damaged
        place = _place(record)
        if place in places or compaction.still_counts(connection, pack, record):
            out.records.append(record)
            out.kept += record.end - record.offset
        places.discard(place)
        offset = record.end + padding(record.end)
    if places:
        raise _Damaged  # a row points to where no record begins
    return out


class _Copies:
    """The new packs, one after the other."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._pack: OpenPack | None = None
        self._counts = False  # rows point into it

    async def take(self, plan: _Plan, file: PackFile, tell: Callable[[int], None]) -> None:
        """Copy what counts of a pack, make it durable, and let the rows point to it. Raises _Damaged, DicomError."""
        archive = self._archive
        out = await self._open() if plan.records else None
        moves = await self._copied(plan, file, out, tell) if out is not None else []
        at = archive.now().isoformat(timespec="seconds")

        def enter(connection: sqlite3.Connection) -> None:
            if out is not None:
                compaction.enter_copies(connection, out.id, out.end)
            compaction.move(connection, plan.pack, out.id if out is not None else 0, moves)
            compaction.retire(connection, plan.pack, at)

        self._counts = self._counts or out is not None  # also where the answer does not come
        await archive.execute(enter)

    async def _open(self) -> OpenPack:
        archive = self._archive
        if self._pack is not None and self._pack.end >= archive.limits.pack_bytes:
            self.close()
        if self._pack is None:
            number = await archive.execute(lambda _: archive.number_pack())
            self._pack = await asyncio.to_thread(OpenPack.create, archive.root, number, archive.id, archive.fault)
            self._counts = False
        return self._pack

    async def _copied(
        self, plan: _Plan, file: PackFile, out: OpenPack, tell: Callable[[int], None]
    ) -> list[tuple[int, int]]:
        stop = threading.Event()
        work = asyncio.ensure_future(asyncio.to_thread(_copy_all, plan, file, out, tell, stop))
        try:
            return await asyncio.shield(work)
        except BaseException:
            stop.set()
            await asyncio.wait({work})  # its descriptor must outlive the thread
            # What is behind the last commit counts for nothing, and nothing is written behind it.
            self.close()
            if not self._counts:
                out.path.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        if self._pack is not None:
            self._pack.close()
            self._pack = None


def _copy_all(
    plan: _Plan, file: PackFile, out: OpenPack, tell: Callable[[int], None], stop: threading.Event
) -> list[tuple[int, int]]:
    """Append the records, each verified before, durably: (old, new) places. Raises _Damaged, DicomError."""
    moves = []
    try:
        for record in plan.records:
            if not body_is_whole(file.read, record):
                raise _Damaged
            end = record.body_offset + record.body_length
            start = out.end
            for offset in range(record.offset, end, _CHUNK):
                if stop.is_set():
                    raise BusyError
                out.append([file.read(offset, min(_CHUNK, end - offset))])
            place = _place(record)
            moves.append((place, place + start - record.offset))
            tell(record.end - record.offset)
        out.sync()
    except OSError as error:
        raise storage_error(error) from error
    return moves


def _place(record: Record) -> int:
    """What a row that points to a record holds as its offset."""
    return record.body_offset if record.kind is Kind.METADATA else record.prefix_offset


async def compact(
    archive: Archive, *, keep: timedelta, share: float = SHARE, tell: Tell = lambda _done, _total: None
) -> CompactReport:
    """Compact every sealed pack of which `share` or more is dead, and drop what was retired `keep` ago.

    Raises DicomError (the disk is full or fails): what was moved by then stays moved, nothing is lost.
    """
    dropped, freed = await drop_retired(archive, keep)
    plans, skipped = await asyncio.to_thread(_plans, archive, share)
    total, done, compacted, copied = sum(plan.kept for plan in plans), 0, 0, 0
    copies = _Copies(archive)

    def add(size: int) -> None:
        nonlocal done
        done += size
        tell(done, total)

    try:
        for plan in plans:
            file = PackFile(pack_path(archive.root, plan.pack))
            try:
                await copies.take(plan, file, add)
            except _Damaged:
                skipped.append(plan.pack)
                continue
            compacted += 1
            copied += plan.kept
    finally:
        copies.close()
    if skipped:
        log.warning("packs not compacted: damaged", extra={"packs": skipped[:20]})
    waiting = await asyncio.to_thread(_sizes, archive)
    return CompactReport(
        compacted=compacted, copied=copied, dropped=dropped, freed=freed, waiting=waiting, skipped=tuple(skipped)
    )


def _plans(archive: Archive, share: float) -> tuple[list[_Plan], list[int]]:
    plans: list[_Plan] = []
    skipped: list[int] = []
    with archive.index_connection() as connection:
        packs = compaction.candidates(connection)
    for pack, end in packs:
        try:
            file = PackFile(pack_path(archive.root, pack))
            with archive.index_connection() as connection:
                # Labels are no dead weight, but without them this is a quick first look.
                if sum(entry.length for entry in life.entries(connection, pack, 0, end)) > end * (1 - share):
                    continue
                plan = plan_pack(connection, pack, file, end)
        except (_Damaged, OSError, DicomError):
            skipped.append(pack)
            continue
        if plan.kept <= (end - PACK_HEADER.size) * (1 - share):
            plans.append(plan)
    return plans, skipped


def _sizes(archive: Archive) -> int:
    with archive.index_connection() as connection:
        waiting = compaction.retired(connection)
    return sum(path.stat().st_size for pack, path in list_packs(archive.root).items() if pack in waiting)


async def drop_retired(archive: Archive, keep: timedelta) -> tuple[int, int]:
    """Remove the files of packs that were retired `keep` ago. Returns (packs, bytes).

    First the file and its directory entry, then the row: a crash between leaves a row without a file, which the next
    call takes away. The highest number stays, so that no number is ever given twice.
    """
    waiting = await archive.read_index(compaction.retired)
    on_disk = await asyncio.to_thread(list_packs, archive.root)
    dropped, freed = 0, 0
    for pack, at in waiting.items():
        if archive.now() - datetime.fromisoformat(at) < keep or pack == max(on_disk):
            continue
        try:
            freed += await asyncio.to_thread(_unlink, archive, pack)
        except OSError as error:
            raise storage_error(error) from error
        archive.forget_pack(pack)
        await archive.execute(_forgets(pack))
        dropped += 1
    return dropped, freed


def _forgets(pack: int) -> Callable[[sqlite3.Connection], None]:
    return lambda connection: compaction.forget(connection, pack)


def _unlink(archive: Archive, pack: int) -> int:
    path = pack_path(archive.root, pack)
    size = path.stat().st_size if path.exists() else 0
    archive.fault("drop.unlink")
    path.unlink(missing_ok=True)
    archive.fault("drop.dirsync")
    sync_directory(path.parent)
    return size
