"""GET /api/audit: the rows the caller may read."""

from __future__ import annotations

from aiohttp import web

from consult.people import StaffId
from server.api.common import actor, int_query, json_response, work
from server.auth.auditing import read_audit


async def rows(request: web.Request) -> web.Response:
    """?object=consultation:<id>&staff=<id>&after=<n>&limit=<n>: rows, names, and where the next page begins.

    With `before=<n>` instead of `after` the newest come first.
    """
    staff = request.query.get("staff")
    value = await work(request).read(
        read_audit,
        actor=actor(request),
        object=request.query.get("object") or None,
        staff=StaffId(staff) if staff else None,
        after=int_query(request, "after", 0, low=0, high=2**53),
        before=int_query(request, "before", 2**53, low=0, high=2**53) if "before" in request.query else None,
        limit=int_query(request, "limit", 100, low=1, high=500),
    )
    return json_response(value)
