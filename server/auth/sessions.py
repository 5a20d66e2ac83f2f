"""Logins: a random token in a cookie, its digest in the database, and the check on every request.

A login is read anew when the last reading is older than a second, and at once after a revocation in this process,
so wherever it is ended, it is ended everywhere within that second.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from aiohttp import web

from consult.errors import NotFound
from consult.people import Actor, MembershipId, StaffId
from server import keys
from server.auth.people import actor_of, in_force
from server.settings import Session as Rules
from server.storage.unit import SqlUnitOfWork
from server.work import Work

LOG = logging.getLogger("huizhen.auth")
FRESH = timedelta(seconds=1)
TOUCH = timedelta(seconds=60)
CACHED = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """One login as a request sees it."""

    digest: str
    csrf: str
    actor: Actor
    last_seen: datetime
    expires_at: datetime
    sign_unlocked_until: datetime | None
    must_change: bool

    def unlocked(self, now: datetime) -> bool:
        """The password was given for signing, not too long ago."""
        return self.sign_unlocked_until is not None and self.sign_unlocked_until > now


def digest_of(token: str) -> str:
    """What the database knows of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def load_login(uow: SqlUnitOfWork, digest: str, idle: timedelta) -> SignedIn | None:
    """The login, its person and place; None when any of them has ended."""
    now = uow.now
    login = uow.logins.get(digest, now=now)
    if login is None or login.membership is None or login.last_seen + idle <= now:
        return None
    try:
        staff = uow.people.staff(login.staff)
        membership = uow.people.membership(login.membership)
        organisation = uow.people.organisation(membership.organisation)
    except NotFound:
        return None
    if not (staff.active and organisation.active and membership.staff == staff.id and in_force(membership, now)):
        return None
    account = uow.accounts.get(staff.id)
    return SignedIn(
        digest=digest,
        csrf=login.csrf,
        actor=actor_of(staff, membership),
        last_seen=login.last_seen,
        expires_at=login.expires_at,
        sign_unlocked_until=login.sign_unlocked_until,
        must_change=account is None or account.must_change,
    )


class Sessions:
    """Finds the login of a request. `forget` drops readings after a change in this process."""

    def __init__(self, work: Work, clock: Callable[[], datetime], rules: Rules) -> None:
        self._work = work
        self._clock = clock
        self._idle = timedelta(minutes=rules.idle_minutes)
        self._read: dict[str, tuple[datetime, SignedIn]] = {}

    async def attach(self, request: web.Request) -> None:
        """Put the login into the request, or note that a cookie came which no longer counts."""
        token = request.cookies.get(cookie_name(secure=request.secure))
        if not token:
            return
        found = await self.find(digest_of(token)) if len(token) <= 128 else None
        if found is None:
            request[keys.LOGIN_ENDED] = True
        else:
            request[keys.LOGIN] = found

    async def find(self, digest: str, *, touch: bool = True) -> SignedIn | None:
        """The login in force with this digest; read from the database at most once a second. `touch`: a person did
        something (an open stream alone must not keep a login alive).
        """
        now = self._clock()
        known = self._read.get(digest)
        if known is not None and timedelta(0) <= now - known[0] < FRESH and known[1].expires_at > now:
            return known[1]
        found = await self._work.read(load_login, digest, self._idle)
        if found is None:
            self._read.pop(digest, None)
            return None
        if touch and now - found.last_seen >= TOUCH:
            await self._work.run(touch_login, digest)
            found = replace(found, last_seen=now)
        if len(self._read) >= CACHED:
            self._read.clear()
        self._read[digest] = (now, found)
        return found

    def forget(
        self, *, digest: str | None = None, staff: StaffId | None = None, membership: MembershipId | None = None
    ) -> None:
        """Read these logins anew at their next request; without arguments all."""
        every = digest is None and staff is None and membership is None
        for key, (_at, login) in list(self._read.items()):
            same = key == digest or login.actor.staff == staff or login.actor.membership == membership
            if every or same:
                del self._read[key]


def touch_login(uow: SqlUnitOfWork, digest: str) -> None:
    """Note that the login was used."""
    uow.logins.change(digest, last_seen=uow.now)


def cookie_name(*, secure: bool) -> str:
    """`__Host-` binds the cookie to this host and to TLS (RFC 6265bis §4.1.3.2)."""
    return "__Host-huizhen" if secure else "huizhen"


def set_cookie(request: web.Request, response: web.StreamResponse, token: str) -> None:
    """The session cookie: gone with the browser, never readable by scripts."""
    response.set_cookie(
        cookie_name(secure=request.secure), token, path="/", httponly=True, samesite="Lax", secure=request.secure
    )


def clear_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Take the session cookie back."""
    response.del_cookie(
        cookie_name(secure=request.secure), path="/", httponly=True, samesite="Lax", secure=request.secure
    )


def new_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)
