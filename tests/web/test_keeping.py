"""Scrub, backup, restore, rescan and figures from the console, beside a running server and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3

import pytest

from dicom.archive import Archive
from dicom.index.schema import connect_reader
from dicom.packs.append import pack_path
from server import cli, keys
from server.app import create_app
from server.dicomweb.ports import ARCHIVE
from server.keeping import KEEPING
from server.serving import runner_of, start_control
from server.settings import Keeping, Settings, Uploads, archive_limits
from server.settings_reading import load_settings
from server.storage import engine, migrations
from tests.archive.conftest import seen_by
from tests.archive.files import make


async def filled(root, count=3):
    archive = Archive.open(root, worker_count=0)
    await archive.start()
    for n in range(count):
        await archive.ingest(make(f"1.2.3.1.{n}"), organisation="A", source="test")
    await archive.close()


@pytest.fixture
def installation(tmp_path):
    """A data folder with images; nobody runs."""
    settings = Settings(data=tmp_path / "data", uploads=Uploads(disk_reserve_mb=0))
    settings.data.mkdir(mode=0o700)
    database = engine.open(settings.database_url)
    migrations.apply(database)
    database.close()
    asyncio.run(filled(settings.data / "archive"))
    return settings


def spoil(settings):
    """One bit of the pixels of image 1.2.3.1.2 turns over."""
    root = settings.data / "archive"
    with contextlib.closing(connect_reader(root / "index.sqlite")) as connection:
        pack, end = connection.execute(
            "SELECT b.pack, b.offset + b.prefix_length + b.body_length FROM instance i JOIN blob b ON b.id = i.blob"
            " WHERE i.sop_uid = '1.2.3.1.2'"
        ).fetchone()
    path = pack_path(root, pack)
    data = bytearray(path.read_bytes())
    data[end - 1] ^= 1
    path.write_bytes(data)


def run(*arguments):
    return cli.run([str(argument) for argument in arguments])


def test_an_image_spoiled_on_disk_is_found_named_and_mended_from_the_backup(installation, tmp_path, capsys):
    data, copy = installation.data, tmp_path / "backup"
    assert run("backup", copy, "--data", data) == 0
    assert run("scrub", "--data", data) == 0
    assert "nothing is damaged" in capsys.readouterr().out
    assert run("dicom", "compact", "--data", data) == 0
    assert "0 packs compacted" in capsys.readouterr().out
    spoil(installation)
    assert run("scrub", "--data", data) == 1
    assert "1 images damaged" in capsys.readouterr().out
    assert run("check", "--data", data) == 1
    assert "1 images damaged, 0 packs missing" in capsys.readouterr().out
    assert run("dicom", "stats", "--data", data) == 0
    said = capsys.readouterr().out
    assert "study 1.2.3  image 1.2.3.1.2  (pack 1 at " in said
    assert run("dicom", "stats", "--json", "--data", data) == 0
    assert json.loads(capsys.readouterr().out)["damaged"] == 1
    assert run("scrub", "--from", copy, "--data", data) == 0
    assert "1 stored anew" in capsys.readouterr().out
    assert run("dicom", "stats", "--data", data) == 0
    assert "3 studies" not in (said := capsys.readouterr().out)
    assert "1 studies, 1 series, 3 images" in said
    assert "nothing known to be damaged" in said


def test_a_backup_is_restored_into_a_new_folder_and_only_there(installation, tmp_path, capsys):
    data, copy, new = installation.data, tmp_path / "backup", tmp_path / "new"
    assert run("backup", data / "inside", "--data", data) == 1
    assert "another disk" in capsys.readouterr().err
    assert run("backup", copy, "--data", data) == 0
    assert run("restore", copy, "--data", data) == 1
    assert "is not empty" in capsys.readouterr().err
    assert run("restore", copy, "--data", new) == 0
    assert "1 studies, 3 images" in capsys.readouterr().out
    with sqlite3.connect(new / "huizhen.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM organisation").fetchone() == (0,)
    connection.close()
    assert run("audit", "verify", "--data", new) == 0
    assert run("scrub", "--data", new) == 0


def test_the_index_is_made_anew_from_the_packs(installation, capsys):
    index = installation.data / "archive" / "index.sqlite"
    index.unlink()
    assert run("rescan", "--data", installation.data) == 0
    assert "1 packs, 3 records" in capsys.readouterr().out
    assert run("dicom", "stats", "--data", installation.data) == 0
    assert "3 images" in capsys.readouterr().out


async def test_with_a_server_running_its_archive_is_scrubbed_and_backed_up_by_itself(installation, tmp_path, capsys):
    app = create_app(installation, background=False)
    runner = runner_of(app)
    await runner.setup()
    control = await start_control(app)
    await app[keys.ARCHIVE_STARTED].wait()
    arguments = ["--data", installation.data]
    try:
        assert await asyncio.to_thread(run, "backup", tmp_path / "backup", *arguments) == 0
        assert await asyncio.to_thread(run, "rescan", *arguments) == 1
        assert "the server is running" in capsys.readouterr().err
        spoil(installation)
        assert await asyncio.to_thread(run, "scrub", *arguments) == 1
        archive = app[ARCHIVE]
        assert archive.damaged() == 1
        row = archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.2")
        assert await asyncio.to_thread(run, "scrub", "--from", tmp_path / "backup", *arguments) == 0
        again = archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.2")
        assert (archive.damaged(), again.place.pack > 0, again.place != row.place) == (0, True, True)
        capsys.readouterr()
        state = app[KEEPING].progress
        assert state.outcome.ok
    finally:
        await control.cleanup()
        await runner.cleanup()


async def test_the_scrub_in_the_background_runs_when_it_is_due(installation, tmp_path):
    app = create_app(installation, background=False)
    runner = runner_of(app)
    await runner.setup()
    try:
        await app[keys.ARCHIVE_STARTED].wait()
        spoil(installation)
        await app[KEEPING].look()
        assert app[ARCHIVE].damaged() == 1
        round_ = app[KEEPING]._slow
        await app[KEEPING].look()  # a month has not passed
        assert app[KEEPING]._slow is round_
    finally:
        await runner.cleanup()


def test_shares_and_reserve_reach_the_archive(tmp_path):
    path = tmp_path / "huizhen.toml"
    path.write_text('[archive]\nquota_gb = 2\n[[archive.quotas]]\norganisation = "B"\ngb = 5\n', encoding="utf-8")
    limits = archive_limits(load_settings(path, environment={}))
    assert (limits.quota_bytes, limits.quotas, limits.reserve_bytes) == (2 << 30, {"B": 5 << 30}, 512 << 20)
    assert archive_limits(Settings(archive=Keeping())).quotas == {}
