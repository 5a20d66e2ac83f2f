"""Text of items judged on its own: Western signs beside Chinese bytes under one wrong label, in either place."""

from __future__ import annotations

import io
import json

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom import texts
from dicom.charset import detect, is_western
from dicom.network.records import parse_record
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.archive.test_corrections import LI, correction, store, whole

WESTERN = [
    "Müller", "Señor", "Ångström", "37,5 °C", "45°", "±2 mm", "10 µg/m³", "Größe", "Übergröße", "Straße", "gemäß", "Weiß",
    "Fußgänger", "MüLLER", "Schädel", "RÖNTGEN", "Lévêque^Renée", "créée", "HÔPITAL", "Íñigo", "Núñez", "NÚÑEZ^JOSÉ",
    "MUÑOZ", "Conceição", "AVALIAÇÃO DO CORAÇÃO", "região", "Määttä", "Hämäläinen", "Þórður^Guðrún", "Øyvind^Åse",
]  # fmt: skip
CHINESE = ["王^五", "体", "X线", "A型", "T1高信号", "2cm右", "CT中", "左L", "李^祎", "朱^镕基", "李锜", "张喆", "肺窗(5mm)"]


@pytest.mark.parametrize("label", ["", "ISO_IR 6", "ISO_IR 100"])
@pytest.mark.parametrize("text", WESTERN)
def test_western_text_is_never_taken_for_chinese_alone_or_beside_it(label, text):
    raw, name = text.encode("latin-1"), "王^小明".encode("gbk")
    assert is_western(raw)
    alone, beside = detect(label.encode(), [raw]), detect(label.encode(), [raw, name])
    assert (alone.decode(raw), alone.repaired) == (text, "")
    assert (beside.decode(raw), beside.decode(name), beside.repaired) == (text, "王^小明", "GB18030")


@pytest.mark.parametrize("text", CHINESE)
def test_short_chinese_beside_latin_letters_is_still_chinese(text):
    raw = text.encode("gbk")
    assert not is_western(raw)
    found = detect(b"ISO_IR 100", [b"M\xfcller", raw])
    assert (found.decode(raw), found.repaired) == (text, "GB18030")


def test_what_a_capital_word_ends_in_is_chinese_and_what_no_rule_reads_stays_as_labelled():
    assert detect(b"ISO_IR 100", ["PÄÄ".encode("latin-1")]).decode("PÄÄ".encode("latin-1")) == "P哪"
    undecided = "ÄÖÜ ja".encode("latin-1")
    assert not is_western(undecided)
    assert detect(b"ISO_IR 100", [undecided]).decode(undecided) == "ÄÖÜ ja"


def built(top: dict[str, bytes], items: list[tuple[str, bytes]], **attributes) -> bytes:
    """An image with these bytes in its top level, and in a code inside each item (own label or '', meaning)."""
    told = [*top.values(), *(meaning for _, meaning in items)]
    marks = [f"{chr(ord('K') + n) * 3}{'q' * 40}"[: len(raw)] for n, raw in enumerate(told)]
    assert len(set(marks)) == len(marks)
    sequence = []
    for (own, _), mark in zip(items, marks[len(top) :], strict=True):
        inner, outer = Dataset(), Dataset()
        inner.CodeMeaning = mark
        if own:
            inner.SpecificCharacterSet = own
        outer.PurposeOfReferenceCodeSequence = [inner]
        sequence.append(outer)
    given = dict(zip(top, marks, strict=False))
    data = make(**{"PatientName": "Li^Si", "ProcedureCodeSequence": sequence, **given, **attributes})
    for mark, raw in zip(marks, told, strict=True):
        assert data.count(mark.encode()) == 1
        data = data.replace(mark.encode(), raw)
    return data


def padded(text: str, codec: str) -> bytes:
    raw = text.encode(codec)
    return raw + b" " * (len(raw) % 2)


async def read_back(archive, data):
    """Metadata, and the file that is sent after its patient was corrected to a Chinese name."""
    await store(archive, data)
    (row,) = archive.instances(seen_by("clinic"), "1.2.3")
    (metadata,) = await archive.metadata([row])
    await archive.settling.correct(correction("c1", "patient", "1.2.3", person=LI))
    (row,) = archive.instances(seen_by("clinic"), "1.2.3")
    return json.loads(metadata), pydicom.dcmread(io.BytesIO((await whole(archive, row))[0]))


def meanings(metadata, sent):
    told = [one["0040A170"]["Value"][0]["00080104"]["Value"][0] for one in metadata["00081032"]["Value"]]
    return told, [one.PurposeOfReferenceCodeSequence[0].CodeMeaning for one in sent.ProcedureCodeSequence]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("label", ["ISO_IR 100", None])
@pytest.mark.parametrize("western", ["Müller", "37,5 °C", "Ångström", "ÄÖÜ ja"])
@pytest.mark.parametrize("codec", ["gbk", "utf-8"])
async def test_chinese_in_a_sequence_beside_a_western_top_level(working_archive, syntax, label, western, codec):
    want = ["胸部平扫", "Größe 5 µm", "王小明检查", "CT"]
    items = [("", padded(text, "latin-1" if text.startswith("G") else codec)) for text in want]
    data = built({"StudyDescription": padded(western, "latin-1")}, items, SpecificCharacterSet=label, syntax=syntax)
    metadata, sent = await read_back(working_archive, data)
    assert meanings(metadata, sent) == (want, want)
    assert metadata["00081030"]["Value"] == [western]
    assert (sent.StudyDescription, str(sent.PatientName), sent.SpecificCharacterSet) == (western, LI.patient_name, "ISO_IR 192")


@pytest.mark.parametrize("label", ["ISO_IR 100", None])
@pytest.mark.parametrize("western", ["Müller", "37,5 °C", "Señor", "Größe", "Conceição"])
async def test_a_western_sequence_beside_a_chinese_top_level(working_archive, label, western):
    items = [("", padded(western, "latin-1")), ("", padded("增强一期", "gbk")), ("", padded("平扫一", "utf-8")), ("", padded("一些", "gbk")),
             ("ISO_IR 101", padded("Dvořák", "iso8859-2")), ("ISO_IR 192", padded("Ångström 王", "utf-8"))]  # fmt: skip
    want = [western, "增强一期", "平扫一", "一些", "Dvořák", "Ångström 王"]
    top = {"PatientName": padded("王^小明", "gbk"), "StudyDescription": padded("胸部平扫", "gbk")}
    metadata, sent = await read_back(working_archive, built(top, items, SpecificCharacterSet=label))
    assert meanings(metadata, sent) == (want, want)
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "王^小明"}]
    former = sent.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (former.PatientName, sent.StudyDescription) == ("王^小明", "胸部平扫")


async def test_a_western_sign_at_the_top_level_hides_no_chinese_name_from_the_search(working_archive):
    top = {"PatientName": padded("王^小明", "gbk"), "StudyDescription": padded("20 ° C Müller", "latin-1")}
    result = await working_archive.ingest(
        built(top, [], SpecificCharacterSet="ISO_IR 100"), organisation="A", source="test"
    )
    row = working_archive.study(seen_by("A"), result.study_uid)
    assert (row.patient_name, row.description, row.repaired) == ("王^小明", "20 ° C Müller", "GB18030")
    plain = make("1.2.4.1", study="1.2.4", PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100")
    await working_archive.ingest(plain, organisation="A", source="test")
    row = working_archive.study(seen_by("A"), "1.2.4")
    assert (row.patient_name, row.repaired) == ("Müller^Jürgen", "")


async def test_an_item_below_an_item_takes_the_judgement_of_the_one_around_it(working_archive):
    """One rare character, which nothing tells from Western text by itself, in a code whose item has Chinese."""
    inner, outer = Dataset(), Dataset()
    inner.CodeMeaning, outer.RequestedProcedureDescription = "KKKK", "LLLLLLLL"
    outer.RequestedProcedureCodeSequence = [inner]
    data = make(
        PatientName="Li^Si", StudyDescription="MMMMMM", RequestAttributesSequence=[outer], SpecificCharacterSet="ISO_IR 100"
    )
    for mark, raw in ((b"KKKK", "喆Ⅱ".encode("gbk")), (b"LLLLLLLL", "胸部平扫".encode("gbk")), (b"MMMMMM", b"\xc4\xd6\xdc ja")):
        data = data.replace(mark, raw)
    await store(working_archive, data)
    (row,) = working_archive.instances(seen_by("clinic"), "1.2.3")
    (metadata,) = await working_archive.metadata([row])
    request = json.loads(metadata)["00400275"]["Value"][0]
    assert request["00321060"]["Value"] == ["胸部平扫"]
    assert request["00321064"]["Value"][0]["00080104"]["Value"] == ["喆Ⅱ"]


def test_a_question_of_the_network_is_read_item_by_item():
    item, ds = Dataset(), Dataset()
    item.ScheduledPerformingPhysicianName = "KKKKKK"
    ds.SpecificCharacterSet, ds.PatientName, ds.ScheduledProcedureStepSequence = "ISO_IR 100", "LLLLLL", [item]
    out = io.BytesIO()
    pydicom.filewriter.write_dataset(_explicit(out), ds)
    data = out.getvalue().replace(b"KKKKKK", "王小明".encode("gbk")).replace(b"LLLLLL", b"\xc4\xd6\xdc ja")
    read = parse_record(data, ExplicitVRLittleEndian)
    assert read.values[0x00100010].text == "ÄÖÜ ja"
    assert read.items(0x00400100)[0].values[0x00400006].text == "王小明"


def _explicit(out):
    made = pydicom.filebase.DicomFileLike(out)
    made.is_little_endian, made.is_implicit_VR = True, False
    return made


async def test_plain_ascii_costs_no_judgement_of_items(working_archive, monkeypatch):
    judged = []
    monkeypatch.setattr(texts.charsets, "of_item", lambda *given: judged.append(given))
    await store(working_archive, built({"StudyDescription": b"CHEST "}, [("", b"PLAIN "), ("", b"SCAN")]))
    (row,) = working_archive.instances(seen_by("clinic"), "1.2.3")
    await working_archive.metadata([row])
    assert not judged
