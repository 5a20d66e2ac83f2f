"""What a modality does besides sending: worklist, performed procedure step, storage commitment."""

from __future__ import annotations

import asyncio
import threading

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep, StorageCommitmentPushModel

from dicom.network.commitment import verify
from dicom.network.ports import Address
from dicom.network.records import record
from tests.archive.conftest import seen_by
from tests.archive.files import make
from tests.network.conftest import dcmtk
from tests.network.test_query import CALL


def item(accession, name, modality, day, station="MODALITY"):
    step = record({0x00080060: modality, 0x00400001: station, 0x00400002: day, 0x00400003: "083000",
                   0x00400007: "胸部平扫", 0x00400009: accession})
    return record({0x00080050: accession, 0x00100010: name, 0x00100020: f"P{accession}", 0x00100030: "19700101",
                   0x00100040: "M", 0x0020000D: f"2.25.{accession}", 0x00401001: accession, 0x00400100: [step]})


async def worklist(port, *keys):
    arguments = [part for key in keys for part in ("-k", key)]
    said = await dcmtk("findscu", "-W", "-v", *CALL, port, "-k", "AccessionNumber", *arguments)
    assert said.code == 0, said.text
    return sorted({word for word in ("11", "12", "13") if f"[{word}]" in said.text.partition("Find Response:")[2]})


async def test_findscu_gets_what_is_scheduled_by_each_of_its_keys(listen, house):
    house.items = [
        item("11", "Zhang^San=张^三", "CT", "20261122"), item("12", "Li^Si=李^四", "DX", "20261122"),
        item("13", "Wang^Wu=王^五", "CT", "20261124"),
    ]
    _, port = await listen()
    step = "ScheduledProcedureStepSequence[0]."
    assert await worklist(port) == ["11", "12", "13"]
    assert await worklist(port, f"{step}Modality=CT") == ["11", "13"]
    assert await worklist(port, f"{step}ScheduledProcedureStepStartDate=20261121-20261123") == ["11", "12"]
    assert await worklist(port, f"{step}Modality=CT", f"{step}ScheduledProcedureStepStartDate=20261124") == ["13"]
    assert await worklist(port, f"{step}ScheduledStationAETitle=OTHER") == []
    assert await worklist(port, "PatientName=zhang*") == ["11"]
    assert await worklist(port, "PatientID=P1?") == ["11", "12", "13"]
    assert await worklist(port, "PatientID=P12") == ["12"]
    assert house.uses[0] == ("MODALITY", "worklist", ())


async def test_an_answer_holds_the_keys_asked_for_and_no_others(listen, house):
    house.items = [item("11", "Zhang^San=张^三", "CT", "20261122")]
    _, port = await listen()
    said = await dcmtk("findscu", "-W", "-v", *CALL, port, "-k", "PatientName", "-k", "PatientAge",
                       "-k", "ScheduledProcedureStepSequence[0].Modality")
    answer = said.text.partition("Find Response:")[2]
    assert "[CT]" in answer
    assert "Zhang^San=张^三" in answer
    assert "PatientAge" in answer
    assert "P11" not in answer
    assert "胸部平扫" not in answer


def modality(port, act, *, contexts, **more):
    """`act(association)` on an association of pynetdicom, off the loop."""

    def run():
        ae = AE("MODALITY")
        for context in contexts:
            ae.add_requested_context(context)
        link = ae.associate("127.0.0.1", port, ae_title="HUIZHEN", **more)
        assert link.is_established
        try:
            return act(link)
        finally:
            if link.is_established:
                link.release()

    return asyncio.to_thread(run)


def performed(status, *, series=(), accession="A1"):
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    scheduled = Dataset()
    scheduled.AccessionNumber, scheduled.StudyInstanceUID = accession, "1.2.3"
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PerformedSeriesSequence = []
    for count in series:
        one = Dataset()
        one.SeriesInstanceUID = generate_uid()
        one.ReferencedImageSequence = [Dataset() for _ in range(count)]
        ds.PerformedSeriesSequence.append(one)
    return ds


async def test_a_performed_procedure_step_begins_once_and_ends_once(listen, house):
    _, port = await listen()
    uid = "1.2.840.99"

    def act(link):
        kind = ModalityPerformedProcedureStep
        ended = performed("COMPLETED", series=(3, 2))
        del ended.ScheduledStepAttributesSequence
        return [
            link.send_n_create(performed("COMPLETED"), kind, "1.2.840.98")[0].Status,
            link.send_n_create(performed("IN PROGRESS"), kind, uid)[0].Status,
            link.send_n_create(performed("IN PROGRESS"), kind, uid)[0].Status,
            link.send_n_set(performed("IN PROGRESS"), kind, "1.2.840.97")[0].Status,
            link.send_n_set(ended, kind, uid)[0].Status,
            link.send_n_set(performed("DISCONTINUED"), kind, uid)[0].Status,
        ]

    statuses = await modality(port, act, contexts=[ModalityPerformedProcedureStep])
    assert statuses == [0x0106, 0, 0x0111, 0x0112, 0, 0x0110]
    (step,) = house.steps.values()
    assert (step.uid, step.status, step.series, step.instances) == (uid, "COMPLETED", 2, 5)


def references(*pairs):
    ds = Dataset()
    ds.TransactionUID = "1.2.3.4.5"
    ds.ReferencedSOPSequence = []
    for sop_class, sop_instance in pairs:
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, sop_instance
        ds.ReferencedSOPSequence.append(one)
    return ds


CT = "1.2.840.10008.5.1.4.1.1.2"


async def test_commitment_is_given_for_verified_bytes_alone(archive, tmp_path):
    await archive.ingest(make("1.2.3.1"), organisation="clinic", source="t")
    await archive.ingest(make("1.2.3.2", pixels=b"\x07\x07\x07\x07"), organisation="clinic", source="t")
    (pack,) = (tmp_path / "archive" / "packs").glob("*/*.pack")
    data = pack.read_bytes()
    assert data.count(b"\x07\x07\x07\x07") == 1
    pack.write_bytes(data.replace(b"\x07\x07\x07\x07", b"\x07\x07\x07\x08"))
    pairs = [(CT, "1.2.3.1"), (CT, "1.2.3.2"), (CT, "1.2.3.3"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.1")]
    outcome = await verify(archive, seen_by("clinic"), pairs)
    assert outcome == [0, 0x0110, 0x0112, 0x0119]
    assert await verify(archive, seen_by("other"), pairs[:1]) == [0x0112]


async def test_a_device_that_listens_nowhere_hears_of_its_commitment_on_the_same_association(listen, archive, house):
    await archive.ingest(make("1.2.3.1"), organisation="clinic", source="t")
    _, port = await listen()
    told, arrived = [], threading.Event()

    def heard(event):
        told.append((event.request.EventTypeID, event.event_information))
        arrived.set()
        return 0, None

    def act(link):
        status, _ = link.send_n_action(
            references((CT, "1.2.3.1"), (CT, "9.9")), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        assert arrived.wait(45)
        return status.Status

    status = await modality(
        port, act, contexts=[StorageCommitmentPushModel], evt_handlers=[(evt.EVT_N_EVENT_REPORT, heard)],
        ext_neg=[build_role(StorageCommitmentPushModel, scu_role=True, scp_role=False)],
    )
    assert status == 0
    ((kind, ds),) = told
    assert kind == 2
    assert ds.TransactionUID == "1.2.3.4.5"
    assert [one.ReferencedSOPInstanceUID for one in ds.ReferencedSOPSequence] == ["1.2.3.1"]
    assert [(one.ReferencedSOPInstanceUID, one.FailureReason) for one in ds.FailedSOPSequence] == [("9.9", 0x0112)]


async def test_a_device_with_an_address_is_promised_a_report_that_the_server_keeps(listen, archive, house):
    _, port = await listen()
    house.addresses["MODALITY"] = Address(title="MODALITY", host="127.0.0.1", port=1)

    def act(link):
        good, _ = link.send_n_action(
            references((CT, "1.2.3.1")), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        wrong, _ = link.send_n_action(references((CT, "1.2.3.1")), 2, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        empty, _ = link.send_n_action(references(), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
        return [good.Status, wrong.Status, empty.Status]

    assert await modality(port, act, contexts=[StorageCommitmentPushModel]) == [0, 0x0123, 0x0115]
    assert house.committed == [("MODALITY", "1.2.3.4.5", ((CT, "1.2.3.1"),))]
