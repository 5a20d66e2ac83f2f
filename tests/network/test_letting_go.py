"""A gateway keeps for days: what the city has acknowledged whole goes from the box, and nothing else ever does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydicom import dcmread

from dicom.archive import Archive
from dicom.errors import StorageError
from dicom.life.compact import compact
from dicom.model import Scope
from server import app as server_app
from server import jobs, keys, letting_go
from server.dicomweb.ports import ARCHIVE
from server.dimse import running as network
from server.dimse.running import DIMSE, FORWARDER
from server.gateway import PLACE
from server.letting_go import LETTING_GO
from server.settings import Dimse
from server.storage.devices import DeviceRow
from server.storage.forwards import Destination, Rule
from tests.archive.files import FOLDER, make
from tests.city import build_city
from tests.network.conftest import dcmtk
from tests.network.test_forwarding import there  # noqa: F401 a fixture
from tests.network.test_gateway import running, settings_of

HEAD = tuple(sorted((FOLDER / "dicomdirtests/77654033/CT2").iterdir()))     # four images of one study
SMALL = FOLDER / "CT_small.dcm"
BOX = Scope(organisations=frozenset({PLACE}), holder=PLACE)
KEEP = 7


def uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def study(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


class Box:
    """The gateway, as its devices, its disk and its jobs see it."""

    def __init__(self, app, port) -> None:
        self.app, self.port, self.archive, self.work = app, port, app[ARCHIVE], app[keys.WORK]

    async def store(self, *paths) -> None:
        said = await dcmtk("storescu", "-aet", "CT1", "-aec", "HUIZHEN", "127.0.0.1", self.port, *paths)
        assert said.code == 0, said.text

    async def forward(self) -> None:
        await self.app[FORWARDER].step()
        await self.app[FORWARDER].settled()

    async def step(self) -> int:
        """What the jobs do in their time."""
        await network.forget_ended(self.app)
        return await self.app[LETTING_GO].step()

    def held(self) -> list[str]:
        return sorted(row.sop_uid for row in self.archive.instances(BOX))

    async def counts(self) -> dict[str, int]:
        return (await self.work.read(lambda uow: uow.forwards.counts())).get("gateway", {})

    async def audited(self) -> list:
        rows = await self.work.read(lambda uow: uow.audit.rows(limit=200))
        return [row for row in rows if row.action == "study.let_go"]


@pytest.fixture
def start(tmp_path, there, clock):  # noqa: F811
    """`async with start() as box`: each time the same box is switched on again."""
    @asynccontextmanager
    async def on(**more):
        given = settings_of(tmp_path, **({"url": there.url, "keep_days": KEEP} | more))
        async with running(msgspec.structs.replace(given, dimse=Dimse()), clock=clock) as app:
            yield Box(app, await app[DIMSE].listen("127.0.0.1", 0))

    return on


async def test_a_study_goes_whole_when_the_city_has_had_all_of_it_for_so_long(start, there, clock, tmp_path):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        everything = box.held()
        assert there.held() == everything == sorted(map(uid, HEAD))
        clock.advance(days=3)
        await box.store(SMALL)
        await box.forward()
        clock.advance(days=KEEP - 3)
        assert await box.step() == 0                                    # seven days are not more than seven
        clock.advance(seconds=1)
        assert await box.step() == 1
        assert box.held() == [uid(SMALL)]
        assert await box.counts() == {"sent": 1}
        (row,) = await box.audited()
        assert (row.object, row.organisation, row.detail["instances"]) == (f"study:{study(HEAD[0])}", PLACE, 4)
        assert await box.step() == 0
    await asyncio.to_thread(Archive.rescan, tmp_path / "box" / "archive")
    async with start() as box:
        assert box.held() == [uid(SMALL)]                               # no rescan brings it back
        await box.forward()
        assert set(there.held()) == {*everything, uid(SMALL)}
        assert await box.counts() == {"sent": 1}
        clock.advance(days=3)
        assert await box.step() == 1
        assert box.held() == []
        assert set(there.held()) == {*everything, uid(SMALL)}


async def test_compaction_gives_the_disk_back(start, there, clock, monkeypatch):  # noqa: F811
    limits = server_app.archive_limits
    monkeypatch.setattr(server_app, "archive_limits", lambda given: replace(limits(given), pack_bytes=20_000))
    async with start() as box:
        await box.store(*HEAD, SMALL)
        clock.advance(days=1)
        await box.forward()
        await box.archive.ingest(make(), organisation=PLACE, source="dimse")      # stays
        clock.advance(days=KEEP, seconds=1)
        assert await box.step() == 2
        await compact(box.archive, keep=timedelta(0))
        clock.advance(seconds=1)
        report = await compact(box.archive, keep=timedelta(0))
        assert report.freed > 0.9 * sum(path.stat().st_size for path in (*HEAD, SMALL))
        assert box.held() == ["1.2.3.1.1"]


async def test_the_proof_outlives_the_month_after_which_a_queue_forgets(start, there, clock):  # noqa: F811
    async with start(keep_days=60) as box:
        await box.store(*HEAD)
        await box.forward()
        for _ in range(12):
            clock.advance(days=5)
            assert await box.step() == 0
        clock.advance(seconds=1)
        assert await box.step() == 1
        assert (box.held(), await box.counts()) == ([], {})


async def test_a_gateway_that_keeps_everything_does_and_its_queue_forgets_as_ever(start, there, clock):  # noqa: F811
    async with start(keep_days=0) as box:
        await box.store(*HEAD[:2])
        await box.forward()
        clock.advance(days=20)
        await box.store(*HEAD[2:])
        await box.forward()
        clock.advance(days=11)
        assert LETTING_GO not in box.app
        assert await network.forget_ended(box.app) == 2
    async with start() as box:                                          # wanted at last, too late for half of the proof
        clock.advance(days=400)
        assert await box.counts() == {"sent": 2}
        assert await box.step() == 0
        assert len(box.held()) == 4


async def test_one_instance_that_the_city_refuses_keeps_the_whole_study_for_ever(start, there, clock, tmp_path):  # noqa: F811
    other = dcmread(HEAD[1])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(path := tmp_path / "other.dcm")
    await there.archive.ingest(path.read_bytes(), organisation="there", source="test")
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        assert await box.counts() == {"sent": 3, "waiting": 1}
        for _ in range(3):
            clock.advance(days=400)
            await box.forward()
            assert await box.step() == 0
        assert len(box.held()) == 4
        # Given up by a person is not acknowledged.
        await box.work.run(lambda uow: uow.forwards.drop("gateway", study(HEAD[0]), uow.now))
        clock.advance(days=400)
        assert await box.step() == 0
        assert len(box.held()) == 4


async def test_while_the_city_cannot_be_reached_everything_stays(start, there, clock):  # noqa: F811
    there.away = True
    async with start() as box:
        await box.store(*HEAD)
        for _ in range(3):
            clock.advance(days=100)
            await box.forward()
            assert await box.step() == 0
        assert len(box.held()) == 4
        there.away = False
        clock.advance(hours=1)
        await box.forward()
        assert len(there.held()) == 4
        assert await box.step() == 0                                    # counted from the answer, not from the arrival
        clock.advance(days=KEEP, seconds=1)
        assert await box.step() == 1


async def test_a_late_instance_keeps_its_study_until_it_has_been_there_as_long(start, there, clock):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD[:3])
        await box.forward()
        clock.advance(days=KEEP + 1)
        await box.store(HEAD[3])                                        # here, and not yet in the queue
        assert await box.step() == 0
        await box.forward()
        assert await box.step() == 0
        clock.advance(days=KEEP, seconds=1)
        assert await box.step() == 1
        assert box.held() == []


async def test_other_bytes_under_a_held_number_keep_the_study(start, there, clock):  # noqa: F811
    """In quarantine here the second file is nowhere else: the city never sees it. Whatever series it says it is of."""
    async with start() as box:
        for sop, elsewhere in (("1.2.5.1", {}), ("1.2.6.1", {"study": "1.9", "series": "1.9.1"})):
            held = {"study": sop[:5], "series": sop[:5] + ".9"}
            await box.archive.ingest(make(sop, **held), organisation=PLACE, source="dimse")
            await box.archive.ingest(
                make(sop, pixels=b"\x09\x02\x03\x04", **(held | elsewhere)), organisation=PLACE, source="dimse"
            )
        await box.store(SMALL)
        await box.forward()
        assert await box.counts() == {"sent": 3}
        clock.advance(days=KEEP + 1)
        assert await box.step() == 1
        assert box.held() == ["1.2.5.1", "1.2.6.1"]
        assert len(box.archive.quarantine(frozenset({PLACE}))) == 2


@pytest.mark.parametrize("answer", ["nothing", "others"])
async def test_a_success_that_names_no_instance_is_no_acknowledgement(start, clock, answer):
    """A proxy or a portal on the way may say 200 to anything."""
    async def store(request):
        await request.read()
        named = [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]
        return web.Response(text="" if answer == "nothing" else json.dumps({"00081199": {"vr": "SQ", "Value": named}}))

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/dicom-web/studies", store)
    async with TestServer(app) as portal, start(url=str(portal.make_url("/dicom-web"))) as box:
        await box.store(*HEAD)
        await box.forward()
        assert await box.counts() == {"sent" if answer == "nothing" else "waiting": 4}
        clock.advance(days=400)
        assert await box.step() == 0
        assert len(box.held()) == 4


async def test_what_another_address_has_acknowledged_is_not_with_this_city(start, there, clock):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        clock.advance(days=KEEP + 1)
    async with start(url="https://city.example/dicom-web") as box:
        assert await box.step() == 0
        assert len(box.held()) == 4
    async with start() as box:
        assert await box.step() == 1


async def test_every_rule_in_force_must_have_its_proof(start, there, clock):  # noqa: F811
    """A gateway has one; should there ever be two, the study waits for both, and a device's word is none."""
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        clock.advance(days=KEEP + 1)

        def another(uow, id, **way):
            uow.forwards.add_destination(
                Destination(id=id, organisation=PLACE, name=id, created_at=uow.now, next_at=uow.now, **way)
            )
            rule = Rule(id=id, organisation=PLACE, destination=id, earlier=True, created_at=uow.now)
            uow.forwards.add_rule(rule)

        def no_more(uow, id):
            uow.forwards.save_rule(replace(uow.forwards.rule(id), ended_at=uow.now))

        await box.work.run(lambda uow: another(uow, "second", url="https://second.example/dicom-web"))
        assert await box.step() == 0
        await box.work.run(lambda uow: no_more(uow, "second"))

        def device(uow):
            uow.devices.add(DeviceRow(
                id="pacs", organisation=PLACE, name="PACS", called="HUIZHEN", calling="PACS", address="127.0.0.9",
                host="127.0.0.9", port=104, created_at=uow.now,
            ))
            another(uow, "third", device="pacs")

        await box.work.run(device)
        await box.app[FORWARDER].enqueue()
        await box.work.run(lambda uow: uow.forwards.sent(
            [item.id for item in uow.forwards.of_study("third", study(HEAD[0]))], uow.now - timedelta(days=KEEP + 1)
        ))  # fmt: skip
        assert await box.step() == 0
        await box.work.run(lambda uow: no_more(uow, "third"))
        assert await box.step() == 1


async def test_a_folder_in_which_people_have_accounts_lets_nothing_go(start, there, clock, password_hash):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        await box.work.run(build_city, password_hash)
        clock.advance(days=400)
        assert await box.step() == 0
        assert len(box.held()) == 4


async def test_dying_after_the_tombstone_loses_the_rows_at_the_next_start_and_nothing_else(start, there, clock, monkeypatch):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD, SMALL)
        await box.forward()
        clock.advance(days=KEEP + 1)
        with monkeypatch.context() as patch:
            patch.setattr(letting_go, "_gone", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await box.step()
        assert await box.counts() == {"sent": 5}                        # the proof of one is not needed any more
        assert await box.audited() == []
        left = len(box.held())
        assert left in {1, 4}
    async with start() as box:
        assert len(box.held()) == left
        assert await box.step() == 2
        assert (box.held(), await box.counts()) == ([], {})
        assert sorted(row.detail["instances"] for row in await box.audited()) == [1, 4]
        assert len(there.held()) == 5


async def test_dying_before_the_tombstone_the_study_is_looked_at_anew(start, there, clock, monkeypatch):  # noqa: F811
    async def full(*_, **__):
        raise StorageError(code="disk_full")

    async with start() as box:
        await box.store(*HEAD[:3])
        await box.forward()
        clock.advance(days=KEEP + 1)
        with monkeypatch.context() as patch:
            patch.setattr(letting_go, "remove_study", full)
            with pytest.raises(StorageError):
                await box.step()
        await box.store(HEAD[3])                                        # while the box was thought to be letting go
    async with start() as box:
        assert await box.step() == 0
        assert len(box.held()) == 4
        await box.forward()
        clock.advance(days=KEEP + 1)
        assert await box.step() == 1
        assert len(await box.audited()) == 1


async def test_an_instance_that_comes_between_the_proof_and_the_tombstone_stops_it(start, there, clock, monkeypatch):  # noqa: F811
    async with start() as box:
        await box.store(*HEAD[:3])
        await box.forward()
        clock.advance(days=KEEP + 1)
        remove = letting_go.remove_study

        async def slowly(*args, **given):
            await box.store(HEAD[3])
            await remove(*args, **given)

        with monkeypatch.context() as patch:
            patch.setattr(letting_go, "remove_study", slowly)
            assert await box.step() == 0
        assert len(box.held()) == 4
        await box.forward()
        assert await box.counts() == {"sent": 4}


@pytest.mark.parametrize("died", [False, True])
async def test_what_was_let_go_and_comes_again_is_taken_sent_again_and_let_go_again(start, there, clock, monkeypatch, died):  # noqa: F811
    """Also where it comes before the rows of the queue are cleared away."""
    async with start() as box:
        await box.store(*HEAD)
        await box.forward()
        clock.advance(days=KEEP + 1)
        with monkeypatch.context() as patch:
            if died:
                patch.setattr(letting_go, "_gone", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await box.step()
            else:
                assert await box.step() == 1
        assert box.held() == []
    async with start() as box:
        asked = len(there.asked)
        await box.store(HEAD[2])
        assert box.held() == [uid(HEAD[2])]
        await box.forward()
        assert len(there.asked) == asked + 1                            # the city says that it has it
        assert await box.step() == int(died)
        assert await box.counts() == {"sent": 1}
        assert box.held() == [uid(HEAD[2])]
        (row,) = box.archive.instances(BOX)
        assert box.archive.read_file(row)[-1000:] == HEAD[2].read_bytes()[-1000:]
        clock.advance(days=KEEP, seconds=1)
        assert await box.step() == 1
        assert (box.held(), await box.counts(), len(there.held())) == ([], {}, 4)
        assert there.archive.totals()["quarantine"] == 0


async def test_studies_that_must_stay_do_not_hold_up_the_others(start, there, clock, monkeypatch):  # noqa: F811
    monkeypatch.setattr(letting_go, "MOST", 2)
    async with start() as box:
        for n in range(6):
            held = {"study": f"1.2.{n}", "series": f"1.2.{n}.1"}
            await box.archive.ingest(make(f"1.2.{n}.1.1", **held), organisation=PLACE, source="dimse")
            if n < 3:
                await box.archive.ingest(
                    make(f"1.2.{n}.1.1", pixels=b"\x09\x02\x03\x04", **held), organisation=PLACE, source="dimse"
                )
        await box.forward()
        clock.advance(days=KEEP + 1)
        assert [await box.step() for _ in range(4)] == [0, 1, 2, 0]
        assert len(box.held()) == 3


async def test_the_jobs_of_a_gateway_let_go_and_those_of_a_server_do_not(start):
    planned = []
    for days in (KEEP, 0):
        async with start(keep_days=days) as box:
            names = set(box.app[keys.TASKS].names)
            jobs.plan(box.app)
            await asyncio.sleep(0)
            planned.append("let_go" in set(box.app[keys.TASKS].names) - names)
    assert planned == [True, False]
