"""Metadata made ahead: DICOM JSON of whatever was stored, after its acknowledgement and when nothing else arrives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dicom.calm import Calm
from dicom.committer import Committer
from dicom.errors import BusyError, DicomError
from dicom.index import writer as index
from dicom.index.reader import IndexReader
from dicom.jobs import Job
from dicom.model import InstanceRow
from dicom.retrieve import Retriever

log = logging.getLogger(__name__)
_BATCH = 16


class Maker:
    """One batch at a time; what is asked for before its turn is made at once (`Retriever.metadata`) and given here."""

    def __init__(
        self,
        committer: Committer,
        reader: IndexReader,
        retriever: Retriever,
        clock: Callable[[], datetime],
        calm: Calm,
    ) -> None:
        self._committer = committer
        self._reader = reader
        self._retriever = retriever
        self._clock = clock
        self._calm = calm
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something was stored."""
        self._wake.set()

    def keep(self, row: InstanceRow, data: bytes) -> None:
        """Store what was made; nobody waits for it."""
        job = self._job(row, data)
        job.future.add_done_callback(lambda future: future.cancelled() or future.exception())
        with contextlib.suppress(BusyError):
            self._committer.submit(job)

    async def run(self) -> None:
        """Until it is cancelled, or the archive closes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._calm.wait()
            while rows := await asyncio.to_thread(self._reader.wanting_metadata, _BATCH):
                try:
                    await self._make(rows)
                except BusyError:
                    return
                except DicomError as error:
                    log.warning("metadata not made", extra={"error": error.reason})
                    break
                await self._calm.wait()

    async def settled(self) -> None:
        """Wait until none is outstanding, and let nothing else go first."""
        self._calm.hurried.set()
        try:
            while await asyncio.to_thread(self._reader.wanting_metadata, 1):
                self._wake.set()
                await asyncio.sleep(0.01)
        finally:
            self._calm.hurried.clear()

    def _job(self, row: InstanceRow, data: bytes) -> Job:
        loop = asyncio.get_running_loop()
        return Job(
            loop=loop,
            future=loop.create_future(),
            size=len(data),
            organisation=row.organisation,
            source="metadata",
            at=self._clock().astimezone(UTC),
            digest=row.digest,
            metadata=data,
        )

    async def _make(self, rows: list[InstanceRow]) -> None:
        made = await self._retriever.make_metadata(rows, background=True)
        jobs: list[Job] = []
        loop = asyncio.get_running_loop()
        for row, data in zip(rows, made, strict=True):
            if isinstance(data, bytes):
                jobs.append(self._job(row, data))
            else:
                command: Callable[[Any], Any] = _failed(row.digest)
                jobs.append(Job(loop=loop, future=loop.create_future(), size=0, command=command))
        for job in jobs:
            self._committer.submit(job)
        for job in jobs:
            await job.future


def _failed(digest: str) -> Callable[[Any], Any]:
    return lambda connection: index.metadata_failed(connection, digest)
