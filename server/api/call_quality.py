"""How good the calls of a consultation were: `/api/consultations/{id}/quality`."""

from aiohttp import web

from consult import line_quality
from server.api.common import actor, json_response, work
from server.api.consultations import consultation_id
from server.call_words import session_view


async def read(request: web.Request) -> web.StreamResponse:
    """GET: every session, the newest first, with its verdict and what was counted of each seat's line."""
    found = await work(request).read(
        line_quality.session_qualities, actor=actor(request), consultation=consultation_id(request)
    )
    return json_response({"sessions": [session_view(x) for x in found]})
