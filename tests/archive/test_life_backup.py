"""A backup taken while clients upload holds everything acknowledged before it began, and a restore proves every byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dicom.archive import Archive
from dicom.life.backup import BackupError, Sources, backup, copy_database, restore
from dicom.life.stats import stats_of
from dicom.model import Limits
from dicom.packs.append import pack_path
from tests.archive.conftest import seen_by
from tests.archive.files import make

LIMITS = Limits(pack_bytes=20_000, inline_bytes=4096, batch_bytes=2048)
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


def later(seconds):
    return NOW.replace(second=seconds)


@contextlib.asynccontextmanager
async def opened(root):
    archive = Archive.open(root, worker_count=0, limits=LIMITS)
    await archive.start()
    yield archive
    await archive.close()


async def send(archive, n, organisation="A"):
    body = make(f"1.2.3.1.{n}", pixels=bytes([n % 256]) * (6000 if n % 7 == 0 else 4))
    result = await archive.ingest(body, organisation=organisation, source="test")
    assert result.outcome == "stored"
    return result


def house(tmp_path):
    """The rest of a data folder: a clinical database, documents named by their digests, keys."""
    with contextlib.closing(sqlite3.connect(tmp_path / "clinical.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE note(n INTEGER)")
        connection.execute("INSERT INTO note VALUES (7)")
    paper = b"a signed report"
    name = hashlib.sha256(paper).hexdigest()
    (tmp_path / "blobs" / name[:2]).mkdir(parents=True)
    (tmp_path / "blobs" / name[:2] / name).write_bytes(paper)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "root.key").write_bytes(b"secret")
    return Sources(
        archive=tmp_path / "archive", databases={"clinical.sqlite3": tmp_path / "clinical.sqlite3"},
        growing={"blobs": tmp_path / "blobs"}, small={"keys": tmp_path / "keys"},
    )


async def test_a_backup_under_four_clients_holds_all_that_was_acknowledged_before(tmp_path):
    sources, target = house(tmp_path), tmp_path / "backup"
    acknowledged, going, enough = [], True, asyncio.Event()

    async def client(archive, first):
        n = first
        while going:
            acknowledged.append(await send(archive, n))
            n += 4
            if len(acknowledged) % 25 == 0:
                enough.set()

    async with opened(tmp_path / "archive") as archive:
        clients = [asyncio.create_task(client(archive, first)) for first in range(4)]
        for round_ in (1, 2):
            await enough.wait()
            enough.clear()
            before = list(acknowledged)
            report = await asyncio.to_thread(backup, sources, target, now=later(round_))
            assert (report.wrong, len(acknowledged) > len(before)) == ((), True)
        going = False
        await asyncio.gather(*clients)
    restored = tmp_path / "restored"
    assert restore(target, restored).wrong == ()
    assert (restored / "keys" / "root.key").read_bytes() == b"secret"
    assert next((restored / "blobs").glob("??/*")).read_bytes() == b"a signed report"
    with contextlib.closing(sqlite3.connect(restored / "clinical.sqlite3")) as connection:
        assert connection.execute("SELECT n FROM note").fetchone() == (7,)
    async with opened(restored / "archive") as archive:
        assert (archive.recovered.damaged, archive.recovered.missing) == ([], [])
        for result in before:
            row = archive.instance(seen_by("A"), "1.2.3", None, result.sop_uid)
            data = archive.read_file(row)[row.place.prefix_length :]
            assert hashlib.sha256(data).hexdigest() == result.digest
        await send(archive, 100_003)


async def test_recordings_are_copied_once_changed_ones_again_and_removed_ones_leave_the_backup(tmp_path):
    sources, target, films = house(tmp_path), tmp_path / "backup", tmp_path / "recordings"
    sources = replace(sources, lasting={"recordings": films})
    for name, data in (("a/film.vault", b"film"), ("b/1.log", b"half of a log"), ("c/film.vault", b"film")):
        (films / name).parent.mkdir(parents=True)
        (films / name).write_bytes(data)
    async with opened(sources.archive) as archive:
        await send(archive, 1)
        backup(sources, target, now=later(1))
        kept = {path.name: path.stat().st_ino for path in target.glob("lasting/recordings/??/*")}
        assert len(kept) == 2                                           # the same bytes once
        (films / "b/1.log").write_bytes(b"half of a log and the rest")
        (films / "c/film.vault").unlink()

        def unplugged(_done, _total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup(sources, target, now=later(2), tell=unplugged)
        restore(target, tmp_path / "one")
        assert (tmp_path / "one/recordings/b/1.log").read_bytes() == b"half of a log"
        assert (tmp_path / "one/recordings/c/film.vault").read_bytes() == b"film"
        backup(sources, target, now=later(3))
    now = {path.name: path.stat().st_ino for path in target.glob("lasting/recordings/??/*")}
    same = hashlib.sha256(b"film").hexdigest()
    assert (len(now), now[same]) == (2, kept[same])
    restore(target, tmp_path / "two")
    found = {x.relative_to(tmp_path / "two").as_posix(): x.read_bytes() for x in (tmp_path / "two/recordings").glob("*/*")}
    assert found == {"recordings/a/film.vault": b"film", "recordings/b/1.log": b"half of a log and the rest"}
    (target / "lasting/recordings" / same[:2] / same).write_bytes(b"bad!")
    with pytest.raises(BackupError, match="recordings/a/film"):
        restore(target, tmp_path / "three")


async def test_a_film_that_is_made_while_the_backup_runs_leaves_its_logs_and_itself_in_it(tmp_path, monkeypatch):
    sources, target, films = house(tmp_path), tmp_path / "backup", tmp_path / "recordings"
    (films / "a").mkdir(parents=True)
    (films / "a/1.log").write_bytes(b"log")
    (films / "a/film.partial").write_bytes(b"half a film")

    def meanwhile(source, copy):
        copy_database(source, copy)
        (films / "a/film.vault").write_bytes(b"film")
        (films / "a/1.log").unlink(missing_ok=True)

    monkeypatch.setattr("dicom.life.backup.copy_database", meanwhile)
    async with opened(sources.archive) as archive:
        await send(archive, 1)
        backup(replace(sources, lasting={"recordings": films}), target, now=later(1))
    restore(target, tmp_path / "one")
    found = {x.name: x.read_bytes() for x in (tmp_path / "one/recordings/a").iterdir()}
    assert found == {"1.log": b"log", "film.vault": b"film"}


async def test_the_second_backup_copies_only_what_grew_and_an_interrupted_one_leaves_the_first_whole(tmp_path):
    sources, target = house(tmp_path), tmp_path / "backup"
    async with opened(sources.archive) as archive:
        for n in range(1, 7):
            await send(archive, n)
        first = backup(sources, target, now=later(1))
        assert (first.copied, backup(sources, target, now=later(2)).copied) == (first.total, 0)
        manifest = (target / "manifest.json").read_bytes()
        await send(archive, 8)

        class Pulled(Exception):
            pass

        def unplugged(_done, _total):
            raise Pulled

        with pytest.raises(Pulled):
            backup(sources, target, now=later(3), tell=unplugged)
        assert (target / "manifest.json").read_bytes() == manifest
        assert restore(target, tmp_path / "one").total == first.total
        grown = backup(sources, target, now=later(4))
        assert grown.total > first.total
        assert len(list((target / "snapshots").iterdir())) == 1
    assert stats_of(tmp_path / "one" / "archive").instances == 6
    restore(target, tmp_path / "two")
    assert stats_of(tmp_path / "two" / "archive").instances == 7


async def test_a_restore_refuses_what_was_changed_and_a_folder_that_is_not_empty(tmp_path):
    sources, target = house(tmp_path), tmp_path / "backup"
    async with opened(sources.archive) as archive:
        await send(archive, 1)
        backup(sources, target, now=NOW)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(BackupError, match="not empty"):
        restore(target, tmp_path / "full")
    with pytest.raises(BackupError, match="no backup"):
        restore(tmp_path / "full", tmp_path / "new")
    pack = pack_path(target, 1)
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.write_bytes(data)
    with pytest.raises(BackupError, match="pack 1"):
        restore(target, tmp_path / "new")
    assert not (tmp_path / "new" / "clinical.sqlite3").exists()
    assert restore(target, tmp_path / "rest", keep_going=True).wrong == ("pack 1",)
    (file,) = (target / "snapshots").glob("*/clinical.sqlite3")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BackupError, match=r"clinical\.sqlite3"):
        restore(target, tmp_path / "never", keep_going=True)


async def test_a_backup_keeps_its_good_copy_when_the_archive_has_gone_bad(tmp_path):
    sources, target = house(tmp_path), tmp_path / "backup"
    async with opened(sources.archive) as archive:
        for n in range(1, 5):
            await send(archive, n)
        backup(sources, target, now=later(1))
        good = pack_path(target, 1).read_bytes()
        path = pack_path(sources.archive, 1)
        path.write_bytes(bytes(len(good)))
        await send(archive, 100)
        with pytest.raises(BackupError, match="differs"):
            backup(sources, target, now=later(2))
    assert pack_path(target, 1).read_bytes() == good
    manifest = json.loads((target / "manifest.json").read_bytes())
    assert manifest["snapshot"].startswith("20261122T080001")


async def test_another_archive_may_not_be_backed_up_over_a_backup(tmp_path):
    sources, target = house(tmp_path), tmp_path / "backup"
    async with opened(sources.archive) as archive:
        await send(archive, 1)
        backup(sources, target, now=later(1))
    async with opened(tmp_path / "other") as archive:
        await send(archive, 2)
        with pytest.raises(BackupError, match="another archive"):
            backup(Sources(archive=tmp_path / "other"), target, now=later(2))


def everything(root):
    with contextlib.closing(sqlite3.connect(root / "index.sqlite")) as connection:
        tables = {
            "study": "organisation, study_uid, patient_name, modalities, series_count, instance_count, mixed_patients",
            "series": "organisation, study_uid, series_uid, modality, instance_count",
            "instance": "organisation, sop_uid, study_uid, series_uid, source, stored_at, generation, frames",
            "blob": "digest, pack, offset, prefix_length, body_length, generation, pixel_kind, pixel_offset, ranges",
            "custody": "digest, organisation, source, received_at",
            "quarantine": "organisation, sop_uid, digest, state, pack, offset",
            "fact": "name, value",
        }
        return {
            table: sorted(map(repr, connection.execute(f"SELECT {columns} FROM {table}")))
            for table, columns in tables.items()
        }


@pytest.mark.parametrize("seed", range(3))
async def test_a_rescan_of_a_rich_archive_gives_the_old_index_back(tmp_path, seed):
    chance = random.Random(seed)
    async with opened(tmp_path) as archive:
        for _ in range(60):
            n, pixels = chance.randrange(25), bytes([chance.randrange(2)]) * chance.choice((4, 4, 5000))
            data = make(
                f"1.2.{n % 3}.1.{n}", study=f"1.2.{n % 3}", series=f"1.2.{n % 3}.{n % 2}", pixels=pixels,
                PatientName=chance.choice(("Zhang^San=张^三", "Li^Si=李^四")), Modality=chance.choice(("CT", "MR")),
            )
            await archive.ingest(data, organisation=chance.choice("ABC"), source=chance.choice(("stow", "dimse:x")))
    before = everything(tmp_path)
    assert before["quarantine"]
    assert len(before["custody"]) > len(before["blob"]) - len(before["quarantine"])
    heard = []
    assert not Archive.rescan(tmp_path, lambda done, total: heard.append((done, total))).damaged
    assert heard[-1][0] == heard[-1][1] > 0
    assert everything(tmp_path) == before
