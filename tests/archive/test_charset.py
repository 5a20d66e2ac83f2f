"""Text in every character set of PS3.3 §C.12.1.1.2, and right where the label is wrong."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom.charset import detect
from dicom.web import study_json
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.archive.test_corrections import LI, correction, store, whole

FILES = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("*.dcm"))


def raw_of(path):
    """Label and bytes of the patient's name as the file has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True)
        if 0x00100010 not in ds:
            return b"", b"", ""
        label = ds.get_item(0x00080005)
        label = "" if label is None else label.value
        label = label if isinstance(label, bytes) else (label if isinstance(label, str) else "\\".join(label)).encode()
        raw = pydicom.dcmread(path, force=True).get_item(0x00100010).value
        return label, raw, str(ds.PatientName)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_names_of_the_standards_own_examples_read_as_pydicom_reads_them(path):
    label, raw, want = raw_of(path)
    assert detect(label, [raw]).decode(raw).rstrip(" =") == want
    assert detect(label, [raw]).repaired == ""


ONE_BYTE = [
    ("ISO_IR 100", "iso8859-1", "Äneas^Rüdiger"), ("ISO_IR 101", "iso8859-2", "Wałęsa^Łódź"),
    ("ISO_IR 109", "iso8859-3", "Ħal^Ġgantija"), ("ISO_IR 110", "iso8859-4", "Ķīsis^Ņina"),
    ("ISO_IR 144", "iso8859-5", "Люкceмбypг"), ("ISO_IR 127", "iso8859-6", "قباني^لنزار"),
    ("ISO_IR 126", "iso8859-7", "Διονυσιος"), ("ISO_IR 138", "iso8859-8", "שרון^דבורה"),
    ("ISO_IR 148", "iso8859-9", "Çavuşoğlu"), ("ISO_IR 203", "iso8859-15", "Œuvre^€"),
    ("ISO_IR 166", "tis-620", "นามสกุล"), ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ("ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小东=𠮷"), ("GB18030", "gb18030", "Wang^XiaoDong=王^小东=㐂"),
    ("GBK", "gbk", "Wang^XiaoDong=王^小东=喆"),
]  # fmt: skip


@pytest.mark.parametrize(("label", "codec", "name"), ONE_BYTE)
def test_every_set_without_escapes(label, codec, name):
    raw = name.encode(codec)
    found = detect(label.encode(), [raw])
    assert (found.decode(raw), found.repaired) == (name, "")
    number = label.removeprefix("ISO_IR ")
    if number.isdecimal() and number != "192":
        first = detect(f"ISO 2022 IR {number}".encode(), [raw])
        assert first.decode(raw) == name


G1 = {"100": b"\x1b-A", "101": b"\x1b-B", "109": b"\x1b-C", "110": b"\x1b-D", "144": b"\x1b-L", "127": b"\x1b-G",
      "126": b"\x1b-F", "138": b"\x1b-H", "148": b"\x1b-M", "203": b"\x1b-b", "166": b"\x1b-T", "13": b"\x1b)I"}  # fmt: skip


@pytest.mark.parametrize("number", sorted(G1))
def test_every_set_behind_its_escape(number):
    name, codec = next((n, c) for label, c, n in ONE_BYTE if label == f"ISO_IR {number}")
    raw = b"A^B=" + b"^".join(G1[number] + part.encode(codec) for part in name.split("^"))
    label = f"ISO 2022 IR 6\\ISO 2022 IR {number}".encode()
    assert detect(label, [raw]).decode(raw) == f"A^B={name}"


@pytest.mark.parametrize(
    ("label", "raw", "name"),
    [
        ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
        ("\\ISO 2022 IR 159", b"A=\x1b$(D\x30\x21\x1b(B", "A=丂"),
        ("\\ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5\x86\xb4", "Zhang=张喆"),  # beyond GB 2312, as devices write it
        ("ISO 2022 IR 100\\ISO 2022 IR 149", b"M\xfcller=\x1b$)C\xfb\xf3^M\xfcller", "Müller=洪^Müller"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J", "ﾔﾏﾀﾞ=山田"),
    ],
)
def test_every_two_byte_set_behind_its_escape(label, raw, name):
    found = detect(label.encode(), [raw])
    assert (found.decode(raw), found.repaired) == (name, "")


@pytest.mark.parametrize("label", ["", "ISO_IR 6", "ISO_IR 100", "ISO_IR 999"])
@pytest.mark.parametrize(("codec", "found"), [("gbk", "GB18030"), ("gb18030", "GB18030"), ("utf-8", "ISO_IR 192")])
@pytest.mark.parametrize("text", ["王^小东", "张喆", "欧阳^娜娜", "胸部CT平扫，右肺上叶结节"])
def test_chinese_under_a_wrong_label_is_read_and_marked(label, codec, found, text):
    raw = text.encode(codec)
    charset = detect(label.encode(), [raw])
    assert (charset.decode(raw), charset.repaired, charset.label) == (text, found, label)


@pytest.mark.parametrize("codec", ["gbk", "utf-8"])
def test_a_field_cut_in_the_middle_of_a_character_is_still_read(codec):
    raw = "胸部平扫与增强".encode(codec)[:-1]
    found = detect(b"ISO_IR 100", [b"CHEST", raw, "王^小东".encode(codec)])
    assert found.repaired and found.decode(raw).startswith("胸部平扫与增")


@pytest.mark.parametrize("label", ["", "ISO_IR 100"])
@pytest.mark.parametrize("name", ["Müller^Jürgen", "Lévy^Hélène", "Ångström", "Nuñez^José", "Dvořák".replace("ř", "r")])
def test_accented_latin_is_left_alone(label, name):
    raw = name.encode("iso8859-1")
    found = detect(label.encode(), [raw])
    assert (found.decode(raw), found.repaired) == (name, "")


def test_a_label_that_fits_is_believed():
    for label, codec in (("ISO_IR 192", "utf-8"), ("GB18030", "gb18030"), ("GBK", "gbk")):
        raw = "王^小东".encode(codec)
        assert detect(label.encode(), [raw]).repaired == ""
    assert detect(b"ISO_IR 192", ["王^小东".encode("gbk")]).repaired == "GB18030"
    assert detect(b"GB18030", ["王^小明".encode()]).repaired == "ISO_IR 192"


async def test_repaired_text_is_right_in_list_and_metadata_marked_and_the_file_keeps_what_it_had(working_archive):
    data = make(PatientName="XXXXX", StudyDescription="YYYYYYYY", SpecificCharacterSet="ISO_IR 100")
    data = data.replace(b"XXXXX ", "王^小".encode("gbk") + b" ").replace(b"YYYYYYYY", "胸部平扫".encode("gbk"))
    result = await working_archive.ingest(data, organisation="A", source="test")
    assert result.repaired == "GB18030"
    row = working_archive.study(seen_by("A"), result.study_uid)
    assert (row.patient_name, row.description, row.repaired) == ("王^小", "胸部平扫", "GB18030")
    listed = study_json(row, "http://x")
    assert listed["00100010"]["Value"] == [{"Alphabetic": "王^小"}]
    assert (listed["00090010"]["Value"], listed["00091001"]["Value"]) == (["HUIZHEN"], ["GB18030"])
    instance = working_archive.instance(seen_by("A"), result.study_uid, None, result.sop_uid)
    (metadata,) = await working_archive.metadata([instance])
    value = json.loads(metadata)
    assert value["00100010"]["Value"] == [{"Alphabetic": "王^小"}] and value["00081030"]["Value"] == ["胸部平扫"]
    stored = working_archive.read_file(instance)
    assert stored[132:] == data[132:]
    assert pydicom.dcmread(io.BytesIO(stored)).SpecificCharacterSet == "ISO_IR 100"


def within(meaning: bytes, *, own: str = "", sequence: str = "ProcedureCodeSequence", **attributes) -> bytes:
    """An image whose only text that is no ASCII is the meaning of a code in a code."""
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.CodeMeaning = "Z" * len(meaning)
    if own:
        inner.SpecificCharacterSet = own
    outer.PurposeOfReferenceCodeSequence = [inner]
    data = make(**{"PatientName": "Li^Si", sequence: [outer], **attributes})
    return data.replace(b"Z" * len(meaning), meaning)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("label", "codec", "own", "text"),
    [("ISO_IR 100", "gb18030", "", "平扫"), (None, "gb18030", "", "平扫"), (None, "utf-8", "", "平扫一"),
     ("ISO_IR 100", "latin-1", "", "Schädel"), ("ISO_IR 100", "utf-8", "ISO_IR 192", "平扫一")],
)  # fmt: skip
async def test_text_that_only_a_sequence_has_is_read_right(working_archive, syntax, label, codec, own, text):
    raw = text.encode(codec)
    data = within(raw + b" " * (len(raw) % 2), own=own, SpecificCharacterSet=label, syntax=syntax)
    result = await working_archive.ingest(data, organisation="A", source="test")
    row = working_archive.instance(seen_by("A"), result.study_uid, None, result.sop_uid)
    (metadata,) = await working_archive.metadata([row])
    code = json.loads(metadata)["00081032"]["Value"][0]["0040A170"]["Value"][0]
    assert code["00080104"]["Value"] == [text]


@pytest.mark.parametrize(
    ("label", "name", "own", "codec"),
    [("ISO_IR 100", "Li^Si", "ISO_IR 100", "gbk"), (None, "Li^Si", "ISO_IR 100", "gbk"),
     ("ISO_IR 100", "王^小明", "ISO_IR 100", "gbk"), ("ISO_IR 100", "王^小明", "ISO_IR 192", "utf-8"),
     (None, "王^小明", "ISO_IR 100", "gbk")],
)  # fmt: skip
async def test_an_items_own_label_is_judged_too_in_metadata_and_in_what_is_sent(working_archive, label, name, own, codec):
    raw, said = "胸部平扫".encode(codec), name.encode("gbk")
    data = within(raw, own=own, SpecificCharacterSet=label, PatientName="Y" * len(said)).replace(b"Y" * len(said), said)
    await store(working_archive, data)
    (row,) = working_archive.instances(seen_by("clinic"), "1.2.3")
    (metadata,) = await working_archive.metadata([row])
    code = json.loads(metadata)["00081032"]["Value"][0]["0040A170"]["Value"][0]
    assert code["00080104"]["Value"] == ["胸部平扫"]
    await working_archive.settling.correct(correction("c1", "patient", "1.2.3", person=LI))
    (row,) = working_archive.instances(seen_by("clinic"), "1.2.3")
    sent = pydicom.dcmread(io.BytesIO((await whole(working_archive, row))[0]))
    assert sent.ProcedureCodeSequence[0].PurposeOfReferenceCodeSequence[0].CodeMeaning == "胸部平扫"


async def test_a_code_behind_thousands_of_references_is_read_right(working_archive):
    references = []
    for number in range(3000):
        references.append(pydicom.Dataset())
        references[-1].ReferencedSOPClassUID, references[-1].ReferencedSOPInstanceUID = "1.2.3", f"1.2.{number}"
    data = within(
        "胸部平扫".encode("gbk"), SpecificCharacterSet="ISO_IR 100",
        ReferencedImageSequence=references, sequence="RequestAttributesSequence",
    )  # fmt: skip
    await store(working_archive, data)
    (row,) = working_archive.instances(seen_by("clinic"), "1.2.3")
    (metadata,) = await working_archive.metadata([row])
    assert "胸部平扫" in metadata.decode()
