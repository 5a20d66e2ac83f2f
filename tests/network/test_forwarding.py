"""Forwarding: what arrives goes on, to a device or to a STOW-RS service, until it is taken, whatever dies when."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from consult.errors import Invalid, NotFound
from dicom.archive import Archive
from dicom.model import Arrival, Scope
from dicom.network.scp import Listener
from dicom.network.terms import NetworkLimits
from server import keys
from server.cli import run
from server.dicomweb.handlers import ROUTES
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from server.dimse import forwarding
from server.dimse.forwarding import Forwarder, pause, sweep, wants
from server.dimse.registry import DeviceEntry, add_device
from server.dimse.running import HOUSE
from server.forward_stow import Outcome, Part, may_go_to, send_stow
from server.forwards import (
    DestinationEntry,
    RuleEntry,
    add_destination,
    add_rule,
    drop,
    end_destination,
    overview,
    retry,
)
from server.sealing import SealError, seal, unseal
from server.serving import start_control
from server.storage.forwards import Rule
from tests.archive.files import make, real
from tests.needs import need_program
from tests.network.conftest import House
from tests.network.test_server import TITLES, actor_of

HERE = Scope(organisations=frozenset({"there"}), holder="there")


class There:
    """The other side: a second archive of ours behind DICOMweb, which can be away."""

    def __init__(self, archive) -> None:
        self.archive, self.url, self.away, self.asked = archive, "", False, []

    async def scope_for(self, request, action, study_uid):
        return HERE

    @web.middleware
    async def door(self, request, handler):
        self.asked.append(request.headers.get("Authorization"))
        if self.away:
            await request.read()
            return web.Response(status=503)
        return await handler(request)

    def held(self) -> list[str]:
        return sorted(row.sop_uid for row in self.archive.instances(HERE))


@pytest.fixture
async def there(tmp_path):
    archive = Archive.open(tmp_path / "there", worker_count=1)
    await archive.start()
    held = There(archive)
    app = web.Application(client_max_size=1 << 30, middlewares=[held.door])
    app[ARCHIVE], app[SCOPE_FOR] = archive, held.scope_for
    for method, path, handler, _action in ROUTES:
        app.router.add_route(method, path, handler)
    async with TestServer(app) as server:
        held.url = str(server.make_url("/dicom-web"))
        yield held
    await archive.close()


@pytest.fixture
async def here(app, city, client):
    """The running application; its web side is not used here."""
    await app[keys.ARCHIVE_STARTED].wait()
    return app


def forwarder(app) -> Forwarder:
    """A new process: nothing but what is on disk."""
    return Forwarder(
        app[keys.WORK], app[ARCHIVE], app[HOUSE], NetworkLimits(), keys=app[keys.SETTINGS].key_folder,
        jitter=lambda _low, high: high,
    )


async def passes(one: Forwarder) -> None:
    await one.step()
    await one.settled()


async def to_service(app, city, there, **rule):
    actor, folder = actor_of(city.clinic_admin), app[keys.SETTINGS].key_folder
    entry = DestinationEntry(name="市里", url=there.url, token="abc")
    row = await app[keys.WORK].run(
        add_destination, actor=actor, id="d", entry=entry, sealed=seal(folder, "abc", owner="d")
    )
    await app[keys.WORK].run(
        add_rule, actor=actor, entry=RuleEntry(destination=row.id, **rule), mark=app[ARCHIVE].arrived()
    )
    return row


async def arrive(app, city, sop, source="stow", organisation="", **more):
    organisation = organisation or city.clinic
    result = await app[ARCHIVE].ingest(make(sop, **more), organisation=organisation, source=source)
    assert result.outcome == "stored"


async def test_what_the_rule_names_goes_to_the_service_once_and_nothing_else_does(here, city, there):
    await arrive(here, city, "1.2.3.1.1")                                   # before the rule
    await to_service(here, city, there, modalities=("ct",), description="chest*")
    await arrive(here, city, "1.2.3.1.2", StudyDescription="Chest CT", study="1.2.4")
    await arrive(here, city, "1.2.3.1.3", StudyDescription="Head CT", study="1.2.5")
    await arrive(here, city, "1.2.3.1.4", StudyDescription="Chest MR", Modality="MR", study="1.2.6")
    await arrive(here, city, "1.2.3.1.5", StudyDescription="Chest", study="1.2.7", organisation=city.county)
    one = forwarder(here)
    await passes(one)
    assert there.held() == ["1.2.3.1.2"]
    assert there.asked == ["Bearer abc"]
    await passes(one)
    assert len(there.asked) == 1
    rows = await here[keys.WORK].read(lambda uow: uow.audit.rows(organisation=city.clinic))
    (noted,) = [row for row in rows if row.action == "study.forward"]
    assert (noted.object, noted.detail) == ("study:1.2.4", {"destination": "d", "instances": 1})
    seen = await here[keys.WORK].read(overview, actor=actor_of(city.clinic_admin))
    assert seen.counts == {"d": {"sent": 1}}
    assert "abc" not in seen.destinations[0].token


async def test_a_rule_may_take_what_came_earlier_too(here, city, there):
    await arrive(here, city, "1.2.3.1.1")
    await to_service(here, city, there, earlier=True)
    await passes(forwarder(here))
    assert there.held() == ["1.2.3.1.1"]


async def test_a_service_that_is_away_is_asked_again_after_growing_pauses_and_then_has_everything(here, city, there, clock):
    await to_service(here, city, there)
    for n in range(1, 4):
        await arrive(here, city, f"1.2.3.1.{n}")
    there.away = True
    one = forwarder(here)
    await passes(one)
    await passes(one)                       # not before its time
    assert len(there.asked) == 1
    clock.advance(seconds=5)
    await passes(one)
    clock.advance(seconds=5)
    await passes(one)                       # the pause has doubled
    assert len(there.asked) == 2
    row = await here[keys.WORK].read(lambda uow: uow.forwards.destination("d"))
    assert (row.failures, row.last_error) == (2, "http_503")
    there.away = False
    await here[keys.WORK].run(retry, actor=actor_of(city.clinic_admin), id="d")
    await passes(one)
    assert len(there.held()) == 3
    assert (await here[keys.WORK].read(lambda uow: uow.forwards.destination("d"))).failures == 0


async def test_one_instance_that_is_not_taken_holds_up_no_other_and_only_a_person_gives_it_up(here, city, there, clock):
    await to_service(here, city, there)
    for n in range(1, 4):
        await arrive(here, city, f"1.2.3.1.{n}")
    other_bytes = make("1.2.3.1.2", pixels=b"\x09\x02\x03\x04")
    await there.archive.ingest(other_bytes, organisation="there", source="test")
    one = forwarder(here)
    await passes(one)
    assert len(there.held()) == 3
    admin, other = actor_of(city.clinic_admin), actor_of(city.hospital_admin)
    (lot,) = (await here[keys.WORK].read(overview, actor=admin)).lots
    assert (lot.study_uid, lot.waiting, lot.last_error) == ("1.2.3", 1, "reason_0110")
    clock.advance(days=400)
    await passes(one)
    assert (await here[keys.WORK].read(overview, actor=admin)).lots[0].attempts == 2
    with pytest.raises(NotFound):
        await here[keys.WORK].run(drop, actor=other, id="d", study_uid="1.2.3")
    assert await here[keys.WORK].run(drop, actor=admin, id="d", study_uid="1.2.3") == 1
    assert (await here[keys.WORK].read(overview, actor=admin)).lots == []
    clock.advance(days=31)
    assert await here[keys.WORK].run(sweep) == 3


async def test_the_console_shows_what_waits_tries_it_now_and_gives_it_up(here, city, there, clock, settings, capsys):
    data = ["--data", str(settings.data)]
    assert await asyncio.to_thread(run, ["forward", "list", *data]) == 1
    assert "no server runs" in capsys.readouterr().err
    control = await start_control(here)
    try:
        assert await asyncio.to_thread(run, ["forward", "list", *data]) == 0
        assert capsys.readouterr().out == "nothing is sent on: there is no destination\n"
        await to_service(here, city, there)
        for n in range(1, 4):
            await arrive(here, city, f"1.2.3.1.{n}")
        await there.archive.ingest(make("1.2.3.1.2", pixels=b"\x09\x02\x03\x04"), organisation="there", source="test")
        await passes(forwarder(here))
        assert await asyncio.to_thread(run, ["forward", "list", *data]) == 0
        said = capsys.readouterr().out
        assert "市里: 2 sent, 1 waiting" in said
        assert "1.2.3  1 images for 市里 since 2026-11-22T06:00:00+00:00, tried 1 times  reason_0110" in said
        assert await asyncio.to_thread(run, ["forward", "retry", "市里", "--study", "1.2.3", *data]) == 0
        assert "1 images are tried now" in capsys.readouterr().out
        await passes(forwarder(here))                                   # though its time has not come
        (lot,) = (await here[keys.WORK].read(overview, actor=actor_of(city.clinic_admin))).lots
        assert lot.attempts == 2
        for wrong in (["drop", "nowhere", "--study", "1.2.3"], ["drop", "市里", "--study", "1.2.4"], ["retry", "nowhere"]):
            assert await asyncio.to_thread(run, ["forward", *wrong, *data]) == 1
        assert await asyncio.to_thread(run, ["forward", "drop", "市里", "--study", "1.2.3", *data]) == 0
        capsys.readouterr()
        assert await asyncio.to_thread(run, ["forward", "list", *data]) == 0
        assert capsys.readouterr().out == "市里: 1 dropped, 2 sent\n"
    finally:
        await control.cleanup()
    rows = await here[keys.WORK].read(lambda uow: uow.audit.rows(limit=100))
    kept = [(x.action, x.object, x.detail["by"]) for x in rows if x.action in {"forward.drop", "forward.retry"}]
    assert sorted(kept) == [("forward.drop", "study:1.2.3", "console"), ("forward.retry", "destination:d", "console")]


async def test_what_was_sent_but_not_written_down_is_sent_again_and_is_no_second_copy(here, city, there, monkeypatch):
    await to_service(here, city, there)
    await arrive(here, city, "1.2.3.1.1")
    with monkeypatch.context() as patch:
        patch.setattr(forwarding, "_settle", lambda *_: 1 / 0)      # dies between the answer and the commit
        dying = forwarder(here)
        await dying.step()
        with pytest.raises(ZeroDivisionError):
            await dying.settled()
    assert there.held() == ["1.2.3.1.1"]
    await passes(forwarder(here))
    assert there.held() == ["1.2.3.1.1"]
    assert len(there.asked) == 2
    assert there.archive.totals()["quarantine"] == 0
    assert (await here[keys.WORK].read(lambda uow: uow.forwards.counts())) == {"d": {"sent": 1}}


async def test_an_index_that_was_made_anew_is_looked_through_from_its_beginning(here, city, there):
    await to_service(here, city, there)
    for n in range(1, 4):
        await arrive(here, city, f"1.2.3.1.{n}")
    await passes(forwarder(here))
    # As after a rescan: the same number, something else behind it.
    await here[keys.WORK].run(lambda uow: uow.forwards.move_mark(uow.forwards.rules()[0].id, (3, "another index")))
    await arrive(here, city, "1.2.3.1.4")
    await passes(forwarder(here))
    assert len(there.held()) == 4
    assert (await here[keys.WORK].read(lambda uow: uow.forwards.counts())) == {"d": {"sent": 4}}
    assert len(there.asked) == 2


async def test_a_service_that_refuses_a_whole_request_is_asked_instance_by_instance():
    bodies = []

    async def store(request):
        bodies.append((await request.read()).decode())
        return web.Response(status=415 if "bad" in bodies[-1] else 200)

    async def chunks(text):
        yield text.encode()

    def part(name):
        async def opened():
            return chunks(name)

        return Part(sop_uid=name, open=opened)

    app = web.Application()
    app.router.add_post("/studies", store)
    async with TestServer(app) as server:
        outcome = await send_stow(str(server.make_url("/")), "", "", [part("good"), part("bad"), part("fine")])
    assert outcome == Outcome(sent=("good", "fine"), refused={"bad": "http_415"})
    assert len(bodies) == 4


async def to_device(app, city, port, **more):
    entry = DeviceEntry(name="PACS", calling="THERE", address="127.0.0.1", host="127.0.0.1", port=port)
    device = await app[keys.WORK].run(add_device, actor=actor_of(city.clinic_admin), entry=entry, titles=TITLES)
    actor = actor_of(city.clinic_admin)
    await app[keys.WORK].run(
        add_destination, actor=actor, id="d", sealed="", entry=DestinationEntry(name="PACS", device=device.id, **more)
    )
    await app[keys.WORK].run(add_rule, actor=actor, entry=RuleEntry(destination="d"), mark=app[ARCHIVE].arrived())
    return device


class Open(House):
    async def admit(self, call):
        return self.devices.get(call.calling)


@pytest.mark.parametrize("coding", ["", "jpeg-ls"])
async def test_a_device_gets_everything_packed_without_loss_where_that_is_wanted(here, city, there, coding):
    house = Open()
    house.add("HUIZHEN", "there")
    listener = Listener(house, there.archive)
    port = await listener.listen("127.0.0.1", 0)
    device = await to_device(here, city, port, compression=coding)
    original = real("CT_small.dcm")
    await here[ARCHIVE].ingest(original, organisation=city.clinic, source="stow")
    await arrive(here, city, "1.2.3.1.9", source=f"dimse:{device.id}")       # came from there
    await passes(forwarder(here))
    await listener.close()
    (row,) = there.archive.instances(HERE)
    assert (row.transfer_syntax == JPEGLSLossless) is bool(coding)
    assert await there.archive.frame(row, 1) == dcmread(BytesIO(original)).PixelData


async def test_debians_storescp_gets_it_when_it_is_back(here, city, tmp_path, clock):
    path = need_program("/usr/bin/storescp", "dcmtk")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await to_device(here, city, port)
    await arrive(here, city, "1.2.3.1.1")
    one = forwarder(here)
    await passes(one)
    row = await here[keys.WORK].read(lambda uow: uow.forwards.destination("d"))
    assert (row.failures, row.last_error) == (1, "unreachable")
    process = await asyncio.create_subprocess_exec(
        path, "-od", tmp_path, str(port), env={"TCP_NODELAY": "1", "PATH": "/usr/bin"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(45):
            while not list(tmp_path.glob("CT*")):
                clock.advance(hours=1)
                await passes(one)
    finally:
        process.terminate()
        await process.wait()
    assert (await here[keys.WORK].read(lambda uow: uow.forwards.counts())) == {"d": {"sent": 1}}


async def test_a_destination_that_was_ended_gets_nothing_more(here, city, there):
    await to_service(here, city, there)
    await arrive(here, city, "1.2.3.1.1")
    await here[keys.WORK].run(end_destination, actor=actor_of(city.clinic_admin), id="d")
    await passes(forwarder(here))
    assert there.asked == []


async def test_wrong_entries_are_told_at_their_fields(here, city):
    actor = actor_of(city.clinic_admin)
    for entry, field in (
        (DestinationEntry(name="x"), "url"),
        (DestinationEntry(name="x", url="http://pacs.example/dicom-web"), "url"),
        (DestinationEntry(name="x", device="nobody"), "device"),
        (DestinationEntry(name="x", url="https://pacs.example", ca="no certificate"), "ca"),
        (DestinationEntry(name="x", url="https://pacs.example", token="a\r\nb"), "token"),
    ):
        with pytest.raises(Invalid) as refused:
            await here[keys.WORK].run(add_destination, actor=actor, id="x", entry=entry, sealed="")
        assert [wrong[0] for wrong in refused.value.fields] == [field]
    with pytest.raises(Invalid):
        await here[keys.WORK].run(add_rule, actor=actor, entry=RuleEntry(destination="nowhere"), mark=(0, ""))


@pytest.mark.parametrize(("url", "may"), [
    ("https://city.example/dicom-web", True), ("http://127.0.0.1:8080/dicom-web", True),
    ("http://[::1]/x", True), ("http://city.example", False), ("https://user@city.example", False),
    ("ftp://city.example", False), ("https://city.example/?token=1", False), ("https://city.example:x", False), ("", False),
])  # fmt: skip
def test_images_leave_encrypted_or_not_at_all(url, may):
    assert may_go_to(url) is may


def test_a_token_opens_for_its_owner_alone(tmp_path):
    sealed = seal(tmp_path, "secret", owner="a")
    assert unseal(tmp_path, sealed, owner="a") == "secret"
    for folder, text, owner in ((tmp_path, sealed, "b"), (tmp_path / "other", sealed, "a"), (tmp_path, "s1:AAAA", "a")):
        with pytest.raises(SealError):
            unseal(folder, text, owner=owner)


AT = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(("rule", "takes"), [
    ({}, True), ({"modalities": ("CT", "MR")}, True), ({"modalities": ("US",)}, False),
    ({"source": "dimse"}, True), ({"source": "dimse:ct1"}, True), ({"source": "dimse:ct"}, False),
    ({"source": "stow"}, False), ({"description": "胸部"}, True), ({"description": "胸部*"}, True),
    ({"description": "*平扫"}, True), ({"description": "平扫*"}, False), ({"description": "胸部CT??"}, True),
    ({"description": "[胸]*"}, False), ({"organisation": "other"}, False),
    ({"created_at": AT + timedelta(seconds=1)}, False), ({"created_at": AT + timedelta(seconds=1), "earlier": True}, True),
])  # fmt: skip
def test_a_rule_takes_what_it_names(rule, takes):
    arrival = Arrival(
        number=1, at=AT, organisation="o", study_uid="1", sop_uid="1.1", modality="CT", source="dimse:ct1",
        digest="", description="胸部ct平扫",
    )
    one = replace(Rule(id="r", organisation="o", destination="d", created_at=AT), **rule)
    assert wants(one, None, arrival) is takes
    assert not wants(one, "ct1", arrival)


def test_pauses_grow_to_an_hour_or_a_day_and_differ():
    assert [pause(n, lambda _a, b: b, timedelta(days=1)).total_seconds() for n in (0, 10, 30)] == [5, 5120, 86400]
    assert [pause(n, lambda _a, b: b).total_seconds() for n in (0, 1, 2, 20)] == [5, 10, 20, 3600]
    assert pause(3, lambda a, _b: a).total_seconds() == 20
