"""The pictures of a report's draft: out of the viewer, re-encoded, into the draft, and back to the editor."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from consult import access, reporting
from consult.access import Action
from consult.errors import NotFound
from consult.ports import UnitOfWork
from server import keys
from server.api.common import InvalidBody, actor, body, json_response, work
from server.api.consultations import consultation_id
from server.api.reports import report_id
from server.documents import Page, reencode
from server.paper.content import MAX_IMAGE_BYTES

KEY_IMAGE_BODY = 12 << 20
KEY_IMAGE_SIDES = (2048, 1280, 800)
Uid = Annotated[str, Meta(pattern=r"^[0-9.]{1,64}$")]


class KeyImageBody(msgspec.Struct):
    """What the viewer and the ECG hand over (static/viewer/main.js, `onKeyImage`)."""

    studyUid: Uid  # noqa: N815 the browser's names
    seriesUid: Uid  # noqa: N815
    sopUid: Uid  # noqa: N815
    dataUrl: Annotated[str, Meta(max_length=KEY_IMAGE_BODY)]  # noqa: N815
    frame: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    window: Any = None


async def _key_image(request: web.Request, given: KeyImageBody) -> dict[str, Any]:
    """The picture decoded and encoded anew, stored; its entry for the field `key_images`."""
    head, comma, text = given.dataUrl.partition(",")
    if not comma or head not in {"data:image/png;base64", "data:image/jpeg;base64"}:
        raise InvalidBody(("dataUrl", "unusable_image"))
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidBody(("dataUrl", "unusable_image")) from None
    page = await _fitting(data)
    digest = await asyncio.to_thread(request.app[keys.BLOBS].put, page.data)
    return {
        "document": digest,
        "study_uid": given.studyUid,
        "series_uid": given.seriesUid,
        "sop_uid": given.sopUid,
        "frame": given.frame,
        "caption": "",
    }


async def _fitting(data: bytes) -> Page:
    for side in KEY_IMAGE_SIDES:
        encoded = await reencode(data, max_side=side)
        page = encoded.pages[0]
        if encoded.source in {"png", "jpeg"} and len(page.data) <= MAX_IMAGE_BYTES:
            return page
    raise InvalidBody(("dataUrl", "unusable_image"))


async def add_key_image(request: web.Request) -> web.StreamResponse:
    """`POST /api/reports/{id}/key-images`: 201 with the entry; the editor saves it with its text."""
    given = await body(request, KeyImageBody, limit=KEY_IMAGE_BODY)
    who, report = actor(request), report_id(request)

    def check(uow: UnitOfWork) -> None:
        draft, _opened = access.open_report(uow, who, report, Action.DRAFT_WRITE)
        reporting.check_key_image(uow, actor=who, consultation=draft.consultation, study_uid=given.studyUid)

    await work(request).read(check)
    return json_response(await _key_image(request, given), status=201)


async def append_key_image(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/key-images`, from the reading room: into my draft. 201 {report, version}."""
    given = await body(request, KeyImageBody, limit=KEY_IMAGE_BODY)
    who, consultation = actor(request), consultation_id(request)
    await work(request).read(
        reporting.check_key_image, actor=who, consultation=consultation, study_uid=given.studyUid
    )
    entry = await _key_image(request, given)
    saved = await work(request).run(reporting.add_key_image, actor=who, consultation=consultation, entry=entry)
    return json_response({"report": saved.id, "version": saved.version}, status=201)


async def key_image(request: web.Request) -> web.StreamResponse:
    """`GET /api/reports/{id}/key-images/{digest}`: a picture that the draft names."""
    who, report, digest = actor(request), report_id(request), request.match_info["digest"]

    def check(uow: UnitOfWork) -> None:
        draft, _opened = access.open_report(uow, who, report, Action.DRAFT_READ)
        if digest not in {x.get("document") for x in draft.content.get("key_images", ())}:
            raise NotFound(kind="key_image")

    await work(request).read(check)
    path = request.app[keys.BLOBS].open(digest)
    with path.open("rb") as file:
        png = file.read(8) == b"\x89PNG\r\n\x1a\n"
    kind = "image/png" if png else "image/jpeg"
    return web.FileResponse(path, headers={"Content-Type": kind, "Cache-Control": "private, no-store"})
