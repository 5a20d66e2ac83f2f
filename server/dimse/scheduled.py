"""Exam orders as a modality worklist shows them (PS3.4 §K.6.1.2.2, PS3.6 names)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta, tzinfo

from consult.model import ExamOrder
from consult.patient import IdentifierSystem, Patient
from consult.people import OrganisationId
from dicom.index.pinyin import DOUBLE
from dicom.network.ports import Device
from dicom.network.records import Record, record
from server.storage.unit import SqlUnitOfWork

LOG = logging.getLogger("huizhen.dimse")
MOST = 2000                 # items of one answer; the newest come first


def scheduled(uow: SqlUnitOfWork, *, device: Device, zone: tzinfo) -> Sequence[Record]:
    """Orders that this device's organisation performs: not voided, no study yet, no step completed, recent."""
    since = uow.now - timedelta(days=device.worklist_days)
    found = uow.studies.open_orders(
        performing=OrganisationId(device.organisation), since=since, modalities=device.modalities, limit=MOST + 1
    )
    if len(found) > MOST:
        LOG.warning("worklist is longer than it is told", extra={"device": device.id, "most": MOST})
    return [item_of(uow, order, device, zone) for order in found[:MOST]]


def study_uid_of(order: ExamOrder) -> str:
    """The Study Instance UID that this order's images shall carry: the same at every query (PS3.5 §B.2)."""
    return f"2.25.{uuid.UUID(order.id).int}"


def item_of(uow: SqlUnitOfWork, order: ExamOrder, device: Device, zone: tzinfo) -> Record:
    """One worklist item."""
    patient = uow.patients.get(order.patient)
    numbers = [
        one.value
        for one in uow.patients.identifiers(patient.id)
        if one.system is IdentifierSystem.LOCAL and one.issuer == order.performing
    ]
    # An order has no appointment: until it is performed it is due today, from the moment it was given.
    at, now = order.at.astimezone(zone), uow.now.astimezone(zone)
    if at.date() < now.date():
        at = now.replace(hour=0, minute=0, second=0)
    step = record({
        0x00080060: order.modality,
        0x00400001: device.calling,
        0x00400002: at.strftime("%Y%m%d"),
        0x00400003: at.strftime("%H%M%S"),
        0x00400006: "",
        0x00400007: order.procedure[:64],
        0x00400009: order.accession[:16],
        0x00400010: "",
        0x00400011: "",
    })  # fmt: skip
    return record({
        0x00080050: order.accession[:16],
        0x00080090: "",
        0x00081110: [],
        0x00100010: person_name(patient),
        0x00100020: numbers[0] if numbers else patient.id,
        0x00100030: patient.birth_date.strftime("%Y%m%d") if patient.birth_date else "",
        0x00100040: patient.sex.value if patient.sex.value in {"M", "F", "O"} else "",
        0x0020000D: study_uid_of(order),
        0x00321032: "",
        0x00321060: order.procedure[:64],
        0x00400100: [step],
        0x00401001: order.accession[:16],
        0x00401003: "",
    })  # fmt: skip


def person_name(patient: Patient) -> str:
    """`Zhang^Xiaoming=张^晓明` (PS3.5 Annex K): letters for devices that know no others, then the name itself."""
    name = patient.name.strip().replace("^", " ").replace("=", " ").replace("\\", " ")
    if name.isascii():
        return name
    surname = 2 if name[:2] in DOUBLE and len(name) > 2 else 1
    reading = patient.pinyin.split("|")[0].split()
    written = f"{name[:surname]}^{name[surname:]}".rstrip("^")
    if len(reading) != len(name):
        return f"={written}" if not reading else f"{' '.join(reading).title()}={written}"
    letters = f"{''.join(reading[:surname]).title()}^{''.join(reading[surname:]).title()}".rstrip("^")
    return f"{letters}={written}"
