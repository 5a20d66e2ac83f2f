"""GET /studies/fetch: look into another archive and fetch from it. No patient stands in the page's address."""

from __future__ import annotations

from aiohttp import web

from server.api.common import actor, work
from server.dimse.fetching import list_archives
from server.pages import render


async def page(request: web.Request) -> web.StreamResponse:
    """The page; opens for technicians: an administrator sees no patients."""
    archives = await work(request).read(list_archives, actor=actor(request))
    options = [(row.id, row.name) for row in archives]
    return await render(request, "fetch.html", page="fetch", tab="studies", archives=options)
