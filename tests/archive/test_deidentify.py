"""De-identification: nothing that named the patient is anywhere in what comes out."""

from __future__ import annotations

import io
import random

import pydicom
import pytest
from PIL import Image as Pictures
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from dicom.archive import Archive
from dicom.deidentify import Options, Profile, deidentify
from dicom.deidentify_table import ACTIONS
from dicom.elements import Window
from dicom.errors import RefusedError
from dicom.model import Limits
from dicom.part10 import split_file
from dicom.workers.ops import Dataset as Opened
from server.cli import run
from server.control import run_directly
from server.settings_reading import load_settings
from tests.archive.files import make, real

TEXTS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}


def out_of(data, secret=b"s", **options):
    """The file that comes out, as bytes, and what it is warned of."""
    head = split_file(Window.of(data))
    body = memoryview(data)[head.dataset_start :]
    with Opened({"syntax": head.transfer_syntax, "data": body, "length": len(body)}, Limits()) as dataset:
        made = deidentify(dataset, Profile(secret=secret, options=Options(**options)))
        pixels = b"" if made["pixels"] is None else dataset.window.bytes(*made["pixels"])
    return made["head"] + pixels, made["warnings"]


def read(data):
    return pydicom.dcmread(io.BytesIO(data))


def changed(data, **values):
    ds = read(data)
    for name, value in values.items():
        setattr(ds, name, value)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def crowded(seed):
    """A dataset with a word of its own in every text of the table, of group 0010 and of the private groups, at three
    levels; the patient's name also where nobody expects it.
    """
    chance = random.Random(seed)
    words = []

    def word():
        words.append("".join(chance.choices("bcdfghjklmnpqrstvwxz", k=10)))
        return words[-1]

    def fill(ds, share):
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
            wanted = (tag in ACTIONS or tag >> 16 == 0x0010) and vr in TEXTS and keyword and not retired and tag >> 16 > 2
            if wanted and tag not in {0x00100020, 0x00100010} and chance.random() < share:
                ds.add_new(tag, vr, word())
        for group in (0x0009, 0x0029, 0x7FDF):
            block = ds.private_block(group, word(), create=True)
            block.add_new(1, "LO", word())
            block.add_new(2, "UN", word().encode())
        return ds

    ds = fill(read(make(PatientName=f"{word()}^{word()}", PatientID=word())), 1.0)
    inner, middle = fill(Dataset(), 0.5), fill(Dataset(), 0.5)
    middle.ContentSequence = [inner]
    ds.RequestAttributesSequence = [middle]
    ds.ViewCodeSequence = [fill(Dataset(), 0.5)]
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ConvolutionKernel = words[0].upper()
    ds.ReferencedImageEvidenceSequence = [fill(Dataset(), 0.3)]
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue(), [one for one in words if one.encode() in out.getvalue()]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_no_word_of_the_original_survives_anywhere(seed):
    data, words = crowded(seed)
    assert len(words) > 300
    made, _ = out_of(data)
    assert [word for word in words if word.encode() in made.lower()] == []
    ds = read(made)
    assert ds.PatientIdentityRemoved == "YES" and ds.PatientName == ds.PatientID and ds.PatientID.startswith("ANON")
    assert not any(element.tag.is_private for element in ds.iterall())
    assert ds.PixelData == read(data).PixelData


@pytest.mark.filterwarnings("ignore")
def test_under_every_option_the_names_are_gone():
    data, _ = crowded(9)
    name = read(data).PatientName
    for options in ({"text": True}, {"device": True}, {"patient": True}, {"dates": "full"}, {"dates": "modified"}):
        made, _ = out_of(data, **options)
        for word in (name.family_name, name.given_name, read(data).PatientID):
            assert word.encode() not in made.lower(), options


def test_rows_of_the_table_are_those_of_the_standard():
    """A dozen rows read in the standard by hand."""
    wanted = {
        0x00080050: ("Z", ""), 0x00080080: ("D", ""), 0x00081030: ("X", "text"), 0x00100010: ("Z", ""),
        0x00100030: ("Z", ""), 0x00100040: ("Z", "patient"), 0x00101010: ("X", "patient"), 0x00101030: ("X", "patient"),
        0x00181000: ("D", "device"), 0x0020000D: ("U", ""), 0x00080018: ("U", ""), 0x00080020: ("Z", "dates"),
        0x00204000: ("X", "text"), 0x00081010: ("D", "device"), 0x00324000: ("X", "text"), 0x00104000: ("X", "text"),
    }  # fmt: skip
    found = {tag: (ACTIONS[tag][0], " ".join(ACTIONS[tag][1])) for tag in wanted}
    assert {hex(tag): (found[tag], row) for tag, row in wanted.items() if found[tag] != row} == {}
    assert len(ACTIONS) > 600


def test_uids_and_patients_stay_together_within_an_export_and_apart_between_two():
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.1.2"
    one = changed(make("1.2.3.1.1"), SourceImageSequence=[reference])
    first, second = read(out_of(one)[0]), read(out_of(make("1.2.3.1.2"))[0])
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert first.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert first.StudyInstanceUID == second.StudyInstanceUID != "1.2.3"
    assert first.SOPInstanceUID != second.SOPInstanceUID and first.PatientID == second.PatientID
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    other = read(out_of(one, b"another")[0])
    assert other.StudyInstanceUID != first.StudyInstanceUID and other.PatientID != first.PatientID


def test_dates_go_move_together_or_stay_and_the_dataset_says_which():
    data = changed(make(), SeriesDate="20260105", AcquisitionDateTime="20260102101500.5", StudyTime="101500")
    gone = read(out_of(data)[0])
    assert not gone.StudyDate and not gone.PatientBirthDate and gone.LongitudinalTemporalInformationModified == "REMOVED"
    assert b"20260102" not in out_of(data)[0]
    moved = read(out_of(data, dates="modified")[0])
    assert moved.StudyDate != "20260102" and moved.AcquisitionDateTime[:8] == moved.StudyDate
    assert int(moved.SeriesDate) != 20260105 and not moved.PatientBirthDate
    days = [pydicom.valuerep.DA(text) for text in (moved.StudyDate, moved.SeriesDate)]
    assert (days[1] - days[0]).days == 3
    assert moved.LongitudinalTemporalInformationModified == "MODIFIED"
    full = read(out_of(data, dates="full")[0])
    assert full.StudyDate == "20260102" and full.StudyTime == "101500" and not full.PatientBirthDate
    codes = [item.CodeValue for item in full.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113106"]


def test_options_keep_what_they_name_and_nothing_else():
    data = changed(make(), DeviceSerialNumber="SN42", PatientSex="F", PatientAge="051Y", StudyDescription="Chest of 张三",
                   SeriesDescription="Lung 1.0", InstitutionName="市一院放射科")  # fmt: skip
    plain = read(out_of(data)[0])
    assert plain.DeviceSerialNumber != "SN42" and not plain.PatientSex and "PatientAge" not in plain
    assert "StudyDescription" not in plain and "SeriesDescription" not in plain
    kept = read(out_of(data, device=True, patient=True, text=True)[0])
    assert (kept.DeviceSerialNumber, kept.PatientSex, kept.PatientAge) == ("SN42", "F", "051Y")
    assert kept.SeriesDescription == "Lung 1.0"
    assert not kept.StudyDescription or "张" not in kept.StudyDescription
    assert "市一院" not in str(kept)


def test_a_name_under_the_wrong_character_set_is_found_all_the_same():
    name = "张建国"
    data = make(SpecificCharacterSet="ISO_IR 100", PatientName=name.encode("gbk").decode("latin-1"))
    data = changed(data, ConvolutionKernel=(name + "B30").encode("gbk").decode("latin-1"))
    made, _ = out_of(data)
    assert name.encode("gbk") in data and name.encode("gbk") not in made


def test_overlays_and_what_stands_behind_the_pixels_go():
    ds = read(make())
    ds.add_new(0x60003000, "OW", b"\1\2")
    ds.add_new(0xFFFCFFFC, "OB", b"NAME")
    out = io.BytesIO()
    ds.save_as(out)
    made, _ = out_of(out.getvalue())
    assert b"NAME" not in made and 0x60003000 not in read(made)


def test_a_name_in_the_comment_of_a_jpeg_is_refused():
    picture = io.BytesIO()
    Pictures.new("L", (2, 1)).save(picture, "JPEG", comment="for SMITHERS")
    stream = encapsulate([picture.getvalue() + b"\0" * (picture.tell() % 2)])
    for name, refused in (("Smithers^Waylon", True), ("Burns^Monty", False)):
        ds = read(make(PatientName=name, BitsAllocated=8, BitsStored=8, HighBit=7))
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.PixelData = stream
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        out = io.BytesIO()
        ds.save_as(out)
        if refused:
            with pytest.raises(RefusedError, match="identity_left"):
                out_of(out.getvalue())
        else:
            assert read(out_of(out.getvalue())[0]).PixelData == ds.PixelData


def test_what_nobody_can_clean_by_rule_is_refused():
    none = dict.fromkeys(["PixelData", "Rows", "Columns"])
    for sop_class in ("1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.88.33"):
        with pytest.raises(RefusedError, match="document_not_cleaned"):
            out_of(make(SOPClassUID=sop_class, **none))


def test_words_burned_into_the_picture_are_warned_of():
    assert out_of(make())[1] == []
    assert out_of(make(BurnedInAnnotation="YES"))[1] == ["burned_in_said"]
    assert out_of(make(Modality="US"))[1] == ["burned_in_likely"]
    assert out_of(make(Modality="US", BurnedInAnnotation="NO"))[1] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "waveform_ecg.dcm",
                                  "examples_ybr_color.dcm", "JPEG2000.dcm"])  # fmt: skip
def test_real_files_of_every_encoding_keep_their_content_and_lose_their_people(name):
    data = real(name)
    before, made = read(data), out_of(data)[0]
    after = read(made)
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName"):
        value = str(before.get(keyword, "")).strip("^")
        if len(value) > 3:
            assert value.encode() not in made
    assert after.SOPClassUID == before.SOPClassUID
    if "PixelData" in before:
        assert after.PixelData == before.PixelData
    else:
        assert after.WaveformSequence[0].WaveformData == before.WaveformSequence[0].WaveformData


async def test_the_command_writes_a_study_and_says_what_it_left_out(tmp_path, capsys):
    import asyncio

    data, target = tmp_path / "data", tmp_path / "out"
    settings = load_settings(None, override={"data": str(data)})
    run_directly(settings, {"command": "user_list"})
    archive = Archive.open(data / "archive", worker_count=0)
    await archive.start()
    report = make("1.2.3.1.9", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", PixelData=None)
    for file in (make("1.2.3.1.1"), make("1.2.3.1.2", Modality="US"), report):
        assert (await archive.ingest(file, organisation="A", source="test")).outcome == "stored"
    await archive.close()
    command = ["dicom", "deidentify", "1.2.3", str(target), "--data", str(data), "--dates", "modified"]
    assert await asyncio.to_thread(run, command) == 1
    said = capsys.readouterr().out
    assert "2 of 3 instances written" in said and "1 not written" in said and "burned into" in said
    files = [path.read_bytes() for path in sorted(target.iterdir())]
    assert len(files) == 2 and not any(word in file for file in files for word in (b"Zhang", "张".encode(), b"P1 "))
    assert read(files[0]).StudyInstanceUID == read(files[1]).StudyInstanceUID
    assert await asyncio.to_thread(run, command) == 1  # the folder is not empty any more
    assert len(list(target.iterdir())) == 2
