"""Bad networks without root: a UDP proxy before the TURN server and a TCP gate before the web server.

Two browsers that may only use relayed paths send everything through the proxy. What a browser sends is impaired on
its way to the relay, what the relay sends passes untouched (but for a cut, which cuts both): between two relayed
browsers each datagram meets exactly one impaired leg, so a profile holds end to end, per direction. Ends are told
apart by their TURN user name (RFC 8489 §14.3), since one browser opens several sockets and all of them share its
line. A datagram counts 28 bytes more than it carries (IPv4 and UDP headers).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

HEADERS = 28
STUN_COOKIE = 0x2112A442
STUN_USERNAME = 0x0006
REALM = "huizhen.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One direction of a path. Times in seconds, `rate` in bit/s (0: unlimited), `loss` of single datagrams as 0…1."""

    name: str
    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0          # added on top of `delay`, evenly spread; order is kept, as a queue keeps it
    rate: int = 0
    queue: float = 0.3           # what would wait longer before a limited rate is dropped
    cut: float = 0.0             # nothing passes for so long after the profile was set


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="clean"),
        Profile(name="thin64", rate=64_000, delay=0.05),
        Profile(name="loss5", loss=0.05),
        Profile(name="loss20", loss=0.2),
        Profile(name="thin250", rate=250_000, delay=0.05),
        Profile(name="far", delay=0.25, jitter=0.1),
        Profile(name="satellite", delay=0.25, jitter=0.1, loss=0.02),
        Profile(name="cut12", cut=12.0),
    )
}


@dataclass(slots=True)
class Traffic:
    """What one end sent: datagrams and bytes (with headers) that were to pass, and datagrams that did not."""

    packets: int = 0
    bytes: int = 0
    dropped: int = 0

    def since(self, before: Traffic) -> Traffic:
        """What has been added to an earlier reading."""
        return Traffic(self.packets - before.packets, self.bytes - before.bytes, self.dropped - before.dropped)


class Link:
    """One direction. Pure: the clock and the dice are the caller's."""

    def __init__(self, profile: Profile, *, dice: random.Random, now: float) -> None:
        self.dice = dice
        self.traffic = Traffic()
        self._free = 0.0             # when the line has sent all that waits
        self._last = 0.0
        self.set(profile, now=now)

    def set(self, profile: Profile, *, now: float) -> None:
        """Another profile from now on; what waits in the queue goes on under the new rate."""
        self.profile, self._since = profile, now
        self._free = min(self._free, now + profile.queue)

    def send(self, size: int, *, now: float) -> float | None:
        """When a datagram of `size` bytes of payload arrives, or None when it is lost."""
        profile, traffic = self.profile, self.traffic
        traffic.packets += 1
        traffic.bytes += size + HEADERS
        if now - self._since < profile.cut or self.dice.random() < profile.loss:
            traffic.dropped += 1
            return None
        left = now
        if profile.rate:
            begins = max(now, self._free)
            if begins - now > profile.queue:
                traffic.dropped += 1
                return None
            left = self._free = begins + (size + HEADERS) * 8 / profile.rate
        arrives = left + profile.delay + self.dice.random() * profile.jitter
        self._last = max(arrives, self._last)
        return self._last


def turn_user(data: bytes) -> str:
    """The user name in a STUN message, '' where there is none."""
    if len(data) < 20 or data[0] & 0xC0 or struct.unpack_from("!I", data, 4)[0] != STUN_COOKIE:
        return ""
    at = 20
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        if kind == STUN_USERNAME:
            return data[at + 4 : at + 4 + length].decode("utf-8", "replace")
        at += 4 + length + -length % 4
    return ""


@dataclass(slots=True)
class Flow:
    """One socket of a browser and ours to the relay on its behalf."""

    link: Link
    up: asyncio.DatagramTransport | None = None
    waiting: list[bytes] = field(default_factory=list)


class UdpProxy(asyncio.DatagramProtocol):
    """Stands at `port` before the relay. `set` changes the profile of every end, known or still to come."""

    def __init__(self, relay: tuple[str, int], *, seed: int = 1) -> None:
        self.relay, self.seed = relay, seed
        self.profile = PROFILES["clean"]
        self.ends: dict[str, Link] = {}
        self.flows: dict[tuple[str, int], Flow] = {}
        self.port = 0
        self._since = 0.0
        self._loop = asyncio.get_running_loop()
        self._making: set[asyncio.Task[None]] = set()

    async def start(self) -> UdpProxy:
        transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.down: asyncio.DatagramTransport = transport
        self.port = transport.get_extra_info("sockname")[1]
        return self

    def set(self, name: str) -> None:
        self.profile, self._since = PROFILES[name], self._loop.time()
        for link in {id(x): x for x in (*self.ends.values(), *(f.link for f in self.flows.values()))}.values():
            link.set(self.profile, now=self._since)

    def traffic(self) -> dict[str, Traffic]:
        """By TURN user: what each end has sent since it came."""
        return {user: link.traffic for user, link in self.ends.items()}

    def _link(self) -> Link:
        dice = random.Random(f"{self.seed}/{self.profile.name}/{len(self.ends)}")
        return Link(self.profile, dice=dice, now=self._since)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        flow = self.flows.get(addr)
        if flow is None:
            flow = self.flows[addr] = Flow(link=self._link())
            task = self._loop.create_task(self._open(flow, addr))
            self._making.add(task)
            task.add_done_callback(self._making.discard)
        if user := turn_user(data):
            flow.link = self.ends.setdefault(user.partition(":")[2], flow.link)
        arrives = flow.link.send(len(data), now=self._loop.time())
        if arrives is not None:
            self._loop.call_at(arrives, self._forward, flow, data)

    def _forward(self, flow: Flow, data: bytes) -> None:
        if flow.up is None:
            flow.waiting.append(data)
        elif not flow.up.is_closing():
            flow.up.sendto(data)

    def _return(self, data: bytes, addr: tuple[str, int]) -> None:
        """What the relay sends; nothing of it while the line is cut."""
        if self._loop.time() - self._since >= self.profile.cut:
            self.down.sendto(data, addr)

    async def _open(self, flow: Flow, addr: tuple[str, int]) -> None:
        flow.up, _ = await self._loop.create_datagram_endpoint(
            lambda: Back(lambda data: self._return(data, addr)), remote_addr=self.relay
        )
        for data in flow.waiting:
            flow.up.sendto(data)
        flow.waiting.clear()

    def close(self) -> None:
        self.down.close()
        for flow in self.flows.values():
            if flow.up is not None:
                flow.up.close()


class Back(asyncio.DatagramProtocol):
    """What the relay sends to one browser socket."""

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self.give = give

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - always the relay
        self.give(data)


class TcpGate:
    """Before the web server: while `open` is not set, nothing passes and new connections hang, as on a cut line."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.open = asyncio.Event()
        self.open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> TcpGate:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._listening.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.open.wait()
            there, back = await asyncio.open_connection(*self.server)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, back))
                    both.create_task(self._pass(there, writer))
            finally:
                back.close()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass                             # one side went away; the other is closed with it
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def close(self) -> None:
        self._listening.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def coturn(program: str, secret: str, *, relay_ip: str = "127.0.0.1") -> AsyncIterator[tuple[str, int]]:
    """A relay on loopback with expiring credentials made from `secret`; its address. Ended with the block."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="huizhen-turn-") as folder:
        process = await asyncio.create_subprocess_exec(
            program, "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay",
            "--listening-ip=127.0.0.1", f"--listening-port={port}", f"--relay-ip={relay_ip}", "--allow-loopback-peers",
            "--use-auth-secret", f"--static-auth-secret={secret}", f"--realm={REALM}", "--relay-threads=1",
            f"--pidfile={Path(folder) / 'pid'}", f"--userdb={Path(folder) / 'db'}", "--log-file=stdout",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await _listens(port)
            yield "127.0.0.1", port
        finally:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 10)
            if process.returncode is None:
                process.kill()
                await process.wait()


def free_port() -> int:
    """A UDP port that nobody has at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _listens(port: int) -> None:
    """Until the relay answers a STUN binding request (RFC 8489 §6.3.1)."""
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Back(lambda _data: answered.set()), remote_addr=("127.0.0.1", port)
    )
    try:
        async with asyncio.timeout(45):
            while not answered.is_set():
                transport.sendto(struct.pack("!HHI12s", 1, 0, STUN_COOKIE, b"huizhen-test"))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(answered.wait(), 0.2)
    finally:
        transport.close()


@asynccontextmanager
async def bad_network(
    program: str, secret: str, *, seed: int = 1, relay_ip: str = "127.0.0.1"
) -> AsyncIterator[UdpProxy]:
    """coturn behind a proxy that is clean until told. `relay_ip`: from where it speaks to peers."""
    async with coturn(program, secret, relay_ip=relay_ip) as relay:
        proxy = await UdpProxy(relay, seed=seed).start()
        try:
            yield proxy
        finally:
            proxy.close()
