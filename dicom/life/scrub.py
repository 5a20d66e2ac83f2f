"""Scrub: every byte of every pack is read again and compared with the digests of its records and of the index.

What is wrong is written down by its place; from then on it is not served (`PackReader.check`). Nothing is mended in
place: the same bytes, sent again or taken from a backup, are stored anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom.errors import DicomError
from dicom.index import life
from dicom.index.life import Entry
from dicom.index.writer import packs_known
from dicom.packs.append import pack_path
from dicom.packs.read import PackFile
from dicom.packs.record import (
    ALIGN,
    PACK_HEADER,
    RECORD_MAGIC,
    Kind,
    Read,
    Record,
    padding,
    read_pack_header,
    read_record,
)

if TYPE_CHECKING:
    from dicom.archive import Archive

log = logging.getLogger(__name__)
_CHUNK = 1 << 20
_STEP = 4 << 20  # examined between two pauses
_WINDOW = 16 << 20  # entries of the index fetched at once
_SKIP = 64 << 10  # an unreadable stretch is left in steps of this
_UNREADABLE = (OSError, DicomError)
Sleep = Callable[[float], Awaitable[object]]


@dataclass(slots=True, kw_only=True)
class Findings:
    """What the examination of a pack found."""

    wrong: list[Entry] = field(default_factory=list)  # rows point to it, and it is not what they say
    gaps: list[int] = field(default_factory=list)  # offsets where no valid record is
    records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """One round. `damaged`: datasets without a sound copy after it. `gaps`: (pack, offset) where no record is."""

    packs: int
    records: int
    bytes: int
    damaged: int
    gaps: tuple[tuple[int, int], ...]


def examine(read: Read, pack: int, end: int, entries: Iterator[Entry], found: Findings) -> Iterator[int]:
    """Walk the records of a pack up to `end` beside the index's entries, which come by offset.

    Yields how many bytes were read since the last time. An entry is wrong unless a whole record stands exactly there
    which names its digest.
    """
    waiting = next(entries, None)
    if _header_of(read) != pack:
        found.gaps.append(0)
    offset = PACK_HEADER.size
    while offset < end:
        record = _head(read, offset, end)
        whole = record is not None
        if record is not None:
            digest = hashlib.sha256()
            for start in range(record.body_offset, record.body_offset + record.body_length, _CHUNK):
                data = _bytes(read, start, min(_CHUNK, record.body_offset + record.body_length - start))
                digest.update(data)
                yield len(data)
            whole = digest.hexdigest() == record.label.get("digest")
        if record is not None and whole:
            found.records += 1
            while waiting is not None and waiting.offset <= record.prefix_offset:
                if waiting.offset < record.prefix_offset or not _matches(record, waiting):
                    found.wrong.append(waiting)
                waiting = next(entries, None)
        else:
            found.gaps.append(offset)
        if record is not None:  # its head has a checksum of its own: where it ends is known
            offset = record.end + padding(record.end)
        else:
            offset = yield from _next_head(read, offset + ALIGN, end)
    if waiting is not None:
        found.wrong += [waiting, *entries]


def _matches(record: Record, entry: Entry) -> bool:
    if entry.kind == "metadata":
        return (
            record.kind is Kind.METADATA
            and record.label.get("of") == entry.digest
            and record.body_length == entry.length
        )
    length = record.prefix_length + record.body_length
    kinds = {Kind.INSTANCE, Kind.QUARANTINE}
    return record.kind in kinds and record.label.get("digest") == entry.digest and length == entry.length


def _header_of(read: Read) -> int | None:
    try:
        return read_pack_header(read(0, PACK_HEADER.size))[0]
    except _UNREADABLE:
        return None


def _head(read: Read, offset: int, end: int) -> Record | None:
    try:
        return read_record(read, offset, end)
    except _UNREADABLE:
        return None


def _bytes(read: Read, offset: int, size: int) -> bytes:
    try:
        return read(offset, size)
    except _UNREADABLE:
        return b""


def _next_head(read: Read, offset: int, end: int) -> Generator[int, None, int]:
    """Yields the bytes read; its value is the next offset that carries a valid head, `end` if there is none."""
    while offset < end:
        data = _bytes(read, offset, min(_SKIP, end - offset))
        yield len(data)
        at = data.find(RECORD_MAGIC)
        while at >= 0:
            if not (offset + at) % ALIGN and _head(read, offset + at, end) is not None:
                return offset + at
            at = data.find(RECORD_MAGIC, at + 1)
        offset += _SKIP if len(data) in {0, _SKIP} else len(data) + padding(len(data))
    return end


class _PackScrub:
    """One pack, a step at a time, each in a thread, with a descriptor of its own."""

    def __init__(self, archive: Archive, pack: int, end: int) -> None:
        self.found = Findings()
        entries = _entries(archive, pack, end)
        self._file: PackFile | None = None
        self._steps: Iterator[int] = iter(())
        try:
            self._file = PackFile(pack_path(archive.root, pack))
        except OSError:
            self.found.gaps.append(0)
            self.found.wrong += entries
        else:
            self._steps = examine(self._file.read, pack, end, entries, self.found)

    def step(self) -> tuple[int, bool]:
        """(bytes read, whether more is to come)."""
        done = 0
        for size in self._steps:
            done += size
            if done >= _STEP:
                self._forget()
                return done, True
        self._forget()
        return done, False

    def _forget(self) -> None:
        """The next scrub is to read the disk, and what people look at stays in memory."""
        if self._file is not None:
            os.posix_fadvise(self._file.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _entries(archive: Archive, pack: int, end: int) -> Iterator[Entry]:
    """A stretch at a time: a slow scrub must not hold one snapshot, which would keep the log from being emptied."""
    for start in range(0, end, _WINDOW):
        with archive.index_connection() as connection:
            found = life.entries(connection, pack, start, min(start + _WINDOW, end))
        yield from found


async def scrub(
    archive: Archive,
    *,
    rate: float = 0.0,
    resume: bool = False,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> ScrubReport:
    """Examine every pack at no more than `rate` bytes a second (0: as fast as the disk).

    `resume` goes on behind the pack that an interrupted round had reached. `tell(done, total)` hears the bytes.
    What is found is written down pack by pack, and from then on not served.
    """
    marks = await archive.read_index(packs_known)
    state = await archive.read_index(life.scrub_state)
    after = int(state.get("after", 0)) if resume and not state.get("finished") else 0
    packs = [(pack, mark) for pack, (mark, _) in sorted(marks.items()) if pack > after]
    total, done, records = sum(mark for _, mark in packs), 0, 0
    gaps: list[tuple[int, int]] = [tuple(gap) for gap in state.get("gaps", ())] if after else []
    began = state["began"] if after else archive.now().isoformat(timespec="seconds")
    for pack, mark in packs:
        work = await asyncio.to_thread(_PackScrub, archive, pack, mark)
        more = True
        while more:
            started = clock()
            size, more = await asyncio.to_thread(work.step)
            done += size
            tell(min(done, total), total)
            if rate > 0 and (wait := size / rate - (clock() - started)) > 0:
                await sleep(wait)
        found = work.found
        records += found.records
        gaps += [(pack, offset) for offset in found.gaps]
        for entry in found.wrong:
            log.error(
                "stored bytes are wrong",
                extra={"pack": pack, "offset": entry.offset, "kind": entry.kind, "digest": entry.digest},
            )
        at = archive.now().isoformat(timespec="seconds")
        last = pack == packs[-1][0]
        state = {"began": began, "after": pack, "gaps": gaps[:1000], "bytes": done, "finished": at if last else ""}
        await archive.execute(_writes(pack, found, at, state))
        await archive.refuse_damaged()
    damaged = await archive.read_index(life.damaged_count)
    return ScrubReport(packs=len(packs), records=records, bytes=done, damaged=damaged, gaps=tuple(gaps))


def _writes(pack: int, found: Findings, at: str, state: dict[str, Any]) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        life.set_damage(connection, pack, found.wrong, at)
        life.set_scrub_state(connection, state)

    return write


async def repair(archive: Archive, root: Path) -> tuple[int, int]:
    """Store anew, from the copy of an archive folder, what has no sound copy here. Returns (mended, still wrong).

    Bytes are taken only if they still have the digest they were stored under.
    """
    mended = 0
    for wrong in await archive.read_index(life.damaged_instances):
        try:
            copy = PackFile(pack_path(root, wrong.pack))
        except OSError:
            continue
        if await asyncio.to_thread(_is_sound, copy, wrong):
            result = await archive.ingest(_chunks(copy, wrong), organisation=wrong.organisation, source="repair")
            mended += result.outcome == "stored"
    return mended, await archive.read_index(life.damaged_count)


def _is_sound(copy: PackFile, wrong: life.Damaged) -> bool:
    digest = hashlib.sha256()
    end = wrong.offset + wrong.length
    for start in range(wrong.offset + wrong.prefix_length, end, _CHUNK):
        digest.update(_bytes(copy.read, start, min(_CHUNK, end - start)))
    return digest.hexdigest() == wrong.digest


async def _chunks(copy: PackFile, wrong: life.Damaged) -> AsyncIterator[bytes]:
    end = wrong.offset + wrong.length
    for start in range(wrong.offset, end, _CHUNK):
        yield await asyncio.to_thread(copy.read, start, min(_CHUNK, end - start))
