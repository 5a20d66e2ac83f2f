"""WADO-RS pictures (PS3.18 §10.4.1.1.2 and .3): rendered, thumbnail, documents, and our waveform resource."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import BadQueryError, CannotRenderError, NotAcceptableError
from dicom.model import InstanceRow, PixelKind
from dicom.retrieve import Picture
from server.dicomweb.answers import COMMON, accepts_gzip, guarded, not_modified, send, validator
from server.dicomweb.choosing import OCTETS
from server.dicomweb.targets import accepted, disposition, frame_numbers, rows_of


@guarded
async def retrieve_rendered(request: web.Request) -> web.StreamResponse:
    """A picture for people; an encapsulated document is its own rendering (PS3.18 §10.4.1.1.2)."""
    archive, rows = await rows_of(request, "pixels")
    row = rows[0]
    if row.document_type:
        return await _document(request, archive, row)
    return await _picture(request, archive, rows[len(rows) // 2] if len(rows) > 1 else row, thumbnail=False)


@guarded
async def retrieve_thumbnail(request: web.Request) -> web.StreamResponse:
    """A small picture of a study, series, instance or frame: of the middle one that has pixels."""
    archive, rows = await rows_of(request, "pixels")
    with_pixels = [row for row in rows if row.pixels.kind is not PixelKind.NONE] or rows
    return await _picture(request, archive, with_pixels[len(with_pixels) // 2], thumbnail=True)


async def _document(request: web.Request, archive: Archive, row: InstanceRow) -> web.StreamResponse:
    etag = validator("document", row.digest)
    if unchanged := not_modified(request, etag):
        return unchanged
    data = await archive.document(row)
    pdf = row.document_type == "application/pdf"
    kind, name = ("application/pdf", "document.pdf") if pdf else (OCTETS, "document.bin")
    return await send(request, archive, [data], kind, etag=etag, single=True, **disposition(name))


async def _picture(request: web.Request, archive: Archive, row: InstanceRow, *, thumbnail: bool) -> web.StreamResponse:
    wanted = _wishes(request, thumbnail=thumbnail)
    numbers = frame_numbers(
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
    for entry in accepted(request):
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
    return Picture(format="png" if kind == "png" else "jpeg", quality=quality, window=window, viewport=viewport)


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
    archive, (row,) = await rows_of(request, "pixels")
    etag = validator("waveform", row.digest, accepts_gzip(request))
    if unchanged := not_modified(request, etag):
        return unchanged
    packed = await archive.waveform(row)
    headers = {**COMMON, "ETag": etag, "Content-Type": "application/json"}
    if accepts_gzip(request):
        body = await asyncio.to_thread(lambda: gzip.compress(zlib.decompress(packed), 4, mtime=0))
        return web.Response(body=body, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=await asyncio.to_thread(zlib.decompress, packed), headers=headers)
