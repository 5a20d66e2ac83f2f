"""API tokens of the administrator's organisation."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from server import keys
from server.api.common import InvalidBody, actor, body, json_response, no_content, work
from server.api.session import check_password
from server.auth.tokens import end_token, make_token


class GivenToken(msgspec.Struct, forbid_unknown_fields=True):
    """The form as it was sent. `password`: the administrator's own, so that an open page alone makes no token."""

    name: Annotated[str, Meta(max_length=300)]
    rights: Annotated[tuple[Annotated[str, Meta(max_length=30)], ...], Meta(max_length=10)]
    days: int
    password: Annotated[str, Meta(max_length=1024)]


async def make(request: web.Request) -> web.Response:
    """POST /api/tokens → 201 {"token", "id", "name", "rights", "expires_at"}; the token is in this answer alone."""
    given = await body(request, GivenToken)
    if not given.password:
        raise InvalidBody(("password", "required"))
    await check_password(request, given.password, field="password")
    made = await work(request).run(
        make_token, actor=actor(request), name=given.name, rights=given.rights, days=given.days
    )
    token = made.token
    value = {
        "token": made.secret, "id": token.id, "name": token.name, "rights": token.rights,
        "expires_at": token.expires_at,
    }  # fmt: skip
    return json_response(value, status=201)


async def end(request: web.Request) -> web.Response:
    """POST /api/tokens/{id}/end: it stops working at once, in what is being sent too."""
    token = await work(request).run(end_token, actor=actor(request), id=request.match_info["id"])
    request.app[keys.BEARERS].forget()
    request.app[keys.GRANTS].forget(login=token.digest)
    return no_content()
