"""Between archive and clinic: what a stored study says of itself, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import date, datetime

from consult.matching import StudyFacts, match_automatically
from consult.patient import Sex
from consult.people import OrganisationId
from consult.ports import UnitOfWork
from dicom.archive import Archive
from dicom.model import Scope, StudyRow
from server.work import Work


def day_of(text: str) -> date | None:
    """A DICOM date; None when it is absent or none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 a date has no zone
    except ValueError:
        return None


def facts_of(row: StudyRow, organisation: OrganisationId) -> StudyFacts:
    """A row of the archive as the clinical side reads it."""
    return StudyFacts(
        study_uid=row.study_uid,
        organisation=organisation,
        accession=row.accession,
        issuer=row.issuer_of_patient_id,
        patient_id=row.patient_id,
        patient_name=row.patient_name,
        birth_date=day_of(row.birth_date),
        sex=Sex(row.sex) if row.sex in {"M", "F", "O"} else Sex.UNKNOWN,
        study_date=day_of(row.study_date),
        modality=row.modalities[0] if row.modalities else "",
    )


async def match_studies(
    archive: Archive, work: Work, organisation: OrganisationId, study_uids: Iterable[str]
) -> dict[str, str]:
    """Matches what can be matched without a person; study → method, or "" where a technician must decide.

    A study whose instances name different patients is never matched by itself.
    """
    found: dict[str, str] = {}
    scope = Scope(organisations=frozenset({organisation}))
    for uid in dict.fromkeys(study_uids):
        row = await asyncio.to_thread(archive.study, scope, uid)
        if row is None:
            continue
        if row.mixed_patients:
            found[uid] = ""
            continue
        match = await work.run(_match, facts_of(row, organisation))
        found[uid] = match
    return found


def _match(uow: UnitOfWork, facts: StudyFacts) -> str:
    match = match_automatically(uow, facts=facts)
    if match is None:
        uow.publish(f"study:{facts.organisation}", {"study": facts.study_uid})
    return match.method.value if match else ""
