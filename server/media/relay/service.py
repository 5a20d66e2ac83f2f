"""The relay's own loop: it listens on a local socket, does what the web process asks, and says what happened.

One web process at a time speaks to it. When that one goes away calls flow on; the next one finds the rooms as they
are. Without anyone for a minute, or with nobody in any room, the relay ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import time
from pathlib import Path
from typing import cast

import msgspec

from server.media.relay import messages as m
from server.media.relay.arrivals import EVERY
from server.media.relay.connection import Connection
from server.media.relay.description import BadOffer
from server.media.relay.ice import IceLite
from server.media.relay.load import Load
from server.media.relay.receiving import Told
from server.media.relay.recording import Done
from server.media.relay.recordings import Recordings
from server.media.relay.rooms import Rooms

LOG = logging.getLogger("huizhen.media")
ALONE_SECONDS = 60.0


class Service:
    """`linger`: seconds that calls may go on without a web process. `most_cpu`: percent of a core that this process
    has used of late, above which nobody new is given pictures.
    """

    def __init__(self, lite: IceLite, *, linger: float = ALONE_SECONDS, most_cpu: float = 80.0) -> None:
        self.boot = secrets.token_hex(8)
        self.rooms = Rooms(lite, self._told)
        self.recordings = Recordings(self.rooms, self._recording_ended)
        self.rooms.passed = self._passed
        self.load = Load(most_cpu)
        self.linger = linger
        self.ended = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._alone = 0.0

    async def run(self, path: Path) -> None:
        """Serve until the end of all calls, or until nobody has asked for a minute."""
        server = await asyncio.start_unix_server(self._serve, path=path)
        path.chmod(0o600)
        ticking = asyncio.create_task(self._tick())
        try:
            await self.ended.wait()
        finally:
            ticking.cancel()
            path.unlink(missing_ok=True)
            server.close()
            if self._writer is not None:
                self._writer.close()
            await asyncio.gather(*self._serving)
            await self.recordings.close_all()
            await self.rooms.close_all()

    async def _tick(self) -> None:
        steps = 0
        while True:
            await asyncio.sleep(EVERY)
            steps += 1
            for _, connection in self.rooms.connections():
                connection.feedback()
                if steps % 10 == 0:
                    connection.tick()
            self.rooms.pad()
            if steps % 10 == 0:
                self.rooms.busy = self.load.add(time.monotonic(), time.process_time())
                self.rooms.step()
            self._alone = 0.0 if self._writer is not None else self._alone + EVERY
            if self._alone >= self.linger or (self._alone >= min(5.0, self.linger) and not self.rooms.rooms):
                self.ended.set()

    def _told(self, kind: str, room: str, connection: Connection) -> None:
        LOG.info("media path", extra={"session": room, "seat": connection.seat, "state": kind})
        event = m.Up if kind == "up" else m.Down
        if self._writer is not None:
            self._writer.write(m.frame(event(room=room, seat=connection.seat, pc=connection.name)))

    def _recording_ended(self, room: str, recording: str, reason: str) -> None:
        if self._writer is not None:
            self._writer.write(m.frame(m.RecordingEnded(room=room, recording=recording, reason=reason)))

    def _passed(self, room: str, seat: str, now: Told) -> None:
        rung, sees, thin, busy, chosen = now
        LOG.info("media rung", extra={"session": room, "seat": seat, "rung": rung, "busy": busy, "chosen": chosen})
        if self._writer is not None:
            self._writer.write(m.frame(m.Passed(
                room=room, seat=seat, rung=rung, sees=sees, thin=thin, busy=busy, chosen=chosen
            )))  # fmt: skip

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            self._writer.close()                # the former web process is gone or going
        self.recordings.alone()                 # until this one says that everybody agrees
        self._writer = writer
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while (data := await m.body(reader)) is not None:
                asked = m.requests.decode(data)
                if isinstance(asked, m.Recorder):
                    self._record(asked, writer)
                else:
                    writer.write(m.frame(self.reply(asked)))
        except (ValueError, msgspec.MsgspecError) as error:
            LOG.error("media request", exc_info=error)
        finally:
            if self._writer is writer:
                self._writer = None
                self.recordings.alone()
            writer.close()

    def _record(self, asked: m.Recorder, writer: asyncio.StreamWriter) -> None:
        """Do it at once, and answer when it is on disk: nobody else's request waits for that."""
        done: Done | None
        match asked:
            case m.Record():
                done = self.recordings.record(asked)
            case m.PauseRecording():
                done = self.recordings.pause(asked)
            case m.StopRecording():
                done = self.recordings.stop(asked.room, asked.recording)

        def answer(reason: str) -> None:
            if not writer.is_closing():
                made = m.Refused(id=asked.id, reason=reason) if reason else m.Done(id=asked.id)
                writer.write(m.frame(made))

        if done is None:
            answer("")
        else:
            done.add_done_callback(lambda x: answer(x.result()))

    def reply(self, asked: m.ToRelay) -> m.Reply:
        """The answer to one request."""
        match asked:
            case m.Offer():
                try:
                    text = self.rooms.offer(
                        asked.room, asked.seat, pc=asked.pc, sdp=asked.sdp, others=asked.others, speech=asked.speech
                    )
                except BadOffer as error:
                    return m.Refused(id=asked.id, reason=str(error))
                return m.Answer(id=asked.id, sdp=text)
            case m.Heard():
                self.rooms.hear(
                    asked.room, asked.seat, heard=asked.heard, loss=asked.loss, kbps=asked.kbps, wants=asked.wants,
                    most=asked.most, cap=asked.cap,
                )
            case m.Leave():
                self.rooms.leave(asked.room, asked.seat)
            case m.Close():
                self.recordings.stop(asked.room)
                self.rooms.close(asked.room)
            case m.Look():
                return self.seen(asked.id)
        return m.Done(id=asked.id)

    def seen(self, number: int) -> m.Seen:
        received, sent = self.rooms.packets()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return m.Seen(
            id=number, boot=self.boot, pid=os.getpid(), received=received, sent=sent, recordings=self.recordings.seen(),
            cpu_seconds=used.ru_utime + used.ru_stime,
            rooms=tuple(m.RoomSeen(room=name, seats=tuple(room.seats)) for name, room in self.rooms.rooms.items()),
        )
