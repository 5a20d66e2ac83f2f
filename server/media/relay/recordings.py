"""The recordings of all rooms: begun, paused and stopped as the web process says, paused where it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from server.media.relay import messages as m
from server.media.relay.connection import Connection
from server.media.relay.recording import Done, Recording
from server.media.relay.rooms import Rooms

AWAY = "server"                 # why a recording is paused while nobody could withdraw


def _refusal(asked: m.Record, found: Recording | None) -> str:
    if found is not None and found.recording != asked.recording:
        return "another recording"
    try:
        UUID(asked.recording)
    except ValueError:
        return "recording's name"
    return "" if len(asked.key) == 32 else "key"


class Recordings:
    """`ended(room, recording, reason)`: one came to its end unasked. What a method does is done when it returns; the
    future it gives tells that it is on disk, or with a reason that it is not.
    """

    def __init__(self, rooms: Rooms, ended: Callable[[str, str, str], None]) -> None:
        self._rooms, self._ended = rooms, ended
        self._recordings: dict[str, Recording] = {}
        rooms.changed = self._follow

    def record(self, asked: m.Record) -> Done:
        """Begin, or go on where it is the room's."""
        found = self._recordings.get(asked.room)
        if refusal := _refusal(asked, found):
            done: Done = asyncio.get_running_loop().create_future()
            done.set_result(refusal)
            return done
        if found is None:
            found = self._recordings[asked.room] = Recording(
                recording=asked.recording, folder=Path(asked.folder), key=asked.key,
                failed=lambda reason: self._failed(asked.room, asked.recording, reason),
            )
        found.run(asked.seats, self._connections(asked.room))
        return found.opened

    def pause(self, asked: m.PauseRecording) -> Done | None:
        """None where there is nothing to pause."""
        found = self._recordings.get(asked.room)
        return found.pause() if found is not None and found.recording == asked.recording else None

    def stop(self, room: str, recording: str | None = None) -> Done | None:
        """None where there is nothing to stop; recording None: whichever the room has."""
        found = self._recordings.get(room)
        if found is None or recording not in {None, found.recording}:
            return None
        del self._recordings[room]
        return found.stop()

    def alone(self) -> None:
        """The web process has gone: nobody could withdraw, so nobody is recorded until it says so again."""
        for recording in self._recordings.values():
            recording.pause(AWAY)

    def seen(self) -> tuple[m.RecordingSeen, ...]:
        return tuple(
            m.RecordingSeen(room=room, recording=x.recording, running=x.running, packets=x.taken)
            for room, x in self._recordings.items()
        )

    async def close_all(self) -> None:
        """Every log is ended as it should be."""
        stopped = [self.stop(room) for room in list(self._recordings)]
        await asyncio.gather(*(x for x in stopped if x is not None))

    def _connections(self, room: str) -> list[Connection]:
        """Of every seat the connection that carries its media."""
        home = self._rooms.rooms.get(room)
        return [] if home is None else [x.current for x in home.seats.values() if x.current is not None]

    def _follow(self, room: str) -> None:
        if (found := self._recordings.get(room)) is not None:
            found.follow(self._connections(room))

    def _failed(self, room: str, recording: str, reason: str) -> None:
        self._recordings.pop(room, None)
        self._ended(room, recording, reason)
