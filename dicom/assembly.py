"""Storing metadata with bulk data (PS3.18 §10.5.2): all parts into one staging file, then the one way in for each
instance. The JSON and XML are read in a worker; the bulk data are copied by range and never stand in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from functools import partial

from dicom.assembling import JSON, METADATA_BYTES, XML, Part
from dicom.errors import RefusedError
from dicom.ingest import Ingestor, to_the_end
from dicom.model import IngestResult
from dicom.packs.staging import RESERVE, Staging

_GATHER = 256 << 10  # of one part in memory
_METADATA = frozenset({JSON, XML, "application/json"})
Store = Callable[[AsyncIterable[bytes]], Awaitable[IngestResult]]


class Assembly:
    """One request: `add` each part, then `store`; `close` in any case."""

    def __init__(self, ingestor: Ingestor) -> None:
        self._ingestor = ingestor
        self._file: Staging | None = None
        self._parts: list[Part] = []

    async def add(self, body: AsyncIterable[bytes], *, media: str, syntax: str, location: str) -> None:
        """Take one part in. Raises RefusedError `too_large`, StorageError, and what `body` raises."""
        ingestor, length = self._ingestor, 0
        most = METADATA_BYTES if media in _METADATA else ingestor.limits.instance_bytes
        offset = self._file.length if self._file is not None else 0
        held = await ingestor.budget.acquire(_GATHER)
        try:
            chunks: list[bytes] = []
            gathered = 0
            async for chunk in body:
                length += len(chunk)
                if length > most or offset + length > ingestor.limits.instance_bytes + METADATA_BYTES:
                    raise RefusedError(code="too_large")
                chunks.append(chunk)
                gathered += len(chunk)
                if gathered >= _GATHER // 2:
                    await self._write(chunks)
                    chunks, gathered = [], 0
            await self._write(chunks)
        finally:
            ingestor.budget.release(held)
        self._parts.append(
            Part(media=media, syntax=syntax, location=location, offset=RESERVE + offset, length=length)
        )

    async def _write(self, chunks: list[bytes]) -> None:
        data = b"".join(chunks)

        def write() -> None:
            if self._file is None:
                self._file = self._ingestor.stage()
            self._file.write(data)

        await to_the_end(write)

    async def store(self, ingest: Store) -> list[IngestResult]:
        """What became of each instance, in the order of the metadata. Raises RefusedError where those say nothing."""
        file, ingestor = self._file, self._ingestor
        if file is None:
            raise RefusedError(code="bad_metadata")
        size = sum(part.length for part in self._parts if part.media in _METADATA)
        async with ingestor.assembling:  # one at a time: it holds memory while it asks for more
            held = await ingestor.budget.acquire(min(size, ingestor.limits.memory_bytes // 2))
            try:
                parts = [asdict(part) for part in self._parts]
                found = await ingestor.workers.call("assemble", {"path": str(file.path), "parts": parts})
                results = []
                for one in found:
                    if "reason" in one:
                        reason = {key: one[key] for key in ("reason", "sop_class", "sop_uid")}
                        results.append(IngestResult(outcome="refused", **reason))
                    else:
                        results.append(await ingest(_stream(file, one["pieces"])))
                return results
            finally:
                ingestor.budget.release(held)

    def close(self) -> None:
        """Forget the file."""
        if self._file is not None:
            self._file.discard()


async def _stream(file: Staging, pieces: list[bytes | list[int]]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                yield piece
            continue
        offset, length = piece
        while length:
            data = await asyncio.to_thread(partial(file.read, offset - RESERVE, min(length, _GATHER)))
            yield data
            offset, length = offset + len(data), length - len(data)
