"""POST /api/consultations/{id}/invitees: whom one may invite into the room. To invite is a message of the room."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from consult import inviting
from consult import model as m
from server.api.common import actor, body, json_response, work


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a name, department or organisation; empty: everybody, the own sides first."""

    text: Annotated[str, msgspec.Meta(max_length=60)] = ""


async def find(request: web.Request) -> web.StreamResponse:
    """→ {people: [{membership, name, title, department, organisation, role}]}, at most 20."""
    given = await body(request, Search)
    people = await work(request).read(
        inviting.find_invitees, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"]),
        text=given.text,
    )
    return json_response({"people": people})
