"""Structured reports as pages, encapsulated documents as themselves."""

from __future__ import annotations

import io
import json
import re

import pydicom
import pypdfium2
import pytest
from pydicom.dataset import Dataset

from tests.archive.files import make
from tests.archive.service import get, service

__all__ = ["service"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(kind, meaning, relation="CONTAINS", items=(), **values):
    item = Dataset()
    item.ValueType, item.RelationshipType = kind, relation
    item.ConceptNameCodeSequence = [code("1", "99T", meaning)]
    for name, value in values.items():
        setattr(item, name, value)
    if items:
        item.ContentSequence = list(items)
    return item


def measured(number, unit):
    item = Dataset()
    item.NumericValue, item.MeasurementUnitsCodeSequence = number, [code(unit, "UCUM", unit)]
    return item


def reference(uid, frames=None):
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    if frames:
        item.ReferencedFrameNumber = frames
    return item


def evidence(study, series, *instances):
    inner, outer = Dataset(), Dataset()
    inner.SeriesInstanceUID, inner.ReferencedSOPSequence = series, [reference(uid) for uid in instances]
    outer.StudyInstanceUID, outer.ReferencedSeriesSequence = study, [inner]
    return [outer]


def document(sop, *items, title="CT 检查报告", sop_class=COMPREHENSIVE, charset="GB18030", **values):
    none = dict.fromkeys(
        ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
         "PhotometricInterpretation", "PixelData"]
    )  # fmt: skip
    return make(
        sop, study="1.9", series="1.9.1", **none, SOPClassUID=sop_class, Modality="SR", SpecificCharacterSet=charset,
        ValueType="CONTAINER", ConceptNameCodeSequence=[code("18748-4", "LN", title)], ContentSequence=list(items),
        CompletionFlag="COMPLETE", VerificationFlag="VERIFIED", ContentDate="20260102", ContentTime="101112", **values,
    )  # fmt: skip


async def stored(service, data):
    result = await service.archive.ingest(data, organisation="A", source="test")
    assert result.outcome == "stored", result.reason
    return f"/dicom-web/studies/{result.study_uid}/series/{result.series_uid}/instances/{result.sop_uid}/rendered"


async def test_a_report_reads_as_a_page_with_names_numbers_units_codes_and_links(service):
    ct = service.rows["CT_small.dcm"]
    observer = Dataset()
    observer.VerifyingObserverName, observer.VerifyingOrganization = "Li^Si=李^四", "市一院"
    observer.VerificationDateTime = "20260102103000"
    finding = content("CODE", "诊断", ConceptCodeSequence=[code("254637007", "SCT", "肺结节")])
    size = content("NUM", "直径", "HAS PROPERTIES", MeasuredValueSequence=[measured("9.5", "mm")])
    image = content("IMAGE", "原图", "INFERRED FROM", ReferencedSOPSequence=[reference(ct.sop_uid, 1)])
    elsewhere = content("IMAGE", "别处", ReferencedSOPSequence=[reference("1.2.3.4")])
    text = content("TEXT", "所见", items=[size, image], TextValue="右肺上叶\r\n见结节")
    person = content("PNAME", "报告医师", PersonName="Wang^Wu=王^五")
    data = document(
        "1.9.1.1", finding, text, person, elsewhere, VerifyingObserverSequence=[observer],
        CurrentRequestedProcedureEvidenceSequence=evidence(ct.study_uid, ct.series_uid, ct.sop_uid),
    )  # fmt: skip
    path = await stored(service, data)
    response, body = await get(service, path)
    page = body.decode()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    for part in ('<h1 title="18748-4, LN">CT 检查报告</h1>', "肺结节</span> <small>254637007, SCT</small>", ">9.5 mm<",
                 "右肺上叶\n见结节", "王 五", "已审核", "2026-01-02 10:11:12", "李 四, 市一院, 2026-01-02 10:30:00"):  # fmt: skip
        assert part in page, part
    links = re.findall(r'href="(/dicom-web[^"]+)"', page)
    want = f"/studies/{ct.study_uid}/series/{ct.series_uid}/instances/{ct.sop_uid}/frames/1/rendered"
    assert links == ["/dicom-web" + want]
    picture, _ = await get(service, links[0], "*/*")
    assert picture.status == 200 and picture.headers["Content-Type"] == "image/jpeg"
    assert "1.2.3.4" in page  # a reference that the document does not place is said, not linked
    assert "张" not in page and "P1" not in page
    _, named = await get(service, path + "?annotation=patient")
    assert "张 三" in named.decode()


async def test_a_report_prints_as_pdf_whatever_its_text_holds(service):
    text = content("TEXT", "所见", TextValue="右肺结节 #set page() $x$ *b* <i> 😀 " + "A" * 200)
    path = await stored(service, document("1.9.1.2", text, charset="ISO_IR 192"))
    response, body = await get(service, path, "application/pdf")
    assert response.headers["Content-Type"] == "application/pdf"
    with pypdfium2.PdfDocument(body) as pdf:
        words = pdf[0].get_textpage().get_text_range()
    assert "CT 检查报告" in words and "右肺结节 #set page() $x$ *b* <i> 〔U+1F600〕" in words
    refused, _ = await get(service, path, "image/jpeg")
    assert refused.status == 406


async def test_what_a_report_says_is_never_markup(service):
    evil = '"><script>alert(1)</script>'
    item = content("TEXT", evil, TextValue="<img src=x onerror=alert(1)>")
    path = await stored(service, document("1.9.1.3", item, title=f"</title>{evil}", charset="ISO_IR 192"))
    _, body = await get(service, path)
    page = body.decode()
    assert "<script" not in page and "<img" not in page and "&lt;img src=x" in page


async def test_key_objects_list_their_images_and_a_report_without_content_says_so(service):
    ct = service.rows["CT_small.dcm"]
    image = content("IMAGE", "", ReferencedSOPSequence=[reference(ct.sop_uid)])
    del image.ConceptNameCodeSequence
    places = evidence(ct.study_uid, ct.series_uid, ct.sop_uid)
    selection = document("1.9.1.4", image, title="Of Interest", sop_class=KEY_OBJECTS,
                         CurrentRequestedProcedureEvidenceSequence=places)  # fmt: skip
    _, body = await get(service, await stored(service, selection))
    assert f"/instances/{ct.sop_uid}/rendered" in body.decode()
    empty = document("1.9.1.5")
    ds = pydicom.dcmread(io.BytesIO(empty))
    del ds.ContentSequence, ds.ValueType
    out = io.BytesIO()
    ds.save_as(out)
    response, body = await get(service, await stored(service, out.getvalue()))
    assert response.status == 422 and json.loads(body)["code"] == "no_content"


async def test_a_very_deep_report_is_cut_off_and_still_read(service):
    item = content("TEXT", "bottom", TextValue="never seen")
    for level in range(40):
        item = content("CONTAINER", f"level {level}", items=[item])
    response, body = await get(service, await stored(service, document("1.9.1.6", item, charset="ISO_IR 192")))
    assert (response.status, b"never seen" in body) in {(200, False), (422, False)}


@pytest.mark.parametrize("odd", [b"", b" "])
async def test_an_encapsulated_clinical_document_comes_out_as_it_went_in(service, odd):
    xml = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>' + odd
    data = document("1.9.1.7" + str(len(odd)), sop_class="1.2.840.10008.5.1.4.1.1.104.2",
                    MIMETypeOfEncapsulatedDocument="text/XML", EncapsulatedDocument=xml + b"\0" * (len(xml) % 2),
                    EncapsulatedDocumentLength=len(xml))  # fmt: skip
    response, body = await get(service, await stored(service, data))
    assert body == xml and response.headers["Content-Type"] == "text/xml"
    assert "attachment" in response.headers["Content-Disposition"]


async def test_a_plan_says_that_it_has_no_image(service):
    data = make("1.9.2.1", study="1.9", series="1.9.2", PixelData=None, Modality="RTPLAN",
                SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5")  # fmt: skip
    response, body = await get(service, await stored(service, data))
    assert response.status == 422 and json.loads(body)["code"] == "no_pixels"
