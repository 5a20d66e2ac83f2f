"""Resumable uploads from the browser: bytes arrive in pieces, each on disk before it is acknowledged.

The staging file's size is the truth about what has arrived; the row holds whose it is and what became of it. A finished
upload goes through the archive's one way in, a zip entry by entry; a picture for a consultation is filed with it
(server/pictures.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from consult.access import Action, authorize
from consult.errors import NotFound
from consult.people import Actor
from dicom.archive import Archive
from dicom.model import IngestResult
from server.auth.audit import audit
from server.matching import match_studies
from server.pictures import Given, Pictures, begin_picture, check_picture
from server.pieces import head_of, peeked, pieces_of
from server.problems import Refused
from server.settings import Uploads as UploadSettings
from server.storage.faults import fault
from server.storage.unit import SqlUnitOfWork
from server.storage.uploads import Upload
from server.unzipping import open_zip
from server.work import Work

CHUNK_BYTES = 4 << 20
KEEP_UNTOUCHED = timedelta(days=2)
TOUCH_AFTER = timedelta(hours=1)
FINISH_SECONDS = 20.0
ZIPS_AT_ONCE = 2
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
LATER = {"disk_full": "disk_full", "io_error": "io_error", "busy": "busy"}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Uploading:
    """The staging folder and its uploads. One instance per application."""

    def __init__(
        self, root: Path, work: Work, archive: Archive, settings: UploadSettings, pictures: Pictures
    ) -> None:
        self._root = root
        self._work = work
        self._pictures = pictures
        self._archive = archive
        self._settings = settings
        self._locks: OrderedDict[str, asyncio.Lock] = OrderedDict()
        self._running: dict[str, asyncio.Task[Upload]] = {}
        self._taken: dict[str, int] = {}
        self._zips = asyncio.Semaphore(ZIPS_AT_ONCE)
        root.mkdir(parents=True, exist_ok=True)

    def path(self, upload: str) -> Path:
        return self._root / upload

    def taken(self, upload: str) -> int:
        """How many files of a zip that is being taken in have gone through."""
        return self._taken.get(upload, 0)

    async def close(self) -> None:
        """Stop taking in; what is complete goes on at the next start."""
        for task in (running := list(self._running.values())):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _lock(self, upload: str) -> asyncio.Lock:
        lock = self._locks.setdefault(upload, asyncio.Lock())
        self._locks.move_to_end(upload)
        while len(self._locks) > 1000:
            oldest = next(iter(self._locks))
            if self._locks[oldest].locked():
                break
            del self._locks[oldest]
        return lock

    def check_space(self, size: int, *, most_mb: int = 0) -> None:
        """Refused disk_full before anything is sent, too_large over the limit (0: that of one DICOM object)."""
        limit = most_mb or self._settings.instance_mb
        if size > limit << 20:
            raise Refused("too_large", limit=f"{limit} MB")
        stat = os.statvfs(self._root)
        if stat.f_bavail * stat.f_frsize < size + (self._settings.disk_reserve_mb << 20):
            raise Refused("disk_full")

    async def start(self, actor: Actor, size: int, *, given: Given | None = None) -> Upload:
        """A new upload of `size` bytes, 0 is refused as empty; `given`: of a picture for a consultation."""
        if size <= 0:
            raise Refused("upload_empty")
        self.check_space(size, most_mb=self._settings.document_mb if given else 0)
        if given is None:
            upload = await self._work.run(_start, actor=actor, size=size)
        else:
            upload = await self._work.run(begin_picture, actor=actor, size=size, given=given)
        await asyncio.to_thread(self.path(upload.id).touch, mode=0o600)
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
            if self._work.clock() - found.touched_at > TOUCH_AFTER:
                found = await self._work.run(_save, upload=found)
            end = await self._write(found, offset, body)
        self._pictures.tell(found, before=offset, received=end)
        return end

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
            if isinstance(error, ConnectionError):
                raise  # the line was cut: what came stays, so that the sender goes on from there
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, offset)
            raise Refused("disk_full" if error.errno in FULL else "io_error") from error
        finally:
            os.close(descriptor)
        return end

    async def whole(self, actor: Actor, body: AsyncIterator[bytes], size: int | None) -> dict[str, Any]:
        """A small file in one request: into the archive as it comes; a zip takes the long way. `size`: as announced.

        Returns {state, result, id}. Sent again after a lost answer it is found to be there already. Raises Refused
        upload_empty, disk_full, busy, and what `body` raises.
        """
        await self._work.read(_may_upload, actor=actor)
        head, body = await peeked(body, len(ZIP_MAGIC[0]))
        if head.startswith(ZIP_MAGIC):
            done = await self._small_zip(actor, body, size or CHUNK_BYTES)
            return {"id": done.id, "state": done.state, "result": done.result}
        if not head:
            raise Refused("upload_empty")
        self.check_space(size or len(head))
        source = f"upload:{actor.membership}"
        found = await self._archive.ingest(body, organisation=actor.organisation, source=source)
        refuse_for_now([found])
        await self._work.run(_note, actor=actor, result=found)
        matched = await match_studies(self._archive, self._work, actor.organisation, held([found]))
        return {"id": "", "state": "done", "result": summary([found], matched)}

    async def _small_zip(self, actor: Actor, body: AsyncIterator[bytes], size: int) -> Upload:
        upload = await self.start(actor, size)
        try:
            end = await self._write(upload, 0, body)
            if end != size:  # it was not announced
                await self._work.run(_save, upload=replace(upload, size=end))
        except Exception:
            await self.cancel(actor, upload.id)
            raise
        return await self.finish(actor, upload.id)

    async def finish(self, actor: Actor, upload: str) -> Upload:
        """Take the whole file in; the answer tells what became of each instance. Asking again answers the same.

        What takes longer than FINISH_SECONDS goes on without the caller: the answer is then still "complete".
        """
        async with self._lock(upload):
            found = await self._work.read(_mine, actor=actor, upload=upload)
            if found.state in {"done", "failed"}:
                return found
            if found.state == "cancelled":
                raise Refused("upload_closed")
            task = self._running.get(upload)
            if task is None:
                if await asyncio.to_thread(self._size, upload) != found.size:
                    raise Refused("upload_incomplete")
                if found.consultation is not None:
                    task = self._begin(found, self._pictures.file(actor, found, self.path(upload)))
                else:
                    if found.state == "open":
                        found = await self._work.run(_complete, actor=actor, upload=found)
                    task = self._begin(found, self.ingest(found))
        await asyncio.wait({task}, timeout=FINISH_SECONDS)
        return task.result() if task.done() else found

    def _begin(self, upload: Upload, taking: Coroutine[Any, Any, Upload]) -> asyncio.Task[Upload]:
        task = asyncio.get_running_loop().create_task(taking)
        self._running[upload.id] = task

        def ended(task: asyncio.Task[Upload]) -> None:
            self._running.pop(upload.id, None)
            self._taken.pop(upload.id, None)
            if not task.cancelled():
                task.exception()  # told to whoever waits; if nobody does, the next finish tries again

        task.add_done_callback(ended)
        return task

    async def ingest(self, upload: Upload) -> Upload:
        """A complete upload through the archive; also called at start for those a stop interrupted."""
        path = self.path(upload.id)
        results = await self._take_in(path, upload)
        refuse_for_now(results)
        matched = await match_studies(self._archive, self._work, upload.organisation, held(results))
        done = replace(upload, state="done", result=summary(results, matched))
        fault("upload_before_result")
        done = await self._work.run(_save, upload=done)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return done

    async def _take_in(self, path: Path, upload: Upload) -> Sequence[IngestResult]:
        source = f"upload:{upload.membership}"
        head = await asyncio.to_thread(head_of, path)
        if head in ZIP_MAGIC:
            async with self._zips:
                return await self._unzip(path, upload, source)
        return [await self._archive.ingest(pieces_of(path), organisation=upload.organisation, source=source)]

    async def _unzip(self, path: Path, upload: Upload, source: str) -> Sequence[IngestResult]:
        results: list[IngestResult] = []
        async with open_zip(path) as entries:
            while await entries.more():
                found = await self._archive.ingest(
                    entries.body(), organisation=upload.organisation, source=source
                )
                results.append(found)
                self._taken[upload.id] = len(results)
                if found.reason in LATER:
                    return results
                await entries.drain()
        if entries.reason or not results:
            results.append(IngestResult(outcome="refused", reason=entries.reason or "zip_empty"))
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
                    await self._begin(upload, self.ingest(upload))
        await self.sweep()
        return len(again)

    async def sweep(self) -> int:
        """Drop what nobody has come back for in KEEP_UNTOUCHED; returns how many uploads went."""
        stale = await self._work.run(_drop_stale)
        for upload in stale:
            await asyncio.to_thread(self.path(upload).unlink, missing_ok=True)
        return len(stale)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def refuse_for_now(results: Sequence[IngestResult]) -> None:
    """What failed for the server's own reasons is no result: Refused, so that the sender tries again later."""
    for x in results:
        if x.reason in LATER:
            raise Refused(LATER[x.reason])


def held(results: Sequence[IngestResult]) -> list[str]:
    """The studies that the archive holds now, each once."""
    return list(dict.fromkeys(x.study_uid for x in results if x.outcome in {"stored", "duplicate"}))


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


def _may_upload(uow: SqlUnitOfWork, *, actor: Actor) -> None:
    authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)


def _note(uow: SqlUnitOfWork, *, actor: Actor, result: IngestResult) -> None:
    authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    about = f"study:{result.study_uid}" if result.study_uid else f"organisation:{actor.organisation}"
    audit(uow, actor, "study.store", about, detail={"outcome": result.outcome, "reason": result.reason or ""})


def _complete(uow: SqlUnitOfWork, *, actor: Actor, upload: Upload) -> Upload:
    audit(uow, actor, "study.store", f"upload:{upload.id}", detail={"bytes": upload.size})
    return uow.uploads.save(replace(upload, state="complete", received=upload.size, touched_at=uow.now))


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
    found = uow.uploads.get(upload)
    if found.membership != actor.membership:
        raise NotFound
    if found.consultation is None:
        authorize(uow, actor, Action.STUDIES_UPLOAD, actor.organisation)
    else:
        check_picture(uow, actor, found.consultation)
    return found


def _save(uow: SqlUnitOfWork, *, upload: Upload) -> Upload:
    return uow.uploads.save(replace(upload, touched_at=uow.now))


def _drop_stale(uow: SqlUnitOfWork) -> list[str]:
    old = [x.id for x in uow.uploads.stale(before=uow.now - KEEP_UNTOUCHED)]
    for upload in old:
        uow.uploads.remove(upload)
    return old
