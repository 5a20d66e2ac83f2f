"""WADO-RS (PS3.18 §10.4): instances, metadata, frames, bulk data, pictures, and our waveform resource."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Sequence

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import BadQueryError, CannotRenderError, NotAcceptableError, NotFoundError
from dicom.model import InstanceRow, PixelKind
from dicom.retrieve import Picture
from dicom.syntaxes import EXPLICIT_LE, FRAME_TYPES
from dicom.web import MediaType, closing, parse_accept, part_head, with_base
from server.dicomweb.answers import (
    COMMON,
    accepts_gzip,
    base_url,
    boundary_of,
    guarded,
    not_modified,
    send,
    send_text,
    validator,
)
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from server.dicomweb.ranges import Piece

_OCTETS = "application/octet-stream"
_DICOM = "application/dicom"
_ANY = {"*/*", "application/*"}
_MAX_FRAMES = 2000


async def _rows(request: web.Request, action: str) -> tuple[Archive, list[InstanceRow]]:
    """The instances a URL names, as the caller may see them. NotFoundError if there are none."""
    match = request.match_info
    study, series, sop = match["study"], match.get("series"), match.get("instance")
    scope = await request.app[SCOPE_FOR](request, action, study)
    archive = request.app[ARCHIVE]
    if sop is not None:
        return archive, [await asyncio.to_thread(archive.instance, scope, study, series, sop)]
    rows = await asyncio.to_thread(archive.instances, scope, study, series)
    if not rows:
        raise NotFoundError
    return archive, rows


def _accept(request: web.Request) -> list[MediaType]:
    # PS3.18 §8.3.3.1: the parameter serves clients that cannot set the header, and wins.
    return parse_accept(request.query.get("accept", "") or request.headers.get("Accept", ""))


def _url(base: str, row: InstanceRow) -> str:
    return f"{base}/studies/{row.study_uid}/series/{row.series_uid}/instances/{row.sop_uid}"


def _disposition(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@guarded
async def retrieve(request: web.Request) -> web.StreamResponse:
    """Study, series or instance as stored: multipart, or a single part-10 file for one instance."""
    archive, rows = await _rows(request, "download")
    single, allowed = False, False
    for entry in _accept(request):
        if entry.part in {_DICOM, *_ANY} and entry.transfer_syntax in {
            "",
            "*",
            *(row.transfer_syntax for row in rows),
        }:
            allowed = True
            single = (not entry.multipart and len(rows) == 1 and entry.name != "*/*") or (
                entry.name == "*/*" and "instance" in request.match_info
            )
            break
    if not allowed:
        raise NotAcceptableError
    etag = validator("file", single, *(row.digest for row in rows))
    if unchanged := not_modified(request, etag):
        return unchanged
    if single:
        span = archive.retriever.file_range(rows[0])
        return await send(request, archive, [span], _DICOM, etag=etag, single=True, **_disposition("image.dcm"))
    boundary = boundary_of(etag)
    pieces: list[Piece] = []
    for row in rows:
        kind = f"{_DICOM}; transfer-syntax={row.transfer_syntax}"
        pieces += [part_head(boundary, kind, first=not pieces), archive.retriever.file_range(row)]
    pieces.append(closing(boundary))
    kind = f'multipart/related; type="{_DICOM}"; boundary={boundary}'
    return await send(request, archive, pieces, kind, etag=etag)


@guarded
async def retrieve_metadata(request: web.Request) -> web.StreamResponse:
    """DICOM JSON of every instance, made ready after ingest, put together here."""
    archive, rows = await _rows(request, "metadata")
    content_type = "application/dicom+json"
    for entry in _accept(request):
        if entry.name in {"application/dicom+json", "application/json"}:
            content_type = entry.name
            break
        if entry.name in _ANY:
            break
    else:
        raise NotAcceptableError
    base = base_url(request)
    etag = validator("metadata", content_type, accepts_gzip(request), base, *(row.digest for row in rows))
    if unchanged := not_modified(request, etag):
        return unchanged
    parts = await archive.metadata(rows)
    body = await asyncio.to_thread(
        lambda: (
            b"["
            + b",".join(with_base(part, _url(base, row)) for row, part in zip(rows, parts, strict=True))
            + b"]"
        )
    )
    return await send_text(request, body, content_type=content_type, etag=etag)


@guarded
async def retrieve_frames(request: web.Request) -> web.StreamResponse:
    """Frames by number. Stored compressed ones go out as they are for `transfer-syntax=*` or their own syntax or image
    type; without a transfer syntax the standard means explicit little endian (PS3.18 §8.7.3.4), made by a worker.
    """
    archive, (row,) = await _rows(request, "pixels")
    numbers = _frame_numbers(request.match_info["frames"])
    for number in numbers:
        archive.retriever.check_frame(row, number)
    stored, media, multipart = _negotiate_frames(request, row, len(numbers))
    syntax = row.transfer_syntax if stored else EXPLICIT_LE
    etag = validator("frames", row.digest, numbers, syntax, media, multipart)
    if unchanged := not_modified(request, etag):
        return unchanged
    pieces: list[Piece] = []
    part_type = f"{media}; transfer-syntax={syntax}"
    boundary = boundary_of(etag)
    for number in numbers:
        if multipart:
            pieces.append(part_head(boundary, part_type, first=not pieces))
        pieces += await _frame(archive, row, number, stored=stored)
    if not multipart:
        return await send(request, archive, pieces, part_type, etag=etag, single=True)
    pieces.append(closing(boundary))
    return await send(
        request, archive, pieces, f'multipart/related; type="{media}"; boundary={boundary}', etag=etag
    )


async def _frame(archive: Archive, row: InstanceRow, number: int, *, stored: bool) -> Sequence[Piece]:
    if stored or archive.retriever.stored_is_explicit_le(row):
        ranges = archive.retriever.frame_ranges(row, number)
        if ranges is not None:
            return ranges
    return [await archive.frame(row, number)]


def _frame_numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise BadQueryError(code="bad_frame_list") from None
    if not numbers or len(numbers) > _MAX_FRAMES or min(numbers) < 1:
        raise BadQueryError(code="bad_frame_list")
    return numbers


def _negotiate_frames(request: web.Request, row: InstanceRow, count: int) -> tuple[bool, str, bool]:
    """(as stored, media type of a part, multipart). NotAcceptableError if nothing fits."""
    compressed = row.pixels.kind in {PixelKind.ENCAPSULATED, PixelKind.UNCERTAIN}
    image_type = FRAME_TYPES.get(row.transfer_syntax) if compressed else None
    for entry in _accept(request):
        multipart = entry.multipart or entry.name in _ANY or count > 1
        wanted = entry.transfer_syntax
        if entry.part in {_OCTETS, *_ANY}:
            if compressed and wanted in {"*", row.transfer_syntax}:
                return True, _OCTETS, multipart
            if wanted in {"", "*", EXPLICIT_LE}:
                return False, _OCTETS, multipart
        if image_type and entry.part in {image_type, "image/*"} and wanted in {"", "*", row.transfer_syntax}:
            return True, image_type, multipart
    raise NotAcceptableError


@guarded
async def retrieve_bulkdata(request: web.Request) -> web.StreamResponse:
    """One binary value: single-part octets (as OHIF asks for ECG) or multipart, whichever is accepted."""
    archive, (row,) = await _rows(request, "pixels")
    path = request.match_info["path"].strip("/")
    if len(path) > 512:
        raise NotFoundError
    multipart: bool | None = None
    for entry in _accept(request):
        if entry.part in {_OCTETS, *_ANY}:
            multipart = entry.multipart
            break
    if multipart is None:
        raise NotAcceptableError
    etag = validator("bulk", row.digest, path, multipart)
    if unchanged := not_modified(request, etag):
        return unchanged
    found = await archive.retriever.bulkdata(row, path)
    if not multipart:
        return await send(request, archive, [found], _OCTETS, etag=etag, single=True, **_disposition("value.bin"))
    boundary = boundary_of(etag)
    pieces: list[Piece] = [part_head(boundary, _OCTETS, first=True), found, closing(boundary)]
    return await send(
        request, archive, pieces, f'multipart/related; type="{_OCTETS}"; boundary={boundary}', etag=etag
    )


@guarded
async def retrieve_rendered(request: web.Request) -> web.StreamResponse:
    """A picture for people; an encapsulated document is its own rendering (PS3.18 §10.4.1.1.2)."""
    archive, rows = await _rows(request, "pixels")
    row = rows[0]
    if row.document_type:
        return await _document(request, archive, row)
    return await _picture(request, archive, rows[len(rows) // 2] if len(rows) > 1 else row, thumbnail=False)


@guarded
async def retrieve_thumbnail(request: web.Request) -> web.StreamResponse:
    """A small picture of a study, series, instance or frame: of the middle one that has pixels."""
    archive, rows = await _rows(request, "pixels")
    with_pixels = [row for row in rows if row.pixels.kind is not PixelKind.NONE] or rows
    return await _picture(request, archive, with_pixels[len(with_pixels) // 2], thumbnail=True)


async def _document(request: web.Request, archive: Archive, row: InstanceRow) -> web.StreamResponse:
    etag = validator("document", row.digest)
    if unchanged := not_modified(request, etag):
        return unchanged
    data = await archive.document(row)
    pdf = row.document_type == "application/pdf"
    kind, name = ("application/pdf", "document.pdf") if pdf else (_OCTETS, "document.bin")
    return await send(request, archive, [data], kind, etag=etag, single=True, **_disposition(name))


async def _picture(
    request: web.Request, archive: Archive, row: InstanceRow, *, thumbnail: bool
) -> web.StreamResponse:
    wanted = _wishes(request, thumbnail=thumbnail)
    numbers = _frame_numbers(
        request.match_info.get("frames") or str(max(1, (row.pixels.frames + 1) // 2) if thumbnail else 1)
    )
    if len(numbers) > 1:
        raise BadQueryError(code="bad_frame_list")
    if row.pixels.kind is PixelKind.NONE:
        raise CannotRenderError(code="no_pixels")
    archive.retriever.check_frame(row, numbers[0])
    etag = validator("picture", row.digest, numbers, wanted.tag())
    if unchanged := not_modified(request, etag):
        return unchanged
    make = archive.thumbnail if thumbnail else archive.rendered
    data = await make(row, numbers[0], wanted)
    return await send(request, archive, [data], f"image/{wanted.format}", etag=etag, single=True)


def _wishes(request: web.Request, *, thumbnail: bool) -> Picture:
    """`window`, `viewport`, `quality` (PS3.18 §8.3.5.1) and the picture's format."""
    kind: str | None = None
    for entry in _accept(request):
        if entry.name in {"image/jpeg", "image/*", "*/*"}:
            kind = "jpeg"
        elif entry.name == "image/png":
            kind = "png"
        elif entry.name in {"image/webp", "image/avif", "text/html", "application/xml"}:
            continue  # an <img> element lists what it can do; JPEG is always among it
        if kind:
            break
    if kind is None:
        raise NotAcceptableError
    query = request.query
    window: tuple[float, float, str] | None = None
    if "window" in query:
        center, width, *function = query["window"].split(",")[:3] + [""] * (2 - query["window"].count(","))
        name = (function[0] if function else "").upper().replace("-", "_") or "LINEAR"
        if name not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
            raise BadQueryError(code="bad_window")
        window = (_number(center, "bad_window"), _number(width, "bad_window"), name)
        if window[1] <= 0:
            raise BadQueryError(code="bad_window")
    viewport: tuple[float, ...] | None = (128.0, 128.0) if thumbnail else None
    if "viewport" in query:
        parts = query["viewport"].split(",")
        if len(parts) not in {2, 4, 6}:
            raise BadQueryError(code="bad_viewport")
        viewport = tuple(_number(part or "0", "bad_viewport") for part in parts)
        if not (1 <= viewport[0] <= 8192 and 1 <= viewport[1] <= 8192):
            raise BadQueryError(code="bad_viewport")
        if len(viewport) == 4:
            viewport = (*viewport, 0.0, 0.0)
    quality = int(_number(query.get("quality", "80" if thumbnail else "90"), "bad_quality"))
    if not 1 <= quality <= 100:
        raise BadQueryError(code="bad_quality")
    return Picture(
        format="png" if kind == "png" else "jpeg", quality=quality, window=window, viewport=viewport
    )


def _number(text: str, code: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadQueryError(code=code) from None
    if not -1e9 < value < 1e9:  # refuses NaN too
        raise BadQueryError(code=code)
    return value


@guarded
async def retrieve_waveform(request: web.Request) -> web.StreamResponse:
    """Our extension: an ECG as numbers, see `dicom.waveform` for the JSON."""
    archive, (row,) = await _rows(request, "pixels")
    etag = validator("waveform", row.digest, accepts_gzip(request))
    if unchanged := not_modified(request, etag):
        return unchanged
    packed = await archive.waveform(row)
    headers = {**COMMON, "ETag": etag, "Content-Type": "application/json"}
    if accepts_gzip(request):
        body = await asyncio.to_thread(lambda: gzip.compress(zlib.decompress(packed), 4, mtime=0))
        return web.Response(body=body, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=await asyncio.to_thread(zlib.decompress, packed), headers=headers)
