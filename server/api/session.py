"""Sign in and out, place, password, and the password for signing."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from consult.people import MembershipId, StaffId
from server import keys
from server.api.common import InvalidBody, actor, body, json_response, no_content, now, settings, work
from server.auth import signin
from server.auth.people import load_me
from server.auth.sessions import SignedIn, clear_cookie, set_cookie
from server.problems import Refused

Secret = Annotated[str, Meta(min_length=1, max_length=1024)]


class SignIn(msgspec.Struct):
    """`membership`: the place to act in, when the person has several; else the one chosen last, else the first."""

    login: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Secret
    membership: str | None = None


class Place(msgspec.Struct):
    membership: Annotated[str, Meta(min_length=1, max_length=64)]


class NewPassword(msgspec.Struct):
    old: Secret
    new: Secret


class Password(msgspec.Struct):
    password: Secret


def current(request: web.Request) -> SignedIn:
    """The login of the request; Refused `signed_out` without one."""
    login: SignedIn | None = request.get(keys.LOGIN)
    if login is None:
        raise Refused("signed_out")
    return login


def locked_out(until: datetime | None, moment: datetime) -> Refused:
    """Wait: says how long, in the text and in Retry-After."""
    seconds = max(1, math.ceil((until - moment).total_seconds())) if until else 1
    return Refused("locked_out", seconds=seconds, headers={"Retry-After": str(seconds)})


async def sign_in(request: web.Request) -> web.Response:
    """POST /api/login. 200 with who, where and the new CSRF token; 401 wrong_login, 429 locked_out."""
    given = await body(request, SignIn)
    app, rules = request.app, settings(request).session
    name = given.login.strip().lower()
    moment = now(request)
    known = await work(request).read(signin.find_account, name)
    until = known.account.locked_until if known else app[keys.UNKNOWN_LOGINS].locked_until(name)
    if until is not None and until > moment:
        app[keys.METRICS].logins.labels("locked_out").inc()
        raise locked_out(until, moment)
    passwords = app[keys.PASSWORDS]
    fits = await passwords.verify(known.account.password_hash if known else None, given.password)
    if known is None:
        app[keys.UNKNOWN_LOGINS].failed(name, moment)
        app[keys.METRICS].logins.labels("wrong_login").inc()
        until = app[keys.UNKNOWN_LOGINS].locked_until(name)
        raise locked_out(until, moment) if until else Refused("wrong_login")
    rehashed = None
    if fits and passwords.outdated(known.account.password_hash):
        rehashed = await passwords.hash(given.password)
    wanted = MembershipId(given.membership) if given.membership else None
    result = await work(request).run(
        signin.finish_sign_in, known=known, fits=fits, rules=rules, wanted=wanted, rehashed=rehashed
    )
    if isinstance(result, signin.Denied):
        app[keys.METRICS].logins.labels(result.code).inc()
        raise locked_out(result.locked_until, moment) if result.code == "locked_out" else Refused(result.code)
    app[keys.METRICS].logins.labels("ok").inc()
    return opened_response(request, result)


def opened_response(request: web.Request, opened: signin.Opened) -> web.Response:
    """The cookie with the token, and what the page needs to go on."""
    value: dict[str, Any] = {
        "staff": opened.staff,
        "membership": opened.membership,
        "csrf": opened.csrf,
        "places": opened.places,
        "must_change": opened.must_change,
        "choose": opened.choose,
    }
    response = json_response(value)
    set_cookie(request, response, opened.token)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """POST /api/logout. Streams and sockets of this login close at once."""
    login = current(request)
    await work(request).run(signin.sign_out, actor=login.actor, digest=login.digest)
    end_logins(request.app, digest=login.digest)
    response = no_content()
    clear_cookie(request, response)
    return response


async def sign_out_everywhere(request: web.Request) -> web.Response:
    """POST /api/logout/everywhere: all other logins of mine."""
    login = current(request)
    ended = await work(request).run(
        signin.sign_out_everywhere, staff=login.actor.staff, by=login.actor, keep=login.digest
    )
    end_logins(request.app, staff=login.actor.staff, keep=login.digest)
    return json_response({"ended": ended})


def end_logins(
    app: web.Application,
    *,
    digest: str | None = None,
    staff: StaffId | None = None,
    membership: MembershipId | None = None,
    keep: str | None = None,
) -> None:
    """After the commit: forget what was read of these logins and close their streams, sockets and grants."""
    app[keys.SESSIONS].forget(digest=digest, staff=staff, membership=membership)
    app[keys.BEARERS].forget()      # a token ends with the membership that made it
    app[keys.GRANTS].forget(login=digest, staff=staff, memberships=() if membership is None else (membership,))
    app[keys.STREAMS].close(digest=digest, staff=staff, membership=membership, keep=keep)


async def me(request: web.Request) -> web.Response:
    """GET /api/session: who I am here, and the token for mutations."""
    login = current(request)
    value = await work(request).read(load_me, login.actor)
    unlocked = login.sign_unlocked_until if login.unlocked(now(request)) else None
    return json_response(
        {"me": value, "csrf": login.csrf, "must_change": login.must_change, "sign_unlocked_until": unlocked}
    )


async def change_place(request: web.Request) -> web.Response:
    """POST /api/place: act in another of my memberships, with a new login and a new token."""
    given = await body(request, Place)
    login = current(request)
    opened = await work(request).run(
        signin.change_place,
        actor=login.actor,
        digest=login.digest,
        membership=MembershipId(given.membership),
        rules=settings(request).session,
    )
    end_logins(request.app, digest=login.digest)
    return opened_response(request, opened)


async def change_password(request: web.Request) -> web.Response:
    """POST /api/password {old, new}: every other login of mine ends."""
    given = await body(request, NewPassword)
    login = current(request)
    least = settings(request).session.password_length
    if len(given.new) < least:
        raise InvalidBody(("new", "weak_password", {"min": least}))
    if given.new == given.old:
        raise InvalidBody(("new", "same_password"))
    await check_password(request, given.old, field="old")
    hashed = await request.app[keys.PASSWORDS].hash(given.new)
    await work(request).run(
        signin.set_password, staff=login.actor.staff, password_hash=hashed, by=login.actor, keep=login.digest
    )
    end_logins(request.app, staff=login.actor.staff, keep=login.digest)
    return no_content()


async def unlock(request: web.Request) -> web.Response:
    """POST /api/session/unlock {password}: signing asks no password until the answered moment."""
    given = await body(request, Password)
    login = current(request)
    await check_password(request, given.password, field="password")
    until = await work(request).run(
        signin.unlock_signature,
        actor=login.actor,
        digest=login.digest,
        minutes=settings(request).session.sign_unlock_minutes,
    )
    request.app[keys.SESSIONS].forget(digest=login.digest)
    return json_response({"sign_unlocked_until": until})


async def check_password(request: web.Request, password: str, *, field: str) -> None:
    """The signed-in person's own password; wrong ones count towards the lock-out. Refused wrong_password."""
    who = actor(request)
    moment = now(request)
    account = await work(request).read(lambda uow: uow.accounts.get(who.staff))
    if account is not None and account.locked_until is not None and account.locked_until > moment:
        raise locked_out(account.locked_until, moment)
    if await request.app[keys.PASSWORDS].verify(account.password_hash if account else None, password):
        return
    until = await work(request).run(signin.wrong_password, actor=who, rules=settings(request).session)
    refused = locked_out(until, moment) if until else Refused("wrong_password")
    refused.fields = ((field, "wrong_password"),)
    raise refused
