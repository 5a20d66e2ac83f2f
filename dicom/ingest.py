"""The one way in: receive under a memory budget, read the header, hand to the writer, answer when it is durable."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dicom.committer import Committer
from dicom.elements import Budget, Window
from dicom.errors import BusyError, DicomError, RefusedError, StorageError, UnsupportedError, WorkerError
from dicom.faults import Fault
from dicom.header import needs_worker, read_header
from dicom.jobs import Job
from dicom.labels import header_from_json
from dicom.model import Header, IngestResult, Limits, PixelKind, PixelLayout
from dicom.packs.append import storage_error
from dicom.packs.staging import RESERVE, Staging
from dicom.part10 import FileHead, build_prefix, split_file
from dicom.workers.pool import WorkerPool

_FIRST = 1 << 20  # reserved before a body of unknown size is read
_SLOW_SECONDS = 2.0  # a sender that takes longer waits on disk, not in the memory that all share
_SLOW_RESERVE = 256 << 10
_INLINE_HASH = 64 << 10  # larger ones are hashed off the event loop
_STAGE_CHUNK = 4 << 20
_T = TypeVar("_T")


class MemoryBudget:
    """Bytes of bodies waiting in memory, all uploads together. First come, first served."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._total = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size: int) -> int:
        """Wait for `size` bytes (at most the whole budget). Returns what was taken; give exactly that back."""
        size = min(size, self._total)
        if not self._waiting and size <= self._free:
            self._free -= size
            return size
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(size)
            raise
        return size

    def try_acquire(self, size: int) -> bool:
        """Take `size` bytes if nobody waits and they are free."""
        if self._waiting or size > self._free:
            return False
        self._free -= size
        return True

    def release(self, size: int) -> None:
        """Give back."""
        self._free += size
        while self._waiting:
            want, future = self._waiting[0]
            if future.cancelled():
                self._waiting.popleft()
                continue
            if want > self._free:
                return
            self._waiting.popleft()
            self._free -= want
            future.set_result(None)


class _Received:
    """A body, in memory or staged."""

    __slots__ = ("chunks", "data", "digest", "hasher", "head", "order", "pending", "reserved", "retreat", "staged")

    def __init__(self) -> None:
        self.data: bytes = b""
        self.staged: Staging | None = None
        self.head: FileHead | None = None
        self.digest = ""
        self.hasher = hashlib.sha256()
        self.reserved = 0
        self.chunks: list[bytes] = []  # received and not yet staged
        self.pending = 0  # their bytes
        self.order = asyncio.Lock()  # one spill at a time
        self.retreat: asyncio.Task[None] | None = None

    @property
    def length(self) -> int:
        return self.staged.length if self.staged else len(self.data)

    def window(self, start: int) -> Window:
        if self.staged is None:
            return Window.of(memoryview(self.data)[start:])
        staged = self.staged
        return Window(staged.length - start, lambda offset, size: staged.read(start + offset, size))


class Ingestor:
    """Receives, reads, queues."""

    def __init__(
        self,
        root: Path,
        committer: Committer,
        workers: WorkerPool,
        limits: Limits,
        clock: Callable[[], datetime],
        fault: Fault,
    ) -> None:
        self._root = root
        self._committer = committer
        self.workers = workers
        self.limits = limits
        self._clock = clock
        self._fault = fault
        self.budget = MemoryBudget(limits.memory_bytes)
        self.assembling = asyncio.Lock()  # see dicom.assembly

    def stage(self) -> Staging:
        """A new staging file. Blocks. Raises StorageError."""
        return Staging(self._root, self._fault)

    async def ingest(
        self, body: AsyncIterable[bytes] | bytes, *, organisation: str, source: str, study_uid: str | None
    ) -> IngestResult:
        """See `Archive.ingest`."""
        received = _Received()
        header: Header | None = None
        try:
            await self._receive(body, received)
            try:
                head, header = await self._read(received)
            except OSError as error:  # the staging file cannot be read again
                raise storage_error(error) from error
            if study_uid is not None and header.study_uid != study_uid:
                raise RefusedError(code="wrong_study")
            if not received.digest:
                view = memoryview(received.data)[head.dataset_start :]
                if len(view) <= _INLINE_HASH:
                    received.digest = hashlib.sha256(view).hexdigest()
                else:
                    received.digest = await asyncio.to_thread(lambda: hashlib.sha256(view).hexdigest())
            return await self._store(received, head, header, organisation, source)
        except RefusedError as error:
            return _refusal(error.reason, header, received.digest)
        except (StorageError, BusyError) as error:
            return _refusal(error.reason, header, received.digest)
        except (WorkerError, UnsupportedError):
            return _refusal("unreadable", header, received.digest)
        finally:
            self.budget.release(received.reserved)
            if received.staged is not None:
                received.staged.discard()

    async def _receive(self, body: AsyncIterable[bytes] | bytes, received: _Received) -> None:
        limits = self.limits
        if isinstance(body, bytes):
            if len(body) > limits.instance_bytes:
                raise RefusedError(code="too_large")
            received.reserved = await self.budget.acquire(len(body))
            if len(body) <= limits.inline_bytes:
                received.data = body
            else:
                received.chunks = [body]
                await self._spill(received)
                received.digest = received.hasher.hexdigest()
            return
        received.reserved = await self.budget.acquire(min(_FIRST, limits.memory_bytes // 4))
        patience = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._begin_retreat, received)
        try:
            await self._take(body, received)
        finally:
            patience.cancel()
            if received.retreat is not None:
                await _ended(received.retreat)
                received.retreat.exception()  # told below, or outdone by what ended the body
        if received.retreat is not None:
            received.retreat.result()
        if received.staged is not None:
            if received.chunks:
                await self._spill(received)
            received.digest = received.hasher.hexdigest()
        else:
            chunks, received.chunks = received.chunks, []
            received.data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._shrink(received, len(received.data))

    async def _take(self, body: AsyncIterable[bytes], received: _Received) -> None:
        limits = self.limits
        size = 0
        async for chunk in body:
            if not chunk:
                continue
            if received.retreat is not None:
                await received.retreat  # what came before must stand in the file first
            size += len(chunk)
            if size > limits.instance_bytes:
                raise RefusedError(code="too_large")
            received.chunks.append(chunk)
            received.pending += len(chunk)
            if received.staged is not None:
                if received.pending >= min(_STAGE_CHUNK, received.reserved):
                    await self._spill(received)
            elif (
                size > limits.inline_bytes
                or (received.retreat is not None and size > _SLOW_RESERVE)
                or not self._grow(received, size)
            ):
                await self._spill(received)

    def _begin_retreat(self, received: _Received) -> None:
        received.retreat = asyncio.get_running_loop().create_task(self._give_way(received))

    async def _give_way(self, received: _Received) -> None:
        """A slow sender's bytes go to disk: fifty that stall must not hold the memory of those that do not."""
        async with received.order:
            if received.pending > _SLOW_RESERVE:
                await self._stage_pending(received)
            self._shrink(received, max(_SLOW_RESERVE, received.pending))

    def _shrink(self, received: _Received, size: int) -> None:
        spare = received.reserved - size
        if spare > 0:
            received.reserved -= spare
            self.budget.release(spare)

    def _grow(self, received: _Received, size: int) -> bool:
        missing = size - received.reserved
        if missing <= 0:
            return True
        missing += -missing % (256 << 10)
        if not self.budget.try_acquire(missing):
            return False  # spill instead of waiting while holding: waiting here could never end
        received.reserved += missing
        return True

    async def _spill(self, received: _Received) -> None:
        """What is in memory to the staging file, hashing the dataset as it passes."""
        async with received.order:
            await self._stage_pending(received)

    async def _stage_pending(self, received: _Received) -> None:
        chunks, received.chunks, received.pending = received.chunks, [], 0
        start = 0
        if received.staged is None:
            chunks = [b"".join(chunks)]
            received.head = split_file(Window.of(chunks[0]))
            start = received.head.dataset_start

        def write() -> None:
            if received.staged is None:
                received.staged = self.stage()
            _stage(received.staged, received.hasher, chunks, start)

        await to_the_end(write)

    async def _read(self, received: _Received) -> tuple[FileHead, Header]:
        head = received.head or split_file(received.window(0))
        start, syntax = head.dataset_start, head.transfer_syntax
        header: Header | None = None
        if not needs_worker(syntax):
            limits = self.limits
            budget = Budget(
                elements=limits.header_elements, header_bytes=limits.header_bytes, depth=limits.header_depth
            )
            try:
                if received.staged is None:
                    header = read_header(received.window(start), syntax, budget)
                else:
                    header = await asyncio.to_thread(read_header, received.window(start), syntax, budget)
            except RefusedError as error:
                if error.reason not in {"too_many_elements", "too_deep"}:
                    raise
        if header is None:
            header = await self._read_in_worker(received, start, syntax)
        if head.rebuilt:
            prefix = build_prefix(sop_class=header.sop_class, sop_uid=header.sop_uid, transfer_syntax=syntax)
            head = replace(head, prefix=prefix)
        return head, header

    async def _read_in_worker(self, received: _Received, start: int, syntax: str) -> Header:
        blob: dict[str, Any] = {"syntax": syntax, "length": received.length - start}
        if received.staged is None:
            blob["data"] = received.data[start:]
        else:
            blob["path"] = str(received.staged.path)
            blob["offset"] = RESERVE + start
        answer = await self.workers.call("header", {"blob": blob})
        kind = PixelKind(answer["layout"]["kind"])
        layout = PixelLayout(**{**answer["layout"], "kind": kind, "ranges": _ranges(answer["ranges"])})
        return header_from_json(answer["header"], layout)

    async def _store(
        self, received: _Received, head: FileHead, header: Header, organisation: str, source: str
    ) -> IngestResult:
        loop = asyncio.get_running_loop()
        job = Job(
            loop=loop,
            future=loop.create_future(),
            size=len(received.data),
            organisation=organisation,
            source=source,
            at=self._clock().astimezone(UTC),
            digest=received.digest,
            header=header,
            prefix=head.prefix,
            body=None if received.staged else memoryview(received.data)[head.dataset_start :],
            staged=received.staged,
            dataset_start=head.dataset_start,
        )
        self._committer.submit(job)
        # The writer may be using the bytes: a caller that gives up must not free them under it.
        try:
            result: IngestResult = await asyncio.shield(job.future)
        except asyncio.CancelledError:
            await _settled(job.future)
            raise
        return result


async def to_the_end(work: Callable[[], _T]) -> _T:
    """`work` in a thread; who is cancelled waits for it, so that no file is closed under a thread that writes it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


async def _ended(task: asyncio.Task[Any]) -> None:
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


def _stage(staged: Staging, hasher: hashlib._Hash, chunks: list[bytes], skip: int) -> None:
    """Write, and hash everything behind the first `skip` bytes."""
    for chunk in chunks:
        staged.write(chunk)
        hasher.update(memoryview(chunk)[skip:])
        skip = 0


async def _settled(future: asyncio.Future[Any]) -> None:
    try:
        await asyncio.wait_for(asyncio.shield(future), 30)
    except (TimeoutError, DicomError):
        return


def _ranges(data: list[list[list[int]]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    return tuple(tuple((a, b) for a, b in frame) for frame in data)


def _refusal(reason: str, header: Header | None, digest: str) -> IngestResult:
    if header is None:
        return IngestResult(outcome="refused", reason=reason)
    return IngestResult.of("refused", header, digest, reason=reason)
