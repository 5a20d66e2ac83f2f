"""XML, films, words in pictures, WADO-URI, capabilities."""

from __future__ import annotations

import gzip
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from dicom.cache import Memory
from dicom.model import Scope
from dicom.native_xml import NAMESPACE, native_xml
from dicom.syntaxes import EXPLICIT_LE
from server.dicomweb import retrieving
from server.dicomweb.capabilities import resources
from server.dicomweb.handlers import ROUTES
from tests.archive.files import make, real
from tests.archive.service import get, parts_of, service, url

__all__ = ["service"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
N = f"{{{NAMESPACE}}}"
CT = "CT_small.dcm"


@pytest.fixture(autouse=True)
def _own_eyes(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}), holder="A")
    service.asked.clear()


def picture(body):
    return np.asarray(Image.open(io.BytesIO(body)))


# -- metadata as XML


async def test_metadata_comes_as_xml_with_the_values_of_the_json(service):
    path = url(service, "waveform_ecg.dcm", "/metadata")
    _, body = await get(service, path, "application/dicom+json")
    (value,) = json.loads(body)
    response, body = await get(service, path, 'multipart/related; type="application/dicom+xml"')
    assert response.headers["Content-Type"].startswith('multipart/related; type="application/dicom+xml"')
    ((head, page),) = parts_of(response, body)
    assert "application/dicom+xml" in head
    root = ET.fromstring(page)
    assert root.tag == f"{N}NativeDicomModel"
    found = {a.get("tag"): a for a in root}
    assert set(found) == set(value)
    for tag, attribute in value.items():
        assert found[tag].get("vr") == attribute["vr"]
        if attribute["vr"] not in {"SQ", "PN"}:
            assert [v.text or "" for v in found[tag].findall(f"{N}Value")] == [
                str(v) for v in attribute.get("Value", ())
            ]
    assert found["00080018"].get("keyword") == "SOPInstanceUID"
    bulk = found["54000100"].find(f"{N}Item").find(f"{N}DicomAttribute[@tag='54001010']/{N}BulkData")
    assert bulk.get("uri") == value["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    single, body = await get(service, path, "application/dicom+xml", **{"Accept-Encoding": "gzip"})
    assert single.headers["Content-Type"] == "application/dicom+xml" and single.headers["Content-Encoding"] == "gzip"


async def test_xml_carries_every_kind_of_value():
    root = ET.fromstring(
        native_xml(
            {
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Zhang^San^^Dr", "Ideographic": "张^三"}]},
                "00081030": {"vr": "LO", "Value": ['a<b>&\x07"', None, "c"]},
                "00090010": {"vr": "LO", "Value": ['ACME "1"']},
                "00091001": {"vr": "DS", "Value": [1.5]},
                "00280010": {"vr": "US"},
                "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
            }
        )
    )
    a = {child.get("tag"): child for child in root}
    person = a["00100010"].find(f"{N}PersonName")
    assert [(g.tag.removeprefix(N), [(p.tag.removeprefix(N), p.text) for p in g]) for g in person] == [
        ("Alphabetic", [("FamilyName", "Zhang"), ("GivenName", "San"), ("NamePrefix", "Dr")]),
        ("Ideographic", [("FamilyName", "张"), ("GivenName", "三")]),
    ]
    assert [(v.get("number"), v.text) for v in a["00081030"]] == [("1", 'a<b>&"'), ("3", "c")]
    assert a["00091001"].get("privateCreator") == 'ACME "1"' and a["00091001"].get("keyword") is None
    assert len(a["00280010"]) == 0 and a["00420011"].find(f"{N}InlineBinary").text == "AAAA"


# -- pictures


async def test_a_region_is_cut_out_and_mirrored_as_the_viewport_says(service):
    async def png(viewport):
        response, body = await get(service, url(service, CT, f"/rendered{viewport}"), "image/png")
        assert response.status == 200, body
        return picture(body)

    whole = await png("")
    assert (await png("?viewport=32,16,10,20,32,16") == whole[20:36, 10:42]).all()
    assert (await png("?viewport=32,16,10,20,-32,16") == whole[20:36, 10:42][:, ::-1]).all()
    assert (await png("?viewport=32,16,10,20,32,-16") == whole[20:36, 10:42][::-1]).all()
    assert (await png("?viewport=128,128,,,,") == whole).all()


async def test_words_are_written_into_the_picture_only_when_wanted(service):
    plain = picture((await get(service, url(service, CT, "/rendered?viewport=512,512"), "image/png"))[1])
    for wanted, left, right in (
        ("patient", True, False),
        ("technique", False, True),
        ("patient,technique", True, True),
    ):
        path = url(service, CT, f"/rendered?viewport=512,512&annotation={wanted}")
        response, body = await get(service, path, "image/png")
        assert response.status == 200, body
        changed = (picture(body) != plain[..., None]).any(axis=2)
        assert (changed[:120, :200].any(), changed[:120, 312:].any()) == (left, right)
        assert not changed[200:].any()
    response, body = await get(service, url(service, CT, "/rendered?annotation=secrets"), "image/png")
    assert (response.status, json.loads(body)["code"]) == (400, "bad_annotation")


# -- films


def film(stream, syntax, uid):
    data = pydicom.dcmread(io.BytesIO(make(uid, study="1.70", series="1.70.1", NumberOfFrames=25, pixels=bytes(4))))
    data.file_meta.TransferSyntaxUID = syntax
    data.Rows = data.Columns = 64
    data.PixelData = encapsulate([stream])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00" + bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("number", "stream", "syntax", "kind"),
    [
        (1, MP4, "1.2.840.10008.1.2.4.102", "video/mp4"),
        (2, MP4, "1.2.840.10008.1.2.4.107", "video/mp4"),
        (3, b"\x47" + bytes(9999), "1.2.840.10008.1.2.4.105", "application/octet-stream"),
        (4, b"\x00\x00\x01\xba" + bytes(9996), "1.2.840.10008.1.2.4.100", "video/mpeg"),
    ],
)
async def test_a_film_is_passed_through_as_what_it_is(service, number, stream, syntax, kind):
    data = film(stream, syntax, f"1.70.1.{number}")
    assert (await service.archive.ingest(data, organisation="A", source="test")).outcome == "stored"
    path = f"/dicom-web/studies/1.70/series/1.70.1/instances/1.70.1.{number}"
    response, body = await get(service, f"{path}/rendered", "*/*")
    assert (response.status, response.headers["Content-Type"], body) == (200, kind, stream)
    part, body = await get(service, f"{path}/rendered", "*/*", Range="bytes=100-299")
    assert (part.status, body) == (206, stream[100:300])
    response, body = await get(service, f"{path}/rendered", "video/mp4")
    assert response.status == (200 if kind == "video/mp4" else 406)
    response, body = await get(service, f"{path}/bulkdata/7FE00010", "application/octet-stream")
    assert body == stream and response.headers["Content-Type"] == f"application/octet-stream; transfer-syntax={syntax}"
    response, body = await get(service, f"{path}/bulkdata/7FE00010", f"multipart/related; type={kind}")
    assert parts_of(response, body)[0][1] == stream
    response, body = await get(service, f"{path}/frames/1", "*/*")
    assert (response.status, json.loads(body)["code"]) == (406, "video_not_decoded")
    response, body = await get(service, path, "application/dicom")
    assert body[132:] == data[132:], "no uncompressed form: as stored"
    response, body = await get(service, f"{path}/thumbnail", "image/jpeg")
    assert (response.status, json.loads(body)["code"]) == (422, "video_not_decoded")


async def test_compressed_pixel_data_as_bulk_data_is_its_frames(service):
    name = "examples_ybr_color.dcm"
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    response, body = await get(service, url(service, name, "/bulkdata/7FE00010"), accept)
    parts = parts_of(response, body)
    assert len(parts) == 30 and all(data in real(name) for _, data in parts)


# -- WADO-URI


def wado(service, name, **more):
    r = service.rows[name]
    query = {"requestType": "WADO", "studyUID": r.study_uid, "seriesUID": r.series_uid, "objectUID": r.sop_uid, **more}
    return "/wado?" + "&".join(f"{k}={v}" for k, v in query.items())


async def test_wado_uri_gives_the_file_or_a_picture(service):
    response, body = await get(service, wado(service, CT, contentType="application/dicom"))
    assert response.headers["Content-Type"] == "application/dicom" and body[132:] == real(CT)[132:]
    assert service.asked[-1] == ("download", service.rows[CT].study_uid)
    response, body = await get(service, wado(service, "MR_small_RLE.dcm", contentType="application/dicom"))
    assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == EXPLICIT_LE
    jls = "1.2.840.10008.1.2.4.80"
    response, body = await get(service, wado(service, CT, contentType="application/dicom", transferSyntax=jls))
    assert pydicom.dcmread(io.BytesIO(body)).file_meta.TransferSyntaxUID == jls
    response, body = await get(service, wado(service, CT))
    assert response.headers["Content-Type"] == "image/jpeg" and picture(body).shape == (128, 128)
    assert service.asked[-1] == ("pixels", service.rows[CT].study_uid)
    _, rs = await get(service, url(service, CT, "/rendered?window=40,400"), "image/png")
    _, same = await get(service, wado(service, CT, contentType="image/png", windowCenter=40, windowWidth=400))
    assert (picture(same) == picture(rs)).all()
    _, part = await get(
        service, wado(service, CT, contentType="image/png", windowCenter=40, windowWidth=400, region="0.25,0.5,0.75,1")
    )
    assert (picture(part) == picture(rs)[64:128, 32:96]).all()
    _, small = await get(service, wado(service, CT, rows=50, columns=64))
    assert picture(small).shape == (50, 50)
    _, frame = await get(service, wado(service, "examples_ybr_color.dcm", frameNumber=7, contentType="image/png"))
    _, same = await get(service, url(service, "examples_ybr_color.dcm", "/frames/7/rendered"), "image/png")
    assert frame == same


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"requestType": "WEB"}, 400, "bad_wado_request"),
        ({"objectUID": ""}, 400, "bad_wado_request"),
        ({"objectUID": "1.2.3"}, 404, "not_found"),
        ({"anonymize": "yes"}, 406, "not_anonymized"),
        ({"contentType": "text/plain"}, 406, "not_acceptable"),
        ({"contentType": "application/dicom", "transferSyntax": "1.2.840.10008.1.2.4.50"}, 406, "bits_not_supported"),
        ({"windowCenter": "x", "windowWidth": "1"}, 400, "bad_window"),
        ({"windowCenter": "1"}, 400, "bad_window"),
        ({"region": "0,0,2,1"}, 400, "bad_viewport"),
        ({"rows": "99999"}, 400, "bad_viewport"),
        ({"imageQuality": "0"}, 400, "bad_quality"),
        ({"frameNumber": "2"}, 404, "no_such_frame"),
        ({"frameNumber": "x"}, 400, "bad_frame_list"),
    ],
)
async def test_wado_uri_refuses_with_a_reason(service, more, status, code):
    response, body = await get(service, wado(service, CT, **more))
    assert (response.status, json.loads(body)["code"]) == (status, code)


async def test_wado_uri_shows_nothing_outside_the_scope(service):
    service.scope = Scope(organisations=frozenset({"C"}))
    for kind in ("application/dicom", "image/jpeg"):
        response, body = await get(service, wado(service, CT, contentType=kind), **{"If-None-Match": "*"})
        assert response.status == 404 and json.loads(body)["code"] == "not_found"


# -- capabilities


async def test_capabilities_list_every_route_in_both_forms(service):
    response = await service.client.options(
        "/dicom-web/", headers={"Accept": "application/json", "Accept-Encoding": ""}
    )
    value = json.loads(await response.read())["application"]["resources"]
    assert response.status == 200 and value["@base"].endswith("/dicom-web/")
    listed = {(m["@name"], r["@path"]) for r in value["resource"] for m in r["method"]}
    ours = {
        (m, p.removeprefix("/dicom-web/").replace(":.+", "")) for m, p, _, _ in ROUTES if p.startswith("/dicom-web/s")
    }
    assert ours <= listed
    response, body = await get(service, "/dicom-web/", "application/vnd.sun.wadl+xml")
    root = ET.fromstring(body)
    w = "{http://wadl.dev.java.net/2009/02}"
    assert {r.get("path") for r in root.iter(f"{w}resource")} == {path for _, path in listed}
    studies = next(r for r in root.iter(f"{w}resource") if r.get("path") == "studies")
    assert "PatientName" in {p.get("name") for p in studies.iter(f"{w}param")}
    response, _ = await get(service, "/dicom-web/", "image/png")
    assert response.status == 406


async def test_every_media_type_that_is_promised_is_given(service):
    asked = 0
    for resource in resources():
        if resource["path"].startswith("studies/{study}/series/{series}/instances/{instance}"):
            rest = resource["path"].removeprefix("studies/{study}/series/{series}/instances/{instance}")
            rest = rest.replace("{frames}", "1").replace("{path}", "7FE00010")
            for method in resource["methods"]:
                for media in method["media"]:
                    if rest == "/waveform" or media in {"video/mp4", "application/pdf", "image/svg+xml", "text/html", "text/xml"}:
                        continue  # of other objects; their own tests are above, in test_web, test_waveforms and test_sr
                    name = "examples_ybr_color.dcm" if media.endswith("4.50") else CT
                    response, body = await get(service, url(service, name, rest), media)
                    assert response.status == 200, (rest, media, body[:200])
                    asked += 1
    assert asked > 30


# -- metadata of many instances


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("accept", ["application/dicom+json", 'multipart/related; type="application/dicom+xml"'])
async def test_long_metadata_are_sent_as_they_are_made_and_are_the_same_bytes(service, monkeypatch, accept, coding):
    for n in range(5):
        data = make(f"1.77.1.{n}", study="1.77", series="1.77.1", InstanceNumber=n, StudyDescription=f"{n}" * 40)
        assert (await service.archive.ingest(data, organisation="A", source="test")).outcome in {"stored", "duplicate"}
    await service.archive.metadata_settled()
    asked, made = [], service.archive.metadata

    async def watched(rows):
        asked.append(len(rows))
        return await made(rows)

    monkeypatch.setattr(service.archive, "metadata", watched)

    async def ask():
        service.archive.retriever.memory = Memory(1 << 20)
        asked.clear()
        return await get(service, "/dicom-web/studies/1.77/metadata", accept, **{"Accept-Encoding": coding})

    whole, body = await ask()
    assert whole.status == 200
    assert asked == [5]
    monkeypatch.setattr(retrieving, "_BATCH", 1)
    one_by_one, same = await ask()
    assert asked == [1] * 5
    monkeypatch.setattr(retrieving, "AT_ONCE", len(gzip.decompress(body) if coding == "gzip" else body) // 2)
    sent, long = await ask()
    assert asked[-5:] == [1] * 5 and len(asked) < 10  # given up half way, then one by one
    assert sent.headers["Transfer-Encoding"] == "chunked"
    assert body == same == long
    for answer in (one_by_one, sent):
        for name in ("ETag", "Content-Type", "Content-Encoding"):
            assert answer.headers.get(name) == whole.headers.get(name)
    asked.clear()
    await get(service, "/dicom-web/studies/1.77/metadata", accept, **{"Accept-Encoding": coding})
    assert asked == [1] * 5  # that it is long was remembered
    unchanged, _ = await get(
        service, "/dicom-web/studies/1.77/metadata", accept, **{"Accept-Encoding": coding, "If-None-Match": sent.headers["ETag"]}
    )
    assert unchanged.status == 304
