"""Answers shared by all DICOMweb handlers: validators, compression, ranges of packs as bodies."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import DicomError
from dicom.retrieve import ByteRange
from server.dicomweb.reasons import problem_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Piece = bytes | ByteRange
PREFIX = "/dicom-web"
_CHUNK = 1 << 20
_WHOLE = 4 << 20  # up to this an answer is read in one go
COMMON = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


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
    return '"' + hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:32] + '"'


def boundary_of(etag: str) -> str:
    """A multipart boundary that is the same whenever the representation is."""
    return f"huizhen-{etag.strip(chr(34))}"


def not_modified(request: web.Request, etag: str) -> web.Response | None:
    """304 if the client has this representation. Call it only after permission was decided."""
    sent = request.headers.get("If-None-Match", "")
    tags = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    if sent and (etag in tags or "*" in tags):
        return web.Response(status=304, headers={**COMMON, "ETag": etag, "Vary": "Accept, Accept-Encoding"})
    return None


def size_of(pieces: Iterable[Piece]) -> int:
    """Total length in bytes."""
    return sum(piece.length if isinstance(piece, ByteRange) else len(piece) for piece in pieces)


async def send(
    request: web.Request,
    archive: Archive,
    pieces: list[Piece],
    content_type: str,
    *,
    etag: str,
    **headers: str,
) -> web.StreamResponse:
    """The pieces as one body: read at once when small, else streamed from the packs with back-pressure."""
    total = size_of(pieces)
    heads = {**COMMON, "ETag": etag, "Vary": "Accept", "Content-Type": content_type, **headers}
    if total <= _WHOLE:
        body = await asyncio.to_thread(_join, archive, pieces)
        return web.Response(body=body, headers=heads)
    response = web.StreamResponse(headers=heads)
    response.content_length = total
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in pieces:
            if isinstance(piece, bytes):
                await response.write(piece)
                continue
            for start in range(0, piece.length, _CHUNK):
                span = ByteRange(
                    pack=piece.pack, offset=piece.offset + start, length=min(_CHUNK, piece.length - start)
                )
                await response.write(await asyncio.to_thread(archive.read, span))
    await response.write_eof()
    return response


def _join(archive: Archive, pieces: list[Piece]) -> bytes:
    parts = [piece if isinstance(piece, bytes) else archive.read(piece) for piece in pieces]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def send_json(
    request: web.Request,
    data: bytes,
    *,
    content_type: str = "application/dicom+json",
    etag: str = "",
    **headers: str,
) -> web.Response:
    """JSON, gzipped where the client takes it and it is worth it."""
    heads = {**COMMON, "Vary": "Accept, Accept-Encoding", "Content-Type": content_type, **headers}
    if etag:
        heads["ETag"] = etag
    if len(data) > 1024 and accepts_gzip(request):
        heads["Content-Encoding"] = "gzip"
        if len(data) > 32 << 10:
            data = await asyncio.to_thread(gzip.compress, data, 4, mtime=0)
        else:
            data = gzip.compress(data, 4, mtime=0)
    return web.Response(body=data, headers=heads)


def accepts_gzip(request: web.Request) -> bool:
    """Whether the client said it takes gzip."""
    return "gzip" in request.headers.get("Accept-Encoding", "")


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
