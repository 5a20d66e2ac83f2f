"""The archive: ingest, queries and retrieval behind one object. It knows nothing of consultations or HTTP.

Queries block and are called in a thread; everything async runs on the loop that called `start`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from dicom.assembly import Assembly
from dicom.cache import trim_cache
from dicom.calm import Calm
from dicom.committer import Committer
from dicom.errors import NotFoundError
from dicom.faults import Fault, no_fault
from dicom.index import arrivals, life
from dicom.index.reader import IndexReader
from dicom.ingest import Ingestor
from dicom.jobs import Job
from dicom.life.room import Room
from dicom.making import Maker
from dicom.model import Arrival, IngestResult, InstanceRow, Limits, QuarantineRow, Query, Scope, SeriesRow, StudyRow
from dicom.packs.append import OpenPack
from dicom.packs.read import PackReader
from dicom.packs.staging import sweep
from dicom.recent import Recent
from dicom.recovery import Report, note_missing, open_index, rebuild, replay
from dicom.retrieve import THUMBNAIL, ByteRange, Picture, Retriever
from dicom.settling import Settler
from dicom.workers.pool import WorkerPool

log = logging.getLogger(__name__)
_ALL = 1_000_000
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class Archive:
    """One archive folder: `index.sqlite`, `packs/`, `staging/`, `cache/`. Only one process may have it open."""

    def __init__(
        self,
        root: Path,
        committer: Committer,
        reader: IndexReader,
        pack_reader: PackReader,
        workers: WorkerPool,
        limits: Limits,
        clock: Callable[[], datetime],
        fault: Fault,
        recovered: Report,
    ) -> None:
        self.root = root
        self.limits = limits
        self.workers = workers
        self.recovered, self.fault = recovered, fault
        self.number_pack, self.forget_pack = committer.number_pack, pack_reader.forget  # for dicom/life/compact.py
        self.id = committer.archive_id
        self._clock = clock
        self._committer = committer
        self._reader = reader
        self._packs = pack_reader
        self._ingestor = Ingestor(root, committer, workers, limits, clock, fault)
        self.budget = self._ingestor.budget  # what is not of DICOM and comes in beside it waits here as well
        self.room = Room(root, limits)
        self.retriever = Retriever(root, pack_reader, workers, limits)
        self.recent = Recent(reader, committer)
        self._calm = Calm()
        self._maker = Maker(committer, reader, self.retriever, clock, self._calm)
        self.settling = Settler(committer, reader, self.retriever, clock, self._maker.wake)
        self.told: Callable[[IngestResult], None] = lambda _result: None
        """Called with every result of `ingest`, for figures; must not block."""
        self._background: asyncio.Task[None] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        clock: Callable[[], datetime] = _now,
        worker_count: int = 2,
        limits: Limits | None = None,
        fault: Callable[[str], None] | None = None,
    ) -> Archive:
        """Open or create the archive at `root`: enter what packs hold beyond the index, sweep staging. Blocks."""
        root = root.resolve()
        for name in ("packs", "staging", "cache"):
            (root / name).mkdir(parents=True, exist_ok=True)
        limits = limits or Limits()
        fault = fault or no_fault
        connection = open_index(root)
        try:
            recovered = replay(root, connection, pack_limit=limits.pack_bytes)
            note_missing(connection, recovered.missing, clock().astimezone(UTC).isoformat(timespec="seconds"))
            wrong = life.damaged_places(connection)
            sweep(root)
            trim_cache(root, limits.thumbnail_cache_bytes)
            committer = Committer(root, connection, limits, fault)
            if recovered.open_pack is not None:
                number, end = recovered.open_pack
                committer.adopt(OpenPack.reopen(root, number, end, fault))
        except BaseException:
            connection.close()
            raise
        if recovered.damaged or recovered.missing:
            found = {"damaged": len(recovered.damaged), "missing_packs": len(recovered.missing)}
            log.warning("archive recovered", extra=found)
        packs = PackReader(root)
        packs.refuse(wrong)
        return cls(
            root,
            committer,
            IndexReader(root / "index.sqlite"),
            packs,
            WorkerPool(worker_count, limits),
            limits,
            clock,
            fault,
            recovered,
        )

    @staticmethod
    def rescan(root: Path, tell: Callable[[int, int], None] | None = None) -> Report:
        """Make the index anew from the packs alone. The archive must not be open."""
        return rebuild(root.resolve(), tell)

    async def start(self) -> None:
        """Start the writer thread and the worker processes."""
        self._committer.start()
        await self.workers.start()
        self._background = asyncio.get_running_loop().create_task(self._maker.run())
        self._maker.wake()

    async def close(self) -> None:
        """Finish what is queued, end the workers, checkpoint the index."""
        if self._background is not None:
            self._background.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._background
        await self.workers.close()
        await self.retriever.thumbnails.settled()
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._committer.stop)
        self._packs.close()

    # -- ingest

    async def ingest(
        self,
        body: AsyncIterable[bytes] | bytes,
        *,
        organisation: str,
        source: str,
        study_uid: str | None = None,
    ) -> IngestResult:
        """Take one instance in. It returns after fdatasync and index commit: what is acknowledged is durable.

        `source` says by which door and device it came ("stow", "upload:…"); `study_uid` refuses other studies.
        Never raises for what was sent: the result says `stored`, `duplicate`, `conflict` (other bytes under a held
        identity: kept in quarantine) or `refused` with a reason of `dicom.errors.REFUSALS`.
        """
        if self.room.due:
            await self.read_index(self.room.count)
        if reason := self.room.refusal(organisation, source):
            result = IngestResult(outcome="refused", reason=reason)
        else:
            self._calm.heard()
            result = await self._ingestor.ingest(
                body, organisation=organisation, source=source, study_uid=study_uid
            )
            self._calm.heard()
        if result.outcome == "stored":
            self._maker.wake()
        self.told(result)
        return result

    def assembly(self) -> Assembly:
        """For one request that brings metadata and bulk data apart."""
        return Assembly(self._ingestor)

    # -- queries (blocking)

    def studies(self, scope: Scope, query: Query | None = None) -> list[StudyRow]:
        """Studies, newest first; at most `limits.query_rows`, and one more, which tells of more, where it is asked."""
        query = query or Query()
        return self._reader.studies(scope, query, self._limit(query))

    def study(self, scope: Scope, study_uid: str) -> StudyRow | None:
        """One study as the scope sees it."""
        rows = self._reader.studies(scope, Query(matches={"StudyInstanceUID": study_uid}), 1)
        return rows[0] if rows else None

    def series(
        self, scope: Scope, study_uid: str | None = None, query: Query | None = None
    ) -> list[SeriesRow]:
        """The series of a study (or of all that the scope sees)."""
        query = _within(query or Query(), study_uid, None)
        return self._reader.series(scope, query, self._limit(query))

    def instances(
        self,
        scope: Scope,
        study_uid: str | None = None,
        series_uid: str | None = None,
        query: Query | None = None,
    ) -> list[InstanceRow]:
        """The instances of a study or series, by series and number. Without `query` all of them."""
        limit = self._limit(query) if query is not None else _ALL
        return self._reader.instances(scope, _within(query or Query(), study_uid, series_uid), limit)

    def instance(self, scope: Scope, study_uid: str, series_uid: str | None, sop_uid: str) -> InstanceRow:
        """One instance. Raises NotFoundError, also where it is outside the scope."""
        row = self._reader.instance(scope, study_uid, series_uid, sop_uid)
        if row is None:
            raise NotFoundError
        return row

    def quarantine(self, organisations: frozenset[str]) -> list[QuarantineRow]:
        """What waits for these organisations' technicians."""
        return self._reader.quarantine(organisations)

    def holders(self, study_uid: str) -> list[str]:
        """Organisations that hold the study. For the system's own decisions, never for an answer."""
        return self._reader.holders(study_uid)

    def arrivals(self, mark: tuple[int, str], limit: int) -> tuple[tuple[int, str], list[Arrival]]:
        """What has come since `mark` (of at most `limit` changes), and the next mark. Blocks; for the system's own use.

        A mark (number, what stands there) that no longer fits, because the index was made anew, begins again at 0.
        """
        with self._reader.connection() as connection:
            after = mark[0] if mark[0] and arrivals.name_of(connection, mark[0]) == mark[1] else 0
            until = min(after + limit, arrivals.newest(connection))
            return (until, arrivals.name_of(connection, until)), arrivals.between(connection, after, until)

    def arrived(self) -> tuple[int, str]:
        """The mark of now. Blocks."""
        with self._reader.connection() as connection:
            number = arrivals.newest(connection)
            return number, arrivals.name_of(connection, number)

    def totals(self) -> dict[str, int]:
        """Counts for the operator."""
        return self._reader.totals()

    # -- the life of the data (dicom/life/)

    def now(self) -> datetime:
        """The archive's clock, in UTC."""
        return self._clock().astimezone(UTC)

    async def execute(self, command: Callable[[sqlite3.Connection], T]) -> T:
        """Run `command` in the writer's next transaction; its answer, once committed. Raises DicomError."""
        loop = asyncio.get_running_loop()
        job = Job(loop=loop, future=loop.create_future(), size=0, command=command)
        self._committer.submit(job)
        answer: T = await asyncio.shield(job.future)
        return answer

    def damaged(self) -> int:
        """How many datasets are known to be wrong, with no sound copy here. Blocks."""
        with self._reader.connection() as connection:
            return life.damaged_count(connection)

    def index_connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """A reading connection, for a moment: a long read keeps the log from being emptied."""
        return self._reader.connection()

    async def read_index(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of `look` on a snapshot of the index."""

        def read() -> T:
            with self._reader.connection() as connection:
                return look(connection)

        return await asyncio.to_thread(read)

    async def refuse_damaged(self) -> None:
        """From now on nothing is served of what a scrub has written down as wrong."""
        self._packs.refuse(await self.read_index(life.damaged_places))

    def _limit(self, query: Query) -> int:
        most = self.limits.query_rows
        return most if query.limit is None else min(query.limit, most + 1)

    # -- retrieval

    def read(self, span: ByteRange) -> bytes:
        """Bytes of a pack. Blocks."""
        return self.retriever.read(span)

    def read_file(self, row: InstanceRow) -> bytes:
        """The part-10 file as stored. Blocks; for small objects (documents)."""
        return self.retriever.read(Retriever.file_range(row))

    async def metadata(self, rows: Sequence[InstanceRow]) -> list[bytes]:
        """DICOM JSON of each row, bulk addresses still relative (`dicom.web.with_base`)."""
        return await self.retriever.metadata(rows, self._maker.keep)

    async def frame(self, row: InstanceRow, number: int) -> bytes:
        """Frame `number` (1-based) as explicit little endian bytes."""
        ranges = self.retriever.frame_ranges(row, number) if Retriever.stored_is_explicit_le(row) else None
        if ranges is not None:
            return await asyncio.to_thread(lambda: b"".join(self.read(span) for span in ranges))
        return await self.retriever.decoded_frame(row, number)

    async def rendered(self, row: InstanceRow, number: int = 1, wanted: Picture | None = None) -> bytes:
        """A picture (JPEG by default) of a frame. Raises CannotRenderError with a reason."""
        return await self.retriever.rendered(row, number, wanted or Picture())

    async def thumbnail(self, row: InstanceRow, number: int = 1, wanted: Picture | None = None) -> bytes:
        """A small picture; the usual one is kept on disk."""
        return await self.retriever.thumbnail(row, number, wanted or THUMBNAIL)

    async def trim_thumbnails(self) -> None:
        """Bring what is kept of them on disk back within its limit; to be called from time to time."""
        await asyncio.to_thread(trim_cache, self.root, self.limits.thumbnail_cache_bytes)

    async def waveform(self, row: InstanceRow) -> bytes:
        """The waveforms as JSON (`dicom.waveform`), zlib-compressed."""
        return await self.retriever.waveform(row)

    async def document(self, row: InstanceRow) -> bytes:
        """The document inside an Encapsulated Document instance, without its padding byte."""
        if not row.document_type:
            raise NotFoundError(code="no_document")
        found = await self.retriever.bulkdata(row, "00420011")
        data = found if isinstance(found, bytes) else await asyncio.to_thread(self.read, found)
        if row.document_type == "application/pdf":
            # The value is padded to even length with one zero byte, which no PDF ends with (PS3.5 §6.2, OB).
            return data[:-1] if data.endswith(b"\x00") else data
        return data

    async def metadata_settled(self) -> None:
        """Wait until no metadata is outstanding (tests, shutdown of an import)."""
        await self._maker.settled()


def _within(query: Query, study_uid: str | None, series_uid: str | None) -> Query:
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    return replace(query, matches={**query.matches, **{key: uid for key, uid in keys.items() if uid is not None}})
