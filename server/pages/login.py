"""The sign-in page, the page for choosing a place, and the one for a new password."""

from __future__ import annotations

from aiohttp import web

from server import keys
from server.i18n import _
from server.pages import render


def safe_next(text: str | None) -> str:
    """A path of ours to go on to after signing in; anything that could lead elsewhere becomes the worklist."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\")) or len(text) > 300:
        return "/"
    if any(ord(letter) < 32 for letter in text) or text.startswith(("/login", "/api/", "/setup")):
        return "/"
    return text


async def page(request: web.Request) -> web.StreamResponse:
    """GET /login. An empty installation goes to the set-up instead."""
    if request.app[keys.SETUP_CODE]:
        raise web.HTTPSeeOther("/setup")
    target = safe_next(request.query.get("next"))
    if request.get(keys.LOGIN) is not None:
        raise web.HTTPSeeOther(target)
    accounts = []
    if request.app[keys.SETTINGS].demo:
        from server.demo import accounts as demo_accounts  # only a demo loads it

        accounts = await demo_accounts(request.app)
    return await render(
        request,
        "login.html",
        page="login",
        next=target,
        expired=bool(request.get(keys.LOGIN_ENDED)),
        accounts=accounts,
    )


async def place_page(request: web.Request) -> web.StreamResponse:
    """GET /place: where the person works now, asked after a sign-in by somebody who serves in several places."""
    return await render(
        request,
        "place.html",
        page="place",
        title=_("我现在在哪里、以什么身份工作"),
        next=safe_next(request.query.get("next")),
    )


async def password_page(request: web.Request) -> web.StreamResponse:
    """GET /password: a new password, asked for at the first sign-in."""
    login = request[keys.LOGIN]
    settings = request.app[keys.SETTINGS]
    return await render(
        request,
        "password.html",
        page="password",
        title=_("设置新密码"),
        first=login.must_change,
        least=settings.session.password_length,
        next=safe_next(request.query.get("next")),
    )
