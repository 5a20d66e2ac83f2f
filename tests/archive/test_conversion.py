"""Other transfer syntaxes on request: the same pixels, the same values, or a reason."""

from __future__ import annotations

import io
import warnings

import msgspec
import numpy as np
import pydicom
import pytest
import pytest_asyncio

from dicom.archive import Archive
from dicom.elements import Window
from dicom.errors import DicomError
from dicom.model import Limits, PixelKind, Scope
from dicom.part10 import split_file
from dicom.pixels import decode
from dicom.retrieve import ByteRange
from dicom.syntaxes import DEFLATED, ENCODED, EXPLICIT_LE, IMPLICIT_LE, JPEG_BASELINE
from dicom.workers import ops
from tests.archive.files import FOLDER, make, name_of, real_files

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Written by hand: every other file must come out in explicit little endian.
NO_PLAIN_FORM = {"JPEG2000-embedded-sequence-delimiter.dcm": "size_differs"}
CHANGED = {0x00080008, 0x00080018, 0x00082111, 0x00082112, 0x00280004, 0x00280006, 0x00282110, 0x00282112,
           0x00282114, 0x7FE00001, 0x7FE00010, 0x00880200, 0xFFFAFFFA, 0xFFFCFFFC}  # fmt: skip


def read(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


def frame_of(data, number):
    """A frame as our own decoder sees it, in this process: an array, colours as RGB."""
    head = split_file(Window.of(data))
    blob = {
        "syntax": head.transfer_syntax,
        "data": data[head.dataset_start :],
        "length": len(data) - head.dataset_start,
    }
    with ops.Dataset(blob, Limits()) as dataset:
        return decode.read_image(dataset, None).frame(number)


async def file_in(archive, row, target):
    made = await archive.retriever.converted(row, target)
    first = archive.read(made.first) if isinstance(made.first, ByteRange) else made.first
    more = [await one.make() for one in made.more]
    assert all(one.length in {None, len(data)} for one, data in zip(made.more, more, strict=True))
    return b"".join([made.head, first, *more, made.tail])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(tmp_path_factory):
    archive = Archive.open(tmp_path_factory.mktemp("conversion"), worker_count=2)
    await archive.start()
    rows = {}
    for number, path in enumerate(real_files()):
        result = await archive.ingest(path.read_bytes(), organisation=f"o{number}", source="test")
        if result.outcome == "stored":
            scope = Scope(organisations=frozenset({f"o{number}"}))
            rows[name_of(path)] = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
    yield archive, rows
    await archive.close()


def values(ds):
    """tag → value of everything that a change of transfer syntax leaves alone."""
    out = {}
    for tag in list(ds.keys()):     # iterating a Dataset reads its elements, which may raise
        if int(tag) in CHANGED or tag.element == 0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                element = ds[tag]
            except Exception as error:  # a value pydicom cannot read in either file
                out[int(tag)] = type(error).__name__
                continue
            out[int(tag)] = [values(item) for item in element.value] if element.VR == "SQ" else repr(element.value)
    return out


async def test_every_file_comes_in_explicit_little_endian_with_its_values_and_pixels_or_with_a_reason(stored):
    archive, rows = stored
    refused, checked = {}, 0
    for name, row in rows.items():
        if row.transfer_syntax == EXPLICIT_LE:
            continue
        try:
            data = await file_in(archive, row, EXPLICIT_LE)
        except DicomError as error:
            refused[name] = error.reason
            continue
        old, new = read((FOLDER / name).read_bytes()), read(data)
        assert new.file_meta.TransferSyntaxUID == EXPLICIT_LE and new.SOPInstanceUID == row.sop_uid
        assert values(new) == values(old), name
        for number in range(1, min(archive.retriever.frame_count(row), 3) + 1):
            want = frame_of((FOLDER / name).read_bytes(), number)
            assert np.array_equal(frame_of(data, number), want, equal_nan=want.dtype.kind == "f"), (name, number)
        if row.pixels.keyword == "PixelData" and "PixelData" in new:
            assert len(new.PixelData) % 2 == 0
        checked += 1
        if row.samples == 1 and row.pixels.keyword == "PixelData" and row.bits_allocated > 1:
            assert np.array_equal(new.pixel_array.reshape(-1)[: want.size], frame_of(data, 1).reshape(-1)), name
    assert refused == NO_PLAIN_FORM
    assert checked > 45


@pytest.mark.parametrize("target", sorted(ENCODED))
async def test_every_compression_keeps_every_sample_or_says_why_not(stored, target):
    archive, rows = stored
    done, refused = 0, set()
    for name, row in rows.items():
        if (
            row.pixels.kind is PixelKind.NONE
            or (row.rows or 0) * (row.columns or 0) > 600 * 800
            or (row.frames or 1) > 10
        ):
            continue
        if row.transfer_syntax == target:
            continue
        try:
            data = await file_in(archive, row, target)
        except DicomError as error:
            refused.add(error.reason)
            continue
        new = read(data)
        assert new.file_meta.TransferSyntaxUID == target, name
        want, got = frame_of((FOLDER / name).read_bytes(), 1), frame_of(data, 1)
        if target == JPEG_BASELINE:
            assert np.abs(want.astype(int) - got.astype(int)).mean() < 6, name
            assert new.LossyImageCompression == "01" and new.SOPInstanceUID != row.sop_uid
            assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == row.sop_uid
            assert new.ImageType[0] == "DERIVED" and "ISO_10918_1" in new["LossyImageCompressionMethod"].value
        else:
            assert np.array_equal(want, got), name
            assert new.SOPInstanceUID == row.sop_uid
        done += 1
    assert done > (10 if target == JPEG_BASELINE else 40), (done, refused)
    assert refused <= {
        "bits_not_supported",
        "photometric_not_supported",
        "pixel_data_short",
        "code_stream_damaged",
        "frames_unclear",
        "size_differs",
        "odd_bits_allocated",
        "no_dimensions",
    }


async def test_the_same_request_makes_the_same_bytes(stored):
    archive, rows = stored
    for target in sorted(ENCODED):
        row = rows["CT_small.dcm" if target != JPEG_BASELINE else "examples_rgb_color.dcm"]
        assert await file_in(archive, row, target) == await file_in(archive, row, target)


async def test_signed_pixels_with_few_bits_keep_their_sign(stored):
    archive, _ = stored
    pixels = np.array([-2048, 2047], "<i2").tobytes()
    data = make(
        "1.55.1.1", study="1.55", series="1.55.1", pixels=pixels, PixelRepresentation=1, BitsStored=12, HighBit=11
    )
    result = await archive.ingest(data, organisation="signed", source="test")
    row = archive.instance(Scope(organisations=frozenset({"signed"})), "1.55", None, result.sop_uid)
    for target in sorted(ENCODED - {JPEG_BASELINE}):
        assert frame_of(await file_in(archive, row, target), 1).tobytes() == pixels, target


def enlarged(name, syntax, times, **changes):
    """A real file of many times its frames, in another uncompressed transfer syntax."""
    ds = pydicom.dcmread(FOLDER / name)
    frame = ds.PixelData[: ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated // 8]
    ds.PixelData = frame * times + bytes(len(frame) * times % 2)
    ds.NumberOfFrames = times
    for key, value in changes.items():
        setattr(ds, key, value)
    ds.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    ds.save_as(out, implicit_vr=syntax == IMPLICIT_LE, little_endian=True, enforce_file_format=True)
    return out.getvalue()


def turned(name, times):
    """A real big endian file of many times its frames."""
    data = (FOLDER / name).read_bytes()
    at = data.rindex(b"\x7f\xe0\x00\x10OW\x00\x00") + 12
    length = int.from_bytes(data[at - 4 : at], "big")
    frames = b"\x00\x28\x00\x08IS\x00\x04" + f"{times:<4}".encode()
    where = data.index(b"\x00\x28\x00\x10US")
    return data[:where] + frames + data[where : at - 4] + (length * times).to_bytes(4, "big") + data[at : at + length] * times


@pytest.mark.parametrize(
    "make_file",
    [
        lambda: turned("MR_small_bigendian.dcm", 3000),
        lambda: enlarged("MR_small.dcm", DEFLATED, 3000, SOPInstanceUID="1.2.3.44"),
        lambda: enlarged("MR_small.dcm", IMPLICIT_LE, 3000, SOPInstanceUID="1.2.3.45"),
        lambda: enlarged("SC_rgb_small_odd.dcm", DEFLATED, 7, SOPInstanceUID="1.2.3.46"),
    ],
    ids=["big endian", "deflated", "implicit", "deflated, of odd frames"],
)
async def test_native_pixels_pass_in_pieces_through_the_server(stored, make_file):
    """24 MB came from the worker at once, and up to 256."""
    archive, _ = stored
    data = make_file()
    result = await archive.ingest(data, organisation="native", source="test")
    assert result.outcome == "stored"
    scope = Scope(organisations=frozenset({"native"}))
    row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
    received = []
    whole = archive.workers.call

    async def call(*args, **more):
        answer = await whole(*args, **more)
        received.append(len(msgspec.msgpack.encode(answer)))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive.workers, "call", call)
        converted = await file_in(archive, row, EXPLICIT_LE)
        found = await archive.retriever.bulkdata_pieces(row, "7FE00010")
        pieces = [archive.read(found)] if isinstance(found, ByteRange) else [await one.make() for one in found]
    assert max(received) < 5 << 20
    new, old = read(converted), read(data)
    assert new.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert len(new.PixelData) % 2 == 0
    assert np.array_equal(new.pixel_array, old.pixel_array)
    assert b"".join(pieces) == new.PixelData
    if row.rows > 60:
        assert len(new.PixelData) > 20 << 20
