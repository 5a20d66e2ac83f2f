"""Rooms of the relay: who is in them, and which stream goes to which line.

A seat that begins anew keeps its old connection until the new one carries media: nobody sees a black gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.media.relay import description
from server.media.relay.connection import Connection
from server.media.relay.ice import IceLite
from server.media.relay.publication import Publication
from server.media.relay.receiving import Receptions, Told

SEATS = 16


@dataclass(slots=True)
class Seat:
    """`current` carries media; `next` is being set up and takes its place."""

    current: Connection | None = None
    next: Connection | None = None

    def all(self) -> list[Connection]:
        return [x for x in (self.current, self.next) if x is not None]


@dataclass(slots=True)
class Room:
    seats: dict[str, Seat] = field(default_factory=dict)
    receptions: Receptions = field(default_factory=Receptions)

    def places(self) -> dict[str, Connection]:
        """The connection that carries each seat's media."""
        return {name: x.current for name, x in self.seats.items() if x.current is not None}

    def every(self) -> dict[str, list[Connection]]:
        """All connections of each seat."""
        return {name: x.all() for name, x in self.seats.items()}


class Rooms:
    """`told(kind, room, connection)`: 'up' or 'down' of a seat's connection."""

    def __init__(self, lite: IceLite, told: Callable[[str, str, Connection], None]) -> None:
        self.lite, self._told = lite, told
        self.rooms: dict[str, Room] = {}
        self.passed: Callable[[str, str, Told], None] = lambda *_: None
        self.busy = False                            # no room for more pictures: who comes begins with sound alone
        self.changed: Callable[[str], None] = lambda _room: None     # other streams, or other connections, than before
        self.gone = (0, 0)                           # packets received and sent by connections that have ended
        self._closing: set[asyncio.Task[None]] = set()

    def offer(self, room: str, seat: str, *, pc: str, sdp: str, others: tuple[str, ...], speech: bool = False) -> str:
        """The answer to a seat's offer; BadOffer. An offer under a new name begins a new connection. `speech`: a seat
        that is new begins with sound alone, and is given pictures by trial.
        """
        offered = description.read(sdp)
        home = self.rooms.setdefault(room, Room())
        if seat not in home.seats and len(home.seats) >= SEATS:
            raise description.BadOffer("seats")
        place = home.seats.setdefault(seat, Seat())
        connection = next((x for x in place.all() if x.name == pc and not x.closed), None)
        if connection is None:
            if place.next is not None:
                self._end(place.next)
            connection = place.next = Connection(
                name=pc, seat=seat, lite=self.lite,
                up=lambda made: self._up(room, made), down=lambda made: self._down(room, made),
                found=lambda made, publication: self._found(room, made, publication),
                speech=self.busy if place.current is None else place.current.speech,
            )
            home.receptions.begin(seat, speech=speech)
        text = connection.answer(offered, tuple(x for x in others if x != seat))
        self._connect(home, connection)
        self._follow(room, home)
        return text

    def leave(self, room: str, seat: str) -> None:
        """Both ways end at once."""
        home = self.rooms.get(room)
        if home is None:
            return
        for connection in (home.seats.pop(seat, None) or Seat()).all():
            self._end(connection)
        home.receptions.forget(seat)
        if not home.seats:
            del self.rooms[room]
        self.changed(room)

    def close(self, room: str) -> None:
        for seat in list(self.rooms.get(room, Room()).seats):
            self.leave(room, seat)

    def hear(self, room: str, seat: str, **figures: Any) -> None:
        """A second of what a seat receives (Receptions.hear)."""
        if (home := self.rooms.get(room)) is not None:
            home.receptions.hear(seat, home.places(), **figures)
            self._follow(room, home)

    def step(self) -> None:
        """Once a second: stills are asked for, and who was without pictures for want of power is given them again."""
        waiting = [x for _, x in self.connections() if x.speech]
        if waiting and not self.busy:
            waiting[0].speech = False
        for room, home in self.rooms.items():
            self._follow(room, home)

    def pad(self) -> None:
        """Ten times a second: padding where a line is being tried."""
        for home in self.rooms.values():
            home.receptions.pad(home.every())

    def _follow(self, room: str, home: Room) -> None:
        places = home.places()
        home.receptions.follow(places, home.every())
        for seat, now in home.receptions.changes(places):
            self.passed(room, seat, now)

    def connections(self) -> list[tuple[str, Connection]]:
        return [(name, x) for name, room in self.rooms.items() for seat in room.seats.values() for x in seat.all()]

    def packets(self) -> tuple[int, int]:
        """Received and sent since the process began."""
        live = [x for _, x in self.connections()]
        return self.gone[0] + sum(x.received for x in live), self.gone[1] + sum(x.sent for x in live)

    async def close_all(self) -> None:
        for room in list(self.rooms):
            self.close(room)
        await asyncio.gather(*self._closing)

    # -- wiring -----------------------------------------------------------------------------------------------------

    def _up(self, room: str, connection: Connection) -> None:
        home = self.rooms.get(room)
        place = home.seats.get(connection.seat) if home is not None else None
        if home is None or place is None or place.next is not connection:
            return
        old, place.current, place.next = place.current, connection, None
        self._connect(home, connection)
        for publication in connection.publications.values():
            self._spread(home, connection, publication)
        if old is not None:
            self._end(old)
        self._follow(room, home)
        self.changed(room)
        self._told("up", room, connection)

    def _down(self, room: str, connection: Connection) -> None:
        home = self.rooms.get(room)
        place = home.seats.get(connection.seat) if home is not None else None
        if home is not None and place is not None:
            if place.current is connection:
                place.current = None
            if place.next is connection:
                place.next = None
            if not place.all():
                self.leave(room, connection.seat)
        self._end(connection)
        self.changed(room)
        self._told("down", room, connection)

    def _found(self, room: str, connection: Connection, publication: Publication) -> None:
        home = self.rooms.get(room)
        place = home.seats.get(connection.seat) if home is not None else None
        if home is not None and place is not None and place.current is connection:
            if publication is not connection.thin:
                self._spread(home, connection, publication)
            self._follow(room, home)
            self.changed(room)

    def _spread(self, home: Room, publisher: Connection, publication: Publication) -> None:
        """A stream has begun: every line that is this seat's takes it."""
        for place in home.seats.values():
            for connection in place.all():
                for line in connection.subscriptions.values():
                    if line.seat == publisher.seat and line.kind == publication.kind:
                        line.connect(publication)

    def _connect(self, home: Room, connection: Connection) -> None:
        """A connection's lines take what is there; pictures begin with a whole one."""
        for line in connection.subscriptions.values():
            place = home.seats.get(line.seat)
            for publication in place.current.publications.values() if place and place.current else ():
                if publication.kind == line.kind:
                    line.connect(publication)
                    if connection.connected:
                        publication.want_keyframe()

    def _end(self, connection: Connection) -> None:
        received, sent = self.gone
        self.gone = (received + connection.received, sent + connection.sent)
        connection.closed = True
        task = asyncio.create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
