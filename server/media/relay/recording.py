"""What a room's recording takes from the relay's loop: packets as they come, written by a thread of its own.

The loop only gathers entries; sealing, writing and syncing never stop it. A chunk is handed on after a second or
256 KB, so that a kill at any moment costs less than two seconds. A disk that fails or does not keep up ends the
recording, not the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from server.media.relay import rtcp, rtp
from server.media.relay.connection import Connection
from server.media.relay.publication import Publication
from server.recording import log

LOG = logging.getLogger("huizhen.media")
CHUNK_SECONDS, CHUNK_BYTES = 1.0, 256 << 10
BACKLOG = 32 << 20              # bytes that may wait for the disk
UNREPAIRED = 1.5                # seconds after which a lost packet of a picture is given up
DISK, SLOW_DISK = "disk", "slow_disk"
Done = asyncio.Future[str]      # of a reason, empty where all is well
_Job = tuple[bytes, int, int, bool, Done | None]


class Tap:
    """One stream on its way into the log."""

    def __init__(self, recording: Recording, publication: Publication, number: int, clock: int, seat: str) -> None:
        self.publication, self.number, self.clock, self.seat = publication, number, clock, seat
        self._recording = recording
        self._highest: int | None = None
        self._missing: dict[int, float] = {}
        publication.takers.append(self.take)
        publication.clock_takers.append(self.report)
        publication.want_keyframe()

    def describe(self, at: int) -> log.Stream:
        return log.Stream(
            at=at, stream=self.number, seat=self.seat, kind=self.publication.kind, clock=self.clock,
            codecs=self.publication.codecs,
        )

    def take(self, _source: Publication, packet: rtp.Packet) -> None:
        data = rtp.build(
            packet, payload_type=packet.payload_type, sequence=packet.sequence, timestamp=packet.timestamp,
            ssrc=packet.ssrc, body=packet.body,
        )
        self._recording.add_media(self.number, data)
        if self.publication.kind == "video":
            self._count(packet.sequence)

    def _count(self, sequence: int) -> None:
        step = 1 if self._highest is None else (sequence - self._highest) & 0xFFFF
        if step >= 0x8000:
            self._missing.pop(sequence, None)
            return
        if 1 < step < 256:
            now = time.monotonic()
            self._missing |= {(sequence - back) & 0xFFFF: now for back in range(1, step)}
        if step:
            self._highest = sequence

    def look(self, now: float) -> None:
        """Ask for a whole picture where a loss was not repaired: perhaps nobody else watches this stream."""
        if any(now - since > UNREPAIRED for since in self._missing.values()):
            self._missing.clear()
            self.publication.want_keyframe()

    def report(self, _source: Publication, seen: rtcp.Clock) -> None:
        self._recording.add_clock(self.number, seen)

    def end(self) -> None:
        if self.take in self.publication.takers:
            self.publication.takers.remove(self.take)
            self.publication.clock_takers.remove(self.report)


class Recording:
    """The log of one room while the relay writes it. `failed(reason)` is called once, on the loop."""

    def __init__(self, *, recording: str, folder: Path, key: bytes, failed: Callable[[str], None]) -> None:
        self.recording: Final = recording
        self.running = False
        self.seats: frozenset[str] = frozenset()
        self.taken = 0                                      # packets
        self._failed, self._failure = failed, ""
        self._loop = asyncio.get_running_loop()
        self._wall = time.time_ns() - time.monotonic_ns()   # the wall clock may be set meanwhile, this one is not
        self._taps: dict[Publication, Tap] = {}
        self._counted = itertools.count(1)
        self._numbers: WeakKeyDictionary[Connection | Publication, int] = WeakKeyDictionary()   # kept over a pause
        self._present: set[str] = set()
        self._buffer = bytearray()
        self._first = self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0                                   # bytes handed to the thread and not yet on disk
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.opened: Done = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, args=(folder, key), name="recording", daemon=True)
        self._thread.start()

    # -- on the loop --------------------------------------------------------------------------------------------------

    def run(self, seats: Iterable[str], connections: Iterable[Connection]) -> None:
        """Go on, with these seats and nobody else."""
        self.seats = frozenset(seats)
        if not self.running and not self._failure:
            self.running = True
            self._mark("running")
        self.follow(connections)

    def follow(self, connections: Iterable[Connection]) -> None:
        """Take what the present connections of the room publish, as far as the seats may be written."""
        wanted = {
            publication: connection
            for connection in connections if self.running and connection.seat in self.seats
            for publication in connection.publications.values()
        }
        for publication in self._taps.keys() - wanted.keys():
            self._taps.pop(publication).end()
        for publication, connection in wanted.items():
            if publication not in self._taps:
                number, clock = self._number(publication), self._number(connection)
                tap = self._taps[publication] = Tap(self, publication, number, clock, connection.seat)
                at = self._moment()
                self._add(log.said(tap.describe(at), offset=at - self._first))
        present = {x.seat for x in wanted.values()}
        if self.running:
            for seat in sorted(present - self._present):
                self._mark("joined", seat=seat)
            for seat in sorted(self._present - present):
                self._mark("left", seat=seat)
        self._present = present

    def _number(self, of: Connection | Publication) -> int:
        return self._numbers.setdefault(of, next(self._counted))

    def pause(self, reason: str = "") -> Done:
        """Nothing of anybody is taken from here on; done when what was taken before is on disk."""
        if self.running:
            self._mark("paused", reason=reason)
            self.running = False
            self.follow(())
        return self._hand_on()

    def stop(self) -> Done:
        """The log is closed; done when that is on disk."""
        if not self._failure:
            self._mark("ended")
        self.running = False
        self.follow(())
        done = self._hand_on(ended=True)
        self._jobs.put(None)
        return done

    def add_media(self, stream: int, data: bytes) -> None:
        """A packet, as it came."""
        self.taken += 1
        self._add(log.media(stream, data, offset=self._moment() - self._first))

    def add_clock(self, stream: int, seen: rtcp.Clock) -> None:
        self._add(log.clock(stream, seen.ntp, seen.timestamp, offset=self._moment() - self._first))

    def _mark(self, what: str, *, seat: str = "", reason: str = "") -> None:
        at = self._moment()
        self._add(log.said(log.Mark(at=at, what=what, seat=seat, reason=reason), offset=at - self._first))

    def _moment(self) -> int:
        """µs since 1970. The first one of a chunk begins it, with the streams that there are."""
        self._last = (time.monotonic_ns() + self._wall) // 1000
        if not self._buffer:
            self._first = self._last
            for tap in self._taps.values():
                self._buffer += log.said(tap.describe(self._last), offset=0)
        return self._last

    def _add(self, entry: bytes) -> None:
        if self._failure:
            self._buffer.clear()
            return
        self._buffer += entry
        if len(self._buffer) >= CHUNK_BYTES:
            self._hand_on()
        elif self._timer is None:
            self._timer = self._loop.call_later(CHUNK_SECONDS, self._in_time)

    def _in_time(self) -> None:
        self._timer = None
        now = time.monotonic()
        for tap in self._taps.values():
            tap.look(now)
        self._hand_on()

    def _hand_on(self, *, ended: bool = False) -> Done:
        """Give what was gathered to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        done: Done = self._loop.create_future()
        if self._failure:
            done.set_result(self._failure)
            return done
        data = bytes(self._buffer)
        self._buffer.clear()
        self._waiting += len(data)
        self._jobs.put((data, self._first, self._last, ended, done))
        if self._waiting > BACKLOG:
            self._fail(SLOW_DISK)
        return done

    def _written(self, size: int, done: Done | None, reason: str) -> None:
        self._waiting -= size
        if done is not None and not done.done():
            done.set_result(reason)
        if reason:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        if self._failure:
            return
        self._failure = reason
        self.running = False
        self._buffer.clear()
        self.follow(())
        self._jobs.put(None)
        LOG.error("recording ended", extra={"recording": self.recording, "reason": reason})
        self._failed(reason)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self, folder: Path, key: bytes) -> None:
        """Open the file, then write what comes; after a failure only the waiting are told."""
        made, reason = None, ""
        try:
            made = log.Log(folder, recording=self.recording, key=key)
        except OSError as error:
            LOG.error("recording file", exc_info=error)
            reason = DISK
        self._loop.call_soon_threadsafe(self._written, 0, self.opened, reason)
        while (job := self._jobs.get()) is not None:
            data, first, last, ended, done = job
            try:
                if made is not None and not reason and (data or ended):
                    made.append(data, first=first, last=last, ended=ended)
            except OSError as error:
                LOG.error("recording write", exc_info=error)
                reason = DISK
            self._loop.call_soon_threadsafe(self._written, len(data), done, reason)
        if made is not None:
            with contextlib.suppress(OSError):
                made.close()
