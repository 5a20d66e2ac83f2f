"""Peers that say nothing, lie or talk nonsense: the others do not notice, and memory stays bounded."""

from __future__ import annotations

import asyncio
import random
import struct
import tracemalloc

import pytest

from dicom.network import dimse, pdu
from tests.archive.files import make
from tests.network.conftest import dcmtk

ECHO = pdu.Proposal(id=1, abstract="1.2.840.10008.1.1", transfers=("1.2.840.10008.1.2",))
CT = pdu.Proposal(id=3, abstract="1.2.840.10008.5.1.4.1.1.2", transfers=("1.2.840.10008.1.2.1",))
REQUEST = pdu.encode_associate(pdu.Associate(called="HUIZHEN", calling="MODALITY", proposals=(ECHO, CT), max_length=0))


class HandClock:
    """Timers that run when the test says so."""

    def __init__(self):
        self.now = 0.0
        self.waiting = []

    def time(self):
        return self.now

    def call_later(self, delay, callback):
        entry = [self.now + delay, callback]
        self.waiting.append(entry)
        clock = self

        class Handle:
            def cancel(self):
                if entry in clock.waiting:
                    clock.waiting.remove(entry)

        return Handle()

    def advance(self, seconds):
        self.now += seconds
        for entry in [one for one in self.waiting if one[0] <= self.now]:
            if entry in self.waiting:
                self.waiting.remove(entry)
                entry[1]()


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def unit(reader):
    kind, length = pdu.parse_header(await asyncio.wait_for(reader.readexactly(6), 45))
    return kind, await reader.readexactly(length)


async def associated(port, request=REQUEST):
    reader, writer = await connect(port)
    writer.write(request)
    kind, _ = await unit(reader)
    assert kind == pdu.ACCEPT
    return reader, writer


async def ended(reader):
    """What came before the connection closed."""
    return await asyncio.wait_for(reader.read(), 45)


async def settle(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError


async def test_two_hundred_silent_sockets_lock_nobody_out(listen):
    clock = HandClock()
    listener, port = await listen(timers=clock, max_pending=50)
    silent = [await connect(port) for _ in range(200)]
    said = await dcmtk("echoscu", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port)
    assert said.code == 0, said.text
    await settle(lambda: listener.counts[0] <= 50)
    clock.advance(11)
    await settle(lambda: listener.counts == (0, 0))
    for reader, writer in silent:
        assert await ended(reader) == b""
        writer.close()


async def test_associations_are_limited_for_each_address_and_told_so(listen):
    _, port = await listen(max_per_address=2)
    held = [await associated(port) for _ in range(2)]
    reader, writer = await connect(port)
    writer.write(REQUEST)
    kind, body = await unit(reader)
    assert (kind, tuple(body)) == (pdu.REJECT, (0, 2, 3, 2))
    for one in (*held, (reader, writer)):
        one[1].close()


async def test_an_idle_association_is_aborted(listen):
    clock = HandClock()
    listener, port = await listen(timers=clock, idle_seconds=60)
    reader, writer = await associated(port)
    await settle(lambda: listener.counts == (0, 1))
    await asyncio.sleep(0.01)
    clock.advance(59)
    clock.advance(2)
    kind, _ = await unit(reader)
    assert kind == pdu.ABORT
    writer.close()
    await settle(lambda: listener.counts == (0, 0))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BxI", pdu.REQUEST, 0xFFFFFFFF),
        struct.pack(">BxI", pdu.DATA, 0xFFFFFFF0),
        struct.pack(">BxI", 9, 12) + bytes(12),
        struct.pack(">BxI", pdu.REQUEST, 68) + bytes(68),
        struct.pack(">BxI", pdu.REQUEST, 72) + bytes(2) + b"\x00\x01" + bytes(64) + b"\x20\x00\xff\xff",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["4 GB request", "data first", "unknown type", "no version", "lying item", "http"],
)
async def test_a_first_unit_that_is_none_ends_the_connection(listen, data):
    clock = HandClock()
    listener, port = await listen(timers=clock)
    reader, writer = await connect(port)
    writer.write(data)
    kind, _ = await unit(reader)
    assert kind in {pdu.ABORT, pdu.REJECT}
    clock.advance(11)
    await ended(reader)
    writer.close()
    await settle(lambda: listener.counts == (0, 0))


STORE = dimse.encode_command({
    "field": 1, "message": 1, "priority": 0, "dataset": 1, "affected_class": CT.abstract, "affected_instance": "1.2.3",
})


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BxI", pdu.DATA, 0xFFFFFFF0),  # a claimed 4 GB
        struct.pack(">BxI", pdu.DATA, 6) + struct.pack(">IBB", 0xFFFFFFFF, 1, 3),
        pdu.encode_data([pdu.Fragment(context=99, command=True, last=True, data=STORE)]),
        pdu.encode_data([pdu.Fragment(context=3, command=False, last=True, data=b"x")]),
        pdu.encode_data([pdu.Fragment(context=3, command=True, last=True, data=STORE)] * 2),
        pdu.encode_data([pdu.Fragment(context=3, command=True, last=False, data=bytes(9000))]) * 2,
        pdu.encode_data([pdu.Fragment(context=3, command=True, last=True, data=b"\xff" * 40)]),
        REQUEST,
        pdu.encode_release(response=True),
    ],
    ids=["4 GB data", "lying value", "foreign context", "data first", "command twice", "endless command", "no command",
         "second request", "release answer"],
)
async def test_nonsense_within_an_association_is_aborted_by_the_provider(listen, data):
    _, port = await listen()
    reader, writer = await associated(port)
    writer.write(data)
    kind, body = await unit(reader)
    assert (kind, body[2]) == (pdu.ABORT, 2)
    writer.close()
    assert (await dcmtk("echoscu", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port)).code == 0


async def test_an_instance_cut_in_the_middle_is_not_kept(listen, archive):
    listener, port = await listen()
    reader, writer = await associated(port)
    data = make("1.2.3")[-200:]
    writer.write(pdu.encode_data([pdu.Fragment(context=3, command=True, last=True, data=STORE)]))
    writer.write(pdu.encode_data([pdu.Fragment(context=3, command=False, last=False, data=data)]))
    await writer.drain()
    writer.close()
    await settle(lambda: listener.counts == (0, 0))
    assert archive.totals()["instance"] == 0
    del reader


async def test_a_dataset_that_names_another_instance_is_refused(listen, archive):
    _, port = await listen()
    reader, writer = await associated(port)
    raw = make("1.2.99")
    data = raw[raw.index(b"\x08\x00\x05\x00"):]
    writer.write(pdu.encode_data([pdu.Fragment(context=3, command=True, last=True, data=STORE)]))
    writer.write(pdu.encode_data([pdu.Fragment(context=3, command=False, last=True, data=data)]))
    _, body = await unit(reader)
    (answer,) = pdu.decode_data(memoryview(body))
    assert dimse.decode_command(3, answer.data).number("status") == 0xA900
    assert archive.totals()["instance"] == 0
    writer.close()


async def test_a_peer_that_pours_without_end_is_held_back(listen, house):
    """Echo requests by the thousand, while the answers are not read: reading stops, memory does not grow."""
    clock = HandClock()
    _, port = await listen(timers=clock)
    reader, writer = await associated(port)
    echo = dimse.encode_command({"field": dimse.C_ECHO, "message": 1, "dataset": 0x0101, "affected_class": ECHO.abstract})
    block = pdu.encode_data([pdu.Fragment(context=1, command=True, last=True, data=echo)]) * 500
    tracemalloc.start()
    poured = 0
    try:
        while poured < 64 << 20:
            writer.write(block)
            poured += len(block)
            async with asyncio.timeout(0.3):
                await writer.drain()
    except TimeoutError:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert poured < 48 << 20
    assert peak < 32 << 20
    writer.transport.abort()
    del reader


async def test_mutated_conversations_neither_crash_nor_hang(listen, caplog):
    """A seeded part of `make fuzz`: an association and a store with bytes changed, cut and doubled."""
    clock = HandClock()
    listener, port = await listen(timers=clock)
    raw = make("1.2.3")
    whole = (
        REQUEST
        + pdu.encode_data([pdu.Fragment(context=3, command=True, last=True, data=STORE)])
        + pdu.encode_data([pdu.Fragment(context=3, command=False, last=True, data=raw[raw.index(b"\x08\x00\x05\x00"):])])
        + pdu.encode_release(response=False)
    )
    chance = random.Random(20261122)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        reader, writer = await connect(port)
        writer.write(data)
        writer.write_eof()
        await settle(lambda: listener.counts == (0, 0) or not listener.counts[1])
        writer.transport.abort()
        del reader
    await settle(lambda: listener.counts == (0, 0))
    assert not [one for one in caplog.records if one.levelname == "ERROR"], caplog.text
    assert (await dcmtk("echoscu", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port)).code == 0
