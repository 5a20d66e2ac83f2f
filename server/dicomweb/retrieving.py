"""WADO-RS (PS3.18 §10.4): instances, metadata, frames, bulk data."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import NotAcceptableError, NotFoundError
from dicom.model import InstanceRow
from dicom.web import closing, part_head, with_base
from server.dicomweb.answers import (
    accepts_gzip,
    base_url,
    boundary_of,
    guarded,
    not_modified,
    send,
    send_text,
    validator,
)
from server.dicomweb.choosing import ANY, DICOM, OCTETS, FrameChoice, choose_files, choose_frames
from server.dicomweb.ranges import Later, Made, Piece
from server.dicomweb.targets import accepted, disposition, frame_numbers, instance_url, only_otherwise, rows_of


@guarded
async def retrieve(request: web.Request) -> web.StreamResponse:
    """Study, series or instance: multipart, or a single part-10 file for one instance. Stored files go out as they
    are; another transfer syntax is made by the workers, frame after frame.
    """
    archive, rows = await rows_of(request, "download")
    choice = choose_files(accepted(request), rows, one="instance" in request.match_info)
    etag = validator("file", choice.single, *choice.syntaxes, *(row.digest for row in rows))
    if unchanged := not_modified(request, etag):
        return unchanged
    if choice.single:
        (row,), (syntax,) = rows, choice.syntaxes
        pieces = await file_pieces(archive, row, syntax)
        kind = f"{DICOM}; transfer-syntax={syntax}" if syntax != row.transfer_syntax else DICOM
        return await send(request, archive, pieces, kind, etag=etag, single=True, **disposition("image.dcm"))
    boundary = boundary_of(etag)
    pieces = []
    for row, syntax in zip(rows, choice.syntaxes, strict=True):
        pieces.append(part_head(boundary, f"{DICOM}; transfer-syntax={syntax}", first=not pieces))
        if syntax == row.transfer_syntax:
            pieces.append(archive.retriever.file_range(row))
        else:
            pieces.append(Later(find=partial(file_pieces, archive, row, syntax)))
    pieces.append(closing(boundary))
    kind = f'multipart/related; type="{DICOM}"; boundary={boundary}'
    return await send(request, archive, pieces, kind, etag=etag)


async def file_pieces(archive: Archive, row: InstanceRow, syntax: str) -> list[Piece]:
    """A part-10 file of the instance in a transfer syntax. NotAcceptableError with the reason if it cannot be made."""
    retriever = archive.retriever
    if syntax == row.transfer_syntax:
        return [retriever.file_range(row)]
    with only_otherwise():
        made = await retriever.converted(row, syntax)

    async def frame(number: int) -> bytes:
        with only_otherwise():
            return await retriever.converted_frame(row, number, syntax)

    more = [Made(make=partial(frame, number), length=made.length) for number in range(2, made.more + 2)]
    return [made.head, made.first, *more, made.tail]


@guarded
async def retrieve_metadata(request: web.Request) -> web.StreamResponse:
    """DICOM JSON of every instance, made ready after ingest, put together here."""
    archive, rows = await rows_of(request, "metadata")
    content_type = "application/dicom+json"
    for entry in accepted(request):
        if entry.name in {"application/dicom+json", "application/json"}:
            content_type = entry.name
            break
        if entry.name in ANY:
            break
    else:
        raise NotAcceptableError
    base = base_url(request)
    etag = validator("metadata", content_type, accepts_gzip(request), base, *(row.digest for row in rows))
    if unchanged := not_modified(request, etag):
        return unchanged
    parts = await archive.metadata(rows)

    def body() -> bytes:
        found = (with_base(part, instance_url(base, row)) for row, part in zip(rows, parts, strict=True))
        return b"[" + b",".join(found) + b"]"

    return await send_text(request, await asyncio.to_thread(body), content_type=content_type, etag=etag)


@guarded
async def retrieve_frames(request: web.Request) -> web.StreamResponse:
    """Frames by number, as stored, as plain samples or coded anew; see `choosing.choose_frames`."""
    archive, (row,) = await rows_of(request, "pixels")
    numbers = frame_numbers(request.match_info["frames"])
    for number in numbers:
        archive.retriever.check_frame(row, number)
    return await send_frames(request, archive, row, numbers)


async def send_frames(
    request: web.Request, archive: Archive, row: InstanceRow, numbers: list[int]
) -> web.StreamResponse:
    """The frames in the form the request asks for."""
    choice = choose_frames(accepted(request), row, len(numbers))
    etag = validator("frames", row.digest, numbers, choice.syntax, choice.media, choice.multipart)
    if unchanged := not_modified(request, etag):
        return unchanged
    pieces: list[Piece] = []
    part_type = f"{choice.media}; transfer-syntax={choice.syntax}"
    boundary = boundary_of(etag)
    for number in numbers:
        if choice.multipart:
            pieces.append(part_head(boundary, part_type, first=not pieces))
        pieces += _frame(archive, row, number, choice)
    if not choice.multipart:
        pieces = [await piece.make() if isinstance(piece, Made) else piece for piece in pieces]
        return await send(request, archive, pieces, part_type, etag=etag, single=True)
    pieces.append(closing(boundary))
    kind = f'multipart/related; type="{choice.media}"; boundary={boundary}'
    return await send(request, archive, pieces, kind, etag=etag)


def _frame(archive: Archive, row: InstanceRow, number: int, choice: FrameChoice) -> list[Piece]:
    retriever = archive.retriever
    if choice.way == "stored" or (choice.way == "plain" and retriever.stored_is_explicit_le(row)):
        ranges = retriever.frame_ranges(row, number)
        if ranges is not None:
            return [*ranges]

    async def make() -> bytes:
        with only_otherwise():
            if choice.way == "coded":
                return await retriever.coded_frame(row, number, choice.syntax)
            return await archive.frame(row, number)

    return [Made(make=make)]


@guarded
async def retrieve_bulkdata(request: web.Request) -> web.StreamResponse:
    """One binary value: single-part octets (as OHIF asks for ECG) or multipart, whichever is accepted."""
    archive, (row,) = await rows_of(request, "pixels")
    path = request.match_info["path"].strip("/")
    if len(path) > 512:
        raise NotFoundError
    multipart: bool | None = None
    for entry in accepted(request):
        if entry.part in {OCTETS, *ANY}:
            multipart = entry.multipart
            break
    if multipart is None:
        raise NotAcceptableError
    etag = validator("bulk", row.digest, path, multipart)
    if unchanged := not_modified(request, etag):
        return unchanged
    found = await archive.retriever.bulkdata(row, path)
    if not multipart:
        return await send(request, archive, [found], OCTETS, etag=etag, single=True, **disposition("value.bin"))
    boundary = boundary_of(etag)
    pieces: list[Piece] = [part_head(boundary, OCTETS, first=True), found, closing(boundary)]
    kind = f'multipart/related; type="{OCTETS}"; boundary={boundary}'
    return await send(request, archive, pieces, kind, etag=etag)
