"""`/verify/{code}`: anyone who holds the paper learns whether it is genuine. One sentence, nothing clinical."""

from __future__ import annotations

from aiohttp import web

from server import keys
from server.api.common import client_address, now, work
from server.api.report_versions import genuine
from server.pages import render
from server.problems import Refused


async def page(request: web.Request) -> web.StreamResponse:
    """GET /verify, GET /verify/{code}; 429 for a caller who tries codes."""
    code = request.match_info.get("code", request.query.get("code", "")).strip()
    found = None
    if code:
        if not request.app[keys.VERIFYING].limiter.allow(client_address(request), now(request)):
            raise Refused("too_many", headers={"Retry-After": "60"})
        found = await work(request).read(genuine, code)
    return await render(
        request,
        "verify.html",
        page="verify",
        status=404 if code and found is None else 200,
        asked=bool(code),
        paper=found[0] if found else None,
        newest=found[1] if found else 0,
        data={"code": found[0].code if found else ""},
    )
