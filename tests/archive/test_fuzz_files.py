"""A part of `python -m tests.fuzz.files`, and what it has found so far, one test each."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from dicom.archive import Archive
from dicom.part10 import build_prefix
from tests.archive.files import make, real
from tests.fuzz import _looks, files
from tests.fuzz._looks import Plan

ROOT = Path(__file__).parents[2]
WANTED = 1000  # a hundredth of the search, about fifteen seconds of the processor


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory):
    async with files.House(tmp_path_factory.mktemp("fuzz")) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="module")
async def test_mutated_files_are_stored_or_refused_and_looked_at_without_a_failure():
    found = await files.search(WANTED)
    assert found.failures == []
    assert found.ran == WANTED
    assert found.seen["stored"] > 100
    assert found.seen["refused"] > 100
    assert all(found.seen[f"by {door}"] for door in _looks.DOORS)


def test_a_case_of_a_seed_is_always_the_same():
    assert [files.mutant(7, n) for n in range(20)] == [files.mutant(7, n) for n in range(20)]
    assert [Plan.of(7, n) for n in range(20)] == [Plan.of(7, n) for n in range(20)]
    assert files.mutant(7, 3) != files.mutant(8, 3)
    assert Plan.of(7, 3) != Plan.of(8, 3)


def test_a_case_of_a_seed_is_the_same_in_every_process():
    """The order of a set of bytes hung on the process, so a case that was found could not be run again."""
    code = "from tests.fuzz.files import mutant; import zlib; print([zlib.crc32(mutant(7, n)[1]) for n in range(60)])"
    found = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": chance}, cwd=ROOT, capture_output=True, check=True).stdout
        for chance in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_every_look_and_every_door_has_its_turn():
    plans = [Plan.of(files._run.SEED, n) for n in range(WANTED)]
    assert {name for plan in plans for name in plan.looks} == set(_looks.LOOKS)
    assert {plan.door for plan in plans} == set(_looks.DOORS)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("door", _looks.DOORS)
@pytest.mark.parametrize("name", ["waveform_ecg.dcm", "SC_rgb_jpeg_dcmtk.dcm", "test-SR.dcm", "CT_small.dcm"])
async def test_by_every_door_a_sound_file_is_kept_and_every_look_at_it_is_answered(house, door, name):
    plan = Plan(door, seed=f"{door} {name}")
    assert (await files.survive(house, f"{door} {name}", real(name), plan))[0] == "stored"


async def test_a_process_that_takes_too_much_memory_is_named(monkeypatch):
    monkeypatch.setattr(files, "MEMORY_MB", {"server": 10_000, "worker": -10_000})
    found = await files.search(1)
    assert found.failures
    assert all(line.startswith("the worker") for line in found.failures)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_lost_beside_a_damaged_file_is_noticed(house, monkeypatch):
    real_store = Archive.ingest

    async def ingest(self, body, **more):
        result = await real_store(self, body, **more)
        return replace(result, outcome="refused", reason="malformed") if result.sop_uid in _looks.GOOD else result

    monkeypatch.setattr(Archive, "ingest", ingest)
    with pytest.raises(AssertionError, match="beside it"):
        await files.survive(house, "beside", b"no file at all", Plan("multipart"))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("syntax", [b"1.2\r\nX-Evil: 1", b"1.2.840\xff\xfe", b"application/dicom"])
async def test_a_transfer_syntax_that_is_no_uid_never_gets_into_a_header(house, syntax):
    """It was stored, and the answer that named it was a 500 or had a line more than we wrote."""
    data = make("1.2.3.8")
    old = b"1.2.840.10008.1.2.1\x00"
    data = data.replace(old, syntax.ljust(len(old), b"\x00"), 1)
    result = await house.archive.ingest(data, organisation="header", source="test")
    assert (result.outcome, result.reason) == ("refused", "invalid_uid")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("uid", ["..", ".", "......"])
async def test_a_uid_of_dots_is_refused_since_it_would_be_a_step_in_an_address(house, uid):
    data = make(study="9.9.9.9.9.9")
    data = data.replace(b"9.9.9.9.9.9\x00", uid.encode().ljust(12, b"\x00"))
    result = await house.archive.ingest(data, organisation="dots", source="test")
    assert (result.outcome, result.reason) == ("refused", "invalid_uid")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", ["100", "102", "107"])
async def test_a_film_without_a_stream_is_explained(house, number):
    """Native pixels under a video's transfer syntax: asking for the picture was a 500."""
    whole = real("MR_small.dcm")
    body = whole[whole.index(b"\x08\x00\x08\x00CS") :]
    head = build_prefix(sop_class="1.2.840.10008.5.1.4.1.1.4", sop_uid="1.2.3", transfer_syntax=f"1.2.840.10008.1.2.4.{number}")
    assert (await files.survive(house, f"film{number}", head + body))[0] == "stored"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_small_file_of_very_many_elements_costs_nobody_seconds(house):
    """130,000 empty elements in two kilobytes: every look at them took seconds of a worker."""
    inner = make("1.2.3.9")
    inner = inner[inner.index(b"\x08\x00\x05\x00") :]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(inner + struct.pack("<HHI", 0x0011, 0x10, 0) * 130_000) + packer.flush()
    head = build_prefix(sop_class=files.CT, sop_uid="1.2.3.9", transfer_syntax=files.DEFLATED)
    assert len(body) < 5_000
    result = await house.archive.ingest(head + body, organisation="many", source="test")
    assert (result.outcome, result.reason) == ("refused", "too_many_elements")
