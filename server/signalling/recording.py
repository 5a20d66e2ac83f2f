"""The messages about recording: asking, who is present, consent, the end. The rules stand in consult/recording.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from consult import recording
from consult.errors import ConsultError, NotFound
from consult.model import SeatId
from consult.people import Actor
from consult.recording_state import Kind, Who
from server.signalling import schema as s
from server.signalling.room import Live, Room

Person: TypeAlias = tuple[SeatId, str]
"""Somebody declared present: the seat, and who it is there."""


class Conductor(Protocol):
    """What makes the media follow the rows (server/recording/conducting.py)."""

    def sign(self, text: str, /) -> str: ...
    async def ask(self, room: Room, actor: Actor) -> None: ...
    async def bar(self, room: Room, who: Person) -> None:
        """Nothing is written from here on, whatever the rows still say, until `free` for the same person."""
        ...

    def free(self, room: Room, who: Person) -> None: ...

    async def settled(self, room: Room) -> None:
        """The rows changed: make media and everybody's banner follow; complete when it returns."""
        ...


class RecordingMessages:
    """`conductor` None: this installation does not record."""

    def __init__(self) -> None:
        self.conductor: Conductor | None = None
        self.effects: dict[type[s.ClientMessage], Callable[[Room, Live, Any], Awaitable[None]]] = {
            s.RecordAsk: self._ask, s.RecordDeclare: self._declare, s.RecordAnswer: self._answer,
            s.RecordStop: self._stop,
        }

    def _needed(self) -> Conductor:
        if self.conductor is None:
            raise recording.RecordingOff
        return self.conductor

    @staticmethod
    def _actor(live: Live) -> Actor:
        if live.actor is None:
            raise NotFound
        return live.actor

    async def _ask(self, room: Room, live: Live, _message: s.RecordAsk) -> None:
        conductor = self._needed()
        await conductor.ask(room, self._actor(live))
        await conductor.settled(room)

    async def _declare(self, room: Room, live: Live, message: s.RecordDeclare) -> None:
        conductor = self._needed()
        await room.services.run(
            recording.declare_present, actor=self._actor(live), session=room.session,
            people=[(x.id, Who(x.who)) for x in message.people], sign=conductor.sign,
        )
        await conductor.settled(room)

    async def _answer(self, room: Room, live: Live, message: s.RecordAnswer) -> None:
        conductor, answer = self._needed(), Kind(message.answer)
        who = (live.info.seat.id, message.person)
        if answer is Kind.WITHDRAWN:
            await conductor.bar(room, who)      # before the store has answered, and even if it does not
        try:
            await room.services.run(
                recording.answer_recording, actor=self._actor(live), session=room.session, person=message.person,
                answer=answer, words=message.words, sign=conductor.sign,
            )
        except ConsultError:
            if answer is Kind.WITHDRAWN:
                conductor.free(room, who)       # the store has answered: nobody of that name, or nothing to withdraw
                await conductor.settled(room)
            raise
        conductor.free(room, who)
        await conductor.settled(room)

    async def _stop(self, room: Room, live: Live, _message: s.RecordStop) -> None:
        conductor = self._needed()
        await room.services.run(
            recording.stop_recording, actor=self._actor(live), session=room.session, sign=conductor.sign
        )
        await conductor.settled(room)
