"""Mutated, truncated and malicious datasets: a clear reason, never an exception, a hang or a dead worker."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest
import pytest_asyncio

from dicom.archive import Archive
from dicom.errors import REFUSALS, DicomError
from dicom.model import PixelKind, Scope
from dicom.part10 import build_prefix
from tests.archive.files import make, real

SCOPE = Scope.everything()
ALLOWED = {*REFUSALS, "other_bytes", None}
PREFIX = build_prefix(
    sop_class="1.2.840.10008.5.1.4.1.1.2", sop_uid="1.2.3", transfer_syntax="1.2.840.10008.1.2.1"
)
IMPLICIT = build_prefix(
    sop_class="1.2.840.10008.5.1.4.1.1.2", sop_uid="1.2.3", transfer_syntax="1.2.840.10008.1.2"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(tmp_path_factory):
    opened = Archive.open(tmp_path_factory.mktemp("hostile"), worker_count=1)
    await opened.start()
    yield opened
    await opened.close()


async def survive(archive, data, organisation):
    """Take it in, and if it is kept, look at it in every way."""
    async with asyncio.timeout(30):
        result = await archive.ingest(data, organisation=organisation, source="hostile")
        assert result.reason in ALLOWED
        if result.outcome != "stored":
            return result
        row = archive.instance(
            Scope(organisations=frozenset({organisation})), result.study_uid, None, result.sop_uid
        )
        assert archive.read_file(row).endswith(data[-16:])
        for view in (
            archive.metadata([row]),
            archive.rendered(row),
            archive.frame(row, 1),
            archive.waveform(row),
        ):
            try:
                await view
            except DicomError as error:
                assert error.reason
    return result


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "waveform_ecg.dcm",
        "image_dfl.dcm",
        "test-SR.dcm",
    ],
)
async def test_mutants_of_real_files_are_stored_or_refused(archive, name):
    rng = random.Random(name)
    whole = real(name)
    for number in range(40):
        data = bytearray(whole)
        kind = number % 4
        if kind == 0:
            data = data[: rng.randrange(len(data))]
        elif kind == 1:
            for _ in range(rng.choice([1, 10, 100])):
                data[rng.randrange(128, min(len(data), 4000))] = rng.randrange(256)
        elif kind == 2:
            at = rng.randrange(132, min(len(data), 4000))
            data[at : at + 4] = struct.pack(
                "<I", rng.choice([0, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, len(data)])
            )
        else:
            at = rng.randrange(132, len(data))
            data[at:at] = data[at : at + rng.randrange(1, 300)]
        await survive(archive, bytes(data), f"{name}-{number}")


def element(tag, vr, value):
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in {b"SQ", b"OB", b"OW", b"UN"}:
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
SEQUENCE = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"


@pytest.mark.asyncio(loop_scope="module")
async def test_sequences_twenty_thousand_deep_are_refused(archive):
    result = await survive(archive, PREFIX + (SEQUENCE + ITEM) * 20_000, "deep")
    assert (result.outcome, result.reason) == ("refused", "too_deep")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_million_empty_elements_are_read_within_bounds(archive):
    tiny = b"".join(element(0x00110000 | 0x1000 | (n % 0xEF), b"LO", b"") for n in range(255)) * 4000
    result = await survive(archive, PREFIX + tiny, "many")
    assert result.outcome == "refused"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("rows", [0, 1, 65535])
async def test_lying_rows_and_columns_are_kept_and_the_picture_refused(archive, rows):
    data = make(f"1.5.1.{rows}", study="1.5", series="1.5.1", Rows=rows, Columns=65535)
    result = await survive(archive, data, "lying")
    assert result.outcome == "stored"
    row = archive.instance(SCOPE, "1.5", None, result.sop_uid)
    with pytest.raises(DicomError) as caught:
        await archive.rendered(row)
    assert caught.value.reason in {"no_dimensions", "pixel_data_short", "too_large_to_decode"}


@pytest.mark.asyncio(loop_scope="module")
async def test_lying_lengths_are_truncated(archive):
    for prefix, body in (
        (PREFIX, b"\x08\x00\x05\x00CS\xff\xff"),
        (PREFIX, b"\xe0\x7f\x10\x00OW\0\0\xf0\xff\xff\xff"),
        (IMPLICIT, b"\x08\x00\x05\x00\xf0\xff\xff\xff"),
    ):
        result = await survive(archive, prefix + body, "short")
        assert result.outcome == "refused" and result.reason in {"truncated", "not_dicom"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3/..", "1.2 3", "1" * 65, "1.2;drop", "%2e%2e"])
async def test_uids_that_are_paths_are_refused_and_nothing_is_written_outside(archive, uid):
    data = make(study="9.9.9.9.9.9")
    old = b"9.9.9.9.9.9\x00"
    new = uid.encode().ljust(len(uid) + len(uid) % 2, b"\x00")
    at = data.index(old)
    data = data[: at - 2] + struct.pack("<H", len(new)) + new + data[at + len(old) :]
    result = await survive(archive, data, "path")
    assert (result.outcome, result.reason) == ("refused", "invalid_uid")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_number_of_frames_that_lies_costs_nothing(archive):
    result = await survive(
        archive, make("1.4.1", study="1.4", series="1.4.0", NumberOfFrames="2147483647"), "frames"
    )
    row = archive.instance(SCOPE, "1.4", None, result.sop_uid)
    assert row.pixels.kind is PixelKind.NATIVE
    with pytest.raises(DicomError):
        await archive.frame(row, 2_000_000_000)


@pytest.mark.asyncio(loop_scope="module")
async def test_after_all_that_the_workers_still_work(archive):
    result = await survive(archive, real("CT_small.dcm"), "after")
    row = archive.instance(Scope(organisations=frozenset({"after"})), result.study_uid, None, result.sop_uid)
    assert (await archive.rendered(row)).startswith(b"\xff\xd8")
