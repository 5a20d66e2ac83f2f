"""What a sender is told, and what the archive then holds."""

from __future__ import annotations

import asyncio
import os
import signal
import zlib
from contextlib import suppress

import pytest

from dicom.archive import Archive
from dicom.errors import WorkerTimeoutError
from dicom.model import Limits, Query, Scope
from dicom.workers import ops
from dicom.workers.pool import WorkerPool
from tests.archive.conftest import seen_by
from tests.archive.files import make, real


async def send(archive, data, organisation="A", **more):
    return await archive.ingest(data, organisation=organisation, source="test", **more)


async def chunks(data, size=1000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_the_result_carries_what_matching_needs(archive):
    result = await send(archive, make(AccessionNumber="ACC9"))
    assert (result.outcome, result.reason, result.new_study) == ("stored", None, True)
    assert (result.accession, result.patient_id, result.birth_date, result.sex) == (
        "ACC9",
        "P1",
        "19700101",
        "M",
    )
    assert result.patient_name == "Zhang^San=张^三"
    assert (await send(archive, make("1.2.3.1.2"))).new_study is False


async def test_issuers_are_read_from_attribute_and_sequence(archive):
    from pydicom.dataset import Dataset

    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "市一院"
    result = await send(archive, make(IssuerOfPatientID="区卫健", IssuerOfAccessionNumberSequence=[issuer]))
    assert (result.issuer_of_patient_id, result.issuer_of_accession) == ("区卫健", "市一院")


async def test_the_same_bytes_again_are_a_duplicate_in_one_batch_or_later(archive):
    data = make()
    results = await asyncio.gather(*(send(archive, data) for _ in range(5)))
    assert sorted(r.outcome for r in results) == ["duplicate"] * 4 + ["stored"]
    assert (await send(archive, data)).outcome == "duplicate"
    assert archive.totals()["instance"] == 1


async def test_a_new_preamble_or_file_meta_does_not_make_it_another_instance(archive):
    data = make()
    await send(archive, data)
    assert (await send(archive, b"\x55" * 128 + data[128:])).outcome == "duplicate"


async def test_other_bytes_under_a_held_identity_go_to_quarantine_and_the_original_stays(archive):
    first = await send(archive, make())
    other = await send(archive, make(pixels=b"\x09\x09\x09\x09"))
    assert (other.outcome, other.reason) == ("conflict", "other_bytes")
    row = archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.1")
    assert row.digest == first.digest
    (waiting,) = archive.quarantine(frozenset({"A"}))
    assert waiting.digest == other.digest
    assert archive.quarantine(frozenset({"B"})) == []
    assert (await send(archive, make(pixels=b"\x09\x09\x09\x09"))).outcome == "conflict"
    assert len(archive.quarantine(frozenset({"A"}))) == 1
    assert archive.study(seen_by("A"), "1.2.3").instance_count == 1


async def test_the_same_bytes_from_another_organisation_add_custody_and_no_copy(archive):
    data = make(pixels=bytes(40_000), Rows=10_000)
    await send(archive, data)
    size = sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack"))
    result = await send(archive, data, "B")
    assert (result.outcome, result.custody, result.new_study) == ("stored", True, True)
    assert sum(path.stat().st_size for path in archive.root.glob("packs/*/*.pack")) - size < 2000
    assert archive.totals() == {"study": 2, "series": 2, "instance": 2, "blob": 1, "quarantine": 0}
    assert archive.read_file(archive.instance(seen_by("B"), "1.2.3", None, "1.2.3.1.1"))


async def test_another_organisation_may_hold_other_bytes_under_the_same_uid(archive):
    await send(archive, make())
    assert (await send(archive, make(pixels=b"\x09\x09\x09\x09"), "B")).outcome == "stored"
    both = archive.instances(seen_by("A", "B"), "1.2.3")
    assert len(both) == 1  # one UID, one row; the first stored


async def test_a_large_body_is_staged_and_becomes_a_pack_of_its_own(tmp_path):
    archive = Archive.open(
        tmp_path, worker_count=0, limits=Limits(inline_bytes=100_000, memory_bytes=400_000)
    )
    await archive.start()
    data = make(pixels=bytes(2_000_000), Rows=500_000 // 10, Columns=20)
    result = await send(archive, chunks(data, 7777))
    assert result.outcome == "stored"
    row = archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.1")
    assert archive.read_file(row) == data
    assert (await send(archive, chunks(data))).outcome == "duplicate"
    assert not list(tmp_path.glob("staging/*"))
    await archive.close()


async def test_a_raw_large_dataset_without_file_meta_gets_one_of_ours(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0, limits=Limits(inline_bytes=10_000, memory_bytes=100_000))
    await archive.start()
    from dicom.elements import Window
    from dicom.part10 import split_file

    data = make(pixels=bytes(200_000), Rows=50_000)
    dataset = data[split_file(Window.of(data)).dataset_start :]
    result = await send(archive, chunks(dataset))
    assert result.outcome == "stored"
    stored = archive.read_file(archive.instance(seen_by("A"), "1.2.3", None, "1.2.3.1.1"))
    assert stored.endswith(dataset) and stored[128:132] == b"DICM"
    await archive.close()


async def test_a_sender_that_breaks_off_leaves_nothing(archive):
    async def broken():
        yield make()[:500]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await send(archive, broken())
    assert archive.totals()["instance"] == 0
    assert archive._ingestor.budget._free == archive.limits.memory_bytes


async def test_many_uploads_at_once_stay_within_the_memory_budget(tmp_path):
    limits = Limits(memory_bytes=300_000, inline_bytes=100_000)
    archive = Archive.open(tmp_path, worker_count=0, limits=limits)
    await archive.start()
    lowest = limits.memory_bytes
    budget = archive._ingestor.budget

    async def slow(data):
        nonlocal lowest
        for start in range(0, len(data), 8192):
            yield data[start : start + 8192]
            await asyncio.sleep(0)
            lowest = min(lowest, budget._free)

    uploads = [make(f"1.2.3.1.{n}", pixels=bytes(80_000), Rows=20_000) for n in range(40)]
    results = await asyncio.gather(*(send(archive, slow(data)) for data in uploads))
    assert {r.outcome for r in results} == {"stored"}
    assert 0 <= lowest < limits.memory_bytes
    assert budget._free == limits.memory_bytes
    await archive.close()


async def test_a_group_of_uploads_costs_few_commits(archive):
    before = archive._committer.groups
    results = await asyncio.gather(*(send(archive, make(f"1.2.3.1.{n}")) for n in range(100)))
    assert {r.outcome for r in results} == {"stored"}
    assert archive._committer.groups - before < 40


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is a text file named .dcm\n" * 20, "not_dicom"),
        (b"%PDF-1.7 " + bytes(500), "not_dicom"),
        (b"PK\x03\x04" + bytes(500), "not_dicom"),
        (bytes(128) + b"DICM", "truncated"),
    ],
)
async def test_what_is_not_dicom_is_refused_with_a_reason(archive, data, reason):
    result = await send(archive, data)
    assert (result.outcome, result.reason) == ("refused", reason)


async def test_a_study_other_than_the_one_named_is_refused(archive):
    result = await send(archive, make(), study_uid="1.2.4")
    assert (result.outcome, result.reason) == ("refused", "wrong_study")


async def test_an_instance_over_the_limit_is_refused(tmp_path):
    archive = Archive.open(tmp_path, worker_count=0, limits=Limits(instance_bytes=10_000))
    await archive.start()
    assert (await send(archive, chunks(bytes(20_000)))).reason == "too_large"
    assert (await send(archive, bytes(20_000))).reason == "too_large"
    await archive.close()


async def test_a_deflated_dataset_is_read_in_a_worker(working_archive):
    archive = working_archive
    result = await send(archive, real("image_dfl.dcm"))
    assert result.outcome == "stored" and result.modality == "OT"
    row = archive.instance(seen_by("A"), result.study_uid, None, result.sop_uid)
    assert len(await archive.frame(row, 1)) == 512 * 512


@pytest.mark.usefixtures("fresh_interpreters")
async def test_a_deflate_bomb_is_refused_and_the_worker_lives(working_archive):
    archive = working_archive
    plain = make()
    from dicom.part10 import build_prefix

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(b"\x08\x00\x05\x00CS\x00\x00") + b"".join(
        packer.compress(bytes(1 << 20)) for _ in range(600)
    )
    body += packer.flush()
    assert len(body) < 1 << 20
    prefix = build_prefix(sop_class="1.2", sop_uid="1.3", transfer_syntax="1.2.840.10008.1.2.1.99")
    result = await send(archive, prefix + body)
    assert (result.outcome, result.reason) == ("refused", "inflates_too_large")
    assert (await send(archive, plain)).outcome == "stored"
    assert archive.workers.deaths == 0


@pytest.mark.usefixtures("fresh_interpreters")
async def test_a_worker_that_dies_at_its_work_is_replaced(working_archive):
    archive = working_archive
    (pid,) = archive.workers.pids
    os.kill(pid, signal.SIGSTOP)   # it has the file and answers nothing
    sending = asyncio.create_task(send(archive, real("image_dfl.dcm")))
    while not archive.workers.busy:  # noqa: ASYNC110 - the pool has no event for it
        await asyncio.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert (await sending).reason == "unreadable"
    assert (await send(archive, real("image_dfl.dcm"))).outcome == "stored"
    assert archive.workers.deaths == 1


def open_sockets() -> int:
    links = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(link.startswith("socket:") for link in links)


async def test_a_pool_that_is_closed_while_workers_are_being_replaced_leaves_no_socket_behind():
    before = open_sockets()
    pool = WorkerPool(2, Limits())
    await pool.start()
    for pid in pool.pids:
        os.kill(pid, signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(WorkerTimeoutError):
            await pool.call("metadata", {}, seconds=0.01)
    await pool.close()
    assert pool.deaths == 2 and pool.pids == [] and open_sockets() == before


@pytest.mark.usefixtures("fresh_interpreters")
async def test_no_file_is_refused_because_a_worker_died_before_it_came(working_archive):
    archive = working_archive
    (pid,) = archive.workers.pids
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (await send(archive, real("image_dfl.dcm"))).outcome == "stored"
    assert archive.workers.deaths == 1


async def test_metadata_is_made_after_the_acknowledgement_and_survives(working_archive):
    archive = working_archive
    result = await send(archive, make())
    await archive.metadata_settled()
    row = archive.instance(seen_by("A"), result.study_uid, None, result.sop_uid)
    assert row.metadata is not None
    (data,) = await archive.metadata([row])
    assert '"Ideographic":"张^三"'.encode() in data


async def test_study_rows_count_series_instances_and_modalities(archive):
    await send(archive, make("1.2.3.1.1"))
    await send(archive, make("1.2.3.1.2"))
    await send(archive, make("1.2.3.2.1", series="1.2.3.2", Modality="SR"))
    row = archive.study(seen_by("A"), "1.2.3")
    assert (row.series_count, row.instance_count, row.modalities) == (2, 3, ("CT", "SR"))
    assert not row.mixed_patients
    await send(archive, make("1.2.3.2.2", series="1.2.3.2", Modality="SR", PatientID="P2"))
    assert archive.study(seen_by("A"), "1.2.3").mixed_patients


CHINESE = "王^小明"


@pytest.mark.parametrize(
    ("label", "encoded", "repaired"),
    [
        ("GB18030", CHINESE.encode("gb18030"), ""),
        ("ISO_IR 192", CHINESE.encode(), ""),
        ("ISO_IR 100", CHINESE.encode("gbk"), "GB18030"),
        (None, CHINESE.encode("gbk"), "GB18030"),
        (None, CHINESE.encode(), "ISO_IR 192"),
        ("ISO_IR 192", CHINESE.encode("gbk"), "GB18030"),
        ("GBK", CHINESE.encode("gbk"), ""),
    ],
)
async def test_chinese_names_are_read_right_whatever_the_label_says(archive, label, encoded, repaired):
    place = b"PLACEHOLDER" + b"X" * 20
    encoded = encoded.ljust(len(place), b" ")
    data = make(PatientName=place.decode(), SpecificCharacterSet=label).replace(place, encoded)
    result = await send(archive, data)
    assert (result.patient_name, result.repaired) == (CHINESE, repaired)
    (row,) = archive.studies(seen_by("A"), Query(matches={"PatientName": "王*"}))
    assert row.repaired == repaired
    (row,) = archive.instances(seen_by("A"))
    assert encoded in archive.read_file(row)
    metadata = ops.metadata({"blobs": [archive.retriever._blob(row)]}, archive.limits)[0]
    assert CHINESE.encode() in zlib.decompress(metadata)


@pytest.mark.parametrize("name", ["Müller^Jörg", "Ångström^Åsa", "Núñez^José", "Straße^Käthe"])
async def test_accented_latin_names_are_not_taken_for_chinese(archive, name):
    result = await send(archive, make(PatientName=name, SpecificCharacterSet="ISO_IR 100"))
    assert (result.patient_name, result.repaired) == (name, "")


async def test_hidden_and_granted_studies_decide_what_is_seen(archive):
    await send(archive, make())
    assert archive.study(seen_by("B"), "1.2.3") is None
    assert archive.study(seen_by("B", studies=["1.2.3"]), "1.2.3").instance_count == 1
    assert archive.study(seen_by("A", hidden=["1.2.3"]), "1.2.3") is None
    assert archive.studies(Scope()) == []
