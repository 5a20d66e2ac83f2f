"""DICOMweb as clients really ask: OHIF, cornerstone3D, dicomweb-client, an <img> element."""

from __future__ import annotations

import gzip
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from dicom.documents import make_encapsulated_pdf
from dicom.errors import REFUSALS
from dicom.model import Scope
from server.dicomweb import reasons
from server.dicomweb.handlers import ROUTES
from tests.archive.files import real
from tests.archive.service import get, parts_of, service, url

__all__ = ["service"]
MULTI = 'multipart/related; type="application/dicom"'


@pytest.fixture(autouse=True)
def _own_eyes(service):
    service.scope = Scope(organisations=frozenset({"A", "B"}), holder="A")
    service.asked.clear()


module_loop = pytest.mark.asyncio(loop_scope="module")


@module_loop
async def test_what_ohif_asks_for_a_list_is_answered(service):
    path = "/dicom-web/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030,00080060,00080090,00100030"
    response, body = await get(service, path, "application/dicom+json")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/dicom+json"
    studies = json.loads(body)
    assert len(studies) == 5
    ct = next(s for s in studies if s["00100010"]["Value"][0]["Alphabetic"] == "CompressedSamples^CT1")
    assert ct["00080061"]["Value"] == ["CT"] and ct["00201208"]["Value"] == [1]
    assert service.asked == [("search", None)]


@module_loop
async def test_a_search_by_patient_and_by_study_finds_that_study(service):
    uid = service.rows["CT_small.dcm"].study_uid
    for query in (
        f"StudyInstanceUID={uid}",
        "00100020=1CT1",
        "PatientName=compressedsamples^ct*",
        "StudyDate=20040101-20040131&ModalitiesInStudy=CT",
    ):
        _, body = await get(service, f"/dicom-web/studies?{query}")
        assert [s["0020000D"]["Value"][0] for s in json.loads(body)] == [uid], query


@module_loop
async def test_a_search_without_result_is_204_and_a_bad_one_is_400(service):
    response, _ = await get(service, "/dicom-web/studies?PatientID=nobody")
    assert response.status == 204
    for query in (
        "limit=-1",
        "offset=x",
        "StudyDate=yesterday",
        "fuzzymatching=maybe",
        "StudyInstanceUID=1.2/../3",
    ):
        response, _body = await get(service, f"/dicom-web/studies?{query}")
        assert response.status == 400, query
        assert response.headers["Content-Type"].startswith("application/problem+json")


@module_loop
async def test_ignored_keys_and_capped_answers_carry_a_warning(service):
    response, _ = await get(service, "/dicom-web/studies?Foo=1")
    assert "ignored" in response.headers["Warning"]
    response, body = await get(service, "/dicom-web/studies?limit=2")
    assert len(json.loads(body)) == 2 and "Warning" not in response.headers


@module_loop
async def test_series_and_instances_are_listed_below_their_study(service):
    r = service.rows["examples_ybr_color.dcm"]
    _, body = await get(service, f"/dicom-web/studies/{r.study_uid}/series?includefield=0008103E,00201209")
    (series,) = json.loads(body)
    assert series["0020000E"]["Value"] == [r.series_uid] and series["00201209"]["Value"] == [1]
    _, body = await get(service, f"/dicom-web/studies/{r.study_uid}/series/{r.series_uid}/instances")
    (instance,) = json.loads(body)
    assert instance["00280008"]["Value"] == [30]


@module_loop
async def test_nothing_outside_the_scope_is_served_by_any_route(service):
    service.scope = Scope(organisations=frozenset({"C"}))
    r = service.rows["CT_small.dcm"]
    for method, path, _, _action in ROUTES:
        if method != "GET" or path in {"/dicom-web/", "/wado"}:  # no object in the address; see test_retrieval
            continue
        target = (
            path.replace("{study}", r.study_uid)
            .replace("{series}", r.series_uid)
            .replace("{instance}", r.sop_uid)
        )
        target = target.replace("{frames}", "1").replace("{path:.+}", "7FE00010")
        response, body = await get(service, target)
        assert response.status in {204, 404}, path
        assert r.sop_uid.encode() not in body and b"CompressedSamples" not in body


@module_loop
async def test_metadata_names_bulk_data_under_the_host_the_client_used(service):
    r = service.rows["waveform_ecg.dcm"]
    path = f"/dicom-web/studies/{r.study_uid}/series/{r.series_uid}/metadata"
    response, body = await get(service, path, "application/dicom+json", Host="pacs.example:8443")
    (value,) = json.loads(body)
    address = value["54000100"]["Value"][0]["54001010"]["BulkDataURI"]
    assert address.startswith("http://pacs.example:8443/dicom-web/studies/")
    local = re.sub(r"^http://[^/]+", "", address)
    response, data = await get(service, local, "application/octet-stream")
    assert response.status == 200 and response.headers["Content-Type"] == "application/octet-stream"
    assert len(data) == 12 * 10000 * 2 and data in real("waveform_ecg.dcm")
    response, body = await get(service, local, "multipart/related; type=application/octet-stream")
    assert parts_of(response, body)[0][1] == data


@module_loop
async def test_metadata_is_gzipped_validated_and_answers_304(service):
    path = url(service, "CT_small.dcm", "/metadata")
    response, body = await get(service, path, None, **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    plain = json.loads(gzip.decompress(body))
    assert plain[0]["00280010"]["Value"] == [128]
    etag = response.headers["ETag"]
    assert not etag.startswith("W/")
    assert response.headers["Cache-Control"] == "private, no-cache"
    again, body = await get(service, path, None, **{"Accept-Encoding": "gzip", "If-None-Match": etag})
    assert again.status == 304 and not body
    other, _ = await get(service, path, None, **{"If-None-Match": etag, "Accept-Encoding": "identity"})
    assert other.status == 200  # another representation has another validator


@module_loop
@pytest.mark.parametrize(
    "accept",
    [
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        'multipart/related; type="application/octet-stream"',
        "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
        "*/*",
        "multipart/related",
    ],
)
async def test_a_native_frame_is_the_files_bytes_however_it_is_asked_for(service, accept):
    response, body = await get(service, url(service, "CT_small.dcm", "/frames/1"), accept)
    ((head, data),) = parts_of(response, body)
    assert len(data) == 128 * 128 * 2
    assert data in real("CT_small.dcm")
    assert "transfer-syntax=1.2.840.10008.1.2.1" in head
    again, second = await get(service, url(service, "CT_small.dcm", "/frames/1"), accept)
    assert second == body and again.headers["ETag"] == response.headers["ETag"]


@module_loop
async def test_compressed_frames_go_out_as_stored_or_decoded(service):
    path = url(service, "examples_ybr_color.dcm", "/frames/3")
    response, body = await get(
        service, path, "multipart/related; type=application/octet-stream; transfer-syntax=*"
    )
    ((head, jpeg),) = parts_of(response, body)
    assert (
        "1.2.840.10008.1.2.4.50" in head
        and jpeg.startswith(b"\xff\xd8")
        and jpeg in real("examples_ybr_color.dcm")
    )
    response, body = await get(service, path, "multipart/related; type=image/jpeg")
    assert "image/jpeg" in parts_of(response, body)[0][0]
    response, body = await get(service, path, "image/jpeg")
    assert response.headers["Content-Type"].startswith("image/jpeg") and body == jpeg
    response, body = await get(service, path, 'multipart/related; type="application/octet-stream"')
    ((head, data),) = parts_of(response, body)
    assert "transfer-syntax=1.2.840.10008.1.2.1" in head and len(data) == 240 * 320 * 3
    picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    assert np.abs(picture - np.frombuffer(data, np.uint8).reshape(240, 320, 3)).max() <= 8
    response, _ = await get(service, path, "image/dicom-rle")
    assert response.status == 406


@module_loop
async def test_several_frames_come_in_the_order_asked(service):
    accept = "multipart/related; type=application/octet-stream; transfer-syntax=*"
    response, body = await get(service, url(service, "examples_ybr_color.dcm", "/frames/7,2"), accept)
    seven, two = (data for _, data in parts_of(response, body))
    singles = []
    for n in (7, 2):
        r, b = await get(service, url(service, "examples_ybr_color.dcm", f"/frames/{n}"), accept)
        singles.append(parts_of(r, b)[0][1])
    assert [seven, two] == singles and seven != two
    for bad, status in (("0", 400), ("31", 404), ("x", 400), ("1,,2", 400)):
        response, _ = await get(service, url(service, "examples_ybr_color.dcm", f"/frames/{bad}"), accept)
        assert response.status == status, bad


@module_loop
async def test_a_big_endian_frame_becomes_little_endian(service):
    response, body = await get(service, url(service, "MR_small_bigendian.dcm", "/frames/1"), "*/*")
    ((_, data),) = parts_of(response, body)
    import warnings

    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = pydicom.dcmread(io.BytesIO(real("MR_small.dcm"))).PixelData
    assert data == want


@module_loop
async def test_an_instance_is_downloaded_as_stored(service):
    response, body = await get(service, url(service, "CT_small.dcm"), "application/dicom")
    assert body[128:] == real("CT_small.dcm")[128:]
    assert "attachment" in response.headers["Content-Disposition"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    r = service.rows["CT_small.dcm"]
    response, multi = await get(service, f"/dicom-web/studies/{r.study_uid}", f"{MULTI}; transfer-syntax=*")
    assert parts_of(response, multi)[0][1] == body
    assert service.asked[-1] == ("download", r.study_uid)


@module_loop
async def test_pictures_follow_window_viewport_and_quality(service):
    response, body = await get(service, url(service, "CT_small.dcm", "/rendered"), "image/png")
    assert response.headers["Content-Type"] == "image/png"
    default = np.asarray(Image.open(io.BytesIO(body)))
    assert default.shape == (128, 128)
    _, body = await get(service, url(service, "CT_small.dcm", "/rendered?window=40,400,linear"), "image/png")
    got = np.asarray(Image.open(io.BytesIO(body)))
    stored = np.frombuffer(real("CT_small.dcm"), np.uint8)
    import pydicom

    ds = pydicom.dcmread(io.BytesIO(stored.tobytes()))
    hu = ds.pixel_array.astype(float) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    want = np.clip(np.floor(((hu - 39.5) / 399 + 0.5) * 255 + 0.5), 0, 255).astype(np.uint8)
    assert (got == want).all()
    _, body = await get(service, url(service, "CT_small.dcm", "/rendered?viewport=64,100"), "image/jpeg")
    assert Image.open(io.BytesIO(body)).size == (64, 64)
    for bad in (
        "window=1",
        "window=a,b,linear",
        "window=1,0,linear",
        "viewport=0,5",
        "viewport=1",
        "quality=101",
        "window=nan,1,linear",
    ):
        response, _ = await get(service, url(service, "CT_small.dcm", f"/rendered?{bad}"), "image/jpeg")
        assert response.status == 400, bad


@module_loop
async def test_thumbnails_exist_at_every_level_for_an_img_element(service):
    accept = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    r = service.rows["examples_ybr_color.dcm"]
    study = f"/dicom-web/studies/{r.study_uid}"
    for path in (
        study,
        f"{study}/series/{r.series_uid}",
        url(service, "examples_ybr_color.dcm"),
        url(service, "examples_ybr_color.dcm", "/frames/2"),
    ):
        response, body = await get(service, f"{path}/thumbnail", accept)
        assert response.status == 200
        assert max(Image.open(io.BytesIO(body)).size) == 128
    assert list(service.archive.root.glob("cache/*/*"))


@module_loop
async def test_what_cannot_be_drawn_says_why(service):
    response, body = await get(service, url(service, "waveform_ecg.dcm", "/frames/1/rendered"), "image/jpeg")
    assert response.status == 422 and json.loads(body)["code"] == "no_pixels"
    response, body = await get(service, url(service, "CT_small.dcm", "/waveform"))
    assert response.status == 422 and json.loads(body)["code"] == "no_waveform"


@module_loop
async def test_the_ecg_comes_as_numbers_and_gzipped(service):
    _response, body = await get(
        service,
        url(service, "waveform_ecg.dcm", "/waveform"),
        "application/json",
        **{"Accept-Encoding": "gzip"},
    )
    value = json.loads(gzip.decompress(body))
    assert value["samplingHz"] == 1000 and len(value["leads"]) == 12
    assert value["acquired"] == "2013-01-25T10:59:19"


@module_loop
@pytest.mark.parametrize("length", [1000, 1001])
async def test_a_signed_report_in_the_study_is_the_identical_pdf(service, length):
    from datetime import UTC, datetime

    import pydicom

    pdf = (b"%PDF-1.7\n" + bytes(range(256)) * 8)[: length - 6] + b"%%EOF\n"
    data = make_encapsulated_pdf(
        pdf,
        study_uid="1.6",
        patient_id="P1",
        patient_name="张^三",
        title="远程会诊报告",
        at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        birth_date="19700101",
        sex="F",
        accession="A-1",
    )
    ds = pydicom.dcmread(io.BytesIO(data))
    assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == pdf
    assert (str(ds.PatientName), ds.DocumentTitle, ds.Modality) == ("张^三", "远程会诊报告", "DOC")
    tags = [element.tag for element in ds]
    assert tags == sorted(tags)
    result = await service.archive.ingest(data, organisation="A", source="report")
    assert result.outcome == "stored" and result.patient_name == "张^三"
    path = f"/dicom-web/studies/1.6/series/{result.series_uid}/instances/{result.sop_uid}/rendered"
    response, body = await get(service, path, "application/pdf")
    assert body == pdf and response.headers["Content-Type"] == "application/pdf"
    assert "attachment" in response.headers["Content-Disposition"]


def test_every_reason_has_a_sentence_and_every_error_a_status():
    from dicom import errors

    assert set(REFUSALS) <= set(reasons.TEXTS)
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.DicomError)]
    assert {c.code for c in classes} == set(reasons.STATUS)
