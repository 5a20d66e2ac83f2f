"""The first page of an empty installation: who administers it."""

from __future__ import annotations

from aiohttp import web

from server import keys
from server.pages import render
from server.problems import Refused


async def page(request: web.Request) -> web.StreamResponse:
    """GET /setup, as long as nobody has an account."""
    if not request.app[keys.SETUP_CODE]:
        raise Refused("not_found")
    return await render(
        request, "setup.html", page="setup", least=request.app[keys.SETTINGS].session.password_length
    )
