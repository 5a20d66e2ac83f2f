"""A request that brings a token (RFC 6750 §2.1; RFC 7617 for DICOM tools): found, admitted, watched while it is served.

Cookies are not looked at then, and neither Origin nor CSRF token is asked for: no browser sends a token by itself. A
token in the address is never looked at. Wrong ones are counted by address; whoever sends too many waits, but tokens
that have just worked go on, so that one mistyped password does not stop the whole house behind one address.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

from aiohttp import web

from server.auth.passwords import UnknownLogins
from server.auth.sessions import digest_of
from server.auth.tokens import PREFIX, Bearer, load_token, note_dead, touch_token
from server.metrics import Metrics
from server.problems import Refused
from server.settings import Session as Rules
from server.work import Work

FRESH = timedelta(seconds=0.5)
RECHECK_SECONDS = 0.5
TOUCH = timedelta(seconds=60)
CACHED = 5_000
LONGEST = 256
REALM = 'realm="huizhen"'
BROWSER = ("Sec-Fetch-Mode", "Cookie", "Referer", "Origin")
"""Any of these: a browser asks, which would show its own password window on a Basic challenge."""


def credential(request: web.Request) -> str | None:
    """The token in the Authorization header; None when it holds none of ours (a proxy's own password is not)."""
    scheme, _space, value = request.headers.get("Authorization", "").partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return value if value.startswith(PREFIX) else None
        case "basic" if len(value) <= 4 * LONGEST:
            try:
                _user, _colon, password = base64.b64decode(value, validate=True).decode("latin-1").partition(":")
            except (binascii.Error, ValueError):
                return None
            return password if password.startswith(PREFIX) else None
    return None


def challenge(request: web.Request, *, wrong: bool = False) -> dict[str, str]:
    """WWW-Authenticate of a 401 (RFC 9110 §11.6.1)."""
    ways = [f"Bearer {REALM}" + (', error="invalid_token"' if wrong else "")]
    browser = request.headers.get("User-Agent", "").startswith("Mozilla/")
    if not browser and not any(name in request.headers for name in BROWSER):
        ways.insert(0, f'Basic {REALM}, charset="UTF-8"')
    return {"WWW-Authenticate": ", ".join(ways)}


def place_of(remote: str | None) -> str:
    """The address wrong tokens are counted by: of IPv6 the network, which one customer has to themselves."""
    try:
        address = ipaddress.ip_address(remote or "")
    except ValueError:
        return ""
    if address.version == 6:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


class Bearers:
    """Finds tokens; each is read anew when the last reading is older than half a second."""

    def __init__(self, work: Work, clock: Callable[[], datetime], rules: Rules, metrics: Metrics) -> None:
        self._work = work
        self._clock = clock
        self._metrics = metrics
        self._wrong = UnknownLogins(rules)
        self._read: dict[str, tuple[datetime, Bearer | None]] = {}
        self._forgotten = 0

    async def admit(self, request: web.Request, given: str) -> Bearer:
        """Who the token is. Refused `token_refused`, or `too_many` from an address that sent too many wrong ones."""
        digest, where, now = digest_of(given[:LONGEST]), place_of(request.remote), self._clock()
        until = self._wrong.locked_until(where)
        if until is not None and until > now and digest not in self._read:
            self._metrics.logins.labels("locked_out").inc()
            seconds = max(1, math.ceil((until - now).total_seconds()))
            raise Refused("too_many", headers={"Retry-After": str(seconds)})
        found = await self.find(digest, touch=True)
        if found is None:
            self._wrong.failed(where, now)
            self._metrics.logins.labels("wrong_token").inc()
            raise Refused("token_refused", headers=challenge(request, wrong=True))
        return found

    async def find(self, digest: str, *, touch: bool = False) -> Bearer | None:
        """The token in force with this digest. `touch`: it is used now, and not merely still being served."""
        now, before = self._clock(), self._forgotten
        at, found = self._read.get(digest, (now, None))
        if found is None or not timedelta(0) <= now - at < FRESH:
            at = now
            token, found = await self._work.read(load_token, digest)
            if token is not None and found is None and touch:
                await self._work.run(note_dead, token)
        if found is None or found.expires_at <= now:
            self._read.pop(digest, None)
            return None
        if touch and (found.last_used is None or now - found.last_used >= TOUCH):
            await self._work.run(touch_token, found.id)
            found = replace(found, last_used=now)
        if digest not in self._read and len(self._read) >= CACHED:
            self._read.clear()
        # Read before something ended, it would outlive that.
        self._read[digest] = (at, found if before == self._forgotten else None)
        return found

    def forget(self) -> None:
        """Read every token anew at its next request: something ended in this process. Which have worked is kept."""
        self._forgotten += 1
        self._read = {digest: (at, None) for digest, (at, _found) in self._read.items()}

    async def watch(
        self, request: web.Request, token: Bearer, answer: Awaitable[web.StreamResponse]
    ) -> web.StreamResponse:
        """The answer; the connection is cut when the token ends while it is being given."""
        serving = asyncio.ensure_future(answer)
        try:
            while not (await asyncio.wait({serving}, timeout=RECHECK_SECONDS))[0]:
                if await self.find(token.digest) is None:
                    if request.transport is not None:
                        request.transport.abort()
                    break
            return await serving
        finally:
            serving.cancel()
