"""Makes the media relay record exactly while the rows allow it, and tells everybody in the room.

The banner comes before the first packet is kept and goes after the last one. What may be is read from the rows each
time; memory holds only what the relay was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from consult import recording as rules
from consult.model import SeatId, SessionId
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.recording_state import WORDS, Phase, Recording, RecordingId, Stage
from server.media.backend import MediaBackend, MediaError
from server.media.seating import Seating
from server.sealing import SealError, mark, seal, unseal
from server.signalling import schema as s
from server.signalling.recording import Person
from server.signalling.room import PRESENT, Room
from server.storage.unit import new_id

LOG = logging.getLogger("huizhen.recording")
FOR_GOOD = frozenset({"disk", "slow_disk"})
"""Why the relay ends a recording so that trying again would not help."""
Once = Callable[[str, Coroutine[Any, Any, None]], None]


def owner(recording: RecordingId) -> str:
    """For whom a recording's key is sealed."""
    return f"recording:{recording}"


def open_key(keys: Path, recording: Recording) -> bytes:
    """The 32 bytes under which the recording is stored. Raises SealError, also where the key is gone."""
    key = base64.b64decode(unseal(keys, recording.key, owner=owner(recording.id)))
    if len(key) != 32:
        raise SealError("the recording has no key")
    return key


@dataclass(slots=True)
class Held:
    """What the relay was asked for in one room. `read`: the rows were read in this process. `barred`: those
    who withdraw while the rows do not say so yet.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: bool = False
    running: bool = False
    seats: frozenset[SeatId] = frozenset()
    barred: set[Person] = field(default_factory=set)


class RecordingConductor:
    """`folder`: one folder per recording in it. `keys`: the key folder. `stopped`: a recording is ready to be muxed."""

    def __init__(
        self, *, seating: Seating, rooms: Callable[[], list[Room]], folder: Path, keys: Path, once: Once,
        stopped: Callable[[], None],
    ) -> None:
        self.backend: MediaBackend = seating.backend
        self._seating, self._rooms, self._folder, self._keys = seating, rooms, folder, keys
        self._once, self._stopped = once, stopped
        self._held: dict[SessionId, Held] = {}
        self.backend.on_recording_ended = self._ended

    def sign(self, text: str) -> str:
        return mark(self._keys, text)

    # -- what the room asks ------------------------------------------------------------------------------------------

    def made(self, room: Room) -> None:
        """A room came to memory: nothing runs until its rows were read."""
        room.recording = s.RecordingView(may=True)
        before = room.settled

        def settled(changed: Room) -> None:
            before(changed)
            if changed.recording.phase not in {"off", "stopped"}:
                self._once("recording", self.settled(changed))

        room.settled = settled
        self._once("recording", self.settled(room))

    async def ask(self, room: Room, actor: Actor) -> None:
        """A new recording with a key of its own, unless one is asked for or runs. Raises ConsultError."""
        await room.services.run(self._ask, actor=actor, session=room.session)

    def _ask(self, uow: UnitOfWork, *, actor: Actor, session: SessionId) -> Recording:
        identity = RecordingId(new_id())
        key = seal(self._keys, base64.b64encode(secrets.token_bytes(32)).decode(), owner=owner(identity))
        return rules.ask_recording(uow, actor=actor, session=session, key=key, sign=self.sign, id=identity)

    async def bar(self, room: Room, who: Person) -> None:
        """Nothing is written from here on, whatever the rows still say, until `free` for the same person."""
        held = self._held.setdefault(room.session, Held())
        held.barred.add(who)
        held.seats = frozenset()                # whatever comes of it, the relay is to be asked anew
        recording = self.backend.recorded(room.session)
        if recording is not None:
            await self._quietly(self.backend.pause_recording(room.session, recording))
            self._tell(room, msgspec.structs.replace(room.recording, phase="paused", reason="withdrawn"))

    def free(self, room: Room, who: Person) -> None:
        """The rows say what this person wants: they alone decide again."""
        self._held.setdefault(room.session, Held()).barred.discard(who)

    def writes(self, room: Room, seat: SeatId) -> RecordingId | None:
        """The recording that writes this seat at this moment."""
        held = self._held.get(room.session)
        if held is None or not held.running or held.barred or seat not in held.seats:
            return None
        recording = self.backend.recorded(room.session)
        return RecordingId(recording) if recording else None

    async def settled(self, room: Room) -> None:
        """Read the rows; make relay and banner follow."""
        held = self._held.setdefault(room.session, Held())
        async with held.lock:
            await self._follow(room, held)
            held.read = True

    async def sweep(self) -> None:
        """Every few seconds: what could not begin yet is tried again, rooms that are gone are forgotten."""
        rooms = {room.session: room for room in self._rooms()}
        for session in [x for x in self._held if x not in rooms]:
            del self._held[session]
        for room in rooms.values():
            if room.recording.phase in {"starting", "paused"}:
                await self.settled(room)

    # -- following ---------------------------------------------------------------------------------------------------

    async def _follow(self, room: Room, held: Held) -> None:
        found = await room.services.read(rules.of_session, session=room.session, sign=self.sign)
        if found is None:
            return
        if room.view.session.ended_at is not None and found.recording.stage is Stage.OPEN:
            await self._end(room, found.recording.id, "finished")
            found = await room.services.read(rules.of_session, session=room.session, sign=self.sign) or found
        if found.standing.phase is Phase.RUNNING and held.barred:
            await self._pause(room, held, found, reason="withdrawn")
        elif found.standing.phase is Phase.RUNNING:
            await self._run(room, held, found)
        elif found.standing.phase is Phase.STOPPED:
            await self._stop(room, held, found)
        else:
            await self._pause(room, held, found, reason=found.standing.reason)

    async def _run(self, room: Room, held: Held, found: rules.Recorded) -> None:
        seats = frozenset(x.seat for x in found.standing.seats)
        if held.running and held.seats == seats:
            self._show(room, found, "running")
            return
        if not held.running:
            if room.media.topology == "direct":
                self._show(room, found, "starting")
                self._seating.demand(room)
                return
            here = {x.info.seat.id for x in room.seats.values() if x.info.seat.state in PRESENT and x.connected}
            if not here or not here <= (self.backend.seats(room.session) or frozenset()):
                self._show(room, found, "starting")
                return
            found = await room.services.run(
                rules.mark_recording, session=room.session, running=True, sign=self.sign
            )
            if found.standing.phase is not Phase.RUNNING:
                await self._pause(room, held, found, reason=found.standing.reason)
                return
            seats = frozenset(x.seat for x in found.standing.seats)
        self._show(room, found, "running")
        try:
            await self.backend.record(
                room.session, recording=found.recording.id, folder=self._folder / found.recording.id,
                key=open_key(self._keys, found.recording), seats=sorted(seats),
            )
            held.running, held.seats = True, seats
        except (MediaError, SealError) as error:
            LOG.error("recording", exc_info=error, extra={"session": room.session})
            await self._pause(room, held, found, reason="relay")
            return
        if held.barred:                         # withdrawn while the relay was being asked
            await self._pause(room, held, found, reason="withdrawn")

    async def _pause(self, room: Room, held: Held, found: rules.Recorded, *, reason: str) -> None:
        if held.running or (not held.read and self.backend.recorded(room.session) == found.recording.id):
            await self._quietly(self.backend.pause_recording(room.session, found.recording.id))
            held.running = False
            await room.services.run(
                rules.mark_recording, session=room.session, running=False, reason=reason, sign=self.sign
            )
        self._show(room, found, "asked" if found.standing.phase is Phase.ASKED else "paused", reason)

    async def _stop(self, room: Room, held: Held, found: rules.Recorded) -> None:
        if held.running or self.backend.recorded(room.session) == found.recording.id:
            await self._quietly(self.backend.stop_recording(room.session, found.recording.id))
            self._stopped()
        held.running = False
        held.barred.clear()
        self._show(room, found, "stopped", found.standing.reason)

    def _ended(self, session: str, recording: str, reason: str) -> None:
        """The relay ended it by itself: the call goes on, the recording stops or is tried again."""
        LOG.warning("recording ended", extra={"session": session, "reason": reason})
        room = next((x for x in self._rooms() if x.session == session), None)
        if room is not None:
            self._once("recording", self._after(room, RecordingId(recording), reason))

    async def _after(self, room: Room, recording: RecordingId, reason: str) -> None:
        held = self._held.setdefault(room.session, Held())
        held.running = False
        if reason in FOR_GOOD:
            await self._end(room, recording, reason)
            self._stopped()
        else:
            await room.services.run(
                rules.mark_recording, session=room.session, running=False, reason="relay", sign=self.sign
            )
        await self.settled(room)

    async def _end(self, room: Room, recording: RecordingId, reason: str) -> None:
        await room.services.run(rules.end_recording, id=recording, reason=reason, sign=self.sign)

    # -- telling -----------------------------------------------------------------------------------------------------

    def _show(self, room: Room, found: rules.Recorded, phase: Any, reason: str = "") -> None:
        view = s.RecordingView(
            may=True, phase=phase, reason=reason, words=WORDS,
            by=found.recording.asked_by if phase != "stopped" else "",
            seats=[
                s.RecordedSeat(seat=at.seat, people=[
                    s.RecordedPerson(id=x.id, who=x.who.value, answer=x.answer.value if x.answer else "")
                    for x in at.people
                ])
                for at in found.standing.seats
            ],
        )
        if view != room.recording:
            self._tell(room, view)

    @staticmethod
    def _tell(room: Room, view: s.RecordingView) -> None:
        LOG.info("recording", extra={"session": room.session, "phase": view.phase, "reason": view.reason})
        room.recording = view
        for live in room.seats.values():
            if live.info.active and live.info.seat.state in {*PRESENT, *s.LOBBY}:
                room.tell(live, s.Recording(recording=room.recording_for(live)))

    async def _quietly(self, asked: Coroutine[Any, Any, None]) -> None:
        """A relay that does not answer has paused by itself: nobody could withdraw otherwise."""
        try:
            await asked
        except MediaError as error:
            LOG.error("recording relay", exc_info=error)
