"""Removing images after their retention by two people, and the legal holds that forbid it (server/removing.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web

from dicom.errors import DicomError
from server.api.common import actor, body, json_response, no_content, work
from server.problems import Refused
from server.removing import MOST, approve_removal, lift_hold, propose_removal, refuse_removal, set_hold
from server.storage.removals import RemovalStudy

Uid = Annotated[str, msgspec.Meta(pattern=r"^[0-9.]{1,64}$")]
Reason = Annotated[str, msgspec.Meta(max_length=500)]


class Proposed(msgspec.Struct, forbid_unknown_fields=True):
    studies: Annotated[list[Uid], msgspec.Meta(max_length=MOST)]
    reason: Reason


class Held(msgspec.Struct, forbid_unknown_fields=True):
    study: Uid
    reason: Reason


class Said(msgspec.Struct, forbid_unknown_fields=True):
    reason: Reason


async def propose(request: web.Request) -> web.Response:
    """`POST /api/removals` {studies, reason} → 201 {id, expires_at}."""
    given = await body(request, Proposed)
    row = await propose_removal(request.app, actor(request), given.studies, given.reason)
    return json_response({"id": row.id, "expires_at": row.expires_at}, status=201)


async def approve(request: web.Request) -> web.Response:
    """`POST /api/removals/{id}/approve` → {removed, kept}: how many studies, when it is done."""
    try:
        found = await approve_removal(request.app, actor(request), request.match_info["id"])
    except DicomError as error:  # approved all the same: the archive is asked again by itself
        raise Refused(error.code) from error
    return json_response({"removed": _count(found, "removed"), "kept": _count(found, "kept")})


def _count(studies: Sequence[RemovalStudy], state: str) -> int:
    return sum(1 for x in studies if x.state == state)


async def refuse(request: web.Request) -> web.Response:
    """`POST /api/removals/{id}/refuse` {reason}."""
    given = await body(request, Said)
    await work(request).run(
        refuse_removal, actor=actor(request), id=request.match_info["id"], reason=given.reason
    )
    return no_content()


async def hold(request: web.Request) -> web.Response:
    """`POST /api/holds` {study, reason} → 201 {id}."""
    given = await body(request, Held)
    made = await set_hold(request.app, actor(request), given.study, given.reason)
    return json_response({"id": made.id}, status=201)


async def lift(request: web.Request) -> web.Response:
    """`POST /api/holds/{id}/lift` {reason}."""
    given = await body(request, Said)
    await work(request).run(lift_hold, actor=actor(request), id=request.match_info["id"], reason=given.reason)
    return no_content()
