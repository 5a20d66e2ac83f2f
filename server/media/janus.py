"""Janus' videoroom as a MediaBackend: each seat publishes on one connection, which its browser offers, and receives on
another, which Janus offers. Session and handles outlive this process, so that its restart loses no packet.

Only this server speaks to Janus: browsers know neither room nor secret. What stands in `held` is what was decided;
Janus follows it, at once or when it can be reached again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from server.media.backend import MediaError, Passed
from server.media.janus_client import JanusClient, JanusError, Told
from server.media.janus_recording import Taps
from server.media.janus_session import JanusSession
from server.media.janus_state import Keeper, Room, Seat, Wish, chosen, climbed, lines_of, sees
from server.media.packet_relay import PacketRelay
from server.media.relay.ladder import AUDIO, VIDEO, Ladder, Report

LOG = logging.getLogger("huizhen.media")
AGAIN_SECONDS = 5.0                             # an offer that nobody answers is told once more
EXISTS = 427                                    # JANUS_VIDEOROOM_ERROR_ROOM_EXISTS
ROOM = {
    "permanent": False, "is_private": True, "publishers": 16, "audiocodec": "opus", "videocodec": "vp8",
    "opus_fec": True, "opus_dtx": True, "bitrate": 1_200_000, "fir_freq": 0, "record": False,
}


class Janus:
    """`secret`: Janus' api_secret. `recorder`: what writes recordings. `died()` counts lives of Janus that ended."""

    topology: Literal["janus"] = "janus"

    def __init__(
        self, folder: Path, *, url: str, secret: str, recorder: PacketRelay, died: Callable[[], None] = lambda: None
    ) -> None:
        self._keeper, self._died = Keeper(folder / "janus.json"), died
        self.held = self._keeper.load()
        self.taps = Taps(recorder, self.held, over=self._recording_over)
        self.on_change: Callable[[], None] = lambda: None
        self.on_passed: Callable[[str, str, Passed], None] = lambda _room, _seat, _passed: None
        self.on_offer: Callable[[str, str, str, str], None] = lambda _room, _seat, _pc, _sdp: None
        self.on_recording_ended: Callable[[str, str, str], None] = lambda _room, _recording, _reason: None
        self._session = JanusSession(
            url, secret, told=self._told, former=lambda: self.held.session, claimed=self._claimed, begun=self._begun
        )
        self._locks: dict[str, asyncio.Lock] = {}
        self._doing: set[asyncio.Task[None]] = set()
        self._wishes: dict[tuple[str, str], Wish] = {}
        self._offered: dict[tuple[str, str], float] = {}

    @property
    def generation(self) -> str:
        return self.held.generation

    # -- MediaBackend ------------------------------------------------------------------------------------------------

    async def open_room(self, room: str) -> None:
        client = await self._session.client()
        async with self._lock(room):
            await self._make(client, room)

    def seats(self, room: str) -> frozenset[str] | None:
        found = self.held.rooms.get(room)
        return None if found is None else frozenset(found.seats)

    async def answer(
        self, room: str, seat: str, *, pc: str, sdp: str, others: Sequence[str], speech: bool = False  # noqa: ARG002
    ) -> str:
        """Who receives whom is decided here: everybody in the room."""
        client = await self._session.client()
        jsep = {"type": "offer", "sdp": sdp}
        async with self._lock(room):
            made = await self._make(client, room)
            held = made.seats.get(seat)
            if held is not None and held.pc == pc:
                reply = await client.message(held.publisher, {"request": "configure"}, jsep)
            else:
                self._drop(room, seat)
                await self._flush(client)
                asked = {
                    "request": "joinandconfigure", "ptype": "publisher", "room": room, "pin": made.pin, "id": seat,
                }
                handle, reply = await client.join(asked, jsep)
                made.seats[seat] = Seat(pc=pc, publisher=handle)
                self._wishes[room, seat] = Wish(ladder=Ladder(at=AUDIO if speech else VIDEO))
                self._keeper.save(self.held)
        if "jsep" not in reply:
            raise MediaError("no answer")
        return str(reply["jsep"]["sdp"])

    async def answered(self, room: str, seat: str, *, pc: str, sdp: str) -> None:
        """What a seat's browser says to our offer."""
        client = await self._session.client()
        async with self._lock(room):
            held = self._seat(room, seat)
            if held is None or pc != str(held.down):
                raise MediaError("nothing was offered")
            held.offer = ""
            await client.message(held.down, {"request": "start"}, {"type": "answer", "sdp": sdp})
            self._keeper.save(self.held)

    async def restart(self, room: str, seat: str) -> None:
        """The path to a seat is silent: what it receives is offered again over fresh candidates."""
        client = await self._session.client()
        async with self._lock(room):
            held = self._seat(room, seat)
            if held is not None and held.down:
                self._take(room, seat, await client.message(held.down, {"request": "configure", "restart": True}))

    def heard(
        self, room: str, seat: str, *, heard: Mapping[str, float], loss: float | None, kbps: float | None, wants: str,
        most: str = "video", cap: int = 0,
    ) -> None:
        held, wish = self._seat(room, seat), self._wish(room, seat)
        if held is None:
            return
        now = time.monotonic()
        if held.offer and now - self._offered.get((room, seat), 0.0) > AGAIN_SECONDS:
            self._offered[room, seat] = now
            self.on_offer(room, seat, str(held.down), held.offer)
        wish.wants = wants
        report = Report(concealed=max(heard.values(), default=None), loss=loss, kbps=kbps)
        if climbed(wish, report, len(held.hears), 1000 * now, most=most, cap=cap):
            LOG.info("media rung", extra={"session": room, "seat": seat, "rung": wish.rung})
            seen = sees(wish) if wish.rung == "small" else ""
            self.on_passed(room, seat, Passed(
                rung=wish.rung, sees=seen, thin=False, busy=False, chosen=wish.ladder.chosen
            ))  # fmt: skip
        self._shape_soon(room, seat)

    def tiles(self, room: str, seat: str, heights: Mapping[str, int]) -> None:
        """How high a seat's browser shows each other seat, in pixels of its screen."""
        self._wish(room, seat).heights = dict(heights)
        self._shape_soon(room, seat)

    async def leave(self, room: str, seat: str) -> None:
        self._drop(room, seat)
        self._keeper.save(self.held)
        await self.taps.leave(room, seat)
        await self._flush(await self._session.client())

    async def close_room(self, room: str) -> None:
        if (found := self.held.rooms.get(room)) is None:
            return
        for seat in list(found.seats):
            self._drop(room, seat)
        del self.held.rooms[room]
        self._locks.pop(room, None)
        if found.made:
            self.held.closing[room] = found.secret
        self._keeper.save(self.held)
        await self.taps.close(room)
        await self._flush(await self._session.client())

    async def record(self, room: str, *, recording: str, folder: Path, key: bytes, seats: Sequence[str]) -> None:
        await self.taps.record(room, recording=recording, folder=folder, key=key, seats=seats)
        await self._connect_all(room)

    async def pause_recording(self, room: str, recording: str) -> None:
        await self.taps.pause(room, recording)
        self._soon(self._connect_all(room))

    async def stop_recording(self, room: str, recording: str) -> None:
        await self.taps.stop(room, recording)
        self._soon(self._connect_all(room))

    def _recording_over(self, room: str, recording: str, reason: str) -> None:
        self.on_recording_ended(room, recording, reason)
        self._soon(self._connect_all(room))

    def recorded(self, room: str) -> str | None:
        return self.taps.relay.recorded(room)

    async def close(self) -> None:
        for task in self._doing:
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        await self._session.close()
        await self.taps.relay.close()

    async def adopt(self) -> None:
        """Go on with the session that an earlier process left; without one nothing happens."""
        await self.taps.relay.adopt()
        if self.held.rooms:
            with contextlib.suppress(MediaError):
                await self._session.client()

    # -- the session --------------------------------------------------------------------------------------------------

    async def _claimed(self, client: JanusClient) -> None:
        await self._flush(client)
        for room in list(self.held.rooms):
            await self._compare(client, room)
        LOG.info("janus claimed", extra={"rooms": len(self.held.rooms)})

    def _begun(self, session: int) -> None:
        before = self.held.generation
        self.held.begin(session)
        self._wishes.clear()
        self._keeper.save(self.held)
        if before:
            self._died()
            self.on_change()

    async def _compare(self, client: JanusClient, name: str) -> None:
        """Who publishes may have changed while nobody listened."""
        room = self.held.rooms[name]
        if room.made:
            asked = {"request": "listparticipants", "room": name, "secret": room.secret}
            told = await client.message(await self._session.asking(client), asked)
            for person in told["participants"]:
                if (held := room.seats.get(str(person["id"]))) is not None:
                    held.up = bool(person["publisher"])
            self._soon(self._connect_all(name))

    async def _make(self, client: JanusClient, name: str) -> Room:
        room = self.held.rooms.setdefault(name, Room())
        if not room.made:
            asked = {"request": "create", "room": name, "secret": room.secret, "pin": room.pin, **ROOM}
            try:
                await client.message(await self._session.asking(client), asked)
            except JanusError as error:
                if error.code != EXISTS:
                    raise
            room.made = True
            self._keeper.save(self.held)
        return room

    # -- seats --------------------------------------------------------------------------------------------------------

    def _seat(self, room: str, seat: str) -> Seat | None:
        found = self.held.rooms.get(room)
        return None if found is None else found.seats.get(seat)

    def _wish(self, room: str, seat: str) -> Wish:
        return self._wishes.setdefault((room, seat), Wish(ladder=Ladder()))

    def _lock(self, room: str) -> asyncio.Lock:
        return self._locks.setdefault(room, asyncio.Lock())

    def _drop(self, room: str, seat: str) -> None:
        """Forget a seat's connections; `_flush` ends them."""
        found = self.held.rooms.get(room)
        held = None if found is None else found.seats.pop(seat, None)
        self._wishes.pop((room, seat), None)
        if found is None or held is None:
            return
        self.held.ending += [x for x in (held.publisher, held.down, held.tap) if x]
        for other in found.seats.values():
            other.hears.discard(seat)

    async def _flush(self, client: JanusClient) -> None:
        """End in Janus what is over."""
        while self.held.ending:
            handle = self.held.ending[0]
            with contextlib.suppress(JanusError):       # it has gone by itself
                await client.request("detach", handle=handle)
            if handle in self.held.ending:
                self.held.ending.remove(handle)
        for room, secret in list(self.held.closing.items()):
            with contextlib.suppress(JanusError):
                asked = {"request": "destroy", "room": room, "secret": secret}
                await client.message(await self._session.asking(client), asked)
            self.held.closing.pop(room, None)
        self._keeper.save(self.held)

    async def _connect_all(self, name: str) -> None:
        """Everybody who publishes receives everybody else who does; a recording receives whom it may."""
        client = await self._session.client()
        async with self._lock(name):
            room = self.held.rooms.get(name)
            for seat, held in [] if room is None else list(room.seats.items()):
                feeds = {x for x, other in self.held.rooms[name].seats.items() if other.up and x != seat} - held.hears
                if held.up and feeds:
                    await self._subscribe(client, name, seat, held, sorted(feeds))
            try:
                await self.taps.follow(client, name)
            finally:
                self._keeper.save(self.held)
            await self._flush(client)

    async def _subscribe(self, client: JanusClient, name: str, seat: str, held: Seat, feeds: list[str]) -> None:
        streams = [{"feed": x} for x in feeds]
        if held.down:
            told = await client.message(held.down, {"request": "subscribe", "streams": streams})
        else:
            held.down = await client.attach()
            told = await client.message(held.down, {
                "request": "join", "ptype": "subscriber", "room": name, "pin": self.held.rooms[name].pin,
                "use_msid": True, "streams": streams,
            })
        held.hears |= set(feeds)
        self._take(name, seat, told)

    def _take(self, name: str, seat: str, told: Told) -> None:
        """What Janus says about a seat's receiving handle; an offer goes on to the browser."""
        held = self._seat(name, seat)
        if held is None:
            return
        if "streams" in told:
            held.lines = lines_of(told["streams"], held.lines)
        if "jsep" in told:
            held.offer = str(told["jsep"]["sdp"])
            self._offered[name, seat] = time.monotonic()
            self._keeper.save(self.held)
            self.on_offer(name, seat, str(held.down), held.offer)
        self._shape_soon(name, seat)

    def _told(self, handle: int, event: Told) -> None:
        """An event of a handle, or of the session (0)."""
        if (found := self.held.seat_of(handle)) is None:
            return
        name, seat = found
        held = self.held.rooms[name].seats[seat]
        kind = event.get("janus")
        if kind == "webrtcup" and handle == held.publisher:
            held.up = True
            self._soon(self._connect_all(name))
        elif kind == "hangup" and handle == held.publisher:
            held.up = False
            for other in self.held.rooms[name].seats.values():
                other.hears.discard(seat)
        elif kind == "hangup":
            self._soon(self._fell(name, seat, handle))
        elif kind == "event" and handle == held.down:
            self._take(name, seat, {**event["plugindata"]["data"], **{x: event[x] for x in ("jsep",) if x in event}})
        elif kind == "event" and handle == held.tap and "jsep" in event:
            self._soon(self._renew(name, seat, event))

    async def _fell(self, name: str, seat: str, handle: int) -> None:
        """A receiving connection has ended: the seat gets another one if it is still there."""
        held = self._seat(name, seat)
        if held is not None and handle in (held.down, held.tap):
            self.held.ending.append(handle)
            if handle == held.tap:
                held.tap = 0
            else:
                held.down, held.hears, held.lines, held.offer = 0, set(), {}, ""
            await self._flush(await self._session.client())
            await self._connect_all(name)

    async def _renew(self, name: str, seat: str, event: Told) -> None:
        """A recorded seat sends other lines than before."""
        client = await self._session.client()
        async with self._lock(name):
            if (held := self._seat(name, seat)) is not None and held.tap == event.get("sender"):
                await self.taps.renewed(client, name, seat, held, event)

    def _shape_soon(self, name: str, seat: str) -> None:
        held, wish = self._seat(name, seat), self._wish(name, seat)
        if held is not None and any(chosen(x, wish) != (x.send, x.substream) for x in held.lines.values()):
            self._soon(self._shape(name, seat))

    async def _shape(self, name: str, seat: str) -> None:
        """Tell Janus which lines carry media to a seat, and which layers."""
        client = await self._session.client()
        async with self._lock(name):
            held, wish = self._seat(name, seat), self._wish(name, seat)
            if held is None or not held.down:
                return
            streams = []
            for mid, line in held.lines.items():
                send, substream = chosen(line, wish)
                if (send, substream) != (line.send, line.substream):
                    line.send, line.substream = send, substream
                    streams.append({"mid": mid, "send": send, "substream": substream})
            if streams:
                await client.message(held.down, {"request": "configure", "streams": streams})

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            try:
                await work
            except MediaError as error:
                LOG.warning("janus", exc_info=error)

        task = asyncio.ensure_future(quietly())
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)
