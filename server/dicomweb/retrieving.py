"""WADO-RS (PS3.18 §10.4): instances, metadata, frames, bulk data."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from functools import partial
from itertools import chain

from aiohttp import web

from dicom.archive import Archive
from dicom.convertible import Coming
from dicom.errors import NotAcceptableError, NotFoundError
from dicom.model import InstanceRow, PixelKind
from dicom.native_xml import native_xml
from dicom.retrieve import ByteRange
from dicom.syntaxes import VIDEO
from dicom.web import closing, part_head, with_base
from server.dicomweb.answers import (
    GZIP_LEVEL,
    accepts_gzip,
    base_url,
    boundary_of,
    guarded,
    gzipped,
    not_modified,
    send,
    text_answer,
    validator,
)
from server.dicomweb.choosing import ANY, DICOM, OCTETS, FrameChoice, choose_files, choose_frames
from server.dicomweb.picturing import video_type
from server.dicomweb.ranges import Later, Made, Piece
from server.dicomweb.targets import accepted, disposition, frame_numbers, instance_url, only_otherwise, rows_of

XML = "application/dicom+xml"
PIXELS = "7FE00010"
AT_ONCE = 8 << 20  # a longer text of metadata is sent while it is made
_BATCH = 512 << 10  # compressed metadata read at a time
_UNMADE = 8 << 10  # what an instance is taken for whose metadata are still to be made


@guarded
async def retrieve(request: web.Request) -> web.StreamResponse:
    """Study, series or instance: multipart, or a single part-10 file for one instance. Stored files go out as they
    are; another transfer syntax is made by the workers, frame after frame.
    """
    archive, rows = await rows_of(request, "download")
    choice = choose_files(accepted(request), rows, one="instance" in request.match_info)
    etag = validator("file", choice.single, *choice.syntaxes, *(row.version for row in rows))
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
        if syntax == row.transfer_syntax and row.overlay is None:
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
        return [*await retriever.file(row)]
    with only_otherwise():
        made = await retriever.converted(row, syntax)

    return [made.head, made.first, *map(_made, made.more), made.tail]


def _made(one: Coming) -> Made:
    async def make() -> bytes:
        with only_otherwise():
            return await one.make()

    return Made(make=make, length=one.length)


@guarded
async def retrieve_metadata(request: web.Request) -> web.StreamResponse:
    """DICOM JSON of every instance, made ready after ingest, put together here; or the same as XML (PS3.19 §A.1)."""
    archive, rows = await rows_of(request, "metadata")
    for entry in accepted(request):
        if entry.part in {"application/dicom+json", "application/json"} or entry.part in ANY:
            content_type = "application/json" if entry.part == "application/json" else "application/dicom+json"
            break
        if entry.part == XML and (entry.multipart or len(rows) == 1):
            content_type = "multipart/related" if entry.multipart else XML
            break
    else:
        raise NotAcceptableError
    base = base_url(request)
    etag = validator("metadata", content_type, accepts_gzip(request), base, *(row.version for row in rows))
    if unchanged := not_modified(request, etag):
        return unchanged
    zips = accepts_gzip(request)
    text = _Text(archive, rows, content_type, base, boundary_of(etag))
    # Both sides of a consultation open the same study: the second finds the bytes made.
    data = await archive.retriever.memory.once(("metadata", etag), partial(text.whole, zips=zips))
    if content_type == "multipart/related":
        content_type = f'multipart/related; type="{XML}"; boundary={boundary_of(etag)}'
    if data:
        return text_answer(data, content_type=content_type, etag=etag, zipped=zips)
    coding = {"Content-Encoding": "gzip"} if zips else {}
    return await send(request, archive, text.pieces(zips=zips), content_type, etag=etag, single=False, **coding)


class _Text:
    """The metadata of instances as one JSON or XML text, batch after batch."""

    def __init__(
        self, archive: Archive, rows: Sequence[InstanceRow], content_type: str, base: str, boundary: str
    ) -> None:
        self._archive = archive
        self._rows = rows
        self._type = content_type
        self._base = base
        self._boundary = boundary

    async def whole(self, *, zips: bool) -> bytes:
        """All of it; empty where it is longer than AT_ONCE, which is remembered too."""
        parts, size = [], 0
        for start, end in self._batches():
            parts.append(await self._some(start, end))
            size += len(parts[-1])
            if size > AT_ONCE:
                return b""
        data = b"".join(parts)
        return await gzipped(data) if zips else data

    def pieces(self, *, zips: bool) -> list[Piece]:
        """The same bytes as `whole`, made while they are sent."""
        zipper = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

        async def make(start: int, end: int) -> bytes:
            data = await self._some(start, end)
            if not zips:
                return data
            last = end == len(self._rows)
            return await asyncio.to_thread(lambda: zipper.compress(data) + (zipper.flush() if last else b""))

        return [Made(make=partial(make, start, end)) for start, end in self._batches()]

    def _batches(self) -> list[tuple[int, int]]:
        """From which row up to which."""
        out, start, size = [], 0, 0
        for i, row in enumerate(self._rows):
            size += row.metadata.body_length if row.metadata is not None else _UNMADE
            if size >= _BATCH:
                out.append((start, i + 1))
                start, size = i + 1, 0
        return [*out, (start, len(self._rows))] if start < len(self._rows) else out

    async def _some(self, start: int, end: int) -> bytes:
        rows = self._rows[start:end]
        parts = await self._archive.metadata(rows)

        def body() -> bytes:
            found = (with_base(part, instance_url(self._base, row)) for row, part in zip(rows, parts, strict=True))
            if self._type.endswith("json"):
                ends = b"]" if end == len(self._rows) else b""
                return (b"," if start else b"[") + b",".join(found) + ends
            pages = [native_xml(json.loads(part)) for part in found]
            if self._type == XML:
                return pages[0]
            heads = [part_head(self._boundary, XML, first=not i) for i in range(start, end)]
            ends = closing(self._boundary) if end == len(self._rows) else b""
            return b"".join([*chain.from_iterable(zip(heads, pages, strict=True)), ends])

        return await asyncio.to_thread(body)


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
    if path == PIXELS and row.pixels.kind in {PixelKind.ENCAPSULATED, PixelKind.UNCERTAIN}:
        return await _encapsulated(request, archive, row)
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
    found = await archive.retriever.bulkdata_pieces(row, path)
    pieces: list[Piece] = [found] if isinstance(found, ByteRange) else [*map(_made, found)]
    if not multipart:
        return await send(request, archive, pieces, OCTETS, etag=etag, single=True, **disposition("value.bin"))
    boundary = boundary_of(etag)
    pieces = [part_head(boundary, OCTETS, first=True), *pieces, closing(boundary)]
    kind = f'multipart/related; type="{OCTETS}"; boundary={boundary}'
    return await send(request, archive, pieces, kind, etag=etag)


async def _encapsulated(request: web.Request, archive: Archive, row: InstanceRow) -> web.StreamResponse:
    """Compressed Pixel Data as bulk data: its frames, part by part; a film as the one stream it is."""
    if row.transfer_syntax not in VIDEO:
        return await send_frames(request, archive, row, list(range(1, archive.retriever.frame_count(row) + 1)))
    kind = await video_type(archive, row)
    for entry in accepted(request):
        wanted = entry.transfer_syntax in {"", "*", row.transfer_syntax}
        if wanted and (entry.part in {OCTETS, kind, "video/*"} or entry.part in ANY):
            media = OCTETS if entry.part == OCTETS else kind
            multipart = entry.multipart
            break
    else:
        raise NotAcceptableError(code="video_not_decoded")
    etag = validator("film", row.digest, media, multipart)
    if unchanged := not_modified(request, etag):
        return unchanged
    part_type = f"{media}; transfer-syntax={row.transfer_syntax}"
    spans: list[Piece] = [*archive.retriever.video_ranges(row)]
    if not multipart:
        return await send(request, archive, spans, part_type, etag=etag, single=True, **disposition("video.bin"))
    boundary = boundary_of(etag)
    pieces = [part_head(boundary, part_type, first=True), *spans, closing(boundary)]
    return await send(request, archive, pieces, f'multipart/related; type="{media}"; boundary={boundary}', etag=etag)
