"""C-FIND, C-MOVE and C-GET with Debian's dcmtk and pynetdicom as peers."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, dcmread
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from dicom.errors import RefusedError
from dicom.network.ports import Address
from dicom.network.records import parse_record, record, write_record
from tests.archive.files import FOLDER, make
from tests.network.conftest import dcmtk

CALL = ("-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1")


async def fill(archive, organisation="clinic"):
    for study in (1, 2):
        for series in (1, 2):
            for n in (1, 2):
                uid = f"1.2.{study}.{series}.{n}"
                data = make(
                    uid, study=f"1.2.{study}", series=f"1.2.{study}.{series}", InstanceNumber=n, SeriesNumber=series,
                    StudyDate=f"2026010{study}", AccessionNumber=f"A{study}", PatientID=f"P{study}",
                    PatientName="Zhang^San=张^三" if study == 1 else "Li^Si=李^四", StudyDescription="胸部",
                )
                result = await archive.ingest(data, organisation=organisation, source="test")
                assert result.outcome == "stored"


def found(text, tag):
    return re.findall(rf"W: \({tag}\) \w\w \[?([^\]#]*?)\]?\s+#", text.replace("I: (", "W: ("))


async def ask(port, *keys, root="-S"):
    arguments = [part for key in keys for part in ("-k", key)]
    said = await dcmtk("findscu", root, "-v", *CALL, port, *arguments)
    assert said.code == 0, said.text
    return said.text.partition("Find Response:")[2]


async def test_each_level_of_both_roots_is_answered(listen, archive):
    await fill(archive)
    _, port = await listen()
    studies = await ask(port, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "AccessionNumber", "PatientID=P1")
    assert found(studies, "0008,0050") == ["A1"]
    series = await ask(port, "QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2.1", "SeriesInstanceUID",
                       "SeriesNumber", "PatientID")
    assert sorted(one.strip() for one in found(series, "0020,0011")) == ["1", "2"]
    assert len(found(series, "0010,0020")) == 2
    images = await ask(port, "QueryRetrieveLevel=IMAGE", "StudyInstanceUID=1.2.1", "SeriesInstanceUID=1.2.1.2",
                       "SOPInstanceUID", "InstanceNumber=2")
    assert [one.rstrip("\0") for one in found(images, "0008,0018")] == ["1.2.1.2.2"]
    patients = await ask(port, "QueryRetrieveLevel=PATIENT", "PatientID", "PatientName=Zhang*", root="-P")
    assert [one.strip() for one in found(patients, "0010,0020")] == ["P1"]
    none = await ask(port, "QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientID=P9")
    assert found(none, "0020,000d") == []


async def test_what_another_organisation_holds_is_neither_found_nor_moved(listen, archive, house):
    await fill(archive, "elsewhere")
    _, port = await listen()
    assert found(await ask(port, "QueryRetrieveLevel=STUDY", "StudyInstanceUID"), "0020,000d") == []
    house.addresses["MODALITY"] = Address(title="MODALITY", host="127.0.0.1", port=1)
    said = await dcmtk("movescu", "-S", "-v", "-aem", "MODALITY", *CALL, port, "-k", "QueryRetrieveLevel=STUDY",
                       "-k", "StudyInstanceUID=1.2.1")
    assert "Success" in said.text
    assert "NumberOfFailed" not in said.text
    assert house.uses == [("MODALITY", "find", ()), ("MODALITY", "retrieve", ("1.2.1",))]


def identifier(**values):
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


async def pynetdicom_find(port, query, title="MODALITY", model=StudyRootQueryRetrieveInformationModelFind):
    def run():
        ae = AE(title)
        ae.add_requested_context(model)
        link = ae.associate("127.0.0.1", port, ae_title="HUIZHEN")
        assert link.is_established
        answers = list(link.send_c_find(query, model))
        link.release()
        return answers

    return await asyncio.to_thread(run)


@pytest.mark.parametrize(
    ("coding", "label"),
    [("utf-8", "ISO_IR 192"), ("gb18030", "GB18030"), ("gbk", "GBK"), ("iso58", ["", "ISO 2022 IR 58"])],
)
async def test_a_device_is_answered_in_its_own_character_set(listen, archive, house, coding, label):
    await fill(archive)
    house.add("DEVICE", coding=coding)
    _, port = await listen()
    query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.1", PatientName="", StudyDescription="")
    (status, answer), (last, _) = await pynetdicom_find(port, query, "DEVICE")
    assert (status.Status, last.Status) == (0xFF00, 0)
    assert answer.SpecificCharacterSet == label
    answer.decode()
    # pydicom leaves the escape sequences of GB 2312 in what it decodes.
    assert str(answer.PatientName).replace("\x1b$)A", "") == "Zhang^San=张^三"
    assert answer.StudyDescription.replace("\x1b$)A", "") == "胸部"


def test_gb2312_is_written_as_in_the_standards_example():
    """PS3.5 §K.2."""
    name = record({0x00100010: "Zhang^XiaoDong=张^小东="})
    raw = bytes.fromhex("5a68616e675e5869616f446f6e673d1b242941d5c55e1b242941d0a1b6ab3d")
    assert raw in write_record(name, "1.2.840.10008.1.2.1", coding="iso58")


@given(st.text(alphabet="张三李四王^= \\AbÄ\n", max_size=20), st.sampled_from(["utf-8", "gb18030", "gbk"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(text, coding, explicit):
    syntax = "1.2.840.10008.1.2.1" if explicit else "1.2.840.10008.1.2"
    value = record({0x00081030: text, 0x00400100: [record({0x00400007: text}), record({})], 0x00280010: 7})
    raw = write_record(value, syntax, coding=coding)
    read = parse_record(raw, syntax)
    expected = text.encode(coding, "replace").decode(coding).strip(" \0")
    assert read.text(0x00081030) == read.items(0x00400100)[0].text(0x00400007) == expected
    assert read.text(0x00280010) == "7"


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_an_arbitrary_identifier_is_read_or_refused(data, explicit):
    with suppress(RefusedError):
        parse_record(data, "1.2.840.10008.1.2.1" if explicit else "1.2.840.10008.1.2")


async def test_a_device_of_plain_letters_gets_pinyin(listen, archive, house):
    await fill(archive)
    house.add("OLD", coding="pinyin")
    _, port = await listen()
    query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.1", PatientName="", StudyDescription="")
    (_, answer), _ = await pynetdicom_find(port, query, "OLD")
    assert "SpecificCharacterSet" not in answer
    assert str(answer.PatientName) == "Zhang^San"
    assert answer.StudyDescription == "XiongBu"


async def test_a_question_in_gb18030_is_understood(listen, archive):
    await fill(archive)
    _, port = await listen()
    query = identifier(
        SpecificCharacterSet="GB18030", QueryRetrieveLevel="STUDY", PatientName="李*", StudyInstanceUID=""
    )
    answers = await pynetdicom_find(port, query)
    assert [ds.StudyInstanceUID for _, ds in answers if ds] == ["1.2.2"]


async def test_wrong_levels_and_values_are_refused_and_unknown_keys_are_warned_of(listen, archive):
    await fill(archive)
    _, port = await listen()
    patient = identifier(QueryRetrieveLevel="PATIENT", PatientID="")
    assert [status.Status for status, _ in await pynetdicom_find(port, patient)] == [0xA900]
    root = PatientRootQueryRetrieveInformationModelFind
    assert [status.Status for status, _ in await pynetdicom_find(port, patient, model=root)] == [0xFF00, 0xFF00, 0]
    date = identifier(QueryRetrieveLevel="STUDY")
    date.add(DataElement("StudyDate", "DA", "2026-01-01", validation_mode=IGNORE))
    assert [status.Status for status, _ in await pynetdicom_find(port, date)] == [0xA900]
    odd = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.1", StationName="X")
    assert [status.Status for status, _ in await pynetdicom_find(port, odd)] == [0xFF01, 0]


class Receiver:
    """A storage SCP of pynetdicom; `syntaxes` it takes."""

    def __init__(self, *syntaxes, status=0):
        self.got = []
        ae = AE("MODALITY")
        ae.add_supported_context(CTImageStorage, list(syntaxes))
        ae.add_supported_context("1.2.840.10008.5.1.4.1.1.7", list(syntaxes))

        def store(event):
            self.got.append((event.request.AffectedSOPInstanceUID, event.request.MoveOriginatorApplicationEntityTitle,
                             event.context.transfer_syntax, event.request.DataSet.getvalue()))
            return status

        self.server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        self.port = self.server.server_address[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


async def test_move_sends_the_stored_bytes_to_a_registered_device_and_nowhere_else(listen, archive, house):
    await fill(archive)
    _, port = await listen()
    with Receiver("1.2.840.10008.1.2.1") as receiver:
        house.addresses["MODALITY"] = Address(title="MODALITY", host="127.0.0.1", port=receiver.port)
        wanted = ("-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.1", "-k", "SeriesInstanceUID=1.2.1.1")
        said = await dcmtk("movescu", "-S", "-d", "-aem", "MODALITY", *CALL, port, *wanted)
        assert said.code == 0, said.text
        assert [uid for uid, *_ in receiver.got] == ["1.2.1.1.1", "1.2.1.1.2"]
        assert {title for _, title, *_ in receiver.got} == {"MODALITY"}
        row = (await archive_rows(archive, "1.2.1.1"))[0]
        assert receiver.got[0][3] == archive.read_file(row)[row.place.prefix_length:]
        unknown = await dcmtk("movescu", "-S", "-d", "-aem", "ELSEWHERE", *CALL, port, *wanted)
        assert "0xa801" in unknown.text
        assert len(receiver.got) == 2


async def archive_rows(archive, series):
    from tests.archive.conftest import seen_by

    return archive.instances(seen_by("clinic"), None, series)


async def test_a_move_to_a_device_that_refuses_or_is_gone_names_what_failed(listen, archive, house):
    await fill(archive)
    _, port = await listen()
    wanted = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.1")
    with Receiver("1.2.840.10008.1.2.1", status=0xA700) as receiver:
        house.addresses["MODALITY"] = Address(title="MODALITY", host="127.0.0.1", port=receiver.port)
        said = await dcmtk("movescu", "-S", "-d", "-aem", "MODALITY", *CALL, port, *wanted)
        assert "0xa702" in said.text
        assert len(receiver.got) == 4
    gone = await dcmtk("movescu", "-S", "-d", "-aem", "MODALITY", *CALL, port, *wanted)
    assert "0xa702" in gone.text
    assert "1.2.1.1.1\\1.2.1.1.2\\1.2.1.2.1" in gone.text


@pytest.mark.parametrize("workers", [1])
async def test_get_brings_the_study_back_and_converts_only_for_who_cannot_take_it(listen, archive, tmp_path):
    await fill(archive)
    j2k = (FOLDER / "JPEG2000.dcm").read_bytes()
    await archive.ingest(j2k, organisation="clinic", source="test")
    study = dcmread(FOLDER / "JPEG2000.dcm").StudyInstanceUID
    _, port = await listen()
    plain = tmp_path / "plain"
    plain.mkdir()
    said = await dcmtk("getscu", "-S", "-v", "-od", plain, *CALL, port, "-k", "QueryRetrieveLevel=STUDY",
                       "-k", "StudyInstanceUID=1.2.2")
    assert said.code == 0, said.text
    assert len(list(plain.iterdir())) == 4
    received = {}

    def get(syntax):
        def store(event):
            ds = event.dataset
            ds.file_meta = event.file_meta
            received[event.context.transfer_syntax] = ds
            return 0

        sop_class = dcmread(FOLDER / "JPEG2000.dcm").SOPClassUID
        ae = AE("MODALITY")
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        ae.add_requested_context(sop_class, syntax)
        link = ae.associate("127.0.0.1", port, ae_title="HUIZHEN", ext_neg=[build_role(sop_class, scp_role=True)],
                            evt_handlers=[(evt.EVT_C_STORE, store)])
        query = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
        statuses = [status.Status for status, _ in link.send_c_get(query, StudyRootQueryRetrieveInformationModelGet)]
        link.release()
        return statuses

    stored = dcmread(FOLDER / "JPEG2000.dcm")
    assert await asyncio.to_thread(get, [str(stored.file_meta.TransferSyntaxUID)]) == [0]
    assert received[stored.file_meta.TransferSyntaxUID].PixelData == stored.PixelData
    assert await asyncio.to_thread(get, ["1.2.840.10008.1.2.1"]) == [0]
    assert (received["1.2.840.10008.1.2.1"].pixel_array == stored.pixel_array).all()
    assert await asyncio.to_thread(get, ["1.2.840.10008.1.2"]) == [0]
    assert (received["1.2.840.10008.1.2"].pixel_array == stored.pixel_array).all()
    other = str(JPEG2000Lossless) if stored.file_meta.TransferSyntaxUID != JPEG2000Lossless else "1.2.840.10008.1.2.4.91"
    assert await asyncio.to_thread(get, [other]) == [0xA702]


async def test_a_query_that_is_cancelled_stops(listen, archive):
    for n in range(60):
        await archive.ingest(make(f"1.3.{n}.1", study=f"1.3.{n}", series=f"1.3.{n}.0"), organisation="clinic", source="t")
    _, port = await listen()
    said = await dcmtk("findscu", "-S", "-v", "--cancel", "3", *CALL, port, "-k", "QueryRetrieveLevel=STUDY",
                       "-k", "StudyInstanceUID")
    assert "Cancel" in said.text
    assert len(re.findall("Find Response: [0-9]+ ", said.text)) < 61
