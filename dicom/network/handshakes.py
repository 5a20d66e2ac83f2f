"""An encrypted port whose unfinished TLS handshakes are counted from the first moment, as silent sockets are.

asyncio's own TLS server makes a protocol with 256 KB of buffers for every socket it accepts, and tells nobody before
the handshake has ended. Here a socket that has said nothing is a descriptor and a timer; the handshake begins with its
first byte, and until it has ended the socket stands among those that wait, from which the busiest address makes room.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from dicom.network.terms import NetworkLimits, Timers, address_of

log = logging.getLogger(__name__)
BACKLOG = 256
_AT_ONCE = 64  # sockets taken before others have their turn
_PAUSE_SECONDS = 1.0  # while no more descriptors can be had


class Door(Protocol):
    """Whoever counts the sockets: the listener."""

    def connected(self, handshake: Handshake, /) -> None:
        """A socket was opened; it may be dropped at once."""

    def gone(self, handshake: Handshake, /) -> None:
        """Its handshake has ended, well or not."""

    def failed(self, handshake: Handshake, reason: str, /) -> None:
        """Its handshake did not end well."""


class TlsPort:
    """One listening TLS port. `accept(handshake)` makes the protocol that is told of an encrypted connection."""

    def __init__(
        self,
        door: Door,
        context: ssl.SSLContext,
        accept: Callable[[Handshake], asyncio.BaseProtocol],
        *,
        limits: NetworkLimits,
        timers: Timers | None,
    ) -> None:
        self.door, self.context, self.accept, self.limits = door, context, accept, limits
        self.loop = asyncio.get_running_loop()
        self.timers: Timers = timers or self.loop
        self.tasks: set[asyncio.Task[None]] = set()
        self._sockets: list[socket.socket] = []

    async def open(self, host: str, port: int) -> int:
        """Listen; the port's number. Raises OSError."""
        # asyncio knows how to bind all addresses of a host; that it never serves leaves the accepting to us.
        server = await self.loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        self._sockets = [bound.dup() for bound in server.sockets]
        server.close()
        for one in self._sockets:
            one.setblocking(False)
            one.listen(BACKLOG)
            self.loop.add_reader(one, self._called, one)
        number: int = self._sockets[0].getsockname()[1]
        return number

    def close(self) -> None:
        """No new sockets. Handshakes are the door's to drop."""
        for one in self._sockets:
            self.loop.remove_reader(one)
            one.close()
        self._sockets.clear()

    async def wait_closed(self) -> None:
        """Until no handshake goes on."""
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _called(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no socket can be accepted", extra={"error": error.strerror})
                self.loop.remove_reader(listening)
                self.loop.call_later(_PAUSE_SECONDS, self._again, listening)
                return
            sock.setblocking(False)
            self.door.connected(Handshake(self, sock, address_of(peer)))

    def _again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self.loop.add_reader(listening, self._called, listening)


class Handshake:
    """A socket from its opening to the end of its TLS handshake."""

    def __init__(self, port: TlsPort, sock: socket.socket, address: str) -> None:
        self.address = address
        self._port = port
        self._sock = sock
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._timer = port.timers.call_later(port.limits.artim_seconds, self._late)
        port.loop.add_reader(sock, self._spoken)

    def drop(self) -> None:
        """Close without a word."""
        if not self._ended:
            self._close()

    def completed(self) -> None:
        """The encrypted connection stands; from now on it is its protocol's."""
        self._end()

    def _spoken(self) -> None:
        try:
            first = self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            first = b""
        if not first:
            self._close()  # gone without a word, as scanners and those who look whether we live are
            return
        self._port.loop.remove_reader(self._sock)
        self._task = task = self._port.loop.create_task(self._shake())
        self._port.tasks.add(task)
        task.add_done_callback(self._port.tasks.discard)

    async def _shake(self) -> None:
        port, seconds = self._port, self._port.limits.artim_seconds
        try:
            await port.loop.connect_accepted_socket(
                lambda: port.accept(self), self._sock, ssl=port.context,
                ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds,
            )  # fmt: skip
        except OSError as error:
            # asyncio's frames hold the error, the error its traceback, and that the frames with all the buffers: cut
            # here, or failed handshakes fill memory until the collector comes by.
            error.__traceback__ = error.__context__ = None
            if not self._ended:
                self._end()
                port.door.failed(self, _reason(error))

    def _late(self) -> None:
        self._close()
        self._port.door.failed(self, "timed_out")

    def _close(self) -> None:
        self._end()
        if self._task is None:
            self._port.loop.remove_reader(self._sock)
            self._sock.close()
            return
        # The transport owns the socket, and cannot be closed before it has begun: cut off, it ends in either case.
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        self._ended = True
        self._timer.cancel()
        self._port.door.gone(self)


def _reason(error: OSError) -> str:
    """OpenSSL's word for it, which quotes nothing that the peer sent."""
    if isinstance(error, ssl.SSLError):
        given: Any = error.reason
        return str(given or "tls").lower()
    return "connection_lost"
