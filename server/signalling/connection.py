"""The sending half of one socket: reliable frames in order, newest-wins frames only while nothing older waits."""

import asyncio
import contextlib
from typing import Protocol

from server.signalling.schema import CLOSE_CODES, Close, Closed, encode

QUEUE_LIMIT = 256 * 1024        # bytes that may wait for a slow reader before its socket is ended
QUIET = 10.0                    # s without a frame after which a socket is asked for a sign of life
ANSWER = 5.0                    # s it has for one
_PING = b""


class Transport(Protocol):
    """What is needed of aiohttp's WebSocketResponse."""

    async def send_str(self, data: str) -> None: ...
    async def ping(self) -> None: ...
    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool: ...


class Line(Protocol):
    """What is needed of an asyncio transport."""

    def abort(self) -> None: ...


class Connection:
    """`send` never blocks the sender: a task sends while there is something to send, and a reader that falls behind is
    disconnected. Who waits for messages has no task.

    A newest-wins frame replaces an unsent one under the same key, so that a busy follower sees the latest only.

    `heard` is the loop's time of the last frame, written by who reads; `beat`, once a second, asks a quiet socket and
    gives up a half-open one. One round over all sockets costs less than the two timers each that aiohttp would set.
    """

    __slots__ = (
        "_asked", "_bytes", "_frames", "_free", "_line", "_newest", "_sending", "_transport", "closed", "ending",
        "heard",
    )

    def __init__(self, transport: Transport, line: Line | None = None, *, now: float = 0.0) -> None:
        self._transport = transport
        self._line = line
        self.heard = now
        self._asked = now
        self._frames: list[bytes] = []           # seldom more than one; an empty deque takes ten times as much
        self._newest: dict[tuple[str, str], bytes] = {}
        self._bytes = 0
        self._free = b""                         # a frame that is not counted
        self._sending: asyncio.Task[None] | None = None
        self.ending: Close | None = None         # why, from the moment that it is to end
        self.closed = False

    def send(self, frame: bytes) -> None:
        if self.closed or self.ending is not None:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes > QUEUE_LIMIT:
            self._frames.clear()
            self._newest.clear()
            self.end(Close.SLOW)
            return
        self._begin()

    def welcome(self, frame: bytes) -> None:
        """The whole room, however large: who is sent it has not fallen behind."""
        self._free = frame
        self._bytes -= len(frame)
        self.send(frame)

    def send_newest(self, key: tuple[str, str], frame: bytes) -> None:
        if self.closed or self.ending is not None:
            return
        self._newest[key] = frame
        self._begin()

    def end(self, why: Close) -> None:
        """Tell the browser why, then close. What was queued before is still sent, unless the reader is slow."""
        if self.closed or self.ending is not None:
            return
        self.ending = why
        self._frames.append(encode(Closed(code=why)))
        self._begin()

    def beat(self, now: float) -> None:
        """Ask who has said nothing for QUIET; who gives no sign within ANSWER is gone."""
        if self.closed or self.ending is not None or now - self.heard < QUIET:
            return
        if self._asked <= self.heard:
            self._asked = now
            self._frames.append(_PING)
            self._begin()
        elif now - self._asked >= ANSWER and self._line is not None:
            self._line.abort()                  # nothing more is written to nobody; the reading loop ends

    def lost(self) -> None:
        """The socket is gone; nothing can be sent any more."""
        self.closed = True

    async def over(self) -> None:
        """Wait for what is being sent; after `lost` it is given up."""
        if (sending := self._sending) is None:
            return
        if self.closed:
            sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

    def _begin(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while (self._frames or self._newest) and not self.closed:
                if self._frames:
                    frame = self._frames.pop(0)
                    if frame is self._free:
                        self._free = b""
                    else:
                        self._bytes -= len(frame)
                else:
                    frame = self._newest.pop(next(iter(self._newest)))
                await (self._transport.send_str(frame.decode()) if frame else self._transport.ping())
            if self.ending is not None and not self.closed:
                try:
                    await self._transport.close(code=CLOSE_CODES[self.ending], message=self.ending.value.encode())
                finally:
                    self.closed = True
        except (ConnectionError, RuntimeError):
            self.closed = True                  # the socket went away underneath; the reading loop sees it too
        finally:
            self._sending = None
