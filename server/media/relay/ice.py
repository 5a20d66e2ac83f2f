"""ICE lite (RFC 8445 §2.5) on one UDP port: the relay calls nobody, it answers who knows the password of a path.

So no candidate of a browser is ever needed, and no description can make the relay send to an address that has not
proved itself. A browser that comes from another address (a changed network) is followed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import cast

import ifaddr
from aioice import stun

ADDRESSES_PER_PATH = 8
BUFFER = 1 << 20
Address = tuple[str, int]


def own_addresses() -> list[str]:
    """Addresses that others may reach; the loopback one where there is nothing else."""
    found: list[str] = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                found.append(ip.ip)
            elif ip.ip[2] == 0:                     # link-local ones have a scope
                found.append(ip.ip[0])
    others = [x for x in found if not x.startswith("127.") and x != "::1"]
    return others or ["127.0.0.1"]


class Path:
    """The way to one browser. To the DTLS transport it is what an ICE transport is: `role`, `_recv`, `_send`."""

    role = "controlled"

    def __init__(self, lite: IceLite) -> None:
        self._lite = lite
        self.user, self.password = secrets.token_hex(8), secrets.token_hex(16)
        self.heard = time.monotonic()
        self.address: Address | None = None
        self.transport: asyncio.DatagramTransport | None = None
        self.known: list[Address] = []
        self.media: Callable[[bytes], None] = lambda _data: None
        self._handshake: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        self.closed = False

    async def _recv(self) -> bytes:
        data = None if self.closed else await self._handshake.get()
        if data is None:
            raise ConnectionError("path closed")
        return data

    async def _send(self, data: bytes) -> None:
        self.send(data)

    def send(self, data: bytes) -> None:
        """To where the browser is at present; without effect while nobody has come."""
        if self.transport is not None and self.address is not None and not self.closed:
            self.transport.sendto(data, self.address)

    def take(self, data: bytes) -> None:
        """A datagram that is not STUN."""
        self.heard = time.monotonic()
        if 19 < data[0] < 64:
            with contextlib.suppress(asyncio.QueueFull):
                self._handshake.put_nowait(data)
        elif 127 < data[0] < 192:
            self.media(data)

    def close(self) -> None:
        """Forget the path: what still comes under its password is not answered."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(asyncio.QueueFull):
                self._handshake.put_nowait(None)
            self._lite.forget(self)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, lite: IceLite) -> None:
        self.lite = lite
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)   # Python 3.11's is none by class

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not data:
            return
        if data[0] < 4:
            if self.transport is not None:
                self.lite.check(data, (addr[0], addr[1]), self.transport)
        elif (path := self.lite.paths.get((addr[0], addr[1]))) is not None:
            path.take(data)

    def error_received(self, exc: Exception) -> None:
        """An ICMP answer to something sent: the browser there has gone, which its silence tells as well."""


class IceLite:
    """The sockets, and every path by password user and by address."""

    def __init__(self) -> None:
        self.users: dict[str, Path] = {}
        self.paths: dict[Address, Path] = {}
        self.ports: list[_Port] = []
        self.announced: list[Address] = []

    async def open(self, *, port: int, addresses: Sequence[str] = (), public: Sequence[str] = ()) -> None:
        """Bind the port on every address (0: the system's choice). public: announced in place of our own (NAT).

        OSError when the port is taken on all of them.
        """
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        bound: list[Address] = []
        for address in addresses or own_addresses():
            try:
                made = await loop.create_datagram_endpoint(lambda: _Port(self), local_addr=(address, port))
            except OSError as error:
                failure = error
                continue
            transport, protocol = made
            self.ports.append(protocol)
            known: socket.socket = transport.get_extra_info("socket")
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                known.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            name = known.getsockname()
            bound.append((name[0], name[1]))
        if not bound:
            raise failure or OSError("no address")
        self.announced = [(address, bound[0][1]) for address in public] or bound

    def path(self) -> Path:
        """A new path that waits for its browser."""
        path = Path(self)
        self.users[path.user] = path
        return path

    def forget(self, path: Path) -> None:
        self.users.pop(path.user, None)
        for address in path.known:
            self.paths.pop(address, None)

    def candidates(self) -> list[str]:
        """`a=candidate` values (RFC 8839 §5.1), the first the most wanted."""
        return [
            f"{at + 1} 1 udp {126 << 24 | (65535 - at) << 8 | 255} {host} {port} typ host"
            for at, (host, port) in enumerate(self.announced)
        ]

    def check(self, data: bytes, source: Address, transport: asyncio.DatagramTransport) -> None:
        """A connectivity or consent check (RFC 8445 §7.3, RFC 7675): answered when it knows the password."""
        try:
            asked = stun.parse_message(data)
        except ValueError:
            return
        if asked.message_method is not stun.Method.BINDING or asked.message_class is not stun.Class.REQUEST:
            return
        path = self.users.get(str(asked.attributes.get("USERNAME", "")).partition(":")[0])
        if path is None or not asked.check_message_integrity(path.password.encode()):
            return
        path.heard = time.monotonic()
        if source not in path.known:
            if len(path.known) >= ADDRESSES_PER_PATH:
                self.paths.pop(path.known.pop(0), None)
            path.known.append(source)
            self.paths[source] = path
        if path.address is None or "USE-CANDIDATE" in asked.attributes:
            path.address, path.transport = source, transport
        answer = stun.Message(
            message_method=stun.Method.BINDING, message_class=stun.Class.RESPONSE,
            transaction_id=asked.transaction_id,
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = source
        answer.add_message_integrity(path.password.encode())
        transport.sendto(bytes(answer), source)

    def close(self) -> None:
        for path in list(self.users.values()):
            path.close()
        for port in self.ports:
            if port.transport is not None:
                port.transport.close()
