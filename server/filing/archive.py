"""The signed PDF as an Encapsulated PDF in the patient's study (PS3.3 A.45.1).

The SOP Instance UID is made from the version's id, so a repetition after any failure finds the copy that is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any

from consult import model as m
from consult.access import surviving
from consult.patient import Sex
from consult.people import OrganisationId
from consult.ports import UnitOfWork
from dicom.archive import Archive
from dicom.documents import make_encapsulated_pdf
from dicom.errors import DicomError
from dicom.model import Scope, StudyRow
from server.storage.faults import fault
from server.work import Work

CHANNEL = "archive"
log = logging.getLogger("huizhen.filing")


def uid_of(kind: str, id: str) -> str:
    """A UID under 2.25 that follows from an id of ours: the same id gives the same UID (PS3.5 B.2)."""
    number = int.from_bytes(hashlib.sha256(f"huizhen:{kind}:{id}".encode()).digest()[:16])
    return f"2.25.{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What one filing needs."""

    filing: m.Filing
    version: m.ReportVersion
    pdf: bytes
    serving: OrganisationId
    serving_name: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    studies: tuple[str, ...]


def _next(uow: UnitOfWork, *, limit: int) -> list[Copy]:
    return [_copy(uow, filing) for filing in uow.reports.pending_filings(CHANNEL, limit=limit)]


def _copy(uow: UnitOfWork, filing: m.Filing) -> Copy:
    version = uow.reports.version(filing.report_version)
    consultation = uow.consultations.get(filing.consultation)
    patient = surviving(uow, uow.patients.get(consultation.patient))
    serving = uow.people.membership(uow.reports.get(version.report).author).organisation
    return Copy(
        filing=filing,
        version=version,
        pdf=uow.reports.pdf(version.id),
        serving=serving,
        serving_name=uow.people.organisation(serving).name,
        patient_id=patient.id,
        patient_name=patient.name,
        # A guess is no Patient's Birth Date (PS3.3 §C.7.1.1).
        birth_date=patient.birth_date.strftime("%Y%m%d") if patient.birth_date and not patient.birth_estimated else "",
        sex={Sex.MALE: "M", Sex.FEMALE: "F", Sex.OTHER: "O"}.get(patient.sex, ""),
        studies=tuple(
            x.study_uid
            for x in uow.consultations.shares(consultation.id)
            if x.study_uid not in consultation.hidden_studies
        ),
    )


def encapsulate(copy: Copy, study: StudyRow | None, zone: tzinfo) -> tuple[str, str, bytes]:
    """(study UID, SOP UID, part 10 file). In the patient's first study, else in one of its own for the consultation."""
    sop = uid_of("report", copy.version.id)
    at: datetime = copy.version.signed_at.astimezone(zone)
    common: dict[str, Any] = {
        "title": f"会诊报告 {copy.version.content['header']['number']}",
        "at": at,
        "sop_uid": sop,
        "instance_number": copy.version.n,
        "series_description": "会诊报告",
        "institution": copy.serving_name,
    }
    if study is None:
        uid = uid_of("consultation", copy.filing.consultation)
        data = make_encapsulated_pdf(
            copy.pdf,
            study_uid=uid,
            series_uid=uid_of("report-series", f"{uid}:{copy.filing.consultation}"),
            patient_id=copy.patient_id[:64],
            patient_name=copy.patient_name,
            birth_date=copy.birth_date,
            sex=copy.sex,
            study_date=at.strftime("%Y%m%d"),
            study_time=at.strftime("%H%M%S"),
            **common,
        )
        return uid, sop, data
    data = make_encapsulated_pdf(
        copy.pdf,
        study_uid=study.study_uid,
        series_uid=uid_of("report-series", f"{study.study_uid}:{copy.filing.consultation}"),
        patient_id=study.patient_id,
        patient_name=study.patient_name,
        issuer_of_patient_id=study.issuer_of_patient_id,
        birth_date=study.birth_date,
        sex=study.sex,
        accession=study.accession,
        study_date=study.study_date,
        study_time=study.study_time,
        study_id=study.study_id,
        referring_physician=study.referring_physician,
        **common,
    )
    return study.study_uid, sop, data


async def deliver(work: Work, archive: Archive, zone: tzinfo, *, limit: int = 20) -> int:
    """Deliver what waits; a failure counts an attempt and stays for the next round. Returns how many arrived."""
    done = 0
    for copy in await work.read(_next, limit=limit):
        try:
            uid = await _store(archive, copy, zone)
        except (DicomError, OSError) as error:
            log.warning("report copy failed", extra={"report_version": copy.version.id, "error": type(error).__name__})
            await work.run(_failed, filing=copy.filing)
            continue
        fault("filing_before_filed")
        await work.run(_filed, copy=copy, study_uid=uid)
        done += 1
    return done


async def _store(archive: Archive, copy: Copy, zone: tzinfo) -> str:
    study = None
    if copy.studies:
        scope = Scope(studies=frozenset(copy.studies))
        study = await asyncio.to_thread(archive.study, scope, copy.studies[0])
    uid, sop, data = await asyncio.to_thread(encapsulate, copy, study, zone)
    held = Scope(organisations=frozenset({copy.serving}))
    present = await asyncio.to_thread(archive.instances, held, uid)
    if any(x.sop_uid == sop for x in present):
        return uid
    result = await archive.ingest(data, organisation=copy.serving, source="report")
    if result.outcome not in {"stored", "duplicate"}:
        raise DicomError(code=result.reason or "io_error")
    return uid


def _failed(uow: UnitOfWork, *, filing: m.Filing) -> None:
    uow.reports.save_filing(replace(filing, attempts=filing.attempts + 1))


def _filed(uow: UnitOfWork, *, copy: Copy, study_uid: str) -> None:
    uow.reports.save_filing(
        replace(copy.filing, state="filed", filed_at=uow.now, attempts=copy.filing.attempts + 1)
    )
    if uow.studies.match(study_uid, copy.serving) is None:
        # We know whose it is: the serving organisation's technicians need not match their own report.
        consultation = uow.consultations.get(copy.filing.consultation)
        uow.studies.add_match(
            m.StudyMatch(
                id=uow.new_id(),
                study_uid=study_uid,
                organisation=copy.serving,
                patient=consultation.patient,
                order=None,
                method=m.MatchMethod.PATIENT_ID,
                by=None,
                at=uow.now,
            )
        )
    uow.publish(f"consultation:{copy.filing.consultation}", {"consultation": copy.filing.consultation})
