"""Large and slow senders at every door: memory stays small, what lies about its length is refused, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import struct
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dicom import ingest as ingesting
from dicom.archive import Archive
from dicom.elements import Window
from dicom.errors import NotFoundError
from dicom.model import Limits, Scope
from dicom.network import dimse, pdu
from dicom.network.dimse import DATASET
from dicom.network.ports import Address
from dicom.network.scp import Listener
from dicom.network.scu import open_association
from dicom.network.terms import NetworkLimits
from dicom.part10 import split_file
from dicom.syntaxes import EXPLICIT_LE
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.network.conftest import House

CT = "1.2.840.10008.5.1.4.1.1.2"
PIECE = 1 << 20
GROWTH = 64 << 20


def front(size: int, sop: str = "1.2.3.1.1", **attributes) -> bytes:
    """A file up to its Pixel Data, which are announced to be `size` bytes."""
    return make(sop, pixels=b"", Rows=1024, Columns=1024, NumberOfFrames=size >> 21, **attributes)[:-4] + struct.pack("<I", size)


async def large(head: bytes, size: int):
    yield head
    for _ in range(size // PIECE):
        yield bytes(PIECE)


def status_kb(name: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


async def until(condition):
    for _ in range(4500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


class Peak:
    """How far the resident memory of this process rises inside the block."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM begins anew (proc(5))
        self._before = status_kb("VmRSS")
        return self

    def __exit__(self, *_):
        self.grown = (status_kb("VmHWM") - self._before) << 10


@pytest.fixture
async def doors(archive):
    """(archive, HTTP client, port of the DICOM network)."""

    async def scope_for(request, action, study_uid):
        return Scope(organisations=frozenset({"A"}), holder="A")

    house = House()
    house.add("MODALITY", organisation="B")
    listener = Listener(house, archive, limits=NetworkLimits(max_pdu=256 << 10))
    port = await listener.listen("127.0.0.1", 0)
    app = web.Application()
    app[ARCHIVE], app[SCOPE_FOR] = archive, scope_for
    for method, path, handler, _ in ROUTES:
        app.router.add_route(method, path, handler)
    async with TestClient(TestServer(app)) as client:
        yield archive, client, port
    await listener.close()


async def post(client, body, kind="application/dicom"):
    async with client.post("/dicom-web/studies", data=body, headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json(content_type=None)


async def c_store(port: int, sop: str, body) -> int:
    """The status of a C-STORE of the dataset in `body`."""
    address = Address(title="HUIZHEN", host="127.0.0.1", port=port, tls=None)
    proposal = pdu.Proposal(id=1, abstract=CT, transfers=(EXPLICIT_LE,))
    association = await open_association(address, "MODALITY", [proposal], NetworkLimits())
    message = association.next_message()
    command = {
        "affected_class": CT, "field": dimse.C_STORE, "message": message, "priority": 0, "dataset": DATASET,
        "affected_instance": sop,
    }  # fmt: skip
    await association.send(1, command, body)
    reply, _ = await association.reply(message)
    await association.release()
    return reply.number("status")


async def test_hundreds_of_megabytes_take_no_more_memory_than_a_dozen(doors):
    archive, client, port = doors
    small, size, by_device = 12 * PIECE, 256 * PIECE, 64 * PIECE

    async def web_door(sop, size):
        status, answer = await post(client, large(front(size, sop), size))
        assert status == 200, answer

    async def device(sop, size):
        head = front(size, sop)
        dataset = head[split_file(Window.of(head)).dataset_start :]
        assert await c_store(port, sop, large(dataset, size)) == 0
        return dataset

    await web_door("1.2.3.1.1", small)
    await device("1.2.3.1.2", small)
    with Peak() as peak:
        await web_door("1.2.3.1.3", size)
        dataset = await device("1.2.3.1.4", by_device)
    assert peak.grown < GROWTH
    row = archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.3")
    assert row.pixels.length == size
    want = hashlib.sha256(dataset)
    for _ in range(by_device // PIECE):
        want.update(bytes(PIECE))
    assert archive.instance(seen_by("B"), "1.2.3", None, "1.2.3.1.4").digest == want.hexdigest()
    assert not list(archive.root.glob("staging/*"))


async def test_a_sender_that_breaks_off_in_its_second_part_leaves_the_first_stored_and_no_task_behind(doors):
    archive, client, _ = doors
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    part = b"--XX\r\nContent-Type: application/dicom\r\n\r\n"
    body = part + make("1.2.3.1.7") + b"\r\n" + part + make("1.2.3.1.8")[:400]
    head = (
        "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        'Content-Type: multipart/related; type="application/dicom"; boundary=XX\r\n\r\n'
    )
    _, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(head.encode() + body)
    await writer.drain()
    await until(lambda: archive.studies(seen_by("A")))
    writer.transport.abort()
    await until(lambda: not [x for x in asyncio.all_tasks() if "Ingest" in repr(x) or ".ingest" in repr(x)])
    gc.collect()
    assert said == []
    assert archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.7")
    with pytest.raises(NotFoundError):
        archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.8")


async def test_a_device_with_the_same_bytes_adds_custody_and_with_other_bytes_hears_its_own_status(doors):
    archive, client, port = doors

    def dataset(file):
        return file[split_file(Window.of(file)).dataset_start :]

    assert (await post(client, make()))[0] == 200
    assert await c_store(port, "1.2.3.1.1", dataset(make())) == 0
    assert archive.totals()["blob"] == 1 and archive.totals()["instance"] == 2
    assert await c_store(port, "1.2.3.1.1", dataset(make(pixels=b"\x09\x09\x09\x09"))) == 0xB000
    assert len(archive.quarantine(frozenset({"B"}))) == 1 and archive.quarantine(frozenset({"A"})) == []


async def test_a_packed_body_is_not_unpacked(doors):
    archive, client, _ = doors
    headers = {"Content-Type": "application/dicom", "Content-Encoding": "gzip"}
    async with client.post("/dicom-web/studies", data=gzip.compress(make()), headers=headers) as answer:
        assert answer.status == 415
    assert archive.totals()["instance"] == 0


async def test_a_body_shorter_than_its_pixel_data_is_refused_at_every_door_and_leaves_nothing(doors):
    archive, client, port = doors
    sent = 12 * PIECE
    head = front(2 * sent)
    status, answer = await post(client, large(head, sent))
    assert (status, answer["00081198"]["Value"][0]["00000902"]["Value"]) == (409, ["truncated"])
    dataset = head[split_file(Window.of(head)).dataset_start :]
    assert await c_store(port, "1.2.3.1.1", large(dataset, sent)) == 0xC000
    assert archive.totals()["instance"] == 0 and not list(archive.root.glob("staging/*"))
    assert archive._ingestor.budget._free == archive.limits.memory_bytes


async def test_a_connection_that_breaks_within_its_announced_length_leaves_nothing(doors):
    archive, client, _ = doors
    _, writer = await asyncio.open_connection(client.host, client.port)
    head = front(64 * PIECE)
    writer.write(
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"
        + f"Content-Length: {len(head) + 64 * PIECE}\r\n\r\n".encode() + head
    )
    for _ in range(12):
        writer.write(bytes(PIECE))
        await writer.drain()
    await until(lambda: list(archive.root.glob("staging/*")))
    writer.transport.abort()
    budget = archive._ingestor.budget
    await until(lambda: not list(archive.root.glob("staging/*")) and budget._free == archive.limits.memory_bytes)
    assert archive.totals()["instance"] == 0


async def test_senders_that_stall_hold_up_nobody_and_go_on_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(ingesting, "_SLOW_SECONDS", 0.05)
    monkeypatch.setattr(ingesting, "_SLOW_RESERVE", 2000)
    archive = Archive.open(tmp_path, worker_count=0, limits=Limits(memory_bytes=400_000, inline_bytes=300_000))
    await archive.start()
    budget, go_on = archive._ingestor.budget, asyncio.Event()

    async def stalling(data):
        yield data[:90_000]
        await go_on.wait()
        yield data[90_000:90_100]
        yield data[90_100:]

    files = [make(f"1.2.3.1.{n}", pixels=bytes([n]) * 160_000, Rows=40_000) for n in range(8)]
    waiting = [
        asyncio.create_task(archive.ingest(stalling(data), organisation="A", source="test")) for data in files[:6]
    ]
    await until(lambda: budget._free >= 400_000 - 6 * 2000)
    for data in files[6:]:
        assert (await archive.ingest(data, organisation="A", source="test")).outcome == "stored"
    go_on.set()
    assert {result.outcome for result in await asyncio.gather(*waiting)} == {"stored"}
    kept = {archive.read_file(row) for row in archive.instances(seen_by("A"))}
    assert kept == set(files)
    assert budget._free == 400_000 and not list(tmp_path.glob("staging/*"))
    await archive.close()


async def test_who_gives_up_while_a_piece_is_written_closes_no_file_under_it(tmp_path):
    writing, written = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def slow(point):
        if point == "stage.write":
            loop.call_soon_threadsafe(writing.set)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()
            written.append(len(list(tmp_path.glob("staging/*"))))

    archive = Archive.open(tmp_path, worker_count=0, limits=Limits(inline_bytes=1000, memory_bytes=100_000), fault=slow)
    await archive.start()
    data = make(pixels=bytes(50_000), Rows=12_500)
    task = asyncio.create_task(archive.ingest(data, organisation="A", source="test"))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == [1]  # the file was still there when the write came to it
    assert not list(tmp_path.glob("staging/*"))
    await archive.close()
