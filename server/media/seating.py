"""Which rooms are on the relay, and who may be on it: two seats speak from browser to browser, a third moves everyone,
and so does a recording.

A room on the relay stays there until its session ends, so that nobody is moved twice. What a room may do on the relay
follows its rows: after every change of them whoever is no longer present loses the media at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from consult.model import SeatId
from server.media.backend import MediaBackend, MediaError, Passed
from server.signalling import schema as s
from server.signalling.room import PRESENT, Live, Room

LOG = logging.getLogger("huizhen.media")
FROM_SEATS = 3
Once = Callable[[str, Coroutine[Any, Any, None]], None]


class Seating:
    """`rooms()`: every room of this process. `once(name, coroutine)`: runs it in the background, watched. `kbps`: what
    the installation allows a seat, 0: any.
    """

    def __init__(
        self, backend: MediaBackend, *, rooms: Callable[[], list[Room]], once: Once, kbps: int = 0
    ) -> None:
        self.backend, self._rooms, self._once, self._kbps = backend, rooms, once, kbps
        self._moving: set[str] = set()
        backend.on_change = self.renew
        backend.on_passed = self.passed
        backend.on_offer = self.offered

    def made(self, room: Room) -> None:
        """A room came to memory: it is on the relay if the relay has been carrying it."""
        room.settled, room.expelled = self.settle, self.expel
        if self.backend.seats(room.session) is not None:        # settle closes it if the session has ended meanwhile
            room.media = s.MediaView(topology=self.backend.topology, generation=self.backend.generation)
        self.settle(room)

    def settle(self, room: Room) -> None:
        """Make the relay follow the rows."""
        present = {x.info.seat.id for x in room.seats.values() if x.info.seat.state in PRESENT and x.info.active}
        on_relay = room.media.topology != "direct"
        if room.view.session.ended_at is not None:
            if on_relay:
                room.media = s.MediaView()
                self._once("media_close", self._quietly(self.backend.close_room(room.session)))
            return
        if not on_relay:
            if len(present) >= FROM_SEATS:
                self.demand(room)
            return
        for seat in (self.backend.seats(room.session) or frozenset()) - present:
            self._once("media_leave", self._quietly(self.backend.leave(room.session, seat)))

    def demand(self, room: Room) -> None:
        """Move the room to the relay, however few its seats: only there a recording is made."""
        if room.media.topology == "direct" and room.session not in self._moving:
            self._moving.add(room.session)
            self._once("media_move", self._move(room))

    def expel(self, room: Room, live: Live) -> None:
        """Removed, or the login has ended: the media ends before the rows say so."""
        if live.info.seat.id in (self.backend.seats(room.session) or ()):
            self._once("media_leave", self._quietly(self.backend.leave(room.session, live.info.seat.id)))

    async def _move(self, room: Room) -> None:
        try:
            await self.backend.open_room(room.session)
        except MediaError as error:
            LOG.error("media move", exc_info=error, extra={"session": room.session})
            return
        finally:
            self._moving.discard(room.session)
        if room.view.session.ended_at is None:
            LOG.info("media move", extra={"session": room.session, "topology": self.backend.topology})
            self._tell(room)
            room.settled(room)

    def renew(self) -> None:
        """The relay has begun a new life: every browser on it begins anew."""
        for room in self._rooms():
            if room.media.topology != "direct":
                self._tell(room)

    def _tell(self, room: Room) -> None:
        room.media = s.MediaView(topology=self.backend.topology, generation=self.backend.generation)
        room.tell_all(s.Media(topology=room.media.topology, generation=room.media.generation))

    def heard(self, room: Room, live: Live, message: s.Quality) -> None:
        """A seat's second of what it receives from the relay."""
        if room.media.topology != "direct":
            if message.tiles is not None:
                self.backend.tiles(room.session, live.info.seat.id, message.tiles)
            chosen = live.state or s.MediaState(n=1, mic=False, camera=False)
            limits = filter(None, (chosen.kbps, live.info.kbps, self._kbps))    # of the person, the place, all of us
            self.backend.heard(
                room.session, live.info.seat.id, heard=message.heard or {}, kbps=message.kbps, wants=message.wants,
                loss=None if message.heard is None else message.loss,           # who chose pictures keeps them
                most=chosen.most, cap=min(limits, default=0),
            )

    def passed(self, session: str, seat: str, passed: Passed) -> None:
        """A seat is sent something else than before: its browser says so, and sends small pictures where needed."""
        self._to(session, seat, s.RelayLine(
            rung=passed.rung, sees=passed.sees, thin=passed.thin, busy=passed.busy, chosen=passed.chosen
        ))  # fmt: skip

    def offered(self, session: str, seat: str, pc: str, sdp: str) -> None:
        """What a seat receives is offered to its browser."""
        self._to(session, seat, s.RelayOffer(pc=pc, sdp=sdp))

    def _to(self, session: str, seat: str, message: s.ServerMessage) -> None:
        room = next((x for x in self._rooms() if x.session == session), None)
        live = None if room is None else room.seats.get(SeatId(seat))
        if room is not None and live is not None:
            room.tell(live, message)

    async def reply(self, room: Room, live: Live, *, pc: str, sdp: str) -> None:
        """A browser's answer to what it was offered; MediaError where nothing was."""
        await self.backend.answered(room.session, live.info.seat.id, pc=pc, sdp=sdp)

    async def restart(self, room: Room, live: Live) -> None:
        """Nothing that a browser was offered arrives there."""
        await self.backend.restart(room.session, live.info.seat.id)

    async def offer(self, room: Room, live: Live, *, pc: str, sdp: str, speech: bool = False) -> str:
        """The relay's answer to a seat's offer; MediaError, also where the room is not on the relay."""
        if room.media.topology == "direct" or not live.connected:
            raise MediaError("the room is not on the relay")
        seats = [x.info.seat.id for x in room.others(live) if x.info.active]
        try:
            return await self.backend.answer(
                room.session, live.info.seat.id, pc=pc, sdp=sdp, others=seats, speech=speech
            )
        finally:
            room.settled(room)                  # the seat may have been put out in the meantime

    async def _quietly(self, asked: Coroutine[Any, Any, None]) -> None:
        try:
            await asked
        except MediaError as error:
            LOG.warning("media relay", exc_info=error)
