"""A part of `python -m tests.fuzz.pdus`, and the same over sockets while others are silent, slow or claim four gigabytes."""

from __future__ import annotations

import asyncio
import random
import struct

from dicom.network import pdu, scu
from dicom.network.ports import Address
from dicom.network.terms import NetworkLimits
from tests.fuzz import _run, pdus
from tests.network.test_hostile import connect, settle

PDUS = 10_000  # a hundredth of the search, about two seconds of the processor
OF_EACH = 50


async def test_mutated_conversations_from_either_side_end_in_order():
    found = await pdus.search(PDUS)
    assert found.failures == []
    assert found.ran >= PDUS
    assert found.seen["established"] > 100
    assert found.seen["called"] > 50
    assert found.seen["aborted by us"] > 100


def test_a_conversation_of_a_seed_is_always_the_same():
    assert [pdus.conversation(7, n)[3] for n in range(20)] == [pdus.conversation(7, n)[3] for n in range(20)]


async def test_among_silent_slow_and_boasting_sockets_an_honest_device_is_answered(listen, house):
    listener, port = await listen(max_pending=200, max_associations=300, max_per_address=300)
    whole = pdu.encode_associate(pdus.request_of(random.Random(1)))
    held = []
    for n in range(OF_EACH):
        for start in (b"", struct.pack(">BxI", pdu.REQUEST, 0xFFFFFFFF), whole[: 10 + n]):
            reader, writer = await connect(port)
            writer.write(start)
            held.append((reader, writer))
    for n in range(40):
        _, _, _, data, calls = pdus.conversation(_run.SEED, n)
        if not calls:
            continue
        reader, writer = await connect(port)
        writer.write(data)
        async with asyncio.timeout(20):
            assert await scu.echo(Address(title="HUIZHEN", host="127.0.0.1", port=port), "MODALITY", NetworkLimits()) == 0
        writer.transport.abort()
    for _, writer in held:
        writer.transport.abort()
    await settle(lambda: listener.counts == (0, 0))
    assert not house.kept
