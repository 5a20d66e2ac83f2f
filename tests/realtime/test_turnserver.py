"""The shipped deploy/turnserver.conf, in a coturn that runs: TURN requests for every address it must refuse."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.needs import need_program

SHIPPED = Path(__file__).resolve().parent.parent.parent / "deploy/turnserver.conf"
SECRET, REALM = "tests-only", "huizhen.test"
COOKIE = 0x2112A442
ALLOCATE, PERMIT, BIND = 3, 8, 9                     # RFC 8656 §17
PEER, TRANSPORT, FAMILY, CHANNEL, ERROR = 0x12, 0x19, 0x17, 0x0C, 0x09
UDP, V6 = struct.pack("!B3x", 17), struct.pack("!B3x", 2)


class Client(asyncio.DatagramProtocol):
    """Asks a TURN server over UDP, with credentials that it has earned or not (RFC 8489 §9.2, RFC 8656)."""

    def __init__(self, port: int, *, expires: int = 600) -> None:
        self.port = port
        self.user = f"{int(time.time()) + expires}:seat"
        password = base64.b64encode(hmac.digest(SECRET.encode(), self.user.encode(), "sha1")).decode()
        self.key = hashlib.md5(f"{self.user}:{REALM}:{password}".encode(), usedforsecurity=False).digest()
        self.nonce = b""
        self.answers: dict[bytes, asyncio.Future[bytes]] = {}

    async def open(self) -> Client:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=("127.0.0.1", self.port))
        return self

    def datagram_received(self, data, _address):
        waiting = self.answers.get(data[8:20])
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    async def ask(self, method: int, *attributes: tuple[int, bytes]) -> int:
        """0 for a success, else the error code; asks again with the nonce it was given."""
        for _ in range(2):
            code, found = await self.once(method, attributes)
            if code not in {401, 438} or found.get(0x15, b"") in {b"", self.nonce}:
                return code
            self.nonce = found[0x15]
        return code

    async def once(self, method: int, attributes) -> tuple[int, dict[int, bytes]]:
        identity = secrets.token_bytes(12)
        body = b"".join(attribute(kind, value, identity) for kind, value in attributes)
        if self.nonce:
            for kind, value in ((0x06, self.user.encode()), (0x14, REALM.encode()), (0x15, self.nonce)):
                body += attribute(kind, value, identity)
            head = struct.pack("!HHI", method, len(body) + 24, COOKIE) + identity
            body += attribute(0x08, hmac.digest(self.key, head + body, "sha1"), identity)
        frame = struct.pack("!HHI", method, len(body), COOKIE) + identity + body
        answer = self.answers[identity] = asyncio.get_running_loop().create_future()
        for _ in range(20):                          # UDP: asked again until it is heard
            self.transport.sendto(frame)
            done, _pending = await asyncio.wait([answer], timeout=2)
            if done:
                break
        found = read(await asyncio.wait_for(answer, 1))
        code = found[ERROR][2] * 100 + found[ERROR][3] if ERROR in found else 0
        return code, found


def attribute(kind: int, value: bytes, identity: bytes) -> bytes:
    if kind == PEER:                                 # XORed with cookie and transaction (RFC 8489 §14.2)
        mask = struct.pack("!I", COOKIE) + identity
        value = value[:2] + bytes(a ^ b for a, b in zip(value[2:4], mask, strict=False)) + bytes(
            a ^ b for a, b in zip(value[4:], mask, strict=False)
        )
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def read(data: bytes) -> dict[int, bytes]:
    found, at = {}, 20
    while at + 4 <= len(data):
        kind, size = struct.unpack_from("!HH", data, at)
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return found


def peer(address: str, port: int = 9) -> tuple[int, bytes]:
    ip = ipaddress.ip_address(address)
    return PEER, struct.pack("!BBH", 0, 1 if ip.version == 4 else 2, port) + ip.packed


@pytest.fixture(scope="module")
async def port(tmp_path_factory) -> AsyncIterator[int]:
    """A coturn with the shipped file and the lines that are the site's, on a port of its own."""
    folder = tmp_path_factory.mktemp("turn")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    site = f"""
listening-ip=127.0.0.1
relay-ip=127.0.0.1
listening-port={port}
static-auth-secret={SECRET}
realm={REALM}
no-tls
no-dtls
log-file={folder}/log
simple-log
pidfile={folder}/pid
userdb={folder}/db
"""
    config = folder / "turnserver.conf"
    config.write_text(SHIPPED.read_text(encoding="utf-8") + site, encoding="utf-8")
    program = need_program("turnserver", "coturn")
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, cwd=folder
    )
    yield port
    process.terminate()
    await process.wait()


@pytest.fixture(scope="module")
async def seat(port) -> AsyncIterator[Client]:
    """Somebody with a valid credential and an allocation."""
    client = await Client(port).open()
    assert await client.ask(ALLOCATE, (TRANSPORT, UDP)) == 0
    yield client
    client.transport.close()


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254",
    "192.168.0.1", "192.168.255.254", "169.254.169.254", "100.64.0.1", "100.127.255.254", "192.0.0.8", "192.0.2.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1",
    "fe80::1", "fc00::1", "fd12::1", "2002:7f00:1::", "2001:4860:4860::8888", "ff02::1",
])
async def test_no_way_leads_into_the_house(seat, address):
    assert await seat.ask(PERMIT, peer(address)) in {403, 443}
    assert await seat.ask(BIND, (CHANNEL, struct.pack("!HH", 0x4001, 0)), peer(address)) in {403, 443}


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "11.0.0.1"])
async def test_public_addresses_are_relayed_to(seat, address):
    assert await seat.ask(PERMIT, peer(address)) == 0


async def test_there_is_no_allocation_for_ipv6_and_none_over_tcp(port):
    client = await Client(port).open()
    assert await client.ask(ALLOCATE, (TRANSPORT, UDP), (FAMILY, V6)) == 440
    assert await client.ask(ALLOCATE, (TRANSPORT, struct.pack("!B3x", 6))) in {442, 400}
    client.transport.close()


async def test_a_credential_that_has_ended_opens_nothing(port):
    client = await Client(port, expires=-1).open()
    assert await client.ask(ALLOCATE, (TRANSPORT, UDP)) == 401
    client.transport.close()


async def test_nothing_is_relayed_without_a_credential(port):
    client = await Client(port).open()
    client.key = b"guessed"
    assert await client.ask(ALLOCATE, (TRANSPORT, UDP)) == 401
    client.transport.close()
