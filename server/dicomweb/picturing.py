"""WADO-RS pictures (PS3.18 §10.4.1.1.2 and .3): rendered, thumbnail, documents, and our waveform resource."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Mapping, Sequence

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import BadQueryError, CannotRenderError, DicomError, NotAcceptableError
from dicom.model import InstanceRow, PixelKind
from dicom.retrieve import ByteRange, Picture
from dicom.syntaxes import VIDEO, is_little
from dicom.web import MediaType
from server.dicomweb.answers import COMMON, accepts_gzip, guarded, not_modified, send, validator
from server.dicomweb.choosing import OCTETS
from server.dicomweb.reading import is_report, send_report, send_sheet
from server.dicomweb.targets import accepted, disposition, frame_numbers, rows_of

# What an encapsulated document may say it is (PS3.3 §A.45), as it goes out: always to be saved, never shown as ours.
_DOCUMENTS = {
    "application/pdf": ("application/pdf", "document.pdf"),
    "text/xml": ("text/xml", "document.xml"),
    "application/xml": ("text/xml", "document.xml"),
    "model/stl": ("model/stl", "model.stl"),
    "model/obj": ("model/obj", "model.obj"),
    "model/mtl": ("model/mtl", "model.mtl"),
}


@guarded
async def retrieve_rendered(request: web.Request) -> web.StreamResponse:
    """A form for people (PS3.18 §10.4.1.1.2): a picture, of a waveform its sheet, of a structured report a page; an
    encapsulated document and a film are their own rendering. Of several instances the middle one that has pixels.
    """
    archive, rows = await rows_of(request, "pixels")
    with_pixels = [row for row in rows if row.pixels.kind is not PixelKind.NONE]
    row = with_pixels[len(with_pixels) // 2] if with_pixels else rows[0]
    if "frames" not in request.match_info:
        if row.document_type:
            return await send_document(request, archive, row)
        if row.transfer_syntax in VIDEO:
            return await send_video(request, archive, row, accepted(request))
        if row.pixels.kind is PixelKind.NONE and (row.has_waveform or is_report(row)):
            named = "patient" in words_wanted(request.query.get("annotation", ""))
            if is_report(row):
                return await send_report(request, archive, row, named=named)
            return await send_sheet(request, archive, row, named=named, viewport=_viewport(request.query))
    return await _picture(request, archive, row, thumbnail=False)


@guarded
async def retrieve_thumbnail(request: web.Request) -> web.StreamResponse:
    """A small picture of a study, series, instance or frame: of the middle one that has pixels."""
    archive, rows = await rows_of(request, "pixels")
    with_pixels = [row for row in rows if row.pixels.kind is not PixelKind.NONE] or rows
    return await _picture(request, archive, with_pixels[len(with_pixels) // 2], thumbnail=True)


async def send_document(request: web.Request, archive: Archive, row: InstanceRow) -> web.StreamResponse:
    """The document inside the instance, to be saved."""
    etag = validator("document", row.digest)
    if unchanged := not_modified(request, etag):
        return unchanged
    data = await archive.document(row)
    if len(data) - 1 == await _document_length(archive, row):
        data = data[:-1]  # the value was padded to even length
    kind, name = _DOCUMENTS.get(row.document_type.lower(), (OCTETS, "document.bin"))
    return await send(request, archive, [data], kind, etag=etag, single=True, **disposition(name))


async def _document_length(archive: Archive, row: InstanceRow) -> int:
    """Encapsulated Document Length (0042,0015), -1 where the dataset does not say."""
    try:
        found = await archive.retriever.bulkdata(row, "00420015")
    except DicomError:
        return -1
    raw = found if isinstance(found, bytes) else await asyncio.to_thread(archive.read, found)
    return int.from_bytes(raw[:4], "little" if is_little(row.transfer_syntax) else "big") if len(raw) >= 4 else -1


async def send_video(
    request: web.Request, archive: Archive, row: InstanceRow, accept: Sequence[MediaType]
) -> web.StreamResponse:
    """The stored stream as it is, by ranges so that a player can seek. An MPEG-4 file says what it is; a bare stream
    or another container goes out as octets, since no browser would play it.
    """
    spans = archive.retriever.video_ranges(row)
    kind = await video_type(archive, row)
    name = "video.mp4" if kind == "video/mp4" else "video.bin"
    for entry in accept:
        if entry.name in {kind, "*/*"} or (entry.name == "video/*" and kind != OCTETS):
            break
    else:
        raise NotAcceptableError(code="video_not_decoded")
    etag = validator("video", row.digest, kind)
    if unchanged := not_modified(request, etag):
        return unchanged
    heads = {} if kind == "video/mp4" else disposition(name)
    return await send(request, archive, [*spans], kind, etag=etag, single=True, **heads)


async def video_type(archive: Archive, row: InstanceRow) -> str:
    """`video/mp4` where the stream is an MPEG-4 file (ISO 14496-12 §4.3), `video/mpeg` for MPEG-2, else octets."""
    if VIDEO[row.transfer_syntax] == "video/mpeg":
        return "video/mpeg"
    (first, *_) = archive.retriever.video_ranges(row)
    span = ByteRange(pack=first.pack, offset=first.offset, length=min(first.length, 12))
    head = await asyncio.to_thread(archive.read, span)
    return "video/mp4" if head[4:8] == b"ftyp" else OCTETS


async def _picture(request: web.Request, archive: Archive, row: InstanceRow, *, thumbnail: bool) -> web.StreamResponse:
    wanted = _wishes(request, thumbnail=thumbnail)
    numbers = frame_numbers(
        request.match_info.get("frames") or str(max(1, (row.pixels.frames + 1) // 2) if thumbnail else 1)
    )
    if len(numbers) > 1:
        raise BadQueryError(code="bad_frame_list")
    return await send_picture(request, archive, row, numbers[0], wanted, thumbnail=thumbnail)


async def send_picture(
    request: web.Request, archive: Archive, row: InstanceRow, frame: int, wanted: Picture, *, thumbnail: bool
) -> web.StreamResponse:
    """Frame `frame` (1-based) as a picture. Raises CannotRenderError with the reason."""
    if row.pixels.kind is PixelKind.NONE:
        raise CannotRenderError(code="no_pixels")
    if row.transfer_syntax in VIDEO:
        raise CannotRenderError(code="video_not_decoded")
    archive.retriever.check_frame(row, frame)
    etag = validator("picture", row.version, frame, wanted.tag())
    if unchanged := not_modified(request, etag):
        return unchanged
    make = archive.thumbnail if thumbnail else archive.rendered
    data = await make(row, frame, wanted)
    return await send(request, archive, [data], f"image/{wanted.format}", etag=etag, single=True)


def _wishes(request: web.Request, *, thumbnail: bool) -> Picture:
    """`window`, `viewport`, `quality`, `annotation` (PS3.18 §8.3.5.1) and the picture's format."""
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
        window = (
            number(center, "bad_window"),
            number(width, "bad_window"),
            window_function(function[0] if function else ""),
        )
        if window[1] <= 0:
            raise BadQueryError(code="bad_window")
    viewport = _viewport(query) or ((128.0, 128.0) if thumbnail else None)
    quality = int(number(query.get("quality", "80" if thumbnail else "90"), "bad_quality"))
    if not 1 <= quality <= 100:
        raise BadQueryError(code="bad_quality")
    return Picture(
        format="png" if kind == "png" else "jpeg",
        quality=quality,
        window=window,
        viewport=viewport,
        annotation=() if thumbnail else words_wanted(query.get("annotation", "")),
    )


def _viewport(query: Mapping[str, str]) -> tuple[float, ...] | None:
    """Width, height and the region of the image, where one is asked for; None without the parameter."""
    if "viewport" not in query:
        return None
    parts = query["viewport"].split(",")
    if len(parts) not in {2, 4, 6}:
        raise BadQueryError(code="bad_viewport")
    viewport = tuple(number(part or "0", "bad_viewport") for part in parts)
    if not (1 <= viewport[0] <= 8192 and 1 <= viewport[1] <= 8192):
        raise BadQueryError(code="bad_viewport")
    return (*viewport, 0.0, 0.0) if len(viewport) == 4 else viewport


def window_function(text: str) -> str:
    """`linear`, `linear-exact`, `sigmoid` (the default is linear) as the dataset would name it."""
    name = text.upper().replace("-", "_") or "LINEAR"
    if name not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        raise BadQueryError(code="bad_window")
    return name


def words_wanted(text: str) -> tuple[str, ...]:
    """What is to be written into the picture: any of `patient` and `technique` (PS3.18 §8.3.5.1.1)."""
    wanted = {part.strip().lower() for part in text.split(",") if part.strip()}
    if not wanted <= {"patient", "technique"}:
        raise BadQueryError(code="bad_annotation")
    return tuple(sorted(wanted))


def number(text: str, code: str) -> float:
    """A finite number of a parameter, else BadQueryError with `code`."""
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
