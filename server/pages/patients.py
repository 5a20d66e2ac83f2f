"""`/patients`: find, register, merge. `/patients/{id}`: one patient with consultations, studies and merged records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from consult import model as m
from consult.access import Action, may, open_patient
from consult.patient import IdentifierSystem, Patient, PatientId, PatientIdentifier
from consult.people import Actor, Role
from consult.ports import UnitOfWork
from server.api.common import actor, work
from server.api.patients import masked, patient_view
from server.api.requests import page_data
from server.auth.audit import audit
from server.cases import DOCUMENT_SYSTEMS, patient_banner
from server.i18n import N_
from server.pages import render
from server.pages.removals import gone

TEXT_FIELDS = (
    ("phone", N_("电话")), ("guardian", N_("监护人")), ("payer", N_("费用支付方")), ("allergies", N_("过敏史")),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A consultation as the patient page lists it; `open`: this person may follow the link."""

    consultation: m.Consultation
    requesting: str
    target: str
    purpose: str
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything of the page, read in one unit of work."""

    patient: Patient
    identifiers: tuple[PatientIdentifier, ...]
    banner: dict[str, Any]
    history: tuple[History, ...]
    studies: tuple[m.StudyMatch, ...]
    merged: tuple[Patient, ...]
    mother: Patient | None
    registered_by: str
    registered_at: datetime
    writable: bool
    mergeable: bool


def _history(uow: UnitOfWork, who: Actor, patients: tuple[PatientId, ...]) -> tuple[History, ...]:
    found = []
    for consultation in (x for one in patients for x in uow.consultations.of_patient(one)):
        if not may(uow, who, Action.REQUEST_STATUS, consultation):
            continue
        full = may(uow, who, Action.REQUEST_READ, consultation)
        request = uow.consultations.request(consultation.id) if full else None
        target = consultation.target_organisation
        found.append(
            History(
                consultation=consultation,
                requesting=uow.people.organisation(consultation.organisation).short_name,
                target=uow.people.organisation(target).short_name if target else "",
                purpose=str(request.content.get("purpose", "")) if request else "",
                open=full,
            )
        )
    return tuple(sorted(found, key=lambda x: x.consultation.created_at, reverse=True))


def read_patient(uow: UnitOfWork, *, actor: Actor, patient: PatientId) -> Known:
    """The patient (or the one they were merged into), audited; NotFound for who may not read them."""
    found = open_patient(uow, actor, patient, Action.PATIENT_READ)
    audit(uow, actor, "patient.read", f"patient:{found.id}")
    merged = tuple(uow.patients.merged_from(found.id))
    same = (found.id, *(x.id for x in merged))
    studies = [x for one in same for x in uow.studies.matches(patient=one)]
    if actor.role is Role.TECHNICIAN:
        studies = [x for x in studies if x.organisation == actor.organisation]
    elif not may(uow, actor, Action.STUDIES_LIST, found):
        studies = []
    return Known(
        patient=found,
        identifiers=tuple(uow.patients.identifiers(found.id)),
        banner=patient_banner(uow, found),
        history=_history(uow, actor, same),
        studies=tuple(studies),
        merged=merged,
        mother=uow.patients.get(found.mother) if found.mother else None,
        registered_by=uow.people.organisation(found.registered_by).name,
        registered_at=found.created_at,
        writable=may(uow, actor, Action.PATIENT_WRITE, found),
        mergeable=may(uow, actor, Action.PATIENT_MERGE, found),
    )


async def index(request: web.Request) -> web.StreamResponse:
    """The search field and what it finds; who is looked for stands in no URL."""
    return await render(request, "patients.html", page="patients", tab="patients")


async def page(request: web.Request) -> web.StreamResponse:
    """One patient."""
    who = actor(request)
    known = await work(request).run(read_patient, actor=who, patient=PatientId(request.match_info["id"]))
    numbers = [
        (x.system, masked(x.value) if x.system in DOCUMENT_SYSTEMS else x.value)
        for x in known.identifiers
        if x.system is not IdentifierSystem.LOCAL or x.issuer == who.organisation
    ]
    return await render(
        request,
        "patient.html",
        page="patient",
        tab="patients",
        banner=known.banner,
        known=known,
        removed=await gone(request, [x.study_uid for x in known.studies]),
        numbers=numbers,
        text_fields=TEXT_FIELDS,
        data=page_data({"patient": patient_view(known.patient, known.identifiers)}),
    )
