"""Large answers go straight from the pack to the socket, and nothing waits for metadata that is made ahead."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from dicom.calm import Calm
from dicom.errors import IntegrityError
from dicom.model import Scope
from dicom.retrieve import Retriever
from server.dicomweb import bodies
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.archive.test_corrections import store

STUDY, SERIES = "1.2.3", "1.2.3.1"
COUNT, SIDE = 12, 1 << 9
PATIENCE = 45
FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest_asyncio.fixture
async def large(archive):
    """A series of 12 instances of half a megabyte, each with bytes of its own; read once, so that its pack is open."""
    files = [
        make(f"{SERIES}.{n + 1}", pixels=bytes([n]) + os.urandom(SIDE * SIDE * 2 - 1), InstanceNumber=n + 1, Rows=SIDE,
             Columns=SIDE, BitsAllocated=16, BitsStored=16, HighBit=15)
        for n in range(COUNT)
    ]  # fmt: skip
    await store(archive, *files)
    for row in archive.instances(seen_by("clinic"), STUDY, SERIES):
        archive.read_file(row)
    return archive


@pytest_asyncio.fixture
async def asked(large):
    """Sends one GET and gives reader and writer of the connection."""

    async def scope_for(_request, _action, _study_uid):
        return Scope(organisations=frozenset({"clinic"}))

    app = web.Application()
    app[ARCHIVE], app[SCOPE_FOR] = large, scope_for
    for method, path, handler, _action in ROUTES:
        if method == "GET":
            app.router.add_route(method, path, handler)
    opened = []
    async with TestServer(app) as server:

        async def ask(path, accept):
            reader, writer = await asyncio.open_connection(server.host, server.port, limit=1 << 16)
            opened.append(writer)
            head = f"GET /dicom-web{path} HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return reader

        yield ask
        for writer in opened:
            writer.close()


@pytest.fixture
def straight(monkeypatch):
    """What sendfile(2) was asked to send, by offset and length."""
    found, real = [], os.sendfile

    def sendfile(out, source, offset, count):
        found.append((offset, count))
        return real(out, source, offset, count)

    monkeypatch.setattr(bodies.os, "sendfile", sendfile)
    return found


async def test_a_series_reaches_a_slow_reader_whole_and_straight_from_the_pack(large, asked, straight):
    reader = await asked(f"/studies/{STUDY}/series/{SERIES}", FILES)
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        got = bytearray()
        while data := await reader.read(5000):  # its 64 KiB are full again and again
            got += data
    length = int(head.lower().partition("content-length:")[2].split()[0])
    assert len(got) == length
    place = 0
    rows = large.instances(seen_by("clinic"), STUDY, SERIES)
    for row in rows:
        stored = large.read_file(row)
        place = got.index(stored, place) + len(stored)
    assert {row.place.offset for row in rows} <= {offset for offset, _ in straight}


async def test_one_frame_and_a_part_of_an_instance_are_the_stored_bytes(large, asked, straight):
    row = large.instances(seen_by("clinic"), STUDY, SERIES)[3]
    path = f"/studies/{STUDY}/series/{SERIES}/instances/{row.sop_uid}"
    stored = large.read_file(row)
    for rest, accept in (("/frames/1", "application/octet-stream"), ("", "application/dicom; transfer-syntax=*")):
        reader = await asked(path + rest, accept)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.read(-1)
        assert body == (stored if not rest else stored[-SIDE * SIDE * 2 :])
    assert len(straight) >= 2


async def test_a_pack_that_ends_early_ends_the_connection_and_never_looks_whole(large, asked, monkeypatch):
    monkeypatch.setattr(bodies.os, "sendfile", lambda *_given: 0)  # as at the end of a file
    reader = await asked(f"/studies/{STUDY}/series/{SERIES}", FILES)
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        got = b""
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            got = await reader.readexactly(int(head.lower().partition("content-length:")[2].split()[0]))
    assert got == b""


async def test_what_would_wait_for_the_disk_or_is_damaged_is_not_sent_straight(large, monkeypatch):
    retriever = large.retriever
    span = Retriever.file_range(large.instances(seen_by("clinic"), STUDY, SERIES)[0])
    assert retriever.opened(span) is not None

    def would_wait(*_given):
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", would_wait)
    assert retriever.opened(span) is None
    monkeypatch.undo()
    large._packs.refuse({span.pack: [(span.offset, span.offset + 1)]})
    with pytest.raises(IntegrityError):
        retriever.opened(span)


async def test_metadata_made_ahead_waits_while_something_arrives_but_not_for_ever_and_not_when_it_is_wanted():
    now = [100.0]
    calm = Calm(lambda: now[0])
    await asyncio.wait_for(calm.wait(), PATIENCE)  # nothing has been heard yet
    calm.heard()
    waiting = asyncio.create_task(calm.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    calm.hurried.set()
    await asyncio.wait_for(waiting, PATIENCE)
    calm.hurried.clear()
    calm.heard()
    now[0] += 0.25
    await asyncio.wait_for(calm.wait(), PATIENCE)
    times = iter([200.0, 201.99, 202.0])  # a clock on which something is heard again and again
    busy = Calm(lambda: next(times, 202.0))
    busy._heard = 1e9
    await asyncio.wait_for(busy.wait(), PATIENCE)


async def test_metadata_waits_for_nobody_who_asks_for_it(working_archive):
    await store(working_archive, make(f"{SERIES}.1"))
    working_archive._calm.heard()
    (row,) = working_archive.instances(seen_by("clinic"), STUDY, SERIES)
    (data,) = await working_archive.metadata([row])
    assert json.loads(data)["00080018"]["Value"] == [f"{SERIES}.1"]
