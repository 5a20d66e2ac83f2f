"""No room: uploads are refused with a reason before the disk is full, what the house itself stores goes on."""

from __future__ import annotations

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dicom.archive import Archive
from dicom.life.scrub import scrub
from dicom.model import Limits, Scope
from dicom.network.store import status_of
from dicom.packs.append import pack_path
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from tests.archive.conftest import seen_by
from tests.archive.files import make

LIMITS = Limits(reserve_bytes=1000, quota_bytes=1000, quotas={"B": 10_000})


@pytest_asyncio.fixture
async def tight(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0, limits=LIMITS)
    archive.room.free = lambda: 10_000
    archive.room._clock = iter(range(0, 10**6, 10)).__next__  # every question finds the last count too old
    await archive.start()
    yield archive
    await archive.close()


@pytest_asyncio.fixture
async def client(tight):
    async def scope_for(request, action, study_uid):
        return Scope(organisations=frozenset({"A"}), holder="A")

    app = web.Application()
    app[ARCHIVE], app[SCOPE_FOR] = tight, scope_for
    for method, path, handler, _action in ROUTES:
        app.router.add_route(method, path, handler)
    async with TestClient(TestServer(app)) as found:
        yield found


async def send(archive, data, organisation="A", source="test"):
    return await archive.ingest(data, organisation=organisation, source=source)


async def test_a_low_disk_refuses_uploads_but_takes_the_signed_report(tight):
    tight.room.free = lambda: 999
    refused = await send(tight, make("1.2.3.1.1"))
    assert (refused.outcome, refused.reason) == ("refused", "disk_full")
    assert status_of(refused, 0xB000) == 0xA700
    assert (await send(tight, make("1.2.3.1.2"), source="report")).outcome == "stored"
    tight.room.free = lambda: 1000
    assert (await send(tight, make("1.2.3.1.1"))).outcome == "stored"


async def test_an_organisation_over_its_quota_is_refused_and_the_others_are_not(tight):
    outcomes = [await send(tight, make(f"1.2.3.1.{n}")) for n in range(5)]
    stored = [x for x in outcomes if x.outcome == "stored"]
    assert 0 < len(stored) < 5
    assert {(x.reason, status_of(x, 0xB000)) for x in outcomes if x not in stored} == {("over_quota", 0xA700)}
    for n in range(5):
        assert (await send(tight, make(f"1.2.3.1.{n}"), "B")).outcome == "stored"


async def test_stow_answers_507_and_says_why(tight, client):
    tight.room.free = lambda: 0
    answer = await client.post("/dicom-web/studies", data=make(), headers={"Content-Type": "application/dicom"})
    assert answer.status == 507
    (item,) = (await answer.json(content_type=None))["00081198"]["Value"]
    assert item["00081197"]["Value"] == [0xA700]


async def test_a_damaged_image_answers_410_and_the_rest_of_its_study_comes_with_a_warning(tight, client):
    for n in (1, 2):
        assert (await send(tight, make(f"1.2.3.1.{n}"))).outcome == "stored"
    row = tight.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.1")
    path = pack_path(tight.root, row.place.pack)
    data = bytearray(path.read_bytes())
    data[row.place.body_offset] ^= 1
    path.write_bytes(data)
    await scrub(tight)
    base, any_type = "/dicom-web/studies/1.2.3", {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    for rest in ("", "/frames/1"):
        kind = {"Accept": "*/*"} if rest else any_type
        answer = await client.get(f"{base}/series/1.2.3.1/instances/1.2.3.1.1{rest}", headers=kind)
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (410, "damaged")
    answer = await client.get(base, headers=any_type)
    assert answer.status == 200
    assert (await answer.read()).count(b"DICM") == 1
    assert answer.headers["Warning"] == '299 huizhen "1 damaged instances are left out"'
    found = await client.get("/dicom-web/studies/1.2.3/instances")
    assert len(await found.json(content_type=None)) == 2
