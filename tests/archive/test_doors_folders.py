"""`huizhen import`: what is told, what is kept, what a kill leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dicom.archive import Archive
from dicom.model import Scope
from server import cli, importing, keys
from server.app import create_app
from server.control import CommandRefused
from server.dicomweb.ports import ARCHIVE
from server.importing import ImportStoppedError, store_into
from server.taking import TryLaterError, take_file
from tests.archive.doors import held, refusing, serving, take, zipped
from tests.archive.files import FOLDER, make
from tests.city import build_city

__all__ = ["serving"]
ROOT = Path(__file__).resolve().parent.parent.parent


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
