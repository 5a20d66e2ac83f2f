"""Query and fetch from another archive: our own second one in process, and Debian's dcmqrscp."""

from __future__ import annotations

import asyncio
import socket

import pytest

from consult.errors import Invalid, NotFound
from dicom.archive import Archive
from dicom.model import Scope
from dicom.network import dimse
from dicom.network import negotiation as uids
from dicom.network.fetch import Peer, find
from dicom.network.ports import Address, Device
from dicom.network.scp import Listener
from dicom.network.services import SERVICES
from dicom.network.terms import NetworkLimits
from server import keys
from server.cli import run
from server.dicomweb.ports import ARCHIVE
from server.dimse.fetching import Fetcher, FetchFailedError, Wanted, check_wanted, open_archive
from server.dimse.registry import DeviceEntry, add_device
from server.dimse.running import DIMSE, HOUSE
from server.serving import start_control
from tests.archive.files import make, real
from tests.needs import need_program
from tests.network.conftest import House, dcmtk
from tests.network.test_server import TITLES, actor_of


class Other(House):
    """The other archive's side: knows us by our title, calls itself THERE."""

    async def admit(self, call):
        return Device(id="us", organisation="there", called="THERE", calling=call.calling) if call.calling == "HUIZHEN" else None


@pytest.fixture
async def other(tmp_path):
    archive = Archive.open(tmp_path / "there", worker_count=1)
    await archive.start()
    for n in (1, 2):
        for m in (1, 2, 3):
            data = make(f"1.2.{n}.{m}", study=f"1.2.{n}", series=f"1.2.{n}.9", PatientID=f"P{n}", AccessionNumber=f"A{n}")
            await archive.ingest(data, organisation="there", source="test")
    yield archive
    await archive.close()


@pytest.fixture
async def here(app, city, client):
    await app[keys.ARCHIVE_STARTED].wait()
    return app


@pytest.fixture
async def serve(other):
    """`await serve(services)` → (the other side's house, its port)."""
    opened = []

    async def one(services=SERVICES):
        house = Other()
        listener = Listener(house, other, services=services)
        opened.append(listener)
        return house, await listener.listen("127.0.0.1", 0)

    yield one
    for listener in opened:
        await listener.close()


def fetcher(app) -> Fetcher:
    return Fetcher(app[keys.WORK], app[ARCHIVE], app[HOUSE], app[keys.TASKS], NetworkLimits())


async def register(app, city, port, title="THERE"):
    entry = DeviceEntry(name="PACS", calling=title, address="127.0.0.1", host="127.0.0.1", port=port)
    return await app[keys.WORK].run(add_device, actor=actor_of(city.clinic_admin), entry=entry, titles=TITLES)


async def fetched(one: Fetcher, row, *studies):
    job = one.start(row, studies)
    async with asyncio.timeout(45):
        while not job.over:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return job


def held(app, city) -> list[str]:
    return sorted(row.sop_uid for row in app[ARCHIVE].instances(Scope(organisations=frozenset({city.clinic}))))


async def test_what_the_other_archive_has_is_found_fetched_by_get_and_belongs_to_who_asked(here, city, serve):
    _, port = await serve()
    row = await register(here, city, port)
    one = fetcher(here)
    found = await one.search(row, Wanted(patient_id="P1"))
    assert [(x.study_uid, x.patient_name, x.instances, x.here) for x in found] == [("1.2.1", "Zhang^San=张^三", 3, 0)]
    assert len(await one.search(row, Wanted(date="20260101-20260131"))) == 2
    assert [x.study_uid for x in await one.search(row, Wanted(accession="A2"))] == ["1.2.2"]
    job = await fetched(one, row, "1.2.1")
    (piece,) = job.pieces
    assert (piece.state, piece.completed, piece.failed, piece.way) == ("done", 3, 0, "get")
    assert held(here, city) == ["1.2.1.1", "1.2.1.2", "1.2.1.3"]
    assert here[ARCHIVE].holders("1.2.1") == [city.clinic]
    assert (await one.search(row, Wanted(study_uid="1.2.1")))[0].here == 3
    again = await fetched(one, row, "1.2.1")
    assert again.pieces[0].state == "done"
    assert len(held(here, city)) == 3
    with pytest.raises(NotFound):
        one.job(city.hospital, job.id)


async def test_where_get_is_not_offered_the_other_archive_is_asked_to_send(here, city, serve):
    without = {key: value for key, value in SERVICES.items() if key[1] != dimse.C_GET}
    house, port = await serve(without)
    ours = await here[DIMSE].listen("127.0.0.1", 0)
    house.addresses["HUIZHEN"] = Address(title="HUIZHEN", host="127.0.0.1", port=ours)
    row = await register(here, city, port)
    job = await fetched(fetcher(here), row, "1.2.1", "1.2.2", "1.2.404")
    assert [(x.state, x.completed, x.way) for x in job.pieces] == [("done", 3, "move"), ("done", 3, "move"), ("done", 0, "move")]
    assert len(held(here, city)) == 6


async def test_a_fetch_that_cannot_be_says_why_and_one_that_is_cancelled_stops(here, city, serve):
    _, port = await serve({(uids.STUDY_FIND, dimse.C_FIND): SERVICES[uids.STUDY_FIND, dimse.C_FIND]})
    row = await register(here, city, port)
    one = fetcher(here)
    job = await fetched(one, row, "1.2.1")
    assert (job.pieces[0].state, job.pieces[0].error) == ("failed", "not_offered")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = await register(here, city, closed.getsockname()[1], title="AWAY")
        with pytest.raises(FetchFailedError, match="unreachable"):
            await one.search(away, Wanted(patient_id="P1"))
    job = one.start(row, ["1.2.1", "1.2.2"])
    one.cancel(job)
    async with asyncio.timeout(45):
        while not job.over:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [x.state for x in job.pieces] == ["cancelled", "cancelled"]


async def test_many_answers_come_at_once_and_no_more_than_asked_are_kept(other, serve):
    _, port = await serve()
    await asyncio.gather(*(
        other.ingest(make(f"1.3.{n}", study=f"1.3.{n}", series=f"1.3.{n}.1"), organisation="there", source="test")
        for n in range(150)
    ))
    peer = Peer(address=Address(title="THERE", host="127.0.0.1", port=port), calling="HUIZHEN")
    keys_asked = {0x0020000D: "", 0x00100010: ""}
    assert len(await find(peer, keys_asked, most=1000)) == 152
    assert len(await find(peer, keys_asked, most=10)) == 10


async def test_asking_for_everything_is_no_question_and_strangers_archives_do_not_exist(here, city, serve):
    _, port = await serve()
    row = await register(here, city, port)
    for wanted in (Wanted(), Wanted(patient_name="*"), Wanted(patient_id="a\\b"), Wanted(date="yesterday")):
        with pytest.raises(Invalid):
            check_wanted(wanted)
    with pytest.raises(NotFound):
        await here[keys.WORK].run(
            open_archive, actor=actor_of(city.hospital_technician), device=row.id, action="archive.search"
        )
    await here[keys.WORK].run(
        open_archive, actor=actor_of(city.technician), device=row.id, action="archive.fetch", studies=["1.2.1"]
    )
    rows = await here[keys.WORK].read(lambda uow: uow.audit.rows(organisation=city.clinic))
    (noted,) = [one for one in rows if one.action == "archive.fetch"]
    assert (noted.object, noted.detail) == ("study:1.2.1", {"device": row.id})


async def test_debians_dcmqrscp_is_searched_and_emptied(here, city, tmp_path):
    program = need_program("/usr/bin/dcmqrscp", "dcmtk")
    store = tmp_path / "qr"
    store.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = await here[DIMSE].listen("127.0.0.1", 0)
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(f"""
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
us = (HUIZHEN, 127.0.0.1, {ours})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
THERE {store} RW (200, 1024mb) ANY
AETable END
""")
    process = await asyncio.create_subprocess_exec(
        program, "-c", config, env={"TCP_NODELAY": "1", "PATH": "/usr/bin"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        files = []
        for name in ("CT_small.dcm", "MR_small.dcm"):
            path = tmp_path / name
            path.write_bytes(real(name))
            files.append(path)
        async with asyncio.timeout(45):
            while (await dcmtk("storescu", "-aet", "HUIZHEN", "-aec", "THERE", "127.0.0.1", port, *files)).code:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        row = await register(here, city, port)
        one = fetcher(here)
        (ct,) = await one.search(row, Wanted(patient_name="CompressedSamples^CT1"))
        job = await fetched(one, row, ct.study_uid)
        assert (job.pieces[0].state, job.pieces[0].way, len(held(here, city))) == ("done", "get", 1)
        (mr,) = await one.search(row, Wanted(patient_id="4MR1"))
        assert (await fetch_move(row, here, mr.study_uid)).completed == 1
    finally:
        process.terminate()
        await process.wait()
    assert len(held(here, city)) == 2


async def fetch_move(row, app, study):
    from dicom.network.fetch import move

    return await move(Peer(address=app[HOUSE].address_of(row), calling=row.called), study, row.called)


async def test_the_console_lists_what_is_there_and_fetches_it(here, city, serve, settings, capsys):
    _, port = await serve()
    await register(here, city, port)
    base = ["fetch", "THERE", "--organisation", city.clinic, "--data", str(settings.data)]
    assert await asyncio.to_thread(run, [*base, "--patient-id", "P1"]) == 1
    assert "no server runs" in capsys.readouterr().err
    control = await start_control(here)
    try:
        assert await asyncio.to_thread(run, [*base, "--patient-id", "P1"]) == 0
        assert "1.2.1  20260102  CT        3  P1  Zhang^San=张^三  Chest" in capsys.readouterr().out
        assert await asyncio.to_thread(run, [*base, "--date", "20260102", "--all"]) == 0
        assert "1.2.2  done  3 received, 0 failed" in capsys.readouterr().out
        assert await asyncio.to_thread(run, [*base, "--name", "*"]) == 1
        assert await asyncio.to_thread(run, ["fetch", "NOBODY", *base[2:], "--study", "1.2.1"]) == 1
    finally:
        await control.cleanup()
    assert len(held(here, city)) == 6
    rows = await here[keys.WORK].read(lambda uow: uow.audit.rows(limit=100))
    assert [row.detail["by"] for row in rows if row.action == "archive.search"] == ["console"] * 2
