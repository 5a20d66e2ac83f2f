"""Uploads by HTTP: start, send pieces, ask how much has arrived, finish, cancel (server/uploading.py)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult.model import ConsultationId
from server import keys
from server.api.common import BODY_SECONDS, InvalidBody, actor, body, json_response, no_content
from server.dicomweb.reasons import text_of
from server.i18n import _
from server.pictures import KINDS, Given
from server.problems import Refused
from server.storage.uploads import Upload
from server.unzipping import REASONS, ZIP_ENTRIES
from server.uploading import CHUNK_BYTES


class Start(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class StartPicture(msgspec.Struct, forbid_unknown_fields=True):
    """`kind` is one of server.pictures.KINDS, `title` what the picture is, in a few words."""

    size: int
    kind: str = "document"
    title: Annotated[str, msgspec.Meta(max_length=120)] = ""


def upload_view(upload: Upload, taken: int = 0) -> dict[str, Any]:
    """What the page goes on from; `chunk` is the largest piece it may send, `taken` what of a zip has gone through."""
    return {
        "id": upload.id,
        "size": upload.size,
        "received": upload.received,
        "state": upload.state,
        "taken": taken,
        "result": in_words(upload.result),
        "chunk": CHUNK_BYTES,
    }


def in_words(result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The result with a sentence for every reason, in the language of the present request."""
    if result is None:
        return None
    return {**result, "instances": [{**x, "text": sentence(x["reason"])} for x in result["instances"]]}


def sentence(reason: str | None) -> str:
    """Why a file was not taken in; empty where it was."""
    if not reason:
        return ""
    return _(REASONS[reason], entries=ZIP_ENTRIES) if reason in REASONS else text_of(reason)


async def start(request: web.Request) -> web.StreamResponse:
    """`POST /api/uploads` {size}: 201."""
    given = await body(request, Start)
    upload = await request.app[keys.UPLOADING].start(actor(request), given.size)
    return json_response(upload_view(upload), status=201)


async def start_picture(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/pictures` {size, kind, title}: 201; then as with every upload."""
    given = await body(request, StartPicture)
    if given.kind not in KINDS:
        raise InvalidBody(("kind", "choice"))
    wanted = Given(
        consultation=ConsultationId(request.match_info["id"]), kind=given.kind, title=given.title.strip()
    )
    upload = await request.app[keys.UPLOADING].start(actor(request), given.size, given=wanted)
    return json_response(upload_view(upload), status=201)


async def whole(request: web.Request) -> web.StreamResponse:
    """`POST /api/uploads/whole`: a file of at most CHUNK_BYTES in one request; answers like finish."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused("media_type")
    size = request.content_length
    if (size or 0) > CHUNK_BYTES:
        raise _too_large()
    done = await request.app[keys.UPLOADING].whole(actor(request), _bounded(request), size)
    return json_response(done | {"result": in_words(done["result"])})


async def _bounded(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes, at most CHUNK_BYTES within BODY_SECONDS; Refused too_large or bad_request."""
    size, deadline = 0, asyncio.get_running_loop().time() + BODY_SECONDS
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                data = await request.content.readany()
            if not data:
                return
            size += len(data)
            if size > CHUNK_BYTES:
                raise _too_large()
            yield data
    except (TimeoutError, web.RequestPayloadError, ConnectionError, ValueError) as error:
        raise Refused("bad_request") from error


def _too_large() -> Refused:
    return Refused("too_large", limit=f"{CHUNK_BYTES >> 20} MB")


async def read(request: web.Request) -> web.StreamResponse:
    """`GET /api/uploads/{id}`: how much has arrived, or what became of it."""
    uploading = request.app[keys.UPLOADING]
    found = await uploading.read(actor(request), request.match_info["id"])
    return json_response(upload_view(found, uploading.taken(found.id)))


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    while data := await request.content.readany():
        yield data


async def append(request: web.Request) -> web.StreamResponse:
    """`PUT /api/uploads/{id}?offset=N`: one piece; 409 upload_offset when it begins elsewhere than the file ends."""
    offset = request.query.get("offset", "")
    if not re.fullmatch(r"\d{1,13}", offset):
        raise Refused("bad_request")
    if (request.content_length or 0) > CHUNK_BYTES:
        raise _too_large()
    try:
        received = await request.app[keys.UPLOADING].append(
            actor(request), request.match_info["id"], int(offset), _chunks(request)
        )
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Refused("bad_request") from error
    return json_response({"received": received})


async def finish(request: web.Request) -> web.StreamResponse:
    """`POST /api/uploads/{id}/finish`: into the archive; per instance and per study. 202 while it goes on."""
    uploading = request.app[keys.UPLOADING]
    done = await uploading.finish(actor(request), request.match_info["id"])
    return json_response(upload_view(done, uploading.taken(done.id)), status=200 if done.result is not None else 202)


async def cancel(request: web.Request) -> web.StreamResponse:
    """`DELETE /api/uploads/{id}`."""
    await request.app[keys.UPLOADING].cancel(actor(request), request.match_info["id"])
    return no_content()
