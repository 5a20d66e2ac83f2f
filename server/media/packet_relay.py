"""The packet relay as a MediaBackend: a child process, started when first needed and again whenever it dies.

It outlives this process: a restart of the web server finds it by its socket, and no packet is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from server.media.backend import MediaError, Passed
from server.media.relay import messages as m

LOG = logging.getLogger("huizhen.media")
ANSWER_SECONDS = 5.0
START_SECONDS = 20.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class PacketRelay:
    """`folder` holds the socket; `options` are handed to the child; `died()` counts deaths for the metrics."""

    topology: Literal["relay"] = "relay"

    def __init__(self, folder: Path, *, options: Sequence[str] = (), died: Callable[[], None] = lambda: None) -> None:
        self.path = folder / "relay.sock"
        self.options, self._died = tuple(options), died
        self.generation = ""
        self.on_change: Callable[[], None] = lambda: None
        self.on_offer: Callable[[str, str, str, str], None] = lambda _room, _seat, _pc, _sdp: None
        self.on_passed: Callable[[str, str, Passed], None] = lambda _room, _seat, _passed: None
        self.on_recording_ended: Callable[[str, str, str], None] = lambda _room, _recording, _reason: None
        self.pid = 0
        self._recorded: dict[str, str] = {}
        self._rooms: dict[str, set[str]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[m.Reply]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lost_at = 0.0
        self._closing = False

    # -- MediaBackend ------------------------------------------------------------------------------------------------

    async def open_room(self, room: str) -> None:
        await self._ready()
        self._rooms.setdefault(room, set())

    def seats(self, room: str) -> frozenset[str] | None:
        found = self._rooms.get(room)
        return None if found is None else frozenset(found)

    async def answer(
        self, room: str, seat: str, *, pc: str, sdp: str, others: Sequence[str], speech: bool = False
    ) -> str:
        await self._ready()
        offer = m.Offer(
            id=next(self._numbers), room=room, seat=seat, pc=pc, sdp=sdp, others=tuple(others), speech=speech
        )
        reply = await self._ask(offer)
        if isinstance(reply, m.Answer):
            self._rooms.setdefault(room, set()).add(seat)
            return reply.sdp
        raise MediaError(reply.reason if isinstance(reply, m.Refused) else "no answer")

    async def answered(self, room: str, seat: str, *, pc: str, sdp: str) -> None:  # noqa: ARG002 - MediaBackend's
        raise MediaError("nothing was offered")

    async def restart(self, room: str, seat: str) -> None:
        """A path that is silent is rebuilt by its browser."""

    def tiles(self, room: str, seat: str, heights: Mapping[str, int]) -> None:
        """There is one picture and one small one: `wants` says whose is small."""

    def heard(
        self, room: str, seat: str, *, heard: Mapping[str, float], loss: float | None, kbps: float | None, wants: str,
        most: str = "video", cap: int = 0,
    ) -> None:
        if self._writer is not None:            # nobody waits for its answer: the next second's report follows
            told = m.Heard(
                id=0, room=room, seat=seat, heard=dict(heard), loss=loss, kbps=kbps, wants=wants, most=most, cap=cap
            )
            self._writer.write(m.frame(told))

    async def leave(self, room: str, seat: str) -> None:
        self._rooms.get(room, set()).discard(seat)
        if self._writer is not None:
            await self._ask(m.Leave(id=next(self._numbers), room=room, seat=seat))

    async def close_room(self, room: str) -> None:
        self._rooms.pop(room, None)
        self._recorded.pop(room, None)
        if self._writer is not None:
            await self._ask(m.Close(id=next(self._numbers), room=room))

    async def record(self, room: str, *, recording: str, folder: Path, key: bytes, seats: Sequence[str]) -> None:
        await self._ready()
        asked = m.Record(
            id=next(self._numbers), room=room, recording=recording, folder=str(folder.absolute()), key=key,
            seats=tuple(seats),
        )
        reply = await self._ask(asked)
        if not isinstance(reply, m.Done):
            raise MediaError(reply.reason if isinstance(reply, m.Refused) else "no answer")
        self._recorded[room] = recording

    async def pause_recording(self, room: str, recording: str) -> None:
        if self._writer is not None:
            await self._ask(m.PauseRecording(id=next(self._numbers), room=room, recording=recording))

    async def stop_recording(self, room: str, recording: str) -> None:
        if self._recorded.get(room) == recording:
            del self._recorded[room]
        if self._writer is not None:
            await self._ask(m.StopRecording(id=next(self._numbers), room=room, recording=recording))

    def recorded(self, room: str) -> str | None:
        return self._recorded.get(room)

    async def close(self) -> None:
        self._closing = True
        if self._starting is not None:          # not cut off: what it has opened would be nobody's
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0        # it may carry calls and is left running: nobody is to wait for it

    # -- the child ----------------------------------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Take over a relay that an earlier process left, with its rooms; without one nothing happens."""
        with contextlib.suppress(OSError, MediaError):
            await self._connect()

    async def look(self) -> m.Seen:
        """What the relay carries and has used."""
        await self._ready()
        reply = await self._ask(m.Look(id=next(self._numbers)))
        if not isinstance(reply, m.Seen):
            raise MediaError("no answer")
        return reply

    async def _ready(self) -> None:
        if self._writer is not None:
            return
        if self._closing:
            raise MediaError("closing")
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.shield(self._starting)
        except TimeoutError as error:
            raise MediaError("not started") from error

    async def _start(self) -> None:
        """Connect to a relay, starting one where there is none, until it answers."""
        pause = FIRST_PAUSE
        while not self._closing:
            try:
                if self._process is not None or not await self._found():
                    await self._spawn()
                    await self._connect()
                return
            except (OSError, MediaError) as error:
                LOG.log(logging.INFO if self._ending() else logging.ERROR, "media relay start", exc_info=error)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _ending(self) -> bool:
        return self._closing

    async def _found(self) -> bool:
        """Whether a relay that an earlier process left has been taken over."""
        try:
            await self._connect()
        except OSError:
            return False
        return True

    async def _spawn(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.unlink(missing_ok=True)
        if (former := self._process) is not None:       # it does not answer any more, whatever it still does
            former.kill()
            await asyncio.to_thread(former.wait)
        command = [sys.executable, "-m", "server.media.relay", "--socket", str(self.path), *self.options]
        self._process = process = await asyncio.to_thread(
            subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self.path.exists():
            if self._closing or process.poll() is not None or time.monotonic() > deadline:
                raise MediaError("the relay did not start")
            await asyncio.sleep(0.02)

    async def _connect(self) -> None:
        """Nobody else asks on a connection that has not answered: it may be a dying process' that still listens."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        reading = self._reading = asyncio.create_task(self._read(reader, writer))
        try:
            reply = await self._ask(m.Look(id=next(self._numbers)), writer)
            if not isinstance(reply, m.Seen) or writer.is_closing():
                raise MediaError("no answer")
        except BaseException:
            reading.cancel()
            writer.close()
            raise
        self._writer, self.pid = writer, reply.pid
        self._rooms |= {x.room: set(x.seats) for x in reply.rooms}
        self._recorded = {x.room: x.recording for x in reply.recordings}
        if reply.boot != self.generation:
            before, self.generation = self.generation, reply.boot
            LOG.info("media relay", extra={"pid": reply.pid, "rooms": len(reply.rooms)})
            if before:
                gap = round(time.monotonic() - self._lost_at, 2)
                LOG.warning("media relay back", extra={"gap_seconds": gap, "rooms": len(self._rooms)})
                self.on_change()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (data := await m.body(reader)) is not None:
                message = m.replies.decode(data)
                if isinstance(message, m.Up | m.Down):
                    LOG.info("media seat", extra={"session": message.room, "seat": message.seat})
                elif isinstance(message, m.Passed):
                    passed = Passed(
                        rung=message.rung, sees=message.sees, thin=message.thin, busy=message.busy,
                        chosen=message.chosen,
                    )
                    self.on_passed(message.room, message.seat, passed)
                elif isinstance(message, m.RecordingEnded):
                    self._recording_over(message.room, message.recording, message.reason)
                elif (waiting := self._waiting.pop(message.id, None)) is not None and not waiting.done():
                    waiting.set_result(message)
        except (ValueError, msgspec.MsgspecError) as error:
            LOG.error("media answer", exc_info=error)
        self._lost(writer)

    def _recording_over(self, room: str, recording: str, reason: str) -> None:
        if self._recorded.get(room) == recording:
            del self._recorded[room]
            LOG.warning("recording over", extra={"session": room, "recording": recording, "reason": reason})
            self.on_recording_ended(room, recording, reason)

    def _lost(self, writer: asyncio.StreamWriter) -> None:
        """The child has gone: whoever waits is told, and a new one is started for the rooms that need it."""
        writer.close()
        if self._writer not in (writer, None):
            return
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(MediaError("the relay has gone"))
        self._waiting.clear()
        if self._writer is None:                # it never said who it is: whoever starts it tries again
            return
        self._writer = None
        self._lost_at = time.monotonic()
        for room, recording in [] if self._closing else list(self._recorded.items()):
            self._recording_over(room, recording, "relay")
        if self._closing or not self._rooms:
            return
        for seats in self._rooms.values():
            seats.clear()
        self._died()
        LOG.warning("media relay lost", extra={"rooms": len(self._rooms)})
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())

    async def _ask(self, message: m.ToRelay, writer: asyncio.StreamWriter | None = None) -> m.Reply:
        writer = writer or self._writer
        if writer is None:
            raise MediaError("no relay")
        waiting: asyncio.Future[m.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[message.id] = waiting
        writer.write(m.frame(message))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await waiting
        except TimeoutError as error:
            raise MediaError("no answer in time") from error
        finally:
            self._waiting.pop(message.id, None)
