"""Which representation is sent for what clients really ask (PS3.18 §8.7)."""

from __future__ import annotations

import io
import json

import pydicom
import pytest

from dicom.model import InstanceRow, PixelKind, PixelLayout, Place, Scope
from dicom.syntaxes import ENCODED, EXPLICIT_LE, FRAME_TYPES, IMPLICIT_LE, JPEG_BASELINE, JPEG_LS
from dicom.web import parse_accept
from server.dicomweb.choosing import choose_files, choose_frames
from tests.archive.files import make, real
from tests.archive.service import get, parts_of, service, url

__all__ = ["service"]
J2K, HTJ2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5"
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
module_loop = pytest.mark.asyncio(loop_scope="module")


def a_row(syntax=EXPLICIT_LE, kind=PixelKind.NATIVE, bits=16):
    from datetime import UTC, datetime

    return InstanceRow(
        organisation="A", study_uid="1", series_uid="1.1", sop_uid="1.1.1", sop_class="1.2", number=1, modality="CT",
        transfer_syntax=syntax, digest="00", rows=2, columns=2, bits_allocated=bits, samples=1,
        photometric="MONOCHROME2", frames=1, has_waveform=False, document_type="", stored_at=datetime.now(UTC), blob=1,
        place=Place(pack=1, offset=0, prefix_length=0, body_length=100),
        pixels=PixelLayout(kind=kind, length=8, frames=1, frame_length=8, keyword="PixelData", ranges=(((0, 8),),)),
    )  # fmt: skip


def frames(accept, row, count=1):
    choice = choose_frames(parse_accept(accept), row, count)
    return choice.way, choice.syntax, choice.media, choice.multipart


OCTETS = "application/octet-stream"
PLAIN, JPEG = a_row(), a_row(JPEG_BASELINE, PixelKind.ENCAPSULATED, 8)


@pytest.mark.parametrize(
    ("accept", "row", "expected"),
    [
        # OHIF and cornerstone3D: unquoted and quoted
        (OHIF, PLAIN, ("plain", EXPLICIT_LE, OCTETS, True)),
        (OHIF, JPEG, ("stored", JPEG_BASELINE, OCTETS, True)),
        ('multipart/related; type="application/octet-stream"; transfer-syntax=*', JPEG, ("stored", JPEG_BASELINE, OCTETS, True)),
        # nothing said, or everything: the default of the standard
        ("", JPEG, ("plain", EXPLICIT_LE, OCTETS, True)),
        ("*/*", JPEG, ("plain", EXPLICIT_LE, OCTETS, True)),
        ("multipart/related", PLAIN, ("plain", EXPLICIT_LE, OCTETS, True)),
        ('multipart/related; type="*/*"', PLAIN, ("plain", EXPLICIT_LE, OCTETS, True)),
        ('multipart/related; type="application/octet-stream"', JPEG, ("plain", EXPLICIT_LE, OCTETS, True)),
        ("application/octet-stream", PLAIN, ("plain", EXPLICIT_LE, OCTETS, False)),
        # dicomweb-client: a list, each with its own syntax
        (('multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
         'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50'), JPEG,
         ("stored", JPEG_BASELINE, "image/jpeg", True)),
        (('multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80; q=0.9, '
         'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50; q=0.5'), JPEG,
         ("coded", JPEG_LS, "image/jls", True)),
        ("multipart/related; type=image/jp2", PLAIN, ("coded", J2K, "image/jp2", True)),
        ("multipart/related; type=image/jphc; transfer-syntax=*", PLAIN, ("coded", HTJ2K, "image/jphc", True)),
        ("image/jpeg", JPEG, ("stored", JPEG_BASELINE, "image/jpeg", False)),
        ("image/jpeg", PLAIN, ("coded", "1.2.840.10008.1.2.4.70", "image/jpeg", False)),
        (f"multipart/related; type=application/octet-stream; transfer-syntax={JPEG_LS}", PLAIN, ("coded", JPEG_LS, OCTETS, True)),
        # no work is preferred among equals, quality before that
        ("image/jls, image/jpeg", JPEG, ("stored", JPEG_BASELINE, "image/jpeg", False)),
        ("image/jls;q=0, */*;q=0.1", JPEG, ("plain", EXPLICIT_LE, OCTETS, True)),
    ],
)  # fmt: skip
def test_a_frame_is_given_as_it_is_asked_for(accept, row, expected):
    assert frames(accept, row) == expected


@pytest.mark.parametrize(
    ("accept", "row", "reason"),
    [
        ("text/html", PLAIN, "not_acceptable"),
        ("image/dicom-rle", PLAIN, "transfer_syntax_not_encoded"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.51", PLAIN, "transfer_syntax_not_encoded"),
        ("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", PLAIN, "transfer_syntax_not_encoded"),
        (f"image/jpeg; transfer-syntax={JPEG_BASELINE}", PLAIN, "bits_not_supported"),
        (f"{OCTETS}; transfer-syntax={IMPLICIT_LE}", PLAIN, "transfer_syntax_not_encoded"),
        ("image/jls", a_row(bits=32), "bits_not_supported"),
        ("image/jls", a_row(kind=PixelKind.BITS, bits=1), "bits_not_supported"),
        (OCTETS, a_row("1.2.840.10008.1.2.4.102", PixelKind.UNCERTAIN, 8), "video_not_decoded"),
        (OCTETS, a_row("1.2.3.4", PixelKind.ENCAPSULATED), "transfer_syntax_not_decoded"),
        ("image/jls", a_row(JPEG_BASELINE, PixelKind.UNCERTAIN), "frames_unclear"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_says_why(accept, row, reason):
    from dicom.errors import NotAcceptableError

    with pytest.raises(NotAcceptableError) as caught:
        frames(accept, row)
    assert caught.value.reason == reason


def files(accept, rows, one=False):
    choice = choose_files(parse_accept(accept), rows, one=one)
    return choice.syntaxes, choice.single


def test_instances_are_given_as_they_are_asked_for():
    report = a_row(EXPLICIT_LE, PixelKind.NONE)
    film = a_row("1.2.840.10008.1.2.4.102", PixelKind.UNCERTAIN, 8)
    mixed = [PLAIN, JPEG, report, film]
    stored = tuple(row.transfer_syntax for row in mixed)
    multi = "multipart/related; type=application/dicom"
    assert files(f"{multi}; transfer-syntax=*", mixed) == (stored, False)
    assert files(multi, mixed) == ((EXPLICIT_LE, EXPLICIT_LE, EXPLICIT_LE, film.transfer_syntax), False)
    assert files("*/*", mixed[:2]) == ((EXPLICIT_LE, EXPLICIT_LE), False)
    assert files("application/dicom", [JPEG], one=True) == ((EXPLICIT_LE,), True)
    assert files("application/dicom;transfer-syntax=*", [JPEG], one=True) == ((JPEG_BASELINE,), True)
    assert files(f'{multi}; transfer-syntax="{JPEG_LS}"', [PLAIN, report]) == ((JPEG_LS, EXPLICIT_LE), False)
    assert files(f"{multi}; transfer-syntax={JPEG_LS}, {multi}; transfer-syntax=*", mixed) == (stored, False)


@module_loop
@pytest.mark.parametrize("syntax", sorted(ENCODED))
async def test_a_frame_and_an_instance_come_in_each_compression(service, syntax):
    service.scope = Scope(organisations=frozenset({"A", "B"}))
    name = "examples_ybr_color.dcm" if syntax == JPEG_BASELINE else "CT_small.dcm"
    kind = FRAME_TYPES[syntax]
    response, body = await get(
        service, url(service, name, "/frames/1"), f"multipart/related; type={kind}; transfer-syntax={syntax}"
    )
    ((head, data),) = parts_of(response, body)
    assert f"{kind}; transfer-syntax={syntax}" in head and 200 < len(data) < 70_000
    assert data[:2] in {b"\xff\xd8", b"\xff\x4f"}
    response, body = await get(service, url(service, name), f"application/dicom; transfer-syntax={syntax}")
    assert (
        response.status == 200 and f"transfer-syntax={syntax}" in response.headers["Content-Type"]
    ) or name.startswith("ex")
    assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == syntax


@module_loop
async def test_a_compressed_cine_comes_plain_frame_after_frame(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}))
    name = "examples_ybr_color.dcm"
    response, body = await get(service, url(service, name), "application/dicom")
    ds = pydicom.dcmread(io.BytesIO(body))
    assert (ds.PhotometricInterpretation, ds.file_meta.TransferSyntaxUID) == ("RGB", EXPLICIT_LE)
    assert (
        len(ds.PixelData)
        == 30 * 240 * 320 * 3
        == int(response.headers["Content-Length"]) - (len(body) - len(ds.PixelData))
    )
    frame = 240 * 320 * 3
    for number in (1, 17, 30):
        _, part = await get(service, url(service, name, f"/frames/{number}"), "application/octet-stream")
        assert ds.PixelData[(number - 1) * frame : number * frame] == part
    response, body = await get(service, url(service, name), f"application/dicom; transfer-syntax={JPEG_LS}")
    coded = pydicom.dcmread(io.BytesIO(body))
    assert len(list(pydicom.encaps.generate_frames(coded.PixelData, number_of_frames=30))) == 30
    assert response.headers.get("Transfer-Encoding") == "chunked"
    response, part = await get(service, url(service, name), "application/dicom", Range="bytes=400-499")
    assert response.status == 206 and len(part) == 100


@module_loop
async def test_a_study_comes_plain_and_each_part_says_its_syntax(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}))
    r = service.rows["MR_small_RLE.dcm"]
    response, body = await get(
        service, f"/dicom-web/studies/{r.study_uid}", 'multipart/related; type="application/dicom"'
    )
    ((head, data),) = parts_of(response, body)
    assert f"transfer-syntax={EXPLICIT_LE}" in head
    assert pydicom.dcmread(io.BytesIO(data)).PixelData == pydicom.dcmread(io.BytesIO(real("MR_small.dcm"))).PixelData


@module_loop
async def test_refusals_name_their_reason_and_come_before_any_byte(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}))
    path = url(service, "CT_small.dcm")
    response, body = await get(service, path, f"application/dicom; transfer-syntax={JPEG_BASELINE}")
    assert (response.status, json.loads(body)["code"]) == (406, "bits_not_supported")
    assert "位深" in json.loads(body)["title"] or "depth" in json.loads(body)["title"]
    response, body = await get(service, f"{path}/frames/1", f"image/dicom-rle; transfer-syntax={RLE}")
    assert (response.status, json.loads(body)["code"]) == (406, "transfer_syntax_not_encoded")


@module_loop
async def test_damaged_pixels_cannot_be_had_otherwise_but_as_they_are(service):
    service.scope = Scope(organisations=frozenset({"A"}), holder="A")
    whole = real("JPEG2000.dcm")
    uid = pydicom.dcmread(io.BytesIO(whole)).SOPInstanceUID.encode()
    at = whole.index(b"\xff\x4f\xff\x51") + 8
    broken = (whole[:at] + b"\x00\x00\xff\xff" + whole[at + 4 :]).replace(uid, uid[:-2] + b"99")
    result = await service.archive.ingest(broken, organisation="A", source="test")
    path = f"/dicom-web/studies/{result.study_uid}/series/{result.series_uid}/instances/{result.sop_uid}"
    response, body = await get(service, path, "application/dicom; transfer-syntax=*")
    assert response.status == 200 and body[132:] == broken[132:]
    response, _ = await get(service, f"{path}/frames/1", OHIF)
    assert response.status == 200
    for rest, accept in (("", f"application/dicom; transfer-syntax={JPEG_LS}"), ("/frames/1", "image/jls")):
        response, body = await get(service, f"{path}{rest}", accept)
        assert (response.status, json.loads(body)["code"]) == (406, "size_differs"), rest


@module_loop
async def test_an_implicit_instance_keeps_its_pixels_in_place(service):
    from pydicom.uid import ImplicitVRLittleEndian

    service.scope = Scope(organisations=frozenset({"A"}), holder="A")
    data = make(
        "1.31.1.1",
        study="1.31",
        series="1.31.1",
        pixels=bytes(range(200)) * 2,
        Rows=10,
        Columns=20,
        syntax=ImplicitVRLittleEndian,
    )
    await service.archive.ingest(data, organisation="A", source="test")
    _response, body = await get(
        service, "/dicom-web/studies/1.31/series/1.31.1/instances/1.31.1.1", "application/dicom"
    )
    old, new = pydicom.dcmread(io.BytesIO(data)), pydicom.dcmread(io.BytesIO(body))
    assert new.file_meta.TransferSyntaxUID == EXPLICIT_LE and new == old
    assert str(new.PatientName) == "Zhang^San=张^三"


@module_loop
async def test_a_large_study_is_streamed_part_after_part_in_order(service):
    service.scope = Scope(organisations=frozenset({"A"}), holder="A")
    files = []
    for n in range(1, 7):
        pixels = bytes([n]) * (2 * 1024 * 700)
        data = make(
            f"1.66.1.{n}", study="1.66", series="1.66.1", pixels=pixels, Rows=700, Columns=1024, InstanceNumber=n
        )
        assert (await service.archive.ingest(data, organisation="A", source="test")).outcome == "stored"
        files.append(data)
    accept = "multipart/related; type=application/dicom; transfer-syntax=*"
    response, body = await get(service, "/dicom-web/studies/1.66", accept)
    assert len(body) == int(response.headers["Content-Length"]) > 8 << 20
    assert [data[132:] for _, data in parts_of(response, body)] == [data[132:] for data in files]
    response, body = await get(
        service, "/dicom-web/studies/1.66", f"multipart/related; type=application/dicom; transfer-syntax={J2K}"
    )
    assert [pydicom.dcmread(io.BytesIO(data)).InstanceNumber for _, data in parts_of(response, body)] == list(
        range(1, 7)
    )
    assert response.headers["Transfer-Encoding"] == "chunked"
