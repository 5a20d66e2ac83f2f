"""TLS handshakes that never end: bounded by number, cheap while silent, and in nobody's way."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections import Counter
from contextlib import suppress

import pytest

from dicom.network import handshakes, pdu
from dicom.network.scp import REFUSALS
from tests.network.test_hostile import REQUEST, HandClock, connect, ended, settle, unit
from tests.network.test_server import certificate

HELLO = bytes.fromhex("160301")
"""How a TLS handshake begins."""


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Our certificate and a device's."""
    folder = tmp_path_factory.mktemp("papers")
    return certificate(folder, "server"), certificate(folder, "device")


@pytest.fixture
def context(papers):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(*papers[0][:2])
    made.load_verify_locations(papers[1][0])
    return made


@pytest.fixture
def device(papers):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_cert_chain(*papers[1][:2])
    made.load_verify_locations(papers[0][0])
    return made


@pytest.fixture
def refused():
    counted = Counter()
    yield counted
    assert set(counted) <= set(REFUSALS)


def tell(counted):
    def one(reason):
        counted[reason] += 1

    return one


async def associates(port, device, **more):
    """Whether a device gets an association over TLS."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=device, **more), 45)
    writer.write(REQUEST)
    kind, _ = await unit(reader)
    writer.transport.abort()
    return kind == pdu.ACCEPT


@pytest.mark.parametrize("first", [b"", HELLO], ids=["silent", "begun"])
async def test_two_hundred_silent_tls_sockets_lock_nobody_out(listen, context, device, refused, first):
    clock = HandClock()
    listener, port = await listen(timers=clock, context=context, refused=tell(refused), max_pending=50)
    silent = []
    for _ in range(200):
        silent.append(await connect(port))
        silent[-1][1].write(first)
    await settle(lambda: listener.counts == (50, 0))
    assert await associates(port, device)
    await settle(lambda: listener.counts[1] == 0)
    assert listener.counts == (49, 0)
    clock.advance(11)
    await settle(lambda: listener.counts == (0, 0))
    assert refused == {"crowded": 151, "handshake": 49}
    for reader, writer in silent:
        assert await ended(reader) == b""
        writer.close()


async def test_a_handshake_goes_through_while_other_addresses_fill_the_bound(listen, context, device, refused):
    listener, port = await listen(context=context, refused=tell(refused), max_pending=20)
    held = []

    async def crowd():
        for n in range(120):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.1.{n % 6 + 1}", 0))
            writer.write(HELLO)
            held.append(writer)

    crowding = asyncio.create_task(crowd())
    assert all([await associates(port, device) for _ in range(10)])
    await crowding
    assert await associates(port, device)
    await settle(lambda: listener.counts[1] == 0 and listener.counts[0] <= 20)
    assert refused["crowded"] >= 100
    assert not refused["handshake"]
    for writer in held:
        writer.transport.abort()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_burst_in_one_go_leaves_no_more_than_the_bound(listen, context, refused, encrypted):
    listener, port = await listen(context=context if encrypted else None, refused=tell(refused), max_pending=8)
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]  # the listener has no turn in between
    await settle(lambda: refused["crowded"] == 92)
    assert listener.counts == (8, 0)
    for one in held:
        one.close()
    await settle(lambda: listener.counts == (0, 0))


async def test_a_silent_socket_has_no_tls_behind_it_and_a_failed_handshake_leaves_nothing(listen, context, refused):
    listener, port = await listen(context=context, refused=tell(refused))
    gc.collect()
    gc.disable()  # what fails must be gone without the collector
    try:
        def behind():
            return sum(isinstance(one, SSLProtocol) for one in gc.get_objects())

        had = behind()
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        await settle(lambda: listener.counts == (50, 0))
        assert behind() == had
        for one in silent:
            one.sendall(HELLO)
        await settle(lambda: behind() == had + 50)
        for one in silent[:25]:
            one.close()
        for one in silent[25:]:
            one.sendall(bytes(600))
        await settle(lambda: listener.counts == (0, 0) and behind() == had)
    finally:
        gc.enable()
    for one in silent:
        one.close()
    assert refused == {"handshake": 50}


async def test_what_fails_is_one_line_with_its_reason_and_no_traceback(listen, context, papers, refused, caplog):
    caplog.set_level(logging.INFO)
    listener, port = await listen(context=context, refused=tell(refused))
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.load_verify_locations(papers[0][0])
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await associates(port, stranger)
    for said in (REQUEST, b"GET / HTTP/1.1\r\n\r\n", b""):
        reader, writer = await connect(port)
        writer.write(said)
        writer.write_eof()
        await ended(reader)
        writer.close()
    await settle(lambda: listener.counts == (0, 0) and refused["handshake"] == 3)
    lines = [one for one in caplog.records if one.name.startswith(("dicom", "asyncio")) and one.levelno >= logging.INFO]
    assert [(one.getMessage(), one.address, one.exc_info) for one in lines] == [("TLS handshake failed", "127.0.0.1", None)] * 3
    assert lines[0].reason == "peer_did_not_return_a_certificate"


async def test_the_certificate_is_told_and_a_request_behind_the_handshake_is_not_lost(listen, context, device, papers, house):
    _, port = await listen(context=context, max_per_address=200)

    def at_once():
        """A blocking client: the end of its handshake and its request go out together."""
        with socket.create_connection(("127.0.0.1", port)) as plain:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = device.wrap_bio(incoming, outgoing)
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(1 << 16))
            tls.write(REQUEST)
            plain.sendall(outgoing.read())
            while True:
                try:
                    return tls.read(1)[0]
                except ssl.SSLWantReadError:
                    incoming.write(plain.recv(1 << 16))

    for _ in range(20):
        assert await asyncio.to_thread(at_once) == pdu.ACCEPT
    assert {call.fingerprint for call in house.calls} == {papers[1][2]}
    assert {call.address for call in house.calls} == {"127.0.0.1"}


async def test_the_port_closes_in_the_middle_of_handshakes(listen, context):
    listener, port = await listen(context=context)
    begun = [await connect(port) for _ in range(10)]
    for _, writer in begun[:5]:
        writer.write(HELLO)
    await settle(lambda: listener.counts == (10, 0))
    await asyncio.wait_for(listener.close(), 10)
    assert listener.counts == (0, 0)
    for reader, writer in begun:
        with suppress(ConnectionResetError):
            assert await ended(reader) == b""
        writer.close()
    with pytest.raises(OSError):
        await connect(port)


async def test_without_descriptors_the_port_pauses_says_so_and_goes_on(listen, context, device, monkeypatch, caplog):
    monkeypatch.setattr(handshakes, "_PAUSE_SECONDS", 0.05)
    left, real = [3], socket.socket.accept

    def accept(self):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    _, port = await listen(context=context)
    assert await associates(port, device)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == ["no socket can be accepted"] * 3
