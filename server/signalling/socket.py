"""GET /socket: one WebSocket per open room page. Session and Origin are checked by the middleware before this runs.

The first message but pings is hello; it carries the login's CSRF token and points at a session. No right ever stands
in the URL.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from consult.errors import ConsultError
from consult.people import Actor
from server.auth.sessions import SignedIn
from server.signalling import schema as s
from server.signalling.connection import Connection
from server.signalling.limits import Limiter
from server.signalling.room import Live, Room
from server.signalling.rooms import Rooms

LOG = logging.getLogger("huizhen.room")
LOGIN_CHECK = 30.0               # a socket that is used keeps its login alive, and notices within so long that it ended
_CLOSES = {
    "room_locked": s.Close.LOCKED,
    "seat_removed": s.Close.REMOVED,
}


class Socket:
    """One socket from upgrade to end. `find`: the login in force with a digest, as server/auth/sessions.py knows it."""

    __slots__ = ("actor", "checked", "connection", "find", "late", "live", "login", "remote", "room", "rooms", "token")

    def __init__(
        self, rooms: Rooms, *, actor: Actor, login: str, token: str, remote: str | None,
        find: Callable[[str], Awaitable[SignedIn | None]] | None = None,
    ) -> None:
        self.rooms, self.actor, self.login, self.token, self.remote = rooms, actor, login, token, remote
        self.find = find
        self.checked = 0.0
        self.late: asyncio.TimerHandle | None = None             # until there is a hello
        self.connection: Connection | None = None
        self.room: Room | None = None
        self.live: Live | None = None

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Read until the socket ends. Nothing a browser sends may end the loop but the limits themselves."""
        ws = web.WebSocketResponse(autoping=False, max_msg_size=s.SOCKET_LIMIT, compress=False, timeout=2.0)
        await ws.prepare(request)
        loop = asyncio.get_running_loop()
        self.checked = loop.time()
        connection = self.connection = Connection(ws, request.transport, now=self.checked)
        self.late = loop.call_later(s.HELLO_SECONDS, connection.end, s.Close.HELLO_LATE)
        limiter = Limiter(self.checked)
        try:
            async for frame in ws:
                now = connection.heard = loop.time()
                if frame.type is WSMsgType.TEXT:
                    await self.frame(frame.data, connection, limiter, now)
                elif frame.type is WSMsgType.PING:
                    await self.pong(ws, frame.data, connection, limiter, now)
                elif frame.type is WSMsgType.BINARY:
                    self.refuse(connection, s.BadFrame(s.Refusal.MALFORMED), limiter, now)
        finally:
            self.in_time()
            if connection.ending is s.Close.FLOOD and self.room is not None:
                self.rooms.flooded(self.login, self.room.session, loop.time())
            connection.lost()
            if self.room is not None and self.live is not None:
                self.room.detach(self.live, connection)
            await connection.over()
        return ws

    def revoke(self) -> None:
        """The login has ended: this socket closes, and the others close their peer connections to its seat."""
        if self.room is not None and self.live is not None and self.live.connection is self.connection:
            self.room.put_out(self.live, s.Close.REVOKED)
        elif self.connection is not None:
            self.connection.end(s.Close.REVOKED)

    def in_time(self) -> None:
        """Nothing is waited for any more."""
        if self.late is not None:
            self.late.cancel()
            self.late = None

    async def pong(
        self, ws: web.WebSocketResponse, said: bytes, connection: Connection, limiter: Limiter, now: float
    ) -> None:
        """Browsers do not ask; who does is answered, at the rate of everything else."""
        if limiter.hear(now):
            await ws.pong(said)
        else:
            connection.end(s.Close.FLOOD)

    def refuse(self, connection: Connection, bad: s.BadFrame, limiter: Limiter, now: float) -> None:
        if limiter.refused(now):
            connection.end(s.Close.FLOOD)
        else:
            connection.send(s.encode(s.Refused(n=bad.n, kind=bad.kind, code=bad.code)))

    async def frame(self, text: str, connection: Connection, limiter: Limiter, now: float) -> None:
        """One text frame."""
        if not limiter.hear(now):
            connection.end(s.Close.FLOOD)
            return
        try:
            message = s.decode(text)
        except s.BadFrame as bad:
            if self.live is not None and bad.n > self.live.received:
                self.live.answered(bad.n, s.Refused(n=bad.n, kind=bad.kind, code=bad.code))
            self.refuse(connection, bad, limiter, now)
            return
        if now - self.checked >= LOGIN_CHECK and not await self.signed_in(now):
            self.revoke()
        elif self.room is not None and self.live is not None:
            await self.rooms.take(self.room, self.live, message, connection, seconds=now)
        elif isinstance(message, s.Ping) and limiter.take(s.Family.CONTROL, now):
            connection.send(s.encode(s.Pong(at=message.at)))
        elif isinstance(message, s.Hello):
            await self.hello(message, connection, limiter, now)
        else:
            number = message.n if isinstance(message, s.Reliable) else 0
            kind = s.name(type(message))
            self.refuse(connection, s.BadFrame(s.Refusal.HELLO_FIRST, kind=kind, n=number), limiter, now)

    async def signed_in(self, now: float) -> bool:
        """Whether the login is still in force, and for the same place."""
        self.checked = now
        found = await self.find(self.login) if self.find is not None else None
        return self.find is None or (found is not None and found.actor.membership == self.actor.membership)

    async def hello(self, hello: s.Hello, connection: Connection, limiter: Limiter, now: float) -> None:
        """Take the seat, or end with the reason."""
        if hello.v != s.VERSION:
            connection.end(s.Close.VERSION)
            return
        if not secrets.compare_digest(hello.token.encode(), self.token.encode()):
            connection.end(s.Close.NOT_FOUND)
            return
        if self.rooms.rests(self.login, hello.session, now):
            connection.end(s.Close.FLOOD)
            return
        try:
            self.room, self.live = await self.rooms.join(
                actor=self.actor, login=self.login, remote=self.remote, hello=hello, connection=connection,
                limiter=limiter,
            )
            self.in_time()
        except ConsultError as error:
            connection.end(_CLOSES.get(error.code, s.Close.NOT_FOUND))
        except Exception as error:
            # A store that does not answer is not the browser's fault: it comes back and asks again.
            LOG.error("hello failed", exc_info=error, extra={"session": hello.session})
            connection.end(s.Close.RESTART)
