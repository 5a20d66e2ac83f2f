"""Compaction: the space of what nobody holds comes back, and nothing else is lost, whatever dies when."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from dicom.archive import Archive
from dicom.errors import DicomError, IntegrityError
from dicom.faults import DROP_POINTS
from dicom.life.backup import Sources, backup
from dicom.life.compact import compact
from dicom.life.removal import remove_study
from dicom.life.scrub import scrub
from dicom.model import Limits
from dicom.packs.append import pack_path
from dicom.packs.read import list_packs
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.durability.power import Camera, Disk, History, Moment

LIMITS = Limits(pack_bytes=6000, inline_bytes=20_000, batch_bytes=2048)
DAY = timedelta(days=1)


class Clock:
    def __init__(self):
        self.now = datetime(2060, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now


async def opened(root, clock, fault=None):
    archive = Archive.open(root, worker_count=0, limits=LIMITS, clock=clock, fault=fault)
    await archive.start()
    return archive


async def send(archive, sop, study, organisation="A", pixels=b"\x01\x02\x03\x04"):
    data = make(sop, study=study, series=f"{study}.1", pixels=pixels, Rows=len(pixels) // 4)
    return await archive.ingest(data, organisation=organisation, source="test")


async def fill(archive):
    """Two studies of A interleaved over several packs; B holds the first image of each too; one file in quarantine."""
    for n in range(12):
        await send(archive, f"1.2.{n % 2}.1.{n}", f"1.2.{n % 2}", pixels=bytes([n]) * 400)
    for n in (0, 1):
        await send(archive, f"1.2.{n}.1.{n}", f"1.2.{n}", "B", pixels=bytes([n]) * 400)
    await send(archive, "1.2.0.1.2", "1.2.0", pixels=b"\x99" * 400)
    (item,) = archive.settling.quarantine("A")
    await archive.settling.decide("A", item.id, "taken", by="t")


async def remove(archive, study, organisation="A", **more):
    await remove_study(
        archive, id=more.get("id", f"r-{study}"), organisation=organisation, study_uid=study, by="m1", approved_by="m2",
        stored_before=more.get("before", archive.now() + DAY), reason="past its time",
    )  # fmt: skip


def holdings(archive):
    """What each organisation sees, every byte compared with its digest."""
    out = {}
    for organisation in "AB":
        for row in archive.instances(seen_by(organisation)):
            data = archive.read_file(row)[row.place.prefix_length :]
            assert hashlib.sha256(data).hexdigest() == row.digest
            out[organisation, row.study_uid, row.sop_uid] = row.digest
        for study in archive.studies(seen_by(organisation)):
            assert study.instance_count == sum(key[:2] == (organisation, study.study_uid) for key in out)
    for item in archive.settling.quarantine("A"):
        out["quarantine", item.sop_uid, item.state] = item.digest
    return out


def size(root):
    return sum(path.stat().st_size for path in list_packs(root).values())


async def test_the_space_of_a_removed_study_comes_back_and_everything_else_stays(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await remove(archive, "1.2.1")
    before, packs, told = holdings(archive), set(list_packs(tmp_path)), []
    assert len([key for key in before if key[0] == "A"]) == 7
    report = await compact(archive, keep=DAY, tell=lambda done, total: told.append((done, total)))
    assert report.compacted == 2 and report.dropped == 0 and report.waiting > report.copied > 0
    assert told[-1] == (report.copied, report.copied)
    assert set(list_packs(tmp_path)) > packs  # the old ones lie there yet
    assert holdings(archive) == before
    full = size(tmp_path)
    clock.now += 2 * DAY
    report = await compact(archive, keep=DAY)
    assert report.dropped == 2 and report.freed > 3000 and report.compacted == 0
    assert size(tmp_path) == full - report.freed
    assert holdings(archive) == before
    assert (await scrub(archive)).damaged == 0
    await archive.close()
    archive = await opened(tmp_path, clock)
    assert archive.recovered.missing == [] and holdings(archive) == before
    await archive.close()


@pytest.mark.parametrize("dropped", [False, True])
async def test_a_rescan_of_compacted_packs_makes_the_same_index(tmp_path, dropped):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await remove(archive, "1.2.1")
    await remove(archive, "1.2.0", "B")
    await compact(archive, keep=DAY)
    if dropped:
        clock.now += 2 * DAY
        await compact(archive, keep=DAY)
    before = holdings(archive)
    await archive.close()
    report = Archive.rescan(tmp_path)
    assert (report.damaged, report.missing) == ([], [])
    archive = await opened(tmp_path, clock)
    assert holdings(archive) == before
    assert archive.study(seen_by("A"), "1.2.1") is None
    again = await compact(archive, keep=DAY)  # what a rescan forgot of retired packs is found again
    assert bool(again.compacted) is not dropped
    assert holdings(archive) == before
    await archive.close()


async def test_a_tombstone_outlives_every_pack_it_refers_to(tmp_path):
    clock, root = Clock(), tmp_path / "archive"
    archive = await opened(root, clock)
    await fill(archive)
    shutil.copytree(root / "packs", tmp_path / "backup" / "packs")
    await remove(archive, "1.2.1")
    for n in range(4):  # the pack that holds the tombstone is compacted too, and again
        await send(archive, f"1.2.{7 + n}.1.1", f"1.2.{7 + n}", pixels=b"\x07" * 6000)
        await remove(archive, f"1.2.{7 + n}")
        await compact(archive, keep=DAY)
        clock.now += 2 * DAY
    await compact(archive, keep=DAY)
    before = holdings(archive)
    await archive.close()
    # Somebody puts the packs of an old backup beside the new ones, and makes the index anew.
    back = 0
    for number, path in list_packs(tmp_path / "backup").items():
        if not pack_path(root, number).exists():
            shutil.copy(path, pack_path(root, number))
            back += 1
    assert back
    Archive.rescan(root)
    archive = await opened(root, clock)
    assert holdings(archive) == before
    await archive.close()


async def test_what_is_sent_again_after_its_removal_is_held_again(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await remove(archive, "1.2.1")
    assert (await send(archive, "1.2.1.1.3", "1.2.1", pixels=b"\x03" * 400)).outcome == "stored"
    assert (await send(archive, "1.2.1.1.1", "1.2.1", pixels=b"\x01" * 400)).outcome == "stored"  # B held it all along
    await compact(archive, keep=DAY)
    before = holdings(archive)
    assert len([key for key in before if key[:2] == ("A", "1.2.1")]) == 2
    await archive.close()
    Archive.rescan(tmp_path)
    archive = await opened(tmp_path, clock)
    assert holdings(archive) == before
    await archive.close()


async def test_a_reader_in_the_middle_of_a_retrieval_keeps_its_bytes(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    rows = [row for row in archive.instances(seen_by("A")) if row.sop_uid == "1.2.0.1.8"]
    await remove(archive, "1.2.1")
    early = archive._packs.file(rows[0].place.pack)
    await compact(archive, keep=DAY)
    for row in rows:  # the rows of before the move still lead to the bytes
        data = archive.read_file(row)[row.place.prefix_length :]
        assert hashlib.sha256(data).hexdigest() == row.digest
    clock.now += 2 * DAY
    await compact(archive, keep=DAY)
    assert not pack_path(tmp_path, rows[0].place.pack).exists()
    body = early.read(rows[0].place.body_offset, rows[0].place.body_length)
    assert hashlib.sha256(body).hexdigest() == rows[0].digest
    with pytest.raises(IntegrityError, match="pack_missing"):  # named, and never other bytes
        archive.read_file(rows[0])
    await archive.close()


async def test_an_older_index_under_compacted_packs_finds_everything_while_the_packs_are_kept_and_names_it_after(tmp_path):
    clock, root = Clock(), tmp_path / "archive"
    archive = await opened(root, clock)
    await fill(archive)
    await archive.close()
    shutil.copy(root / "index.sqlite", tmp_path / "older")
    archive = await opened(root, clock)
    await remove(archive, "1.2.1")
    await compact(archive, keep=DAY)
    before = holdings(archive)
    await archive.close()
    shutil.copy(tmp_path / "older", root / "index.sqlite")
    archive = await opened(root, clock)
    assert holdings(archive) == before  # removed stays removed, moved is found
    await compact(archive, keep=DAY)
    clock.now += 2 * DAY
    await compact(archive, keep=DAY)
    assert holdings(archive) == before
    await archive.close()
    shutil.copy(tmp_path / "older", root / "index.sqlite")
    archive = await opened(root, clock)
    assert archive.recovered.missing  # older than what is kept, and all the same everything was moved
    assert holdings(archive) == before
    await archive.close()


async def test_a_backup_after_the_drop_names_only_what_is_there_and_lets_go_of_the_rest(tmp_path):
    clock, root, target = Clock(), tmp_path / "archive", tmp_path / "copy"
    archive = await opened(root, clock)
    await fill(archive)
    assert backup(Sources(archive=root), target, now=clock()).wrong == ()
    await remove(archive, "1.2.1")
    await compact(archive, keep=DAY)
    clock.now += 2 * DAY
    await compact(archive, keep=DAY)
    assert backup(Sources(archive=root), target, now=clock()).wrong == ()
    assert set(list_packs(target)) == set(list_packs(root))
    await archive.close()


async def test_a_pack_with_damage_is_left_as_it_is(tmp_path):
    clock = Clock()
    archive = await opened(tmp_path, clock)
    await fill(archive)
    await remove(archive, "1.2.1")
    row = next(row for row in archive.instances(seen_by("A")) if row.sop_uid == "1.2.0.1.8")
    path = pack_path(tmp_path, row.place.pack)
    data = bytearray(path.read_bytes())
    data[row.place.body_offset + row.place.body_length - 1] ^= 1
    path.write_bytes(data)
    report = await compact(archive, keep=timedelta(0))
    assert report.skipped == (row.place.pack,) and report.compacted >= 1
    assert path.read_bytes() == bytes(data)
    assert (await scrub(archive)).damaged == 1
    await archive.close()


async def test_a_disk_that_fails_at_any_point_of_a_compaction_loses_nothing(tmp_path):
    clock, counted, fail_at = Clock(), [], [-1]

    def fault(name):
        if name == "acknowledge":
            return  # no disk is touched there
        counted.append(name)
        if len(counted) - 1 == fail_at[0]:
            raise OSError(28, "no space left")

    archive = await opened(tmp_path / "origin", clock)
    await fill(archive)
    await remove(archive, "1.2.1")
    before = holdings(archive)
    await archive.close()
    point, finished = 0, False
    while not finished:
        root = tmp_path / "try"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "origin", root)
        clock.now = datetime(2060, 1, 1, tzinfo=UTC)
        archive = await opened(root, clock, fault)
        counted.clear()
        fail_at[0] = point
        try:
            await compact(archive, keep=DAY)
            clock.now += 2 * DAY
            await compact(archive, keep=DAY)
            finished = len(counted) <= point
        except (DicomError, sqlite3.Error):
            assert len(counted) > point
        fail_at[0] = -1
        assert holdings(archive) == before
        await compact(archive, keep=DAY)  # and the next one does what was left
        assert holdings(archive) == before
        await archive.close()
        point += 3 if point > 12 else 1
    assert point > 20
    assert set(DROP_POINTS) <= set(counted)


async def test_the_power_may_fail_anywhere_in_a_removal_and_a_compaction(tmp_path):
    """Before the answer a study is wholly there or wholly gone; after it it is gone; all else has its bytes."""
    clock, root, camera, history = Clock(), tmp_path / "live", None, History()
    removed_at, states = [], []

    def fault(name):
        if camera is not None:
            history.moments.append(Moment(point=name, files=camera.take(), acknowledged=len(removed_at)))

    archive = await opened(root, clock, fault)
    await fill(archive)
    states.append(holdings(archive))
    await archive.close()  # a checkpoint: everything is in the files
    archive = await opened(root, clock, fault)
    camera = Camera(root)
    history.moments.append(Moment(point="begin", files=camera.take(), acknowledged=0))
    await remove(archive, "1.2.1")
    removed_at.append(1)
    states.append(holdings(archive))
    await compact(archive, keep=DAY)
    clock.now += 2 * DAY
    await compact(archive, keep=DAY)
    await archive.close()
    history.moments.append(Moment(point="end", files=camera.take(), acknowledged=1))
    camera.close()
    disk = Disk(history)
    assert len(disk) > 25
    for number in range(2 * len(disk)):
        chance = random.Random(f"cut:{number}")
        interval = number % len(disk)
        image = tmp_path / "image"
        shutil.rmtree(image, ignore_errors=True)
        for name, data in disk.image(interval, chance).items():
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            (image / name).write_bytes(data)
        moment = history.moments[interval]
        archive = Archive.open(image, worker_count=0, limits=LIMITS, clock=clock)
        try:
            found = holdings(archive)
            assert found in states[moment.acknowledged :], f"{number}: cut behind {moment.point} ({interval})"
        finally:
            await archive.close()
