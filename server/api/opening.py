"""POST /api/studies/{uid}/open: the viewer says which consultation the study is opened for, before its first byte."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from consult.errors import NotFound
from consult.model import ConsultationId
from server import keys
from server.api.common import actor, body, json_response, settings, work
from server.auth.grants import open_study
from server.auth.scopes import note_denied, seen_study
from server.problems import Refused

UID = re.compile(r"[0-9.]{1,64}")


class Opening(msgspec.Struct):
    consultation: Annotated[str, Meta(max_length=64)] | None = None


async def open_for_viewing(request: web.Request) -> web.Response:
    """{expires_at} of the viewing grant; 404 (and a denied audit row) when the study is not the caller's to see."""
    uid = request.match_info["uid"]
    if not UID.fullmatch(uid):
        raise Refused("not_found")
    given = await body(request, Opening)
    login = request[keys.LOGIN]
    try:
        await seen_study(request, login.actor, uid)
        grant = await work(request).run(
            open_study,
            actor=actor(request),
            login=login.digest,
            study_uid=uid,
            minutes=settings(request).access.viewing_grant_minutes,
            consultation=ConsultationId(given.consultation) if given.consultation else None,
        )
    except NotFound:
        await work(request).run(note_denied, login.actor, uid)
        raise
    return json_response({"expires_at": grant.expires_at})

