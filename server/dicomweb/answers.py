"""Answers shared by all DICOMweb handlers: validators, compression, ranges of packs as bodies."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from dicom.archive import Archive
from dicom.cache import MADE_BY
from dicom.errors import DicomError
from server.dicomweb.bodies import body_of, joined, stream
from server.dicomweb.ranges import UNSATISFIABLE, Later, Made, Piece, asked_range, cut
from server.dicomweb.reasons import problem_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)
PREFIX = "/dicom-web"
_WHOLE = 4 << 20  # up to this an answer is read in one go
_WORTH_GZIP = 1024
GZIP_LEVEL = 4
COMMON = {
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
LEFT_OUT: web.RequestKey[int] = web.RequestKey("left_out", int)
"""How many instances of a study or series the answer lacks, because their stored bytes are wrong."""


def guarded(handler: Handler) -> Handler:
    """Archive errors become problem answers."""

    @wraps(handler)
    async def inner(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except DicomError as error:
            return problem_response(error)

    return inner


def base_url(request: web.Request) -> str:
    """The address of the service as the client reached it (the proxy's headers are applied by the application)."""
    return f"{request.url.origin()}{PREFIX}"


def validator(*parts: object) -> str:
    """A strong ETag of an exact representation (RFC 9110 §8.8.3)."""
    return '"' + hashlib.sha256("\x1f".join(str(part) for part in (MADE_BY, *parts)).encode()).hexdigest()[:32] + '"'


def boundary_of(etag: str) -> str:
    """A multipart boundary that is the same whenever the representation is."""
    return f"huizhen-{etag.strip(chr(34))}"


def not_modified(request: web.Request, etag: str) -> web.Response | None:
    """304 if the client has this representation. Call it only after permission was decided and written down."""
    sent = request.headers.get("If-None-Match", "")
    if not sent:
        return None
    tags = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    if etag in tags or "*" in tags:
        return web.Response(status=304, headers={**COMMON, "ETag": etag})
    return None


def size_of(pieces: Iterable[Piece]) -> int | None:
    """Total length in bytes; None where a piece is still to be made and nobody knows."""
    total = 0
    for piece in pieces:
        length = len(piece) if isinstance(piece, bytes) else piece.length
        if length is None:
            return None
        total += length
    return total


async def send(
    request: web.Request,
    archive: Archive,
    pieces: list[Piece],
    content_type: str,
    *,
    etag: str,
    single: bool = False,
    **headers: str,
) -> web.StreamResponse:
    """The pieces as one body: read at once when small, else streamed with back-pressure.

    `single`: the body is one representation, not a multipart, so that a Range of it means something (RFC 9110 §14).
    Whatever is to be made first is made before the status is sent; what fails later cuts the connection.
    """
    heads = {**COMMON, "ETag": etag, "Content-Type": content_type, **headers}
    if left_out := request.get(LEFT_OUT):
        heads["Warning"] = f'299 huizhen "{left_out} damaged instances are left out"'
    total, status = size_of(pieces), 200
    if single and total is not None:
        heads["Accept-Ranges"] = "bytes"
        wanted = asked_range(request, etag, total)
        if wanted == UNSATISFIABLE:
            return web.Response(status=416, headers={**COMMON, "Content-Range": f"bytes */{total}"})
        if wanted is not None:
            start, stop = wanted
            pieces, status = cut(pieces, start, stop), 206
            heads["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
            total = stop - start
    if request.method == "HEAD":
        return await _heads_only(request, heads, total)
    if total is None:
        pieces = await _first_made(pieces)
        total = size_of(pieces)
    if total is not None and total <= _WHOLE:
        return web.Response(body=await joined(request, archive, pieces, total), status=status, headers=heads)
    pieces = await _first_made(pieces)
    response = web.StreamResponse(status=status, headers=heads)
    if total is not None:
        response.content_length = total
    elif request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await stream(response, archive, pieces, request.transport)
    except DicomError as error:
        # The status is out: an end that looks whole would be a lie.
        log.warning("answer broken off", extra={"error": error.reason})
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def _heads_only(request: web.Request, heads: dict[str, str], total: int | None) -> web.StreamResponse:
    response = web.StreamResponse(headers=heads)
    if total is not None:
        response.content_length = total
    await response.prepare(request)
    await response.write_eof()
    return response


async def _first_made(pieces: list[Piece]) -> list[Piece]:
    """With the first piece that has to be made, made."""
    for i, piece in enumerate(pieces):
        if isinstance(piece, Later):
            return [*pieces[:i], *await piece.find(), *pieces[i + 1 :]]
        if isinstance(piece, Made):
            return [*pieces[:i], await piece.make(), *pieces[i + 1 :]]
    return pieces


async def send_text(
    request: web.Request,
    data: bytes,
    *,
    content_type: str = "application/dicom+json",
    etag: str = "",
    **headers: str,
) -> web.Response:
    """JSON or XML, gzipped where the client takes it and it is worth it."""
    zipped = len(data) > _WORTH_GZIP and accepts_gzip(request)
    if zipped:
        data = await gzipped(data)
    return text_answer(data, content_type=content_type, etag=etag, zipped=zipped, **headers)


async def gzipped(data: bytes) -> bytes:
    """As a gzip file that is the same whenever the data is."""
    if len(data) > 32 << 10:
        return await asyncio.to_thread(gzip.compress, data, GZIP_LEVEL, mtime=0)
    return gzip.compress(data, GZIP_LEVEL, mtime=0)


def text_answer(data: bytes, *, content_type: str, etag: str, zipped: bool, **headers: str) -> web.Response:
    """JSON or XML, compressed already where `zipped`."""
    heads = {**COMMON, "Content-Type": content_type, **headers}
    if etag:
        heads["ETag"] = etag
    if zipped:
        heads["Content-Encoding"] = "gzip"
    return web.Response(body=body_of(data), headers=heads)


def accepts_gzip(request: web.Request) -> bool:
    """Whether the client said it takes gzip (RFC 9110 §12.5.3; an entry of quality 0 refuses it)."""
    for entry in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, _, quality = entry.partition(";")
        if name.strip() in {"gzip", "x-gzip"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return msgspec.json.encode(value)
