"""GET /admin/tokens: the organisation's API tokens."""

from __future__ import annotations

from aiohttp import web

from server.api.common import actor, now, work
from server.auth.tokens import list_tokens
from server.i18n import N_, _
from server.pages import render
from server.policy import Right

RIGHTS = {
    Right.SEARCH: N_("检索影像，查看变更"),
    Right.READ: N_("读取影像"),
    Right.STORE: N_("存入影像"),
}
DAYS = {
    30: N_("30 天"),
    90: N_("90 天"),
    180: N_("180 天"),
    365: N_("1 年"),
    730: N_("2 年"),
}


async def page(request: web.Request) -> web.StreamResponse:
    """The page; opens for who manages devices."""
    tokens = await work(request).read(list_tokens, actor=actor(request))
    return await render(
        request,
        "admin/tokens.html",
        page="tokens",
        tab="tokens",
        tokens=tokens,
        rights=[(str(right), _(word)) for right, word in RIGHTS.items()],
        days=[(str(number), _(word)) for number, word in DAYS.items()],
        address=f"{request.url.origin()}/dicom-web",
        expired=lambda token: token.expires_at <= now(request),
    )
