"""`huizhen import`, watched folders, and every other door: what is told, what is kept, what a kill leaves."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from aiohttp import web

from dicom.archive import Archive
from dicom.model import IngestResult, Scope
from server import cli, importing, keys
from server.app import create_app
from server.control import CommandRefused, control_app
from server.dicomweb.ports import ARCHIVE
from server.importing import ImportStoppedError, Journal, import_folder, open_door, store_into
from server.settings import SettingsError, Watch, WatchedFolder, load_settings
from server.taking import TryLaterError, take_file
from server.watching import Watching
from tests.archive.files import FOLDER, make
from tests.city import build_city
from tests.conftest import sign_in

ROOT = Path(__file__).resolve().parent.parent.parent


def zipped(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def disc(tmp_path) -> Path:
    """What a patient brings: images in folders, a directory file, a viewer, a zip, a link out of it."""
    folder = tmp_path / "disc"
    for name in "AB":
        (folder / "IMAGES" / name).mkdir(parents=True)
    for n in range(3):
        (folder / "IMAGES" / "A" / f"I{n}").write_bytes(make(f"1.2.3.1.{n}"))
    (folder / "IMAGES" / "B" / "again.dcm").write_bytes(make("1.2.3.1.0"))
    (folder / "IMAGES" / "B" / "other.dcm").write_bytes(make("1.2.3.1.1", pixels=b"\x09\x09\x09\x09"))
    (folder / "IMAGES" / "B" / "cut.dcm").write_bytes(make("1.2.3.1.7")[:-2])
    (folder / "DICOMDIR").write_bytes((FOLDER / "dicomdirtests" / "DICOMDIR").read_bytes())
    (folder / "viewer.exe").write_bytes(b"MZ" + bytes(500))
    (folder / "more.zip").write_bytes(
        zipped(("../../x/../a.dcm", make("1.2.3.2.1", series="1.2.3.2")), ("/etc/b.dcm", make("1.2.3.2.2", series="1.2.3.2")))
    )
    outside = tmp_path / "outside.dcm"
    outside.write_bytes(make("1.9.9", study="1.9", series="1.9.1"))
    (folder / "link.dcm").symlink_to(outside)
    (folder / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.dcm")
    return folder


TOLD = {
    ("I0", "stored", ""), ("I1", "stored", ""), ("I2", "stored", ""), ("again.dcm", "duplicate", ""),
    ("other.dcm", "conflict", "other_bytes"), ("cut.dcm", "refused", "truncated"), ("DICOMDIR", "refused", "media_directory"),
    ("viewer.exe", "refused", "not_dicom"), ("more.zip", "stored", ""),
}  # fmt: skip


def quiet(*_):
    return None


async def take(settings, folder, organisation, told=None):
    async with open_door(settings, organisation) as door:
        journal = Journal(settings, door.organisation, folder)
        finished = False
        try:
            found = await import_folder(
                folder, door, journal, progress=quiet,
                tell=lambda path, one: told is None or told.append((path.name, one.outcome, one.reason)),
            )  # fmt: skip
            finished = True
        finally:
            journal.close(finished=finished)
        return found


@pytest.fixture
async def serving(client, app, settings):
    """The application listens on its local socket too."""
    runner = web.AppRunner(control_app(app))
    await runner.setup()
    await web.UnixSite(runner, str(settings.control_socket)).start()
    yield app
    await runner.cleanup()
    settings.control_socket.unlink(missing_ok=True)


def held(app, organisation):
    return app[ARCHIVE].instances(Scope(organisations=frozenset({organisation})))


@pytest.fixture
def one_by_one(monkeypatch):
    monkeypatch.setattr(importing, "AT_ONCE", 1)


async def test_a_disc_is_taken_in_through_the_running_server_and_each_file_answered(
    serving, settings, city, disc, one_by_one
):
    told = []
    found = await take(settings, disc, city.clinic, told)
    assert set(told) == TOLD and len(told) == 10
    assert dict(found.outcomes) == {"stored": 5, "duplicate": 1, "conflict": 1, "refused": 3}
    assert (found.failed, found.studies["1.2.3"], found.unmatched) == (2, 6, 1)
    assert {row.sop_uid for row in held(serving, city.clinic)} == {f"1.2.3.1.{n}" for n in range(3)} | {"1.2.3.2.1", "1.2.3.2.2"}
    rows = await serving[keys.WORK].read(lambda uow: [r for r in uow.audit.rows() if r.action == "study.store"])
    assert {(row.object, row.detail["by"]) for row in rows} == {
        (f"organisation:{city.clinic}", "import"), ("study:1.2.3", "import"),
    }  # fmt: skip
    assert not list((settings.data / "imports").iterdir())
    again = []
    found = await take(settings, disc, city.clinic, again)
    assert dict(found.outcomes) == {"duplicate": 6, "conflict": 1, "refused": 3} and found.earlier == 0
    with pytest.raises(CommandRefused, match="no organisation nowhere"):
        await take(settings, disc, "nowhere")


async def test_an_import_that_was_cut_goes_on_where_it_was_and_stores_nothing_twice(
    serving, settings, city, disc, one_by_one, monkeypatch
):
    archive, told, again = serving[ARCHIVE], [], []
    ingest, count = archive.ingest, 0

    async def failing(*args, **kwargs):
        nonlocal count
        count += 1
        if count == 4:
            return await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0)
        return await ingest(*args, **kwargs)

    monkeypatch.setattr(archive, "ingest", failing)
    with pytest.raises((ImportStoppedError, CommandRefused, ValueError)):
        await take(settings, disc, city.clinic, told)
    (journal,) = (settings.data / "imports").iterdir()
    with journal.open("a", encoding="utf-8") as file:
        file.write("cut in the middle of a li")
    assert b"I0" not in journal.read_bytes()
    found = await take(settings, disc, city.clinic, again)
    assert len(told) == 3 and set(told) | set(again) == TOLD and not set(told) & set(again)
    assert found.earlier == 3
    assert found.outcomes["stored"] == 5 and found.studies["1.2.3"] == 6
    assert not list((settings.data / "imports").iterdir())


async def test_a_full_disk_stops_the_import_with_a_sentence_and_later_it_goes_on(serving, settings, city, disc, monkeypatch):
    archive = serving[ARCHIVE]
    with monkeypatch.context() as full:
        full.setattr(archive, "ingest", refusing("disk_full"))
        with pytest.raises(ImportStoppedError, match=r"disk_full.*same command"):
            await take(settings, disc, city.clinic)
    assert (await take(settings, disc, city.clinic)).outcomes["stored"] == 5


def refusing(reason):
    async def ingest(body, **_):
        async for _piece in body:
            pass
        return IngestResult(outcome="refused", reason=reason)

    return ingest


def test_without_a_server_the_command_opens_the_folder_itself(settings, passwords, password_hash, disc, capsys, monkeypatch):
    clinic = city_in(settings, passwords, password_hash)
    settings.control_socket.touch()  # as a killed server leaves it
    name = ["import", str(disc), "--organisation", str(clinic), "--data", str(settings.data)]
    assert cli.run(name) == 1
    said = capsys.readouterr().out
    assert "stored        IMAGES/A/I0" in said and "more.zip [2]" in said and "outside" not in said
    assert "refused       IMAGES/B/cut.dcm  truncated: The file is incomplete" in said
    assert "5 stored, 1 already there, 1 quarantine, 3 refused" in said and "1 studies, 1 of them wait" in said
    for bad in ("other.dcm", "cut.dcm"):
        (disc / "IMAGES" / "B" / bad).unlink()
    assert cli.run([*name, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "0 stored, 6 already there, 0 quarantine, 2 refused"
    assert cli.run(["import", str(disc / "nowhere"), *name[2:]]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert cli.run(["import", str(disc), "--organisation", "nowhere", "--data", str(settings.data)]) == 1
    assert "there is no organisation nowhere" in capsys.readouterr().err


async def test_a_file_that_breaks_while_it_is_read_is_refused_and_one_the_server_cannot_take_is_not(archive, tmp_path, monkeypatch):
    path = tmp_path / "a.dcm"
    path.write_bytes(make())
    store = store_into(archive, "A", "import")
    real = os.pread

    def broken(descriptor, size, offset):
        if size > 4:
            raise OSError(5, "I/O error")
        return real(descriptor, size, offset)

    with monkeypatch.context() as reading:
        reading.setattr("server.taking.os.pread", broken)
        (one,) = await take_file(path, store)
    assert (one.outcome, one.reason) == ("refused", "file_unreadable")
    archive.ingest = refusing("busy")
    with pytest.raises(TryLaterError):
        await take_file(path, store)


async def test_a_folder_that_cannot_be_read_is_said_and_fails_the_import(serving, settings, city, disc, monkeypatch):
    real, told = os.scandir, []

    def scandir(path):
        if str(path).endswith("IMAGES/A"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = await take(settings, disc, city.clinic, told)
    assert ("A", "refused", "file_unreadable") in told and found.reasons["file_unreadable"] == 1 and found.failed


def run_to_its_death(settings, folder, organisation, fault=""):
    command = [sys.executable, "-m", "server", "import", str(folder), "--organisation", str(organisation), "--data", str(settings.data)]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)} | ({"HUIZHEN_FAULT": fault} if fault else {})
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_killed_in_the_middle_the_same_command_goes_on_and_nothing_told_is_lost_or_stored_twice(
    settings, passwords, password_hash, tmp_path
):
    clinic = city_in(settings, passwords, password_hash)
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(40):
        (folder / f"{n:02}.dcm").write_bytes(make(f"1.2.3.1.{n}", pixels=bytes([n]) * 4))
    died = run_to_its_death(settings, folder, clinic, "archive.index.commit.done:9")
    assert died.returncode == -signal.SIGKILL
    told = [line.split()[1] for line in died.stdout.splitlines()]
    assert 0 < len(told) < 40
    went_on = run_to_its_death(settings, folder, clinic)
    assert went_on.returncode == 0, went_on.stderr
    again = [line.split()[-1] for line in went_on.stdout.splitlines() if ".dcm" in line]
    assert not set(told) & set(again) and len(set(told) | set(again)) == 40
    assert f"({len(told)} of these in an earlier run)" in went_on.stdout
    opened = Archive.open(settings.data / "archive", worker_count=0)
    rows = opened.instances(Scope(organisations=frozenset({str(clinic)})))
    assert sorted(row.sop_uid for row in rows) == sorted(f"1.2.3.1.{n}" for n in range(40))
    assert opened.totals()["blob"] == 40
    asyncio.run(opened.close())


def city_in(settings, passwords, password_hash):
    """The clinic of a city in a data folder that nobody serves."""
    app = create_app(settings, passwords=passwords, background=False)
    clinic = app[keys.WORK].run_sync(build_city, password_hash).clinic
    asyncio.run(app[ARCHIVE].close())
    app[keys.WORK].close()
    return clinic


# -- watched folders


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
async def watched(client, app, city, tmp_path):
    """(folder, watcher, its clock)"""
    await app[keys.ARCHIVE_STARTED].wait()
    folder = tmp_path / "watched"
    folder.mkdir()
    clock = Clock()
    settings = Watch(folders=(WatchedFolder(folder=folder, organisation=str(city.clinic)),), settle_seconds=10)
    return folder, Watching(settings, app[ARCHIVE], app[keys.WORK], clock=clock), clock


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_a_file_is_taken_when_it_has_stopped_growing_and_moved_when_it_is_durable(app, city, watched):
    folder, watching, clock = watched
    data = make("1.2.3.1.1")
    (folder / "ct").mkdir()
    (folder / "ct" / "a.dcm").write_bytes(data[:300])
    for name in ("b.dcm.part", ".hidden"):
        (folder / name).write_bytes(data)
    assert await watching.step() == 0
    clock.now = 9
    (folder / "ct" / "a.dcm").write_bytes(data)
    assert await watching.step() == 0
    clock.now = 18
    assert await watching.step() == 0  # it changed nine seconds ago
    clock.now = 19
    assert await watching.step() == 1
    assert names(folder) == {"done/ct/a.dcm", "b.dcm.part", ".hidden"}
    assert (folder / "done/ct/a.dcm").read_bytes() == data
    assert [row.sop_uid for row in held(app, city.clinic)] == ["1.2.3.1.1"]
    rows = await app[keys.WORK].read(lambda uow: [r for r in uow.audit.rows() if r.action == "study.store"])
    assert [(row.object, row.detail["instances"]) for row in rows] == [("study:1.2.3", 1)]
    (folder / "ct" / "a.dcm").write_bytes(data)
    await watching.step()
    clock.now = 40
    assert await watching.step() == 1
    assert names(folder) >= {"done/ct/a.dcm", "done/ct/a (2).dcm"}


async def test_what_is_refused_lies_aside_with_the_reason_in_both_languages(app, city, watched):
    folder, watching, clock = watched
    (folder / "note.dcm").write_bytes(b"no image")
    (folder / "z.zip").write_bytes(zipped(("a", make("1.2.3.1.1")), ("b", make("1.2.3.1.2")[:-2])))
    (folder / "out.dcm").symlink_to(folder / "note.dcm")
    await watching.step()
    clock.now = 10
    assert await watching.step() == 2
    assert names(folder) - {"out.dcm"} == {
        "refused/note.dcm", "refused/note.dcm.txt", "refused/z.zip", "refused/z.zip.txt",
    }  # fmt: skip
    text = (folder / "refused/note.dcm.txt").read_text(encoding="utf-8")
    assert text.startswith("not_dicom: 不是 DICOM 文件") and "This is not a DICOM file" in text
    assert (folder / "refused/z.zip.txt").read_text(encoding="utf-8").startswith("[2] truncated: ")
    assert [row.sop_uid for row in held(app, city.clinic)] == ["1.2.3.1.1"]


async def test_killed_before_the_move_it_is_taken_again_and_stored_once_and_a_full_disk_waits(app, city, watched, monkeypatch):
    folder, watching, clock = watched
    (folder / "a.dcm").write_bytes(make())
    await app[ARCHIVE].ingest(make(), organisation=str(city.clinic), source="watch")  # durable, and then the kill
    await watching.step()
    clock.now = 10
    with monkeypatch.context() as full:
        full.setattr(app[ARCHIVE], "ingest", refusing("disk_full"))
        assert await watching.step() == 0
    assert names(folder) == {"a.dcm"}
    assert await watching.step() == 1
    assert names(folder) == {"done/a.dcm"}
    assert app[ARCHIVE].totals()["instance"] == 1


async def test_a_folder_that_is_gone_or_of_nobody_is_said_once_and_the_others_go_on(app, city, watched, caplog):
    folder, watching, clock = watched
    settings = Watch(
        folders=(
            WatchedFolder(folder=folder / "nowhere", organisation=str(city.clinic)),
            WatchedFolder(folder=folder, organisation="nobody"),
            *watching._settings.folders,
        )
    )
    watching = Watching(settings, app[ARCHIVE], app[keys.WORK], clock=clock)
    (folder / "a.dcm").write_bytes(make())
    for clock.now in (0, 10, 20):
        await watching.step()
    assert names(folder) == {"done/a.dcm"}
    assert sum("watched folder" in record.message for record in caplog.records) == 2


def test_watched_folders_are_absolute_and_apart(tmp_path):
    def settings(*folders):
        return load_settings(environment={}, override={"watch": {"folders": [{"folder": f, "organisation": "x"} for f in folders]}})

    assert len(settings(f"{tmp_path}/a", f"{tmp_path}/b").watch.folders) == 2
    for wrong in (["a"], [f"{tmp_path}/a", f"{tmp_path}/a"], [f"{tmp_path}/a", f"{tmp_path}/a/b"]):
        with pytest.raises(SettingsError, match=r"watch\.folders"):
            settings(*wrong)


# -- the same two rules at every door


async def test_at_every_door_the_same_bytes_add_custody_and_other_bytes_go_to_quarantine(
    serving, client, settings, city, technician_of, tmp_path, watched
):
    """The image centre holds it; the clinic's copies come by STOW, upload, import and the watched folder."""
    archive, data, other = serving[ARCHIVE], make(), make(pixels=b"\x09\x09\x09\x09")
    folder, watching, clock = watched
    assert (await archive.ingest(data, organisation="elsewhere", source="test")).outcome == "stored"
    size = sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack"))
    browser = await technician_of(client)

    async def stow(body):
        async with browser.post("/dicom-web/studies", data=body, headers={"Content-Type": "application/dicom"}) as answer:
            value = await answer.json(content_type=None)
            failed = value.get("00081198", {"Value": []})["Value"]
            return "conflict" if failed and failed[0]["00081197"]["Value"] == [0x0110] else "held"

    async def upload(body):
        async with browser.post("/api/uploads/whole", data=body) as answer:
            (one,) = (await answer.json())["result"]["instances"]
            return "conflict" if one["outcome"] == "conflict" else "held"

    async def imported(body):
        place = tmp_path / "one"
        place.mkdir(exist_ok=True)
        (place / "a.dcm").write_bytes(body)
        return "conflict" if (await take(settings, place, city.clinic)).outcomes["conflict"] else "held"

    async def watch(body):
        (folder / "a.dcm").write_bytes(body)
        await watching.step()
        clock.now += 10
        await watching.step()
        return "conflict" if (folder / "refused" / "a.dcm").exists() else "held"

    for door in (watch, stow, upload, imported):
        assert await door(data) == "held", door
    (mine,) = held(serving, city.clinic)
    assert archive.totals() == {"study": 2, "series": 2, "instance": 2, "blob": 1, "quarantine": 0}
    assert sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack")) - size < 2000
    for door in (watch, stow, upload, imported):
        assert await door(other) == "conflict", door
    assert [row.digest for row in held(serving, city.clinic)] == [mine.digest]
    assert len(archive.quarantine(frozenset({str(city.clinic)}))) == 1
    assert archive.quarantine(frozenset({"elsewhere"})) == []


@pytest.fixture
def technician_of(city):
    async def sign(client):
        await sign_in(client, city.technician.login)
        return client

    return sign


async def test_what_comes_by_stow_is_matched_like_an_upload(app, client, city, technician_of):
    from server.dimse.running import HOUSE
    from tests.web.test_tech_uploads import ct, order_for

    app[HOUSE]._matcher._seconds = 0  # it waits for more of the same study
    browser = await technician_of(client)
    order, patient = await order_for(app, city, browser)
    data, headers = ct(accession=order["accession"]), {"Content-Type": "application/dicom"}
    async with browser.post("/dicom-web/studies", data=data, headers=headers) as answer:
        assert answer.status == 200
    study = held(app, city.clinic)[0].study_uid
    for _ in range(4500):
        if "match_received" not in app[keys.TASKS].names:
            break
        await asyncio.sleep(0.01)
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study, city.clinic))
    assert (match.patient, match.order) == (patient, order["id"])
