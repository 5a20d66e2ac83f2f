"""Scrub, repair and figures: what the disk spoiled is named, never served, and mended from another copy."""

from __future__ import annotations

import shutil

import pytest

from dicom.archive import Archive
from dicom.errors import IntegrityError
from dicom.index.writer import packs_known
from dicom.life.scrub import repair, scrub
from dicom.model import Limits
from dicom.packs.append import pack_path
from dicom.packs.read import list_packs
from tests.archive.conftest import seen_by
from tests.archive.files import make, real


async def send(archive, data, organisation="A"):
    return await archive.ingest(data, organisation=organisation, source="test")


def row_of(archive, sop, organisation="A"):
    return next(row for row in archive.instances(seen_by(organisation)) if row.sop_uid == sop)


def spoil(archive, row, at=0):
    """One bit of the stored dataset turns over."""
    path = pack_path(archive.root, row.place.pack)
    data = bytearray(path.read_bytes())
    data[row.place.body_offset + at] ^= 1
    path.write_bytes(data)


async def test_a_sound_archive_scrubs_clean_and_every_byte_is_read(archive):
    for n in range(5):
        await send(archive, make(f"1.2.3.1.{n}"))
    await send(archive, make("1.2.3.1.1"), "B")
    await send(archive, make("1.2.3.1.1", pixels=b"\x09\x09\x09\x09"))
    heard = []
    report = await scrub(archive, tell=lambda done, total: heard.append((done, total)))
    assert (report.packs, report.records, report.damaged, report.gaps) == (1, 7, 0, ())
    assert heard[-1][0] > 5 * 300 and heard[-1][0] <= heard[-1][1]


async def test_a_turned_bit_is_found_named_by_its_place_and_never_served_again(archive, caplog):
    for n in (1, 2, 3):
        await send(archive, make(f"1.2.3.1.{n}"))
    row = row_of(archive, "1.2.3.1.2")
    spoil(archive, row, at=row.place.body_length - 1)
    report = await scrub(archive)
    assert (report.damaged, len(report.gaps)) == (1, 1)
    (line,) = [entry for entry in caplog.records if entry.msg == "stored bytes are wrong"]
    assert (line.pack, line.offset, line.digest) == (row.place.pack, row.place.offset, row.digest)
    with pytest.raises(IntegrityError, match="damaged"):
        archive.read_file(row)
    with pytest.raises(IntegrityError, match="damaged"):
        await archive.frame(row, 1)
    with pytest.raises(IntegrityError, match="damaged"):
        await archive.thumbnail(row)
    for sound in ("1.2.3.1.1", "1.2.3.1.3"):
        archive.read_file(row_of(archive, sound))


async def test_what_is_wrong_stays_refused_after_a_restart(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    await send(archive, make())
    row = row_of(archive, "1.2.3.1.1")
    spoil(archive, row)
    await scrub(archive)
    await archive.close()
    archive = Archive.open(tmp_path, worker_count=0)
    with pytest.raises(IntegrityError, match="damaged"):
        archive.read_file(row)
    await archive.close()


async def test_the_same_bytes_sent_again_heal_what_is_damaged_for_every_holder(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    data = make()
    await send(archive, data)
    await send(archive, data, "B")
    spoil(archive, row_of(archive, "1.2.3.1.1"))
    assert (await send(archive, data)).outcome == "duplicate"  # nobody has noticed yet
    await scrub(archive)
    assert (await send(archive, data)).outcome == "stored"
    for organisation in "AB":
        assert archive.read_file(row_of(archive, "1.2.3.1.1", organisation))[132:] == data[132:]
    assert archive.totals()["instance"] == 2
    assert archive.study(seen_by("A"), "1.2.3").instance_count == 1
    assert (await scrub(archive)).damaged == 0
    await archive.close()
    Archive.rescan(tmp_path)
    archive = Archive.open(tmp_path, worker_count=0)
    assert archive.read_file(row_of(archive, "1.2.3.1.1"))[132:] == data[132:]
    await archive.close()


@pytest.mark.parametrize("part", ["head", "cut", "gone", "swapped"])
async def test_whatever_happens_to_a_pack_its_instances_are_wrong_and_a_backup_mends_them(tmp_path, part):
    root, copy = tmp_path / "archive", tmp_path / "copy"
    archive = Archive.open(root, worker_count=0, limits=Limits(pack_bytes=1500))
    await archive.start()
    kept = [(await send(archive, make(f"1.2.3.1.{n}"))).sop_uid for n in range(6)]
    await archive.close()
    shutil.copytree(root, copy)
    archive = Archive.open(root, worker_count=0)
    await archive.start()
    row = row_of(archive, kept[0])
    path = pack_path(root, row.place.pack)
    same_pack = [one for one in archive.instances(seen_by("A")) if one.place.pack == row.place.pack]
    if part == "head":
        data = bytearray(path.read_bytes())
        data[64:80] = bytes(16)
        path.write_bytes(data)
        same_pack = [row]
    elif part == "cut":
        path.write_bytes(path.read_bytes()[: row.place.body_offset + 5])
    elif part == "gone":
        path.unlink()
    else:
        path.write_bytes(pack_path(root, row.place.pack + 1).read_bytes())
    report = await scrub(archive)
    assert report.damaged == len(same_pack)
    for one in same_pack:
        with pytest.raises(IntegrityError):
            archive.read_file(one)
    assert await repair(archive, copy) == (len(same_pack), 0)
    for sop in kept:
        archive.read_file(row_of(archive, sop))
    await archive.close()


async def test_a_spoiled_copy_mends_nothing(tmp_path):
    root, copy = tmp_path / "archive", tmp_path / "copy"
    archive = Archive.open(root, worker_count=0)
    await archive.start()
    await send(archive, make())
    spoil(archive, row_of(archive, "1.2.3.1.1"))
    shutil.copytree(root, copy)
    await scrub(archive)
    assert await repair(archive, copy) == (0, 1)
    assert archive.quarantine(frozenset("A")) == []
    await archive.close()


async def test_a_pack_that_was_gone_at_the_start_is_not_served_and_can_be_sent_again(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    await send(archive, make())
    row = row_of(archive, "1.2.3.1.1")
    await archive.close()
    pack_path(tmp_path, row.place.pack).unlink()
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    with pytest.raises(IntegrityError):
        archive.read_file(row)
    assert (await send(archive, make())).outcome == "stored"
    archive.read_file(row_of(archive, "1.2.3.1.1"))
    await archive.close()


async def test_spoiled_metadata_is_made_again(working_archive):
    archive = working_archive
    await send(archive, real("CT_small.dcm"))
    await archive.metadata_settled()
    (row,) = archive.instances(seen_by("A"))
    before = await archive.metadata([row])
    path = pack_path(archive.root, row.metadata.pack)
    data = bytearray(path.read_bytes())
    data[row.metadata.offset + 9] ^= 1
    path.write_bytes(data)
    assert (await scrub(archive)).damaged == 0
    await archive.metadata_settled()
    (again,) = archive.instances(seen_by("A"))
    assert again.metadata.offset != row.metadata.offset
    assert await archive.metadata([again]) == before


async def test_a_scrub_keeps_to_its_rate_and_goes_on_where_it_was_stopped(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0, limits=Limits(pack_bytes=1500))
    await archive.start()
    for n in range(6):
        await send(archive, make(f"1.2.3.1.{n}"))
    pauses = []

    class Stopped(Exception):
        pass

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        await scrub(archive, rate=1000.0, sleep=sleep, clock=lambda: 0.0)
    assert pauses[0] * 1000 == pytest.approx(2 * len(make()), rel=0.6)
    whole = (await scrub(archive)).packs
    with pytest.raises(Stopped):
        pauses.clear()
        await scrub(archive, rate=1000.0, sleep=sleep, clock=lambda: 0.0)
    assert (await scrub(archive, resume=True)).packs == whole - 2
    await archive.close()


async def test_a_pack_that_nobody_will_append_to_is_sealed_at_the_next_start(tmp_path):
    limits = Limits(inline_bytes=1000)
    archive = Archive.open(tmp_path, worker_count=0, limits=limits)
    await archive.start()
    await send(archive, make("1.2.3.1.1"))
    await send(archive, make("1.2.3.1.2", pixels=bytes(4000)))  # staged: a pack of its own, numbered behind the open one
    await archive.close()
    for _ in range(2):
        archive = Archive.open(tmp_path, worker_count=0, limits=limits)
        assert set((await archive.read_index(packs_known)).values()) == {(mark, True) for mark in sizes(tmp_path)}
        await archive.close()


def sizes(root):
    return [path.stat().st_size for path in list_packs(root).values()]
