"""Every file the pydicom package ships: stored or refused with a reason, and what comes back is what went in."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zlib

import numpy as np
import pydicom
import pytest
import pytest_asyncio
from pydicom.waveforms import multiplex_array

from dicom.archive import Archive
from dicom.errors import REFUSALS, DicomError
from dicom.model import PixelKind, Scope
from dicom.waveform import waveforms_to_json
from tests.archive.files import name_of, real, real_files

EVERYTHING = Scope.everything()
# Reasons written by hand; every other file must be stored.
EXPECTED = {
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "truncated",
    "JPEGLSNearLossless_08.dcm": "missing_uid",
    "JPEGLSNearLossless_16.dcm": "missing_uid",
    "SC_rgb_jls_lossy_line.dcm": "missing_uid",
    "SC_rgb_jls_lossy_sample.dcm": "missing_uid",
    "UN_sequence.dcm": "missing_uid",
    "meta_missing_tsyntax.dcm": "not_dicom",
    "no_meta.dcm": "not_dicom",
    "empty_charset_LEI.dcm": "not_dicom",
    "nested_priv_SQ.dcm": "not_dicom",
    "priv_SQ.dcm": "not_dicom",
    "no_meta_group_length.dcm": "not_dicom",
}


def expected_reason(path):
    name = name_of(path)
    if "DICOMDIR" in path.name:
        return "media_directory"
    if path.suffix in {".txt", ".icc", ".dump", ".json", ".gz"} or path.name == "README":
        return "not_dicom"
    return EXPECTED.get(name)


def read(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(root):
    """Each file in an organisation of its own, since the package's files share UIDs."""
    archive = Archive.open(root, worker_count=2)
    await archive.start()
    results = {}
    for number, path in enumerate(real_files()):
        organisation = f"o{number}"
        result = await archive.ingest(path.read_bytes(), organisation=organisation, source="test")
        results[path] = (result, Scope(organisations=frozenset({organisation})))
    yield archive, results
    await archive.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_every_file_is_stored_or_refused_for_the_expected_reason(everything):
    _, results = everything
    wrong = {
        name_of(path): (result.outcome, result.reason)
        for path, (result, _) in results.items()
        if result.reason != expected_reason(path)
        or (result.outcome == "stored") != (expected_reason(path) is None)
    }
    assert not wrong
    assert len(results) == len(real_files()) > 170
    assert {result.reason for result, _ in results.values() if result.reason} <= set(REFUSALS)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_stored_comes_back_byte_for_byte(everything):
    archive, results = everything
    stored = 0
    for path, (result, scope) in results.items():
        if result.outcome != "stored":
            continue
        row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
        sent, got = path.read_bytes(), archive.read_file(row)
        dataset = got[row.place.prefix_length :]
        assert sent.endswith(dataset) and len(dataset) > 100, path
        assert hashlib.sha256(dataset).hexdigest() == result.digest == row.digest
        tiff = sent[:2] == b"II" and sent[128:132] == b"DICM"
        assert got[:132] == (sent[:128] if tiff else bytes(128)) + b"DICM"
        if sent[128:132] == b"DICM":
            assert got[128:] == sent[128:], path
        assert read(got).SOPInstanceUID == result.sop_uid
        stored += 1
    assert stored > 140


@pytest.mark.asyncio(loop_scope="module")
async def test_native_frames_are_the_files_pixel_bytes(everything):
    archive, results = everything
    checked = 0
    for path, (result, scope) in results.items():
        if result.outcome != "stored":
            continue
        row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
        if (
            row.pixels.kind is not PixelKind.NATIVE
            or row.pixels.length < row.pixels.frames * row.pixels.frame_length
        ):
            continue
        ds = read(path.read_bytes())
        frames = b"".join([await archive.frame(row, n) for n in range(1, row.pixels.frames + 1)])
        want = ds.PixelData
        if row.transfer_syntax == "1.2.840.10008.1.2.2":
            width = (
                2 if ds.BitsAllocated == 8 and ds["PixelData"].VR == "OW" else max(ds.BitsAllocated // 8, 1)
            )
            if ds["PixelData"].VR == "OW" and ds.BitsAllocated <= 8:
                width = 2
            want = np.frombuffer(want, f">u{width}").astype(f"<u{width}").tobytes()
        assert frames == want[: len(frames)], path
        assert len(want) - len(frames) <= 1 or path.name in {"MR_small_padded.dcm", "badVR.dcm"}
        checked += 1
    assert checked > 50


@pytest.mark.asyncio(loop_scope="module")
async def test_decoded_frames_equal_pydicoms_own_decoding(everything):
    """RLE and JPEG 2000 to the number; lossy JPEG, where decoders round differently, within two steps."""
    archive, results = everything
    checked = []
    for path, (result, scope) in results.items():
        if result.outcome != "stored":
            continue
        row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
        if row.pixels.kind is not PixelKind.ENCAPSULATED:
            continue
        ds = read(path.read_bytes())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                want = ds.pixel_array
        except Exception:
            continue  # pydicom has no decoder for it here
        if row.pixels.frames > 1:
            want = want[0]
        data = await archive.frame(row, 1)
        got = np.frombuffer(data, want.dtype.newbyteorder("<")).reshape(want.shape)
        lossy = row.transfer_syntax in {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
        if lossy and want.ndim == 3:
            continue  # compared in test_colours_of_jpeg
        apart = int(np.abs(got.astype(np.int64) - want.astype(np.int64)).max())
        assert apart <= (2 if lossy else 0), (path, apart)
        checked.append(name_of(path))
    assert len(checked) >= 12


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_colours_of_jpeg_are_those_of_the_uncompressed_original(everything, name):
    """pydicom's colour bars: the first band is pure red."""
    archive, results = everything
    ((result, scope),) = [value for path, value in results.items() if path.name == name]
    row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
    frame = np.frombuffer(await archive.frame(row, 1), np.uint8).reshape(100, 100, 3)
    red, green, blue = (int(v) for v in frame[5, 50])
    assert red > 245 and green < 12 and blue < 12


@pytest.mark.asyncio(loop_scope="module")
async def test_every_picture_is_made_or_refused_with_a_reason(everything):
    archive, results = everything
    failed = {}
    for path, (result, scope) in results.items():
        if result.outcome != "stored":
            continue
        row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
        if row.pixels.kind is PixelKind.NONE:
            continue
        try:
            data = await archive.rendered(row)
        except DicomError as error:
            failed[name_of(path)] = error.reason
        else:
            assert data.startswith(b"\xff\xd8\xff")
    assert failed == {"JPEG2000-embedded-sequence-delimiter.dcm": "size_differs"}


@pytest.mark.asyncio(loop_scope="module")
async def test_metadata_agrees_with_pydicom(everything):
    archive, results = everything
    checked = 0
    for path, (result, scope) in results.items():
        if result.outcome != "stored" or path.name == "badVR.dcm":
            continue
        row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
        (data,) = await archive.metadata([row])
        ours = json.loads(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = read(path.read_bytes()).to_json_dict(
                    bulk_data_threshold=1 << 30, bulk_data_element_handler=None, suppress_invalid_tags=True
                )
            except Exception:
                continue
        for tag, want in theirs.items():
            if tag.startswith("0002") or tag.endswith("0000") or tag in {"00080005"}:
                continue
            assert tag in ours, (path, tag)
            if int(tag[:4], 16) % 2 == 0 and want["vr"] not in {"SQ", "OB or OW", "OW", "OB", "UN"}:
                mine = ours[tag]
                assert mine["vr"] == want["vr"], (path, tag)
                if want["vr"] in {"US", "UL", "SS", "IS", "UI", "DA", "CS", "FD"}:
                    theirs_value = [v.strip() if isinstance(v, str) else v for v in want.get("Value", [])]
                    assert [v or "" if v is None else v for v in mine.get("Value", [])] == [
                        v or "" if v is None else v for v in theirs_value
                    ], (path, tag)
        checked += 1
    assert checked > 120


@pytest.mark.asyncio(loop_scope="module")
async def test_the_ecg_is_in_millivolts_as_pydicom_computes_it(everything):
    archive, results = everything
    ((result, scope),) = [value for path, value in results.items() if path.name == "waveform_ecg.dcm"]
    row = archive.instance(scope, result.study_uid, result.series_uid, result.sop_uid)
    value = json.loads(zlib.decompress(await archive.waveform(row)))
    ds = read(real("waveform_ecg.dcm"))
    want = multiplex_array(ds, 0, as_raw=False)  # microvolts
    import base64

    assert [lead["name"] for lead in value["leads"]] == [
        "I",
        "II",
        "III",
        "aVR",
        "aVL",
        "aVF",
        *(f"V{n}" for n in range(1, 7)),
    ]
    assert value["samplingHz"] == 1000.0 and value["durationMs"] == 10000.0
    for number, lead in enumerate(value["leads"]):
        assert lead["unit"] == "uV"
        samples = np.frombuffer(base64.b64decode(lead["samples"]), "<i2") * lead["scale"] + lead["offset"]
        np.testing.assert_allclose(samples, want[:, number], atol=1e-9)
    assert value["measurements"] == pytest.approx(
        {
            "rr": 982,
            "pr": 161,
            "qrs": 75,
            "qt": 368,
            "qtc": 370,
            "pAxis": 74,
            "axis": 52,
            "tAxis": 57,
            "heartRate": 60000 / 982,
        }
    )
    assert [note["text"] for note in value["annotations"][:2]] == ["RITMO SINUSALE", "ECG NORMALE"]
    assert value["groups"][0]["label"] == "MEDIAN BEAT"


def test_waveform_values_are_float32_millivolts():
    from dicom.elements import Walker, Window
    from dicom.part10 import split_file
    from dicom.waveform import read_waveforms

    data = real("waveform_ecg.dcm")
    head = split_file(Window.of(data))
    waves = read_waveforms(
        Walker(Window.of(memoryview(data)[head.dataset_start :]), explicit=True, little=True)
    )
    want = multiplex_array(read(data), 0, as_raw=False) / 1000.0
    assert waves[0].channels[1].samples.dtype == np.float32
    np.testing.assert_allclose(waves[0].channels[1].samples, want[:, 1], atol=1e-6)
    assert waveforms_to_json(waves)["samplingHz"] == 1000.0
