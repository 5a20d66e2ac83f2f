"""All rooms of this process: made from rows when somebody comes, closed by revocation, tidied once a second.

A restart loses only memory. The next hello makes the room again under a new epoch, and its first answer is a snapshot.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from consult import attending, meeting_view
from consult.errors import NotFound
from consult.model import ConsultationId, SeatState, SessionId
from consult.people import Actor, MembershipId
from server.settings import Settings
from server.signalling import schema as s
from server.signalling.connection import Connection
from server.signalling.handling import Handler
from server.signalling.ice import ice_servers
from server.signalling.limits import Limiter
from server.signalling.room import Live, Room, Services
from server.tasks import by_turns

LOG = logging.getLogger("huizhen.room")
GRACE = timedelta(seconds=5)          # a socket away for longer leaves a gap in the attendance
FLOOD_REST = 3.0                      # seconds until whoever flooded a room is let into it again
KEEP_EMPTY = timedelta(minutes=10)    # an empty room's memory
LATE_LINES = timedelta(seconds=60)    # a chat line may be committed so long after its time
RECHECK = timedelta(seconds=60)       # rows are read again even if nobody said that they changed


class Rooms:
    """Composition of everything under this package; one per application."""

    def __init__(self, *, services: Services, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.services, self.settings, self.clock = services, settings, clock
        self.handler = Handler(settings, clock)
        self.rooms: dict[SessionId, Room] = {}
        self._making: dict[SessionId, asyncio.Lock] = {}
        self._flooded: dict[tuple[str, str], float] = {}       # (login, session) → until when it rests
        self.follow: Callable[[str], None] = lambda _topic: None       # set by setup.py: the hub's topics
        self.unfollow: Callable[[str], None] = lambda _topic: None
        self.made: Callable[[Room], None] = lambda _room: None         # set by setup.py: the media relay

    async def room(self, session: SessionId) -> Room:
        """The room of a session, made from its rows if it is not in memory."""
        lock = self._making.setdefault(session, asyncio.Lock())
        async with lock:
            room = self.rooms.get(session)
            if room is None:
                view = await self.services.read(meeting_view.room_rows, session=session)
                now = self.clock()
                said = await self.services.read(
                    meeting_view.recent_messages, session=session, since=now - LATE_LINES
                )
                room = Room(view, services=self.services, clock=self.clock)
                room.said.update(line.message.id for line in said)
                room.heard = now
                self.rooms[session] = room
                self.follow(f"consultation:{view.session.consultation}")
                self.made(room)
        self._making.pop(session, None)          # whoever still waits for it finds the room
        return room

    def flooded(self, login: str, session: str, now: float) -> None:
        """A socket was ended for a flood: sitting down again is what costs, so it has to wait."""
        self._flooded = {who: until for who, until in self._flooded.items() if until > now}
        self._flooded[login, session] = now + FLOOD_REST

    def rests(self, login: str, session: str, now: float) -> bool:
        """Whether a flood of this login in this session was so short ago that nothing is asked for it."""
        return self._flooded.get((login, session), now) > now

    async def join(
        self, *, actor: Actor, login: str, remote: str | None, hello: s.Hello, connection: Connection, limiter: Limiter
    ) -> tuple[Room, Live]:
        """Seat a socket: permission and seat by the rows, then welcome. Raises ConsultError."""
        session = SessionId(hello.session)
        seat = await self.services.run(attending.take_seat, actor=actor, session=session)
        room = await self.room(session)
        await room.refresh()
        live = room.seats[seat.id]
        async with live.lock:
            if live.info.seat.state is SeatState.REMOVED:
                raise attending.SeatRemoved      # while the seat was being taken
            if not live.info.active:
                raise NotFound
            if live.info.seat.state is SeatState.LOST:
                await self.services.run(attending.seat_back, seat=seat.id)
                await room.refresh()
            while True:
                mark = live.replay.seq
                whole = await room.whole(live, actor)
                if live.replay.after(mark) is not None:
                    break                        # else so much came meanwhile that the snapshot is too old
            live.actor, live.login, live.remote = actor, login, remote
            ice = ice_servers(self.settings.ice, holder=seat.id, now=self.clock())
            room.attach(live, connection, hello, whole=whole, mark=mark, ice=ice, limiter=limiter)
        return room, live

    async def take(
        self, room: Room, live: Live, message: s.ClientMessage, connection: Connection, *, seconds: float
    ) -> None:
        """One message, after the one before it is complete. A socket that lost its seat is not heard."""
        async with live.lock:
            if live.connection is connection:
                await self.handler.take(room, live, message, seconds=seconds)

    async def noted(self, consultation: ConsultationId | None, *, chat: bool) -> None:
        """The hub's note; a failing store costs this note only, the recheck of the sweep makes up for it."""
        try:
            every = {x.view.session.consultation for x in self.rooms.values()}
            for one in every if consultation is None else {consultation}:
                await self.changed(one, chat=chat or consultation is None)
        except Exception as error:
            LOG.warning("room note", exc_info=error)

    async def changed(self, consultation: ConsultationId, *, chat: bool = True) -> None:
        """Rows of a consultation changed, perhaps elsewhere (a page, a service): read them again, pass on new chat."""
        for room in [x for x in self.rooms.values() if x.view.session.consultation == consultation]:
            await room.refresh()
            if chat:
                until = self.clock()
                lines = await self.services.read(
                    meeting_view.recent_messages, session=room.session, since=room.heard - LATE_LINES
                )
                room.heard = until
                for line in lines:
                    room.say(line.message, line.name, author_too=True)

    async def revoked(self, memberships: Iterable[MembershipId], consultation: ConsultationId) -> None:
        """An assignment ended: the sockets close now, the other browsers close their peer connections, rows follow."""
        ended = frozenset(memberships)
        for room in [x for x in self.rooms.values() if x.view.session.consultation == consultation]:
            for live in room.seats.values():
                if live.info.seat.membership in ended:
                    room.put_out(live, s.Close.REVOKED)
            await self.services.run(attending.evict, consultation=consultation, memberships=ended)
            await room.refresh()

    def logins_ended(self, ends: Callable[[str, Actor], bool]) -> None:
        """Seats whose line is away have no socket that could be closed, but perhaps media."""
        for room in self.rooms.values():
            for live in room.seats.values():
                if live.actor is not None and not live.connected and ends(live.login, live.actor):
                    live.actor = None            # once
                    room.put_out(live, s.Close.REVOKED)

    async def beat(self) -> None:
        """Once a second: sockets that have been quiet are asked for a sign of life, half-open ones given up."""
        now = asyncio.get_running_loop().time
        async for room in by_turns(self.rooms.values()):
            for live in room.seats.values():
                if live.connection is not None:
                    live.connection.beat(now())

    async def sweep(self) -> None:
        """Once a second: seats that are away become gaps, empty rooms are forgotten, rows are read again."""
        now = self.clock()
        async for room in by_turns(self.rooms.values()):
            try:
                await self._sweep_room(room, now)
            except Exception as error:
                LOG.warning("room sweep", exc_info=error, extra={"session": room.session})

    async def _sweep_room(self, room: Room, now: datetime) -> None:
        lost = [
            live for live in room.seats.values()
            if live.lost_at is not None and now - live.lost_at >= GRACE and not live.written_lost
            and live.info.seat.state is SeatState.IN
        ]
        for live in lost:
            async with live.lock:
                if live.lost_at is None:
                    continue                     # back in the meantime
                await self.services.run(attending.seat_lost, seat=live.info.seat.id, at=live.lost_at)
                live.written_lost = True
        if lost or (now - room.checked >= RECHECK and any(x.connected for x in room.seats.values())):
            room.checked = now
            await room.refresh()
        if any(live.connected for live in room.seats.values()):
            room.empty_since = None
        elif room.empty_since is None:
            room.empty_since = now
        elif now - room.empty_since >= KEEP_EMPTY:
            self.rooms.pop(room.session, None)
            self.unfollow(f"consultation:{room.view.session.consultation}")

    def close(self) -> None:
        """The server stops: every browser is told to come back."""
        for room in self.rooms.values():
            for live in room.seats.values():
                if (connection := live.take_connection()) is not None:
                    connection.end(s.Close.RESTART)
