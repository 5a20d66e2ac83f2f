"""Resumable uploads from the browser: bytes arrive in pieces, each on disk before it is acknowledged.

The staging file's size is the truth about what has arrived; the row holds whose it is and what became of it. A finished
upload goes through the archive's one way in, a zip entry by entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from consult.access import Action, authorize
from consult.errors import NotFound
from consult.people import Actor, OrganisationId
from dicom.archive import Archive
from dicom.model import IngestResult
from server.matching import match_studies
from server.problems import Refused
from server.settings import Uploads as UploadSettings
from server.storage.faults import fault
from server.storage.unit import SqlUnitOfWork
from server.storage.uploads import Upload
from server.unzip_worker import END, REFUSED
from server.work import Work

CHUNK_BYTES = 4 << 20
FEED_BYTES = 1 << 20
ZIP_ENTRIES = 20_000
ZIP_BYTES = 16 << 30
KEEP_UNTOUCHED = timedelta(days=2)
ZIP_MAGIC = b"PK\x03\x04"


class Uploading:
    """The staging folder and its uploads. One instance per application."""

    def __init__(self, root: Path, work: Work, archive: Archive, settings: UploadSettings) -> None:
        self._root = root
        self._work = work
        self._archive = archive
        self._settings = settings
        self._locks: OrderedDict[str, asyncio.Lock] = OrderedDict()
        root.mkdir(parents=True, exist_ok=True)

    def path(self, upload: str) -> Path:
        return self._root / upload

    def _lock(self, upload: str) -> asyncio.Lock:
        lock = self._locks.setdefault(upload, asyncio.Lock())
        self._locks.move_to_end(upload)
        while len(self._locks) > 1000:
            oldest = next(iter(self._locks))
            if self._locks[oldest].locked():
                break
            del self._locks[oldest]
        return lock

    def check_space(self, size: int) -> None:
        """Refused disk_full before anything is sent, too_large over the limit."""
        limit = self._settings.instance_mb << 20
        if size > limit:
            raise Refused("too_large", limit=f"{self._settings.instance_mb} MB")
        stat = os.statvfs(self._root)
        if stat.f_bavail * stat.f_frsize < size + (self._settings.disk_reserve_mb << 20):
            raise Refused("disk_full")

    async def start(self, actor: Actor, size: int) -> Upload:
        """A new upload of `size` bytes; 0 is refused as empty."""
        if size <= 0:
            raise Refused("upload_empty")
        self.check_space(size)
        upload = await self._work.run(_start, actor=actor, size=size)
        await asyncio.to_thread(self.path(upload.id).touch)
        return upload

    async def read(self, actor: Actor, upload: str) -> Upload:
        """The upload with what has arrived; NotFound when it is somebody else's."""
        found = await self._work.read(_mine, actor=actor, upload=upload)
        if found.state != "open":
            return found
        return replace(found, received=await asyncio.to_thread(self._size, upload))

    def _size(self, upload: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.path(upload).stat().st_size
        return 0

    async def append(self, actor: Actor, upload: str, offset: int, body: AsyncIterator[bytes]) -> int:
        """Add a piece at `offset`; returns how much has arrived, on disk. A piece that starts elsewhere than where the
        file ends is refused with upload_offset, so nothing is doubled or left out.
        """
        found = await self._work.read(_mine, actor=actor, upload=upload)
        if found.state != "open":
            raise Refused("upload_closed")
        lock = self._lock(upload)
        if lock.locked():
            raise Refused("upload_offset")
        async with lock:
            size = await asyncio.to_thread(self._size, upload)
            if offset != size:
                raise Refused("upload_offset", received=size)
            return await self._write(found, offset, body)

    async def _write(self, upload: Upload, offset: int, body: AsyncIterator[bytes]) -> int:
        descriptor = os.open(self.path(upload.id), os.O_WRONLY | os.O_CREAT, 0o600)
        end = offset
        most = min(upload.size, offset + CHUNK_BYTES)
        try:
            async for data in body:
                if end + len(data) > most:
                    raise Refused("upload_size")
                await asyncio.to_thread(_write_all, descriptor, data, end)
                end += len(data)
            fault("upload_before_fsync")
            await asyncio.to_thread(os.fdatasync, descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, offset)
            raise Refused("disk_full") from error
        except BaseException:
            # A cut connection: what came whole stays, so that the sender goes on from there.
            with contextlib.suppress(OSError):
                os.fdatasync(descriptor)
            raise
        finally:
            os.close(descriptor)
        return end

    async def finish(self, actor: Actor, upload: str) -> Upload:
        """Take the whole file in; the answer tells what became of each instance. Asking again answers the same."""
        async with self._lock(upload):
            found = await self._work.read(_mine, actor=actor, upload=upload)
            if found.state in {"done", "failed"}:
                return found
            if found.state == "cancelled":
                raise Refused("upload_closed")
            if await asyncio.to_thread(self._size, upload) != found.size:
                raise Refused("upload_incomplete")
            if found.state == "open":
                found = await self._work.run(_save, upload=replace(found, state="complete", received=found.size))
            return await self.ingest(found)

    async def ingest(self, upload: Upload) -> Upload:
        """A complete upload through the archive; also called at start for those a stop interrupted."""
        path = self.path(upload.id)
        results = await self._take_in(path, upload)
        if any(x.reason in {"disk_full", "io_error", "busy"} for x in results):
            raise Refused("disk_full" if any(x.reason == "disk_full" for x in results) else "busy")
        studies = [x.study_uid for x in results if x.study_uid and x.outcome in {"stored", "duplicate"}]
        matched = await match_studies(self._archive, self._work, upload.organisation, studies)
        done = replace(upload, state="done", result=summary(results, matched))
        fault("upload_before_result")
        done = await self._work.run(_save, upload=done)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return done

    async def _take_in(self, path: Path, upload: Upload) -> Sequence[IngestResult]:
        source = f"upload:{upload.membership}"
        with path.open("rb") as file:
            head = file.read(4)
        if head == ZIP_MAGIC:
            return await self._unzip(path, upload.organisation, source)
        size = upload.size
        if size <= self._archive.limits.inline_bytes:
            data = await asyncio.to_thread(path.read_bytes)
            return [await self._archive.ingest(data, organisation=upload.organisation, source=source)]
        return [await self._archive.ingest(_pieces(path), organisation=upload.organisation, source=source)]

    async def _unzip(self, path: Path, organisation: OrganisationId, source: str) -> Sequence[IngestResult]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "server.unzip_worker", str(path), str(ZIP_ENTRIES), str(ZIP_BYTES),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=FEED_BYTES,
        )  # fmt: skip
        assert child.stdout is not None
        results: list[IngestResult] = []
        try:
            entries = _Entries(child.stdout)
            while await entries.more():
                results.append(await self._archive.ingest(entries.body(), organisation=organisation, source=source))
                await entries.drain()
            if entries.reason:
                results.append(IngestResult(outcome="refused", reason=entries.reason))
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        return results

    async def cancel(self, actor: Actor, upload: str) -> None:
        """The sender has changed their mind; nothing of it was taken in."""
        async with self._lock(upload):
            found = await self._work.read(_mine, actor=actor, upload=upload)
            if found.state != "open":
                raise Refused("upload_closed")
            await self._work.run(_save, upload=replace(found, state="cancelled"))
            await asyncio.to_thread(self.path(upload).unlink, missing_ok=True)

    async def resume_interrupted(self) -> int:
        """At start: complete uploads that a stop kept from being taken in, and files nobody has come back for."""
        again = await self._work.read(lambda uow: uow.uploads.unfinished())
        for upload in again:
            if await asyncio.to_thread(self._size, upload.id) == upload.size:
                with contextlib.suppress(Refused):
                    await self.ingest(upload)
        for stale in await self._work.run(_drop_stale):
            await asyncio.to_thread(self.path(stale).unlink, missing_ok=True)
        return len(again)


class _Entries:
    """The frames of server/unzip_worker.py as bodies, one entry after the other."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream
        self._open = False
        self._first = 0
        self.reason = ""

    async def _frame(self) -> int:
        try:
            (length,) = struct.unpack(">I", await self._stream.readexactly(4))
        except asyncio.IncompleteReadError:
            self.reason = "zip_damaged"
            return END
        return int(length)

    async def more(self) -> bool:
        """Whether another entry follows."""
        length = await self._frame()
        if length == REFUSED:
            text = await self._stream.readexactly(await self._frame())
            self.reason = text.decode()
        if length in {END, REFUSED}:
            return False
        self._open, self._first = length > 0, length
        return True

    async def body(self) -> AsyncIterator[bytes]:
        length = self._first
        while self._open:
            if length == 0:
                self._open = False
                return
            if length in {END, REFUSED}:
                self._open = False
                self.reason = "zip_damaged"
                raise ConnectionError("the archive ended inside an entry")
            yield await self._stream.readexactly(length)
            length = await self._frame()

    async def drain(self) -> None:
        """Skip what ingest did not read of a refused entry."""
        while self._open:
            length = await self._frame()
            if length == 0 or length in {END, REFUSED}:
                self._open = False
                return
            await self._stream.readexactly(length)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while data := await asyncio.to_thread(file.read, FEED_BYTES):
            yield data


def summary(results: Sequence[IngestResult], matched: dict[str, str]) -> dict[str, Any]:
    """What the page shows: per instance outcome and reason, per study how it was matched. No names."""
    studies: dict[str, dict[str, Any]] = {}
    for x in results:
        if x.study_uid and x.outcome in {"stored", "duplicate"}:
            entry = studies.setdefault(
                x.study_uid,
                {"study": x.study_uid, "modality": x.modality, "date": x.study_date, "instances": 0, "match": ""},
            )
            entry["instances"] += 1
            entry["match"] = matched.get(x.study_uid, "")
    return {
        "instances": [
            {"outcome": x.outcome, "reason": x.reason, "study": x.study_uid, "sop": x.sop_uid, "repaired": x.repaired}
            for x in results
        ],
        "studies": list(studies.values()),
    }


def _start(uow: SqlUnitOfWork, *, actor: Actor, size: int) -> Upload:
    authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    upload = Upload(
        id=uow.new_id(),
        organisation=actor.organisation,
        membership=actor.membership,
        size=size,
        created_at=uow.now,
        touched_at=uow.now,
    )
    uow.uploads.add(upload)
    return upload


def _mine(uow: SqlUnitOfWork, *, actor: Actor, upload: str) -> Upload:
    authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    found = uow.uploads.get(upload)
    if found.membership != actor.membership:
        raise NotFound
    return found


def _save(uow: SqlUnitOfWork, *, upload: Upload) -> Upload:
    return uow.uploads.save(replace(upload, touched_at=uow.now))


def _drop_stale(uow: SqlUnitOfWork) -> list[str]:
    old = [x.id for x in uow.uploads.stale(before=uow.now - KEEP_UNTOUCHED)]
    for upload in old:
        uow.uploads.remove(upload)
    return old
