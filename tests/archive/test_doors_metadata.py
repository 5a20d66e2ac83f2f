"""STOW-RS with metadata and bulk data apart (PS3.18 §10.5.2): the same instance as from a file, whatever the form."""

from __future__ import annotations

import io
import json
import random
import struct

import numpy as np
import pydicom
import pytest
from imagecodecs import jpeg2k_encode, jpeg8_encode, jpegls_encode
from pydicom.encaps import generate_fragments, generate_frames

from dicom.assembling import assemble
from dicom.errors import RefusedError
from dicom.model import Limits, Scope
from dicom.native_reader import read_native_xml
from dicom.native_xml import native_xml
from dicom.workers.ops import vr_of
from tests.archive.files import make, real
from tests.archive.service import service

__all__ = ["service"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = "application/dicom+json"
XML = "application/dicom+xml"


@pytest.fixture(autouse=True)
def _own_eyes(service):
    service.scope = Scope(organisations=frozenset({"A"}), holder="A")


def metadata_of(data: bytes, bulk: dict[str, bytes], *, over: int = 64) -> dict:
    """DICOM JSON as pydicom writes it; values over `over` bytes go to `bulk`."""

    def keep(element):
        name = f"bulk/{len(bulk)}"
        value = element.value
        bulk[name] = value if isinstance(value, bytes) else str(value).encode()
        return name

    ds = pydicom.dcmread(io.BytesIO(data))
    return ds.to_json_dict(bulk_data_threshold=over, bulk_data_element_handler=keep)


def body_of(kind: str, metadata: list[bytes], parts: list[tuple[str, str, bytes]]) -> tuple[bytes, dict]:
    out = b""
    for document in metadata:
        out += b"--XX\r\nContent-Type: %s\r\n\r\n%s\r\n" % (kind.encode(), document)
    for media, location, data in parts:
        head = f"--XX\r\nContent-Type: {media}\r\nContent-Location: {location}\r\n\r\n"
        out += head.encode() + data + b"\r\n"
    return out + b"--XX--\r\n", {"Content-Type": f'multipart/related; type="{kind}"; boundary=XX'}


async def store(service, body: bytes, headers: dict, study: str = "") -> tuple[int, dict]:
    path = f"/dicom-web/studies{'/' + study if study else ''}"
    response = await service.client.post(path, data=io.BytesIO(body), headers=headers)
    return response.status, json.loads(await response.read())


def kept(service, sop: str) -> pydicom.Dataset:
    (row,) = [row for row in service.archive.instances(service.scope) if row.sop_uid == sop]
    return pydicom.dcmread(io.BytesIO(service.archive.read_file(row)))


def told(answer: dict) -> list[tuple[int, str]]:
    return [(f["00081197"]["Value"][0], f["00000902"]["Value"][0]) for f in answer["00081198"]["Value"]]


def plain(dataset: dict) -> dict:
    """DICOM JSON to compare: without the character set, padding behind it all, and how many zeros a decimal has."""
    out = {}
    for tag, attribute in dataset.items():
        values = attribute.get("Value", [])
        if attribute["vr"] == "SQ":
            values = [plain(item) for item in values]
        elif attribute["vr"] == "PN":
            values = [{group: name for group, name in value.items() if name.strip("^")} for value in values if value]
        if tag not in {"00080005", "FFFCFFFC"} and tag[4:] != "0000":
            out[tag] = attribute.get("InlineBinary"), [value for value in values if value not in ({}, "", None)]
    return out


def renamed(dataset: dict, sop: str) -> dict:
    return {**dataset, "00080018": {"vr": "UI", "Value": [sop]}}


@pytest.mark.parametrize("kind", [JSON, XML])
@pytest.mark.parametrize("name", ["CT_small.dcm", "waveform_ecg.dcm", "reportsi.dcm", "rtplan.dcm", "../charset_files/chrH31.dcm"])
async def test_every_value_arrives_whichever_way_the_instance_is_written(service, kind, name):
    bulk: dict[str, bytes] = {}
    sop = f"1.2.77.{len(name)}.{ord(name[0])}.{1 if kind == JSON else 2}"
    dataset = renamed(metadata_of(real(name), bulk), sop)
    document = json.dumps([dataset]).encode() if kind == JSON else native_xml(dataset)
    body, headers = body_of(kind, [document], [("application/octet-stream", uri, data) for uri, data in bulk.items()])
    status, answer = await store(service, body, headers)
    assert status == 200, answer
    got, want = kept(service, sop), pydicom.dcmread(io.BytesIO(real(name)))
    want.SOPInstanceUID = sop
    assert plain(got.to_json_dict()) == plain(want.to_json_dict())
    assert got.get("PixelData") == want.get("PixelData")
    assert got.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


async def test_several_instances_share_a_part_and_one_that_lacks_its_own_fails_alone(service):
    bulk: dict[str, bytes] = {}
    dataset = metadata_of(make(study="1.2.78", series="1.2.78.1", pixels=bytes(range(200)), Rows=50), bulk)
    lost = renamed(dataset, "1.2.78.1.3")
    lost["7FE00010"] = {"vr": "OW", "BulkDataURI": "nowhere"}
    everyone = [renamed(dataset, "1.2.78.1.1"), renamed(dataset, "1.2.78.1.2"), lost]
    body, headers = body_of(JSON, [json.dumps(everyone).encode()], [("application/octet-stream", *one) for one in bulk.items()])
    status, answer = await store(service, body, headers, "1.2.78")
    assert status == 202
    assert told(answer) == [(0xC000, "missing_bulkdata")]
    assert answer["00081198"]["Value"][0]["00081155"]["Value"] == ["1.2.78.1.3"]
    assert kept(service, "1.2.78.1.1").PixelData == kept(service, "1.2.78.1.2").PixelData == bytes(range(200))
    assert not list(service.archive.root.glob("staging/*"))
    status, answer = await store(service, body, headers, "1.2.79")
    assert status == 409 and {reason for reason, _ in told(answer)} == {0xA900, 0xC000}


PICTURE = np.add.outer(np.arange(16, dtype=np.uint8) * 3, np.arange(24, dtype=np.uint8) * 2)


@pytest.mark.parametrize(
    ("media", "encode", "syntax"),
    [
        ("image/jpeg", lambda a: jpeg8_encode(a, level=95), "1.2.840.10008.1.2.4.50"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70", lambda a: jpeg8_encode(a, level=95), "1.2.840.10008.1.2.4.50"),
        ("image/jls", jpegls_encode, "1.2.840.10008.1.2.4.80"),
        ("image/jp2", lambda a: jpeg2k_encode(a, reversible=True, level=0, codecformat="jp2"), "1.2.840.10008.1.2.4.90"),
        ("image/jp2", lambda a: jpeg2k_encode(a, reversible=True, level=0, codecformat="j2k"), "1.2.840.10008.1.2.4.90"),
    ],
)
async def test_code_streams_become_fragments_and_say_themselves_what_they_are(service, media, encode, syntax):
    pixels = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
              "PhotometricInterpretation", "PixelData")  # fmt: skip
    frames = [encode(PICTURE), encode(PICTURE[::-1].copy())]
    sop = f"1.2.80.{abs(hash((media, frames[0]))) % 10**9}"
    dataset = metadata_of(make(sop, study="1.2.80", series="1.2.80.1", **dict.fromkeys(pixels)), {})
    dataset["7FE00010"] = {"vr": "OB", "BulkDataURI": "http://elsewhere/frames"}
    parts = [(media, "http://elsewhere/frames", frame) for frame in frames]
    status, answer = await store(service, *body_of(JSON, [json.dumps([dataset]).encode()], parts))
    assert status == 200, answer
    got = kept(service, sop)
    assert got.file_meta.TransferSyntaxUID == syntax
    assert (got.Rows, got.Columns, got.NumberOfFrames, got.BitsStored, got.PhotometricInterpretation) == (
        16, 24, 2, 8, "MONOCHROME2",
    )  # fmt: skip
    assert len(list(generate_frames(got.PixelData, number_of_frames=2))) == 2
    (row,) = [row for row in service.archive.instances(service.scope) if row.sop_uid == sop]
    for number, want in ((1, PICTURE), (2, PICTURE[::-1])):
        shown = np.frombuffer(await service.archive.frame(row, number), np.uint8).reshape(16, 24)
        assert np.abs(shown.astype(int) - want).max() <= (2 if syntax.endswith(".50") else 0)


async def test_rle_frames_films_and_named_syntaxes_are_kept_as_they_come(service):
    ds = pydicom.dcmread(io.BytesIO(real("MR_small_RLE.dcm")))
    (rle,) = generate_frames(ds.PixelData, number_of_frames=1)
    jpeg = jpeg8_encode(PICTURE)
    for number, (media, data, syntax) in enumerate((
        ("image/dicom-rle", rle, "1.2.840.10008.1.2.5"),
        ("video/mp4; transfer-syntax=1.2.840.10008.1.2.4.107", b"film" * 99, "1.2.840.10008.1.2.4.107"),
        ("video/mp4", b"film" * 98, "1.2.840.10008.1.2.4.102"),
        ("video/mpeg", b"film" * 97 + b"!", "1.2.840.10008.1.2.4.100"),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50", jpeg, "1.2.840.10008.1.2.4.50"),
    )):  # fmt: skip
        sop = f"1.2.86.{number}"
        dataset = renamed(metadata_of(real("MR_small_RLE.dcm"), {}, over=1 << 30), sop)
        dataset["7FE00010"] = {"vr": "OB", "BulkDataURI": "film"}
        status, answer = await store(service, *body_of(JSON, [json.dumps([dataset]).encode()], [(media, "film", data)]))
        assert status == 200, (media, answer)
        got = kept(service, sop)
        assert got.file_meta.TransferSyntaxUID == syntax
        (fragment,) = generate_fragments(got.PixelData[8:])
        assert fragment == data + bytes(len(data) % 2)
    (row,) = [row for row in service.archive.instances(service.scope) if row.sop_uid == "1.2.86.0"]
    want = pydicom.dcmread(io.BytesIO(real("MR_small.dcm"))).PixelData
    assert await service.archive.frame(row, 1) == want


@pytest.mark.parametrize(
    ("media", "data"),
    [("image/png", b"\x89PNG\r\n\x1a\n"), ("image/jpeg", b"\xff\xd8\xff\xc2\x00\x03"), ("image/jpeg", b""),
     ("image/jp2", b"\xff\x4f\xff\x51\x00"), ("application/octet-stream; transfer-syntax=1.2.3", b"ab")],
)  # fmt: skip
async def test_pixels_in_a_form_we_do_not_know_are_refused_with_the_standards_reason(service, media, data):
    dataset = metadata_of(make("1.2.81.1", study="1.2.81", series="1.2.81.2"), {})
    dataset["7FE00010"] = {"vr": "OB", "BulkDataURI": "x"}
    status, answer = await store(service, *body_of(JSON, [json.dumps([dataset]).encode()], [(media, "x", data)]))
    assert (status, told(answer)) == (409, [(0xC122, "bulkdata_not_supported")])


BOMB = b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 1000 + b'">]><NativeDicomModel>&x;&x;</NativeDicomModel>'
DEEP = b'{"00400260":{"vr":"SQ","Value":[' * 5000


@pytest.mark.parametrize(
    ("kind", "document", "reason"),
    [
        (JSON, b"", "bad_metadata"),
        (JSON, b"[", "bad_metadata"),
        (JSON, b"[]", "bad_metadata"),
        (JSON, b"[1, 2]", "bad_metadata"),
        (JSON, DEEP, "bad_metadata"),
        (JSON, b'["' + b"x" * (17 << 20) + b'"]', "too_large"),
        (XML, b"<a/>", "bad_metadata"),
        (XML, BOMB, "bad_metadata"),
        (XML, b"<NativeDicomModel><Value>1</Value></NativeDicomModel>", "bad_metadata"),
        (XML, b'<NativeDicomModel><DicomAttribute tag="00080016" vr="UI"><Value number="999999999">1</Value>', "bad_metadata"),
    ],
)
async def test_metadata_that_cannot_be_read_refuse_the_request(service, kind, document, reason):
    status, answer = await store(service, *body_of(kind, [document], []))
    assert (status, answer["code"]) == (413 if reason == "too_large" else 400, reason)
    assert service.archive.workers.deaths == 0


@pytest.mark.parametrize(
    "attribute",
    [{"vr": "US", "Value": [70000]}, {"vr": "US", "Value": ["x"]}, {"vr": "ZZ"}, {"vr": "OB", "InlineBinary": "*"},
     {"vr": "OB", "Value": [1]}, {"vr": "SQ", "Value": [3]}, {"vr": "LT", "Value": ["a", "b"]}, {"vr": "LO", "Value": "a"},
     {"vr": "DS", "Value": [True]}, 5],
)  # fmt: skip
async def test_a_value_that_is_none_of_its_representation_fails_its_instance_alone(service, attribute):
    dataset = metadata_of(make("1.2.82.1", study="1.2.82", series="1.2.82.2"), {})
    status, answer = await store(service, *body_of(JSON, [json.dumps([{**dataset, "00091001": attribute}]).encode()], []))
    assert (status, told(answer)) == (409, [(0xC000, "bad_metadata")])


async def test_a_body_that_breaks_off_stores_nothing_and_leaves_no_file(service):
    dataset = metadata_of(make("1.2.83.1", study="1.2.83", series="1.2.83.2"), {})
    body, headers = body_of(JSON, [json.dumps([dataset]).encode()], [("application/octet-stream", "x", bytes(1 << 20))])
    status, answer = await store(service, body[:-9], headers)
    assert (status, answer["code"]) == (400, "cut_multipart")
    assert not [row for row in service.archive.instances(service.scope) if row.study_uid == "1.2.83"]
    assert not list(service.archive.root.glob("staging/*"))


async def test_text_outside_ascii_is_stored_as_unicode_and_found(service):
    dataset = metadata_of(make("1.2.84.1", study="1.2.84", series="1.2.84.2"), {})
    del dataset["00080005"]
    dataset["00100010"]["Value"] = [{"Ideographic": "单^小雨"}]
    dataset["00081030"]["Value"] = ["胸部"]
    status, _ = await store(service, *body_of(JSON, [json.dumps(dataset).encode()], []))
    assert status == 200
    got = kept(service, "1.2.84.1")
    assert (got.SpecificCharacterSet, str(got.PatientName), got.StudyDescription) == ("ISO_IR 192", "=单^小雨", "胸部")


async def test_numbers_written_as_decimal_strings_keep_within_sixteen_characters(service):
    dataset = metadata_of(make("1.2.85.1", study="1.2.85", series="1.2.85.2"), {})
    dataset["00280030"] = {"vr": "DS", "Value": [0.1234567890123456, -1.2345678901234567e-10]}
    dataset["00189322"] = {"vr": "FD", "Value": ["NaN", "-Infinity"]}
    status, _ = await store(service, *body_of(JSON, [json.dumps([dataset]).encode()], []))
    assert status == 200
    got = kept(service, "1.2.85.1")
    assert all(len(str(value.original_string)) <= 16 for value in got.PixelSpacing)
    assert [float(v) for v in got.PixelSpacing] == pytest.approx([0.1234567890123456, -1.2345678901234567e-10], rel=1e-8)
    assert struct.pack("<d", got[0x00189322].value[1]) == struct.pack("<d", float("-inf"))


async def test_the_native_model_reads_back_what_was_written():
    value = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Zhang^San", "Ideographic": "张^三"}]},
        "00400260": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["a<b"]}}, {}]},
        "00081140": {"vr": "SQ"},
        "7FE00010": {"vr": "OW", "BulkDataURI": "x?y=1&z"},
        "00091010": {"vr": "OB", "InlineBinary": "AAEC"},
    }
    assert read_native_xml(native_xml(value), max_depth=32, max_elements=1000) == value
    with pytest.raises(RefusedError, match="too_deep"):
        read_native_xml(native_xml(value), max_depth=0, max_elements=1000)


JUNK = [None, True, 5, -1.5, 10**30, "", "x", [], {}, [None], [{}], [[1]], {"vr": 5}, {"vr": []}, {"Value": 3}, {"Alphabetic": 5},
        {"vr": "SQ", "Value": [{"a": 1}]}]  # fmt: skip


def paths(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from paths(one, (*path, name))


def spoilt(value: dict, rng: random.Random) -> dict:
    value = json.loads(json.dumps(value))
    path = rng.choice([path for path in paths(value) if path])
    place = value
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = rng.choice(JUNK)
    return value


async def test_whatever_the_metadata_are_the_worker_answers_with_instances_or_a_reason(tmp_path):
    rng, bulk, outcomes = random.Random(20261122), {}, set()
    datasets = [metadata_of(real(name), bulk) for name in ("CT_small.dcm", "reportsi.dcm", "waveform_ecg.dcm")]
    streams = [jpeg8_encode(PICTURE), jpeg2k_encode(PICTURE, codecformat="jp2"), bytes(10)]
    for turn in range(40):
        value = spoilt(rng.choice(datasets), rng)
        kind = rng.choice([JSON, XML])
        try:
            document = bytearray(json.dumps([value]).encode() if kind == JSON else native_xml(value))
        except (TypeError, AttributeError, KeyError, ValueError, IndexError):
            continue  # no document of this kind can say it
        for _ in range(rng.choice([0, 1, 5])):
            document[rng.randrange(len(document))] = rng.randrange(256)
        data = bytearray(rng.choice(streams))
        for _ in range(rng.choice([0, 1, 5])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / str(turn)
        path.write_bytes(document + data)
        media = rng.choice(["image/jpeg", "image/jp2", "application/octet-stream", "video/mp4"])
        parts = [{"media": kind, "syntax": "", "location": "", "offset": 0, "length": len(document)}] + [
            {"media": media, "syntax": "", "location": name, "offset": len(document), "length": len(data)} for name in bulk
        ]
        try:
            outcomes |= {one.get("reason", "stored") for one in assemble({"path": str(path), "parts": parts}, Limits(), vr_of)}
        except RefusedError as error:
            outcomes.add(error.reason)
    assert outcomes == {"stored", "bad_metadata", "bulkdata_not_supported"}
