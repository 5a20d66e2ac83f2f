"""The sending half of one socket: reliable frames in order, newest-wins frames only while nothing older waits."""

import asyncio
from typing import Protocol

from server.signalling.schema import CLOSE_CODES, Close, Closed, encode

QUEUE_LIMIT = 256 * 1024        # bytes that may wait for a slow reader before its socket is ended


class Transport(Protocol):
    """What is needed of aiohttp's WebSocketResponse."""

    async def send_str(self, data: str) -> None: ...
    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool: ...


class Connection:
    """`send` never blocks the sender: a task drains the queue, a reader that falls behind is disconnected.

    A newest-wins frame replaces an unsent one under the same key, so that a busy follower sees the latest only.
    """

    __slots__ = ("_bytes", "_frames", "_idle", "_newest", "_transport", "closed", "ending")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._frames: list[bytes] = []           # seldom more than one; an empty deque takes ten times as much
        self._newest: dict[tuple[str, str], bytes] = {}
        self._bytes = 0
        self._idle: asyncio.Future[None] | None = None      # of a drain that has nothing to send
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
        self._wake()

    def send_newest(self, key: tuple[str, str], frame: bytes) -> None:
        if self.closed or self.ending is not None:
            return
        self._newest[key] = frame
        self._wake()

    def end(self, why: Close) -> None:
        """Tell the browser why, then close. What was queued before is still sent, unless the reader is slow."""
        if self.closed or self.ending is not None:
            return
        self.ending = why
        self._frames.append(encode(Closed(code=why)))
        self._wake()

    def lost(self) -> None:
        """The socket is gone; nothing can be sent any more."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def drain(self) -> None:
        """Send until the connection ends. Run as a task beside the reading loop."""
        try:
            while not self.closed:
                if not (self._frames or self._newest or self.ending):
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                while self._frames and not self.closed:
                    frame = self._frames.pop(0)
                    self._bytes -= len(frame)
                    await self._transport.send_str(frame.decode())
                while self._newest and not self._frames and not self.closed:
                    key = next(iter(self._newest))
                    await self._transport.send_str(self._newest.pop(key).decode())
                if self.ending is not None and not self._frames:
                    await self._transport.close(code=CLOSE_CODES[self.ending], message=self.ending.value.encode())
                    return
        except (ConnectionError, RuntimeError):
            pass                                # the socket went away underneath; the reading loop sees it too
        finally:
            self.closed = True
