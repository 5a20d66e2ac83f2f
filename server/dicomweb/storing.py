"""STOW-RS (PS3.18 §10.5): part after part into the archive while the earlier ones are being made durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from dicom.assembling import JSON, XML
from dicom.errors import BadQueryError, DicomError, UnsupportedError
from dicom.model import IngestResult
from dicom.web import Multipart, parse_media_type, store_json
from server.dicomweb.answers import base_url, dumps, guarded
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR, STORED
from server.dicomweb.reasons import NO_ROOM, problem_response

_AT_ONCE = 64
_MAX_PARTS = 20_000
_IDLE_SECONDS = 60.0


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The request's body; a sender that stalls is cut off."""
    content = request.content
    while True:
        async with asyncio.timeout(_IDLE_SECONDS):
            chunk = await content.readany()
        if not chunk:
            return
        yield chunk


class _Part:
    """A part's body, and the moment it has been read to its end."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self.read = asyncio.Event()
        self.broken: DicomError | OSError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._body:
                yield chunk
        except (DicomError, TimeoutError, ConnectionError) as error:
            self.broken = error
            raise
        finally:
            self.read.set()


@guarded
async def store_instances(request: web.Request) -> web.StreamResponse:
    """`POST /studies` and `POST /studies/{study}`: multipart/related or a single application/dicom body."""
    study_uid = request.match_info.get("study")
    scope = await request.app[SCOPE_FOR](request, "store", study_uid)
    holder = scope.holder or (next(iter(scope.organisations)) if len(scope.organisations) == 1 else None)
    if holder is None:
        return problem_response(UnsupportedError(code="no_holder"))
    if request.headers.get("Content-Encoding", "identity") != "identity":
        return web.Response(status=415)  # a packed body may swell without end
    media = parse_media_type(request.headers.get("Content-Type", ""))
    chunks = _chunks(request)
    results: list[IngestResult]
    cut: DicomError | None = None
    archive = request.app[ARCHIVE]
    if media.name == "application/dicom":
        results = [await archive.ingest(chunks, organisation=holder, source="stow", study_uid=study_uid)]
    elif media.multipart and media.part in {JSON, XML}:
        parts = Multipart(chunks, media.parameters.get("boundary", ""))
        try:
            results = await _store_assembled(request, parts, holder, study_uid)
        except TimeoutError:
            results, cut = [], BadQueryError(code="cut_multipart")
    elif media.multipart and media.part in {"application/dicom", "*/*"}:
        parts = Multipart(chunks, media.parameters.get("boundary", ""))
        results, cut = await _store_parts(request, parts, holder, study_uid)
    else:
        return web.Response(status=415)
    if not results:
        return problem_response(cut or BadQueryError(code="bad_multipart"))
    if stored := request.app.get(STORED):
        for uid in {result.study_uid for result in results if result.outcome == "stored"}:
            stored(holder, uid)
    body = dumps(store_json(results, base_url(request), study_uid))
    good = sum(result.outcome in {"stored", "duplicate"} for result in results)
    # PS3.18 Table 10.5.3-1: 200 all, 202 some, 409 none.
    status = 200 if good == len(results) and cut is None else 202 if good else 409
    if all(result.reason in NO_ROOM for result in results):
        status = 507  # the sender is to try again later, not to look for a fault in what it sent
    headers = (
        {"Cache-Control": "no-store", "Warning": '299 huizhen "The body ended early"'}
        if cut
        else {"Cache-Control": "no-store"}
    )
    return web.Response(status=status, body=body, content_type="application/dicom+json", headers=headers)


async def _store_parts(
    request: web.Request, parts: Multipart, holder: str, study_uid: str | None
) -> tuple[list[IngestResult], DicomError | None]:
    """Results in the order sent, and the error that cut the body short, if any."""
    archive = request.app[ARCHIVE]
    tasks: list[asyncio.Task[IngestResult]] = []
    cut: DicomError | None = None
    gate = asyncio.Semaphore(_AT_ONCE)
    try:
        while await parts.next_part() is not None:
            if len(tasks) >= _MAX_PARTS:
                raise BadQueryError(code="bad_multipart")
            await gate.acquire()
            part = _Part(parts.body())
            task = asyncio.create_task(archive.ingest(part, organisation=holder, source="stow", study_uid=study_uid))
            task.add_done_callback(lambda _: gate.release())
            tasks.append(task)
            # The next part can be read once this one's bytes are: its commit goes on meanwhile.
            waiting = asyncio.create_task(part.read.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if part.broken is not None:
                raise part.broken
    except DicomError as error:
        cut = error
    except (TimeoutError, ConnectionError):
        cut = BadQueryError(code="cut_multipart")
    except asyncio.CancelledError:
        await asyncio.gather(*tasks, return_exceptions=True)  # what has arrived is stored, with nobody left to hear it
        raise
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception) and cut is None:
            raise outcome  # left out of the results, it would be a success that nobody had
    return [outcome for outcome in outcomes if isinstance(outcome, IngestResult)], cut


async def _store_assembled(
    request: web.Request, parts: Multipart, holder: str, study_uid: str | None
) -> list[IngestResult]:
    """Metadata and bulk data in parts of their own (§10.5.2); Content-Location ties them together. Raises DicomError.

    Nothing is stored of a body that is cut: an instance is whole only when its bulk data are here.
    """
    archive = request.app[ARCHIVE]
    assembly = archive.assembly()
    try:
        count = 0
        while (headers := await parts.next_part()) is not None:
            count += 1
            if count > _MAX_PARTS:
                raise BadQueryError(code="bad_multipart")
            media = parse_media_type(headers.get("content-type", ""))
            identifier = headers.get("content-id", "").strip("<>")
            await assembly.add(
                parts.body(),
                media=media.name,
                syntax=media.transfer_syntax,
                location=headers.get("content-location") or (f"cid:{identifier}" if identifier else ""),
            )
        return await assembly.store(
            lambda body: archive.ingest(body, organisation=holder, source="stow", study_uid=study_uid)
        )
    finally:
        assembly.close()
