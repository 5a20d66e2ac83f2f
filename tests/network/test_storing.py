"""C-ECHO and C-STORE with Debian's dcmtk."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom.archive import Archive
from dicom.model import Scope
from dicom.network.scp import Listener
from dicom.network.store import peek_instance
from tests.archive.files import FOLDER, make
from tests.network.conftest import dcmtk

MINE = Scope(organisations=frozenset({"clinic"}))


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def statuses(text):
    return re.findall(r"DIMSE Status\s+: (0x[0-9a-f]{4})", text)


async def test_echo_is_answered_to_a_registered_device_and_to_no_other(listen):
    _, port = await listen()
    assert (await dcmtk("echoscu", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port)).code == 0
    stranger = await dcmtk("echoscu", "-v", "-aet", "STRANGER", "-aec", "HUIZHEN", "127.0.0.1", port)
    assert stranger.code != 0
    assert "Calling AE Title Not Recognized" in stranger.text
    wrong = await dcmtk("echoscu", "-v", "-aet", "MODALITY", "-aec", "OTHER", "127.0.0.1", port)
    assert "Called AE Title Not Recognized" in wrong.text


@pytest.mark.parametrize("workers", [1])
async def test_what_storescu_sends_is_kept_byte_for_byte_and_belongs_to_the_devices_organisation(
    listen, archive, house, tmp_path
):
    _, port = await listen()
    names = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "waveform_ecg.dcm", "reportsi.dcm")
    plain = write(tmp_path, "plain.dcm", make("1.2.3.9", study="1.2.9", series="1.2.9.1"))
    files = [*(FOLDER / name for name in names), plain]
    for path in files:
        syntax = dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        option = {DeflatedExplicitVRLittleEndian: "-xd", "1.2.840.10008.1.2.4.90": "-xv",
                  "1.2.840.10008.1.2.4.91": "-xw", ImplicitVRLittleEndian: "-xi"}.get(syntax, "-xe")
        said = await dcmtk("storescu", option, "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port, path)
        assert said.code == 0, said.text
    rows = archive.instances(MINE)
    assert len(rows) == len(files)
    assert {row.organisation for row in rows} == {"clinic"}
    by_uid = {row.sop_uid: row for row in rows}
    for path in files:
        ds = dcmread(path)
        row = by_uid[ds.SOPInstanceUID]
        assert row.transfer_syntax == ds.file_meta.TransferSyntaxUID
        kept = dcmread(BytesIO(archive.read_file(row)))
        assert kept.get("PixelData") == ds.get("PixelData")
        assert kept.PatientName == ds.PatientName
    # storescu rewrites lengths and padding of the others on its way.
    raw = plain.read_bytes()
    start = 144 + dcmread(plain).file_meta.FileMetaInformationGroupLength
    assert by_uid["1.2.3.9"].digest == hashlib.sha256(raw[start:]).hexdigest()
    assert len(house.kept) == len(files)
    assert house.uses == [("MODALITY", "store", ())] * len(files)


async def test_the_same_bytes_again_are_a_success_and_other_bytes_wait_in_quarantine(listen, archive, house, tmp_path):
    _, port = await listen()
    house.add("STRICT", conflict_status=0x0110)
    first = write(tmp_path, "a.dcm", make())
    other = write(tmp_path, "b.dcm", make(pixels=b"\x09\x09\x09\x09"))

    async def send(path, title="MODALITY"):
        return await dcmtk("storescu", "-d", "-aet", title, "-aec", "HUIZHEN", "127.0.0.1", port, path)

    assert statuses((await send(first)).text) == ["0x0000"]
    assert statuses((await send(first)).text) == ["0x0000"]
    assert statuses((await send(other)).text) == ["0xb000"]
    assert statuses((await send(other, "STRICT")).text) == ["0x0110"]
    (row,) = archive.instances(MINE)
    assert archive.read_file(row).endswith(b"\x01\x02\x03\x04")
    assert [waiting.sop_uid for waiting in archive.quarantine(frozenset({"clinic"}))] == [row.sop_uid] * 2 or (
        len(archive.quarantine(frozenset({"clinic"}))) == 1
    )


async def test_a_full_disk_is_told_as_out_of_resources_and_nothing_is_kept(house, tmp_path):
    def full(point):
        if point.startswith("pack"):
            raise OSError(errno.ENOSPC, "full")

    archive = Archive.open(tmp_path / "full", worker_count=0, fault=full)
    await archive.start()
    listener = Listener(house, archive)
    port = await listener.listen("127.0.0.1", 0)
    path = write(tmp_path, "a.dcm", make())
    try:
        said = await dcmtk("storescu", "-d", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port, path)
        assert statuses(said.text) == ["0xa700"]
        assert archive.instances(MINE) == []
        assert house.kept == []
    finally:
        await listener.close()
        await archive.close()


async def test_many_associations_at_once_lose_nothing(listen, archive, tmp_path):
    _, port = await listen()
    folders = []
    for n in range(4):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(25):
            write(folder, f"{i}.dcm", make(f"1.2.3.{n}.{i}", series=f"1.2.3.{n}", pixels=bytes([n, i]) * 2))
        folders.append(folder)
    said = await asyncio.gather(*(
        dcmtk("storescu", "+sd", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port, folder) for folder in folders
    ))
    assert [one.code for one in said] == [0] * 4, [one.text for one in said]
    assert len(archive.instances(MINE)) == 100


async def test_a_large_instance_passes_through_the_staging_file(listen, archive, tmp_path):
    _, port = await listen()
    data = make(pixels=bytes(20 << 20), Rows=1024, Columns=10240)
    path = write(tmp_path, "large.dcm", data)
    said = await dcmtk(
        "storescu", "--max-send-pdu", "131072", "-aet", "MODALITY", "-aec", "HUIZHEN", "127.0.0.1", port, path
    )
    assert said.code == 0, said.text
    (row,) = archive.instances(MINE)
    assert row.pixels.length == 20 << 20


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1"])
def test_the_instance_is_seen_in_the_first_bytes(syntax):
    data = make("1.2.3.77") if syntax == "1.2.840.10008.1.2.1" else b""
    if data:
        start = data.index(b"\x08\x00\x05\x00")
        assert peek_instance(data[start:], syntax) == "1.2.3.77"
    elif syntax == ImplicitVRLittleEndian:
        assert peek_instance(b"\x08\x00\x18\x00\x04\x00\x00\x001.2\x00", syntax) == "1.2"
    else:
        assert peek_instance(b"\x00\x08\x00\x18UI\x00\x041.2\x00", syntax) == "1.2"
    assert peek_instance(b"\x08\x00\x18\x00\xff\xff\xff\xff", ImplicitVRLittleEndian) is None
