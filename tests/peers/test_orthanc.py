"""Debian's Orthanc on the other side of every door: what leaves here arrives there as it was, and the other way."""

from __future__ import annotations

import asyncio
import hashlib
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread

from dicom.elements import Window
from dicom.model import Scope
from dicom.network.fetch import Peer, move
from dicom.network.terms import NetworkLimits
from dicom.part10 import split_file
from server import keys
from server.cli import run
from server.dicomweb.ports import ARCHIVE
from server.dimse.forwarding import Forwarder
from server.dimse.registry import DeviceEntry, add_device
from server.dimse.running import DIMSE, HOUSE
from server.forwards import DestinationEntry, RuleEntry, add_destination, add_rule
from server.serving import start_control
from tests.archive.files import make, real
from tests.city import PASSWORD
from tests.conftest import sign_in
from tests.network.test_server import TITLES, actor_of
from tests.peers.orthanc import TITLE, Orthanc

NAMES = {"1.2.7.1": "Zhang^San=张^三", "1.2.7.2": "王^小明", "1.2.7.3": "Shan^Yu=单^玉"}
FILES = {
    "1.2.7.1": make("1.2.7.1.1.1", study="1.2.7.1", series="1.2.7.1.1", PatientID="P1"),
    "1.2.7.2": make(
        "1.2.7.2.1.1", study="1.2.7.2", series="1.2.7.2.1", PatientID="P2", SpecificCharacterSet="GB18030",
        PatientName="王^小明",
    ),
    "1.2.7.3": make(
        "1.2.7.3.1.1", study="1.2.7.3", series="1.2.7.3.1", PatientID="P3", SpecificCharacterSet="GBK",
        PatientName="Shan^Yu=单^玉",
    ),
}  # fmt: skip
# As devices make them: compressed in three ways, colour in frames, a waveform.
REAL = ("MR_small_RLE.dcm", "JPEG2000.dcm", "examples_ybr_color.dcm", "waveform_ecg.dcm", "CT_small.dcm")


def digest(data: bytes) -> str:
    """SHA-256 of the dataset alone, without preamble and file meta (as the archive counts "same bytes")."""
    return hashlib.sha256(data[split_file(Window.of(data)).dataset_start :]).hexdigest()


def dataset(data: bytes) -> Dataset:
    """What is said, in whatever way: dcmtk, of which Orthanc is made, writes sequences anew and leaves padding out."""
    ds = dcmread(BytesIO(data))
    ds.pop((0xFFFC, 0xFFFC), None)
    return ds


def name_of(data: bytes) -> str:
    return str(dcmread(BytesIO(data), stop_before_pixels=True).PatientName)


@pytest.fixture(scope="module")
async def process(tmp_path_factory):
    one = await Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield one
    await one.stop()


@pytest.fixture
async def orthanc(process):
    yield process
    await process.empty()


@pytest.fixture
async def here(app, city, client, orthanc):
    """The running application with its DICOM port, each known to the other; its web side is `client`."""
    await app[keys.ARCHIVE_STARTED].wait()
    port = await app[DIMSE].listen("127.0.0.1", 0)
    await orthanc.put("/modalities/us", {"AET": "HUIZHEN", "Host": "127.0.0.1", "Port": port})
    return app


@pytest.fixture
async def device(here, city, orthanc):
    entry = DeviceEntry(name="PACS", calling=TITLE, address="127.0.0.1", host="127.0.0.1", port=orthanc.dicom)
    return await here[keys.WORK].run(add_device, actor=actor_of(city.clinic_admin), entry=entry, titles=TITLES)


def scope(city) -> Scope:
    return Scope(organisations=frozenset({city.clinic}))


async def keep(app, city, *files: bytes) -> None:
    for data in files:
        result = await app[ARCHIVE].ingest(data, organisation=city.clinic, source="test")
        assert result.outcome == "stored"


def held(app, city) -> dict[str, str]:
    """SOP Instance UID → digest of what the clinic holds."""
    return {row.sop_uid: row.digest for row in app[ARCHIVE].instances(scope(city))}


def shown(app, city) -> dict[str, Dataset]:
    """SOP Instance UID → the dataset that the clinic holds."""
    archive = app[ARCHIVE]
    return {row.sop_uid: dataset(archive.read_file(row)) for row in archive.instances(scope(city))}


def names(app, city) -> dict[str, str]:
    """Study Instance UID → patient's name, as the index has it."""
    return {uid: app[ARCHIVE].study(scope(city), uid).patient_name for uid in NAMES}


async def fill(orthanc, *files: bytes) -> list[str]:
    """Into Orthanc by its own door; its ids."""
    return [(await orthanc.post("/instances", data))["ID"] for data in files]


async def test_what_orthanc_sends_by_c_store_lies_here_as_it_was(here, city, device, orthanc):
    files = [*FILES.values(), *map(real, REAL)]
    await orthanc.post("/modalities/us/echo", {})
    ids = await fill(orthanc, *files)
    done = await orthanc.post("/modalities/us/store", {"Resources": ids, "Synchronous": True})
    assert done["InstancesCount"] == len(files) and done["FailedInstancesCount"] == 0
    sent = {uid: dataset(data) for uid, data in (await orthanc.files()).items()}
    assert shown(here, city) == sent == {str(ds.SOPInstanceUID): ds for ds in map(dataset, files)}
    assert names(here, city) == NAMES


async def test_orthanc_finds_and_moves_what_lies_here(here, city, device, orthanc):
    files = [*FILES.values(), *map(real, REAL)]
    await keep(here, city, *files)
    asked = {"Level": "Study", "Query": {"PatientName": "*小明", "PatientID": ""}}
    query = await orthanc.post("/modalities/us/query", asked)
    (found,) = await orthanc.get(f"{query['Path']}/answers?expand&simplify")
    assert (found["PatientName"], found["PatientID"], found["StudyInstanceUID"]) == (NAMES["1.2.7.2"], "P2", "1.2.7.2")
    everything = await orthanc.post("/modalities/us/query", {"Level": "Study", "Query": {"StudyInstanceUID": ""}})
    assert len(await orthanc.get(f"{everything['Path']}/answers")) == len(files)
    done = await orthanc.post(f"{everything['Path']}/retrieve", {"TargetAet": TITLE, "Synchronous": True})
    assert len(done["Query"]) == len(files)
    came = await orthanc.files()
    assert {uid: dataset(data) for uid, data in came.items()} == shown(here, city)
    assert {name_of(came[f"{uid}.1.1"]) for uid in NAMES} == set(NAMES.values())


@pytest.mark.parametrize("way", ["dimse", "stow"])
async def test_the_forward_queue_delivers_to_orthanc(way, here, city, device, orthanc):
    actor, work = actor_of(city.clinic_admin), here[keys.WORK]
    to = {"device": device.id} if way == "dimse" else {"url": orthanc.dicom_web, "token": ""}
    entry = DestinationEntry(name="市里", **to)
    await work.run(add_destination, actor=actor, id="d", entry=entry, sealed="")
    await work.run(add_rule, actor=actor, entry=RuleEntry(destination="d"), mark=here[ARCHIVE].arrived())
    await keep(here, city, *FILES.values(), *map(real, REAL))
    forwarder = Forwarder(
        work, here[ARCHIVE], here[HOUSE], NetworkLimits(), keys=here[keys.SETTINGS].key_folder, jitter=lambda _low, high: high
    )
    await forwarder.step()
    await forwarder.settled()
    assert await work.read(lambda uow: uow.forwards.counts()) == {"d": {"sent": len(FILES) + len(REAL)}}
    came = await orthanc.files()
    assert {uid: dataset(data) for uid, data in came.items()} == shown(here, city)
    if way == "stow":
        assert {uid: digest(data) for uid, data in came.items()} == held(here, city)
    assert {name_of(came[f"{uid}.1.1"]) for uid in NAMES} == set(NAMES.values())


async def test_the_console_finds_and_fetches_from_orthanc_and_a_move_brings_the_rest(here, city, device, orthanc, settings, capsys):
    files = [*FILES.values(), real("CT_small.dcm")]
    await fill(orthanc, *files)
    base = ["fetch", TITLE, "--organisation", city.clinic, "--data", str(settings.data)]
    control = await start_control(here)
    try:
        assert await asyncio.to_thread(run, [*base, "--patient-id", "P2"]) == 0
        listed = capsys.readouterr().out
        assert NAMES["1.2.7.2"] in listed and "1.2.7.1 " not in listed
        assert await asyncio.to_thread(run, [*base, "--date", "20260102", "--all"]) == 0
        assert capsys.readouterr().out.count("done  1 received, 0 failed") == 3
    finally:
        await control.cleanup()
    assert names(here, city) == NAMES
    ct = str(dcmread(BytesIO(files[-1]), stop_before_pixels=True).StudyInstanceUID)
    came = await move(Peer(address=here[HOUSE].address_of(device), calling="HUIZHEN"), ct, "HUIZHEN")
    assert (came.completed, came.status) == (1, 0)
    assert shown(here, city) == {str(ds.SOPInstanceUID): ds for ds in map(dataset, files)}


async def test_orthanc_stores_searches_and_retrieves_over_our_dicomweb_with_a_token(here, city, client, orthanc):
    await sign_in(client, city.clinic_admin.login)
    given = {"name": "Orthanc", "rights": ["search", "read", "store"], "days": 30, "password": PASSWORD}
    async with client.post("/api/tokens", json=given) as answer:
        token = (await answer.json())["token"]
    headers = {"Authorization": f"Bearer {token}"}
    await orthanc.put("/dicom-web/servers/us", {"Url": str(client.make_url("/dicom-web")), "HttpHeaders": headers})
    files = [*FILES.values(), *map(real, REAL)]
    ids = await fill(orthanc, *files)
    await orthanc.post("/dicom-web/servers/us/stow", {"Resources": ids, "Synchronous": True})
    assert sorted(held(here, city).values()) == sorted(map(digest, files))
    assert names(here, city) == NAMES
    asked = {"Uri": "/studies", "Arguments": {"PatientName": "*小明*"}}
    (found,) = await orthanc.post("/dicom-web/servers/us/qido", asked)
    assert found["0020000D"]["Value"] == "1.2.7.2"
    assert found["00100010"]["Value"] == NAMES["1.2.7.2"]
    (metadata,) = await orthanc.post("/dicom-web/servers/us/get", {"Uri": "/studies/1.2.7.2/metadata"})
    assert metadata["00100010"]["Value"] == [{"Alphabetic": NAMES["1.2.7.2"]}]
    await orthanc.empty()
    studies = sorted({row.study_uid for row in here[ARCHIVE].instances(scope(city))})
    wanted = {"Resources": [{"Study": uid} for uid in studies], "Synchronous": True}
    await orthanc.post("/dicom-web/servers/us/retrieve", wanted)
    came = await orthanc.files()
    assert {uid: dataset(data) for uid, data in came.items()} == shown(here, city)
    assert {name_of(came[f"{uid}.1.1"]) for uid in NAMES} == set(NAMES.values())
