"""Recording where a Janus forwards: the packet relay receives each seat that is recorded as one more subscriber
of Janus, and writes it as it writes its own (docs/decisions/0012-recording-beside-janus.md). It passes nothing on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from server.media.backend import MediaError
from server.media.janus_client import JanusClient, Told
from server.media.janus_state import Held, Seat
from server.media.packet_relay import PacketRelay


class Taps:
    """One handle of Janus for each seat that is recorded (`Seat.tap`), for just as long as it is.

    Janus' own end of it is the caller's: `follow` and `renewed` are called under the room's lock, and what they leave
    in `held.ending` is detached by the caller.
    """

    def __init__(self, relay: PacketRelay, held: Held, *, over: Callable[[str, str, str], None]) -> None:
        self.relay, self._held, self._over = relay, held, over
        self._wanted: dict[str, frozenset[str]] = {}            # room → seats
        relay.on_recording_ended = self._ended

    async def record(self, room: str, *, recording: str, folder: Path, key: bytes, seats: Sequence[str]) -> None:
        """The log is open; `follow` brings the media."""
        await self.relay.record(room, recording=recording, folder=folder, key=key, seats=seats)
        self._wanted[room] = frozenset(seats)

    async def pause(self, room: str, recording: str) -> None:
        """When this returns nothing is written; `follow` ends the media's way there."""
        await self.relay.pause_recording(room, recording)
        self._wanted.pop(room, None)

    async def stop(self, room: str, recording: str) -> None:
        await self.relay.stop_recording(room, recording)
        self._wanted.pop(room, None)

    def _ended(self, room: str, recording: str, reason: str) -> None:
        self._wanted.pop(room, None)
        self._over(room, recording, reason)

    async def follow(self, client: JanusClient, name: str) -> None:
        """Seats that are to be recorded and send have a tap; nobody else has."""
        room, wanted = self._held.rooms.get(name), self._wanted.get(name, frozenset())
        for seat, held in [] if room is None else list(room.seats.items()):
            if held.tap and seat not in wanted:
                await self.leave(name, seat, held)
            elif room is not None and held.up and not held.tap and seat in wanted:
                held.tap = await client.attach()
                asked = {"request": "join", "ptype": "subscriber", "room": name, "pin": room.pin}
                told = await client.message(held.tap, {**asked, "streams": [{"feed": seat}]})
                await self.renewed(client, name, seat, held, told)

    async def renewed(self, client: JanusClient, name: str, seat: str, held: Seat, told: Told) -> None:
        """Janus offers what a seat sends; the relay takes it, or the tap ends."""
        if "jsep" not in told:
            return
        try:
            sdp = await self.relay.answer(name, seat, pc=str(held.tap), sdp=str(told["jsep"]["sdp"]), others=())
            await client.message(held.tap, {"request": "start"}, {"type": "answer", "sdp": sdp})
        except MediaError:
            await self.leave(name, seat, held)
            raise

    async def leave(self, room: str, seat: str, held: Seat | None = None) -> None:
        """Nothing of the seat reaches the relay any more."""
        if held is not None and held.tap:
            self._held.ending.append(held.tap)
            held.tap = 0
        if seat in (self.relay.seats(room) or ()):
            with contextlib.suppress(MediaError):               # it has gone, and its connections with it
                await self.relay.leave(room, seat)

    async def close(self, room: str) -> None:
        """The room has ended."""
        self._wanted.pop(room, None)
        if self.relay.seats(room) is not None or self.relay.recorded(room) is not None:
            with contextlib.suppress(MediaError):
                await self.relay.close_room(room)
