"""Killed at every named write, fsync and commit: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from dicom.archive import Archive
from dicom.faults import POINTS
from dicom.model import Limits, Scope
from tests.archive.dying import LIMITS, uploads
from tests.archive.files import make

HERE = Path(__file__).resolve().parent.parent.parent


def die(root, point, occurrence):
    done = subprocess.run(
        [sys.executable, "-m", "tests.archive.dying", str(root), point, str(occurrence)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, [line.split() for line in done.stdout.splitlines()]


def assert_whole(archive, acknowledged):
    """Every acknowledged upload is there with its bytes; every visible row has its bytes; counts agree."""
    for outcome, organisation, sop, digest in acknowledged:
        scope = Scope(organisations=frozenset({organisation}))
        if outcome == "conflict":
            (waiting,) = archive.quarantine(frozenset({organisation}))
            assert waiting.digest == digest
        else:
            assert outcome in {"stored", "duplicate"}
            assert archive.instance(scope, "1.2.3", None, sop).digest == digest
    for organisation in ("A", "B"):
        scope = Scope(organisations=frozenset({organisation}))
        rows = archive.instances(scope)
        for row in rows:
            data = archive.read_file(row)
            assert hashlib.sha256(data[row.place.prefix_length :]).hexdigest() == row.digest
        study = archive.study(scope, "1.2.3")
        assert (study.instance_count if study else 0) == len(rows)


LATER = ("pack.write.half", "pack.fsync", "index.apply", "index.commit", "stage.write")


@pytest.mark.parametrize(("point", "occurrence"), [*((p, 1) for p in POINTS), *((p, 3) for p in LATER)])
async def test_killed_at_a_named_point_and_opened_again(tmp_path, point, occurrence):
    code, acknowledged = die(tmp_path, point, occurrence)
    assert code == 9
    for _ in range(2):  # recovery itself is repeatable
        archive = Archive.open(tmp_path, worker_count=0, limits=LIMITS)
        assert_whole(archive, acknowledged)
        await archive.close()
    assert not list((tmp_path / "staging").iterdir())
    # The interrupted sender tries again: everything goes through, and nothing comes twice.
    archive = Archive.open(tmp_path, worker_count=0, limits=LIMITS)
    await archive.start()
    for organisation, data in uploads():
        result = await archive.ingest(data, organisation=organisation, source="again")
        assert result.outcome in {"stored", "duplicate", "conflict"}
    assert len(archive.instances(Scope(organisations=frozenset({"A"})))) == 12
    assert len(archive.instances(Scope(organisations=frozenset({"B"})))) == 4
    assert len(archive.quarantine(frozenset({"A"}))) == 1
    await archive.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "point", [p for p in POINTS if p not in {"acknowledge", "checkpoint", "index.commit.done"}]
)
async def test_a_failing_disk_refuses_the_upload_and_the_next_one_goes_through(tmp_path, point, number):
    broken = True

    def fault(name):
        if broken and name == point:
            raise OSError(number, "broken disk")

    archive = Archive.open(tmp_path, worker_count=0, limits=LIMITS, fault=fault)
    await archive.start()
    large = point.startswith("stage.")
    data = make("1.2.3.1.5", pixels=bytes(6000 if large else 4), Rows=1500 if large else 1)
    result = await archive.ingest(data, organisation="A", source="test")
    assert result.outcome == "refused"
    assert result.reason == ("disk_full" if number == errno.ENOSPC else "io_error")
    assert archive.instances(Scope.everything()) == []
    broken = False
    result = await archive.ingest(data, organisation="A", source="test")
    assert result.outcome == "stored"
    await archive.close()
    again = Archive.open(tmp_path, worker_count=0, limits=LIMITS)
    assert_whole(again, [("stored", "A", result.sop_uid, result.digest)])
    await again.close()


async def test_a_damaged_tail_is_skipped_and_its_pack_sealed(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    first = await archive.ingest(make("1.2.3.1.1"), organisation="A", source="test")
    await archive.close()
    (pack,) = (tmp_path / "packs").glob("*/*.pack")
    whole = pack.read_bytes()
    pack.write_bytes(whole + b"HZRECORD" + bytes(300))
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    assert archive.recovered.damaged == [(1, len(whole))]
    second = await archive.ingest(make("1.2.3.1.2"), organisation="A", source="test")
    assert_whole(archive, [("stored", "A", r.sop_uid, r.digest) for r in (first, second)])
    await archive.close()
    assert pack.read_bytes() == whole + b"HZRECORD" + bytes(300)  # never truncated
    assert len(list((tmp_path / "packs").glob("*/*.pack"))) == 2


async def test_an_older_index_under_newer_packs_catches_up(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    await archive.ingest(make("1.2.3.1.1"), organisation="A", source="test")
    await archive.close()
    backup = (tmp_path / "index.sqlite").read_bytes()
    archive = Archive.open(tmp_path, worker_count=0)
    await archive.start()
    await archive.ingest(make("1.2.3.1.2"), organisation="A", source="test")
    await archive.ingest(make("1.2.3.1.2"), organisation="B", source="test")
    await archive.close()
    (tmp_path / "index.sqlite").write_bytes(backup)
    archive = Archive.open(tmp_path, worker_count=0)
    assert len(archive.instances(Scope(organisations=frozenset({"A"})))) == 2
    assert len(archive.instances(Scope(organisations=frozenset({"B"})))) == 1
    await archive.close()


def everything_in(root):
    import sqlite3

    with sqlite3.connect(root / "index.sqlite") as connection:
        out = {}
        for table, columns in {
            "study": "organisation, study_uid, patient_name, modalities, series_count, instance_count, mixed_patients",
            "series": "organisation, study_uid, series_uid, modality, instance_count",
            "instance": "organisation, sop_uid, study_uid, series_uid, source, stored_at, generation, frames",
            "blob": "digest, pack, offset, prefix_length, body_length, pixel_kind, pixel_offset, ranges, metadata_offset",
            "custody": "digest, organisation, source, received_at",
            "quarantine": "organisation, sop_uid, digest, pack, offset",
            "fact": "name, value",
        }.items():
            out[table] = sorted(map(repr, connection.execute(f"SELECT {columns} FROM {table}")))
    connection.close()
    return out


async def test_a_rescan_of_packs_alone_makes_the_same_index(tmp_path):
    from tests.archive.files import real

    archive = Archive.open(
        tmp_path, worker_count=1, limits=Limits(pack_bytes=64 << 10, inline_bytes=200 << 10)
    )
    await archive.start()
    names = [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "examples_ybr_color.dcm",
        "waveform_ecg.dcm",
        "image_dfl.dcm",
        "rtdose_rle.dcm",
    ]
    for name in names:
        assert (await archive.ingest(real(name), organisation="A", source="test")).outcome == "stored"
        await archive.ingest(real(name), organisation="B", source="test")
    await archive.ingest(real("MR_small.dcm"), organisation="A", source="test")
    await archive.metadata_settled()
    await archive.close()
    before = everything_in(tmp_path)
    assert before["quarantine"] and before["custody"]
    report = Archive.rescan(tmp_path)
    assert not report.damaged
    assert everything_in(tmp_path) == before
