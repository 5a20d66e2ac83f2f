"""The one writer: a thread that takes whatever is queued, writes it with one fdatasync and enters it with one commit.

No timer: while one group is being made durable the next one gathers. Callers get their answer only after both.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import queue
import sqlite3
import threading
from pathlib import Path
from typing import Any

from dicom.errors import BusyError, DicomError, StorageError
from dicom.faults import Fault
from dicom.index import writer as index
from dicom.index.schema import checkpoint
from dicom.index.writer import Holding
from dicom.jobs import Job, public_error, resolve
from dicom.judging import Judge
from dicom.labels import label
from dicom.model import IngestResult, Limits, Place
from dicom.packs.append import Buffer, OpenPack
from dicom.packs.read import list_packs
from dicom.packs.record import Kind, encode_head

log = logging.getLogger(__name__)
_WAL_LIMIT = 8 << 20
_EMPTY = hashlib.sha256(b"").hexdigest()


class Committer:
    """Owns the writing connection, the open pack and the generation counter."""

    def __init__(self, root: Path, connection: sqlite3.Connection, limits: Limits, fault: Fault) -> None:
        self._root = root
        self._connection = connection
        self._limits = limits
        self._fault = fault
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pack: OpenPack | None = None
        self._abandoned: list[tuple[int, int]] = []  # packs that failed, sealed with the next good commit
        self._generation = int(index.get_fact(connection, "generation") or 0)
        self.archive_id = bytes.fromhex(index.get_fact(connection, "archive") or "00" * 16)
        self._next_pack = max([*list_packs(root), *index.packs_known(connection), 0]) + 1
        self._closing = False
        self.groups = 0  # for the operator and the tests
        self.records = 0
        self.entered = 0  # commits of more than metadata, counted before anybody is told of them
        self.altered = 0  # those among them that may have changed what existing rows say

    def adopt(self, pack: OpenPack) -> None:
        """Continue this pack instead of beginning a new one."""
        self._pack = pack

    def number_pack(self) -> int:
        """A number no pack has had, for compaction. Only on the writer's thread, as a command."""
        self._next_pack += 1
        return self._next_pack - 1

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread = threading.Thread(target=self._run, name="archive-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises BusyError when closing."""
        if self._closing or self._thread is None:
            raise BusyError
        self._queue.put(job)

    def stop(self) -> None:
        """Finish what is queued, checkpoint, close. Blocks."""
        self._closing = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._pack is not None:
            self._pack.close()
            self._pack = None
        self._connection.close()

    # -- the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            first = self._queue.get()
            if first is None:
                break
            batch, size = [first], first.size
            while size < self._limits.batch_bytes:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    ended = True
                    break
                batch.append(job)
                size += job.size
            try:
                self._commit(batch)
            except Exception as error:  # the thread must go on; nothing of the batch is acknowledged
                log.exception("archive group failed", extra={"jobs": len(batch)})
                for job in batch:
                    job.error = job.error or (
                        error if isinstance(error, DicomError) else StorageError(code="io_error")
                    )
            self._acknowledge(batch)
            if self._queue.empty():
                self._checkpoint()
        self._checkpoint(force=True)

    def _acknowledge(self, batch: list[Job]) -> None:
        self._fault("acknowledge")
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in batch:
            if job.error is None and job.same_as is not None:
                job.error = job.same_as.error  # a duplicate within the batch fares as its original did
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(resolve, jobs)
            except RuntimeError:  # the loop is gone; the bytes are safe all the same
                log.warning("archive caller went away", extra={"jobs": len(jobs)})

    def _commit(self, batch: list[Job]) -> None:
        buffers = self._plan(batch)
        pack = self._pack
        start = pack.end if pack is not None else 0
        try:
            if buffers:
                pack = self._pack_for_append()
                start = pack.append(buffers)
                for job in batch:
                    if job.place is not None and job.staged is None:
                        p = job.place
                        job.place = Place(
                            pack=pack.id,
                            offset=start + p.offset,
                            prefix_length=p.prefix_length,
                            body_length=p.body_length,
                        )
                pack.sync()
            for job in batch:
                if job.staged is not None and job.plan in {"instance", "quarantine"}:
                    self._publish(job)
            self._enter(batch, pack if buffers else None)
        except (StorageError, OSError, sqlite3.Error) as error:
            if buffers and pack is not None:
                self._abandon(pack, start)
            raise public_error(error) from error
        self.groups += 1
        if pack is not None and pack.end >= self._limits.pack_bytes:
            self._abandon(pack, pack.end)

    def _plan(self, batch: list[Job]) -> list[Buffer]:
        """Settle duplicates and conflicts, give generations, lay out the bytes. Places count from the batch's start."""
        judge = Judge(self._connection)
        buffers: list[Buffer] = []
        position = 0
        for job in batch:
            if job.header is not None:
                judge.instance(job)
            elif job.metadata is not None:
                job.plan = "metadata"
            elif job.settling is not None:
                judge.settling(job)
            if job.plan not in {"instance", "quarantine", "custody", "metadata", "settling"}:
                continue
            self._generation += 1
            job.generation = self._generation
            if job.staged is not None and job.plan != "custody":
                continue
            body: Buffer = (job.metadata if job.plan == "metadata" else job.body) or b""
            if job.plan == "custody":
                body = b""
            kind = job.settling.kind if job.settling else _KINDS[job.plan]
            try:
                head = encode_head(kind, self._label(job), job.prefix if body else b"", len(body))
            except (
                ValueError,
                TypeError,
                AttributeError,
            ) as error:  # its own sender's trouble, not the group's
                log.warning("archive label refused", extra={"error": type(error).__name__})
                job.error, job.plan = StorageError(code="io_error"), ""
                continue
            job.place = Place(
                pack=0,
                offset=position + len(head) - (len(job.prefix) if body else 0),
                prefix_length=len(job.prefix) if body else 0,
                body_length=len(body),
            )
            length = len(head) + len(body)
            pad = -length % 16
            buffers += [head, body, bytes(pad)] if pad else [head, body]
            position += length + pad
            self.records += 1
        return [part for part in buffers if len(part)]

    def _label(self, job: Job) -> dict[str, Any]:
        assert job.at is not None
        more: dict[str, Any] = {}
        digest = job.digest
        if job.plan == "metadata":
            more["of"] = job.digest
            digest = hashlib.sha256(job.metadata or b"").hexdigest()
        elif job.plan == "custody":
            more["of"] = job.digest
            digest = _EMPTY
        elif job.settling is not None:
            more, digest = job.settling.label, _EMPTY
        return label(
            organisation=job.organisation,
            source=job.source,
            at=job.at,
            digest=digest,
            generation=job.generation,
            header=job.header,
            **more,
        )

    def _pack_for_append(self) -> OpenPack:
        if self._pack is None:
            number = self.number_pack()
            self._pack = OpenPack.create(self._root, number, self.archive_id, self._fault)
        return self._pack

    def _publish(self, job: Job) -> None:
        """A staged body becomes a pack of its own. Its failure is its sender's alone."""
        assert job.staged is not None
        number = self.number_pack()
        try:
            offset, size = job.staged.publish(
                self._root,
                number,
                self.archive_id,
                _KINDS[job.plan],
                self._label(job),
                job.prefix,
                job.dataset_start,
            )
        except (StorageError, OSError) as error:
            job.error = public_error(error)
            return
        job.place = Place(
            pack=number,
            offset=offset,
            prefix_length=len(job.prefix),
            body_length=size - offset - len(job.prefix),
        )
        self.records += 1

    def _enter(self, batch: list[Job], pack: OpenPack | None) -> None:
        connection = self._connection
        self._fault("index.begin")
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in batch:
                if (job.error is None and job.plan not in {"", "duplicate"}) or (
                    job.error is None and job.command is not None
                ):
                    self._enter_one(job)
            if pack is not None:
                index.set_mark(connection, pack.id, pack.end, sealed=False)
            for number, end in self._abandoned:
                index.set_mark(connection, number, end, sealed=True)
            index.set_fact(connection, "generation", str(self._generation))
            self._fault("index.commit")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.entered += any(job.plan != "metadata" for job in batch)
        self.altered += any(job.alters for job in batch)
        self._abandoned.clear()
        self._fault("index.commit.done")

    def _enter_one(self, job: Job) -> None:
        connection = self._connection
        self._fault("index.apply")
        connection.execute("SAVEPOINT one")
        try:
            if job.command is not None:
                job.outcome = job.command(connection)
            elif job.settling is not None:
                job.outcome = job.settling.apply(connection, self._label(job))
            elif job.plan == "metadata":
                assert job.place is not None
                index.apply_metadata(
                    connection, job.digest, job.place.pack, job.place.offset, job.place.body_length
                )
            else:
                self._enter_instance(job)
        except Exception as error:
            if isinstance(error, sqlite3.OperationalError):  # the file, not the row
                raise
            connection.execute("ROLLBACK TO one")
            log.warning("archive row refused", extra={"kind": job.plan, "error": type(error).__name__})
            job.error = error if isinstance(error, DicomError) else StorageError(code="io_error")
        connection.execute("RELEASE one")

    def _enter_instance(self, job: Job) -> None:
        assert job.header is not None
        assert job.at is not None
        holding = Holding(
            organisation=job.organisation,
            source=job.source,
            at=job.at.isoformat(timespec="milliseconds"),
            digest=job.digest,
            generation=job.generation,
            header=job.header,
            place=None if job.plan == "custody" else job.place,
        )
        if job.plan == "quarantine":
            index.apply_quarantine(self._connection, holding)
        elif index.apply_holding(self._connection, holding):
            job.outcome = IngestResult.of(
                "stored", job.header, job.digest, new_study=True, custody=job.plan == "custody"
            )
        if job.staged is not None and job.plan != "custody" and job.place is not None:
            end = job.place.offset + job.place.length
            index.set_mark(self._connection, job.place.pack, end, sealed=True)

    def _abandon(self, pack: OpenPack, end: int) -> None:
        """Seal a pack at `end`; what was tried behind it does not count."""
        self._abandoned.append((pack.id, end))
        pack.close()
        if self._pack is pack:
            self._pack = None

    def _checkpoint(self, *, force: bool = False) -> None:
        try:
            wal = (self._root / "index.sqlite-wal").stat().st_size
            if force or wal > _WAL_LIMIT:
                self._fault("checkpoint")
                checkpoint(self._connection)
        except (OSError, sqlite3.Error) as error:
            log.warning("archive checkpoint failed", extra={"error": type(error).__name__})


_KINDS = {
    "instance": Kind.INSTANCE,
    "quarantine": Kind.QUARANTINE,
    "custody": Kind.CUSTODY,
    "metadata": Kind.METADATA,
}
