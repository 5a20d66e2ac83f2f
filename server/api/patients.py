"""Patients: find, register, correct, merge. Search is POST, so that identity never stands in a URL."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult import registering as r
from consult.access import Action, may, open_patient
from consult.patient import IdentifierSystem, Patient, PatientId, PatientIdentifier, Sex
from consult.people import Actor
from consult.ports import UnitOfWork
from server.api.common import actor, body, json_response, work
from server.auth.audit import audit
from server.romanise import romanise

Short = Annotated[str, msgspec.Meta(max_length=64)]
Line = Annotated[str, msgspec.Meta(max_length=200)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Search(msgspec.Struct, forbid_unknown_fields=True):
    text: Line


class Identifier(msgspec.Struct, forbid_unknown_fields=True):
    system: IdentifierSystem
    value: Short
    issuer: Short = ""

    def given(self) -> r.GivenIdentifier:
        return r.GivenIdentifier(system=self.system, value=self.value, issuer=self.issuer)


Identifiers = Annotated[list[Identifier], msgspec.Meta(max_length=8)]


class Details(msgspec.Struct, forbid_unknown_fields=True):
    """The registration form; every field may be empty for an unknown patient."""

    name: Short = ""
    sex: Sex = Sex.UNKNOWN
    birth_date: date | None = None
    identifiers: Identifiers = msgspec.field(default_factory=list)
    phone: Short = ""
    guardian: Short = ""
    payer: Short = ""
    allergies: Line = ""
    unknown: bool = False
    mother: Short | None = None


class Change(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    name: Short | msgspec.UnsetType = msgspec.UNSET
    sex: Sex | msgspec.UnsetType = msgspec.UNSET
    birth_date: date | msgspec.UnsetType | None = msgspec.UNSET
    phone: Short | msgspec.UnsetType = msgspec.UNSET
    guardian: Short | msgspec.UnsetType = msgspec.UNSET
    payer: Short | msgspec.UnsetType = msgspec.UNSET
    allergies: Line | msgspec.UnsetType = msgspec.UNSET
    identifiers: Identifiers | None = None


class Merge(msgspec.Struct, forbid_unknown_fields=True):
    target: Short
    reason: Reason


class Because(msgspec.Struct, forbid_unknown_fields=True):
    reason: Reason


def masked(value: str) -> str:
    """A document number as a page shows it: the last four."""
    return f"•••• {value[-4:]}" if len(value) > 4 else value


def patient_view(patient: Patient, identifiers: tuple[PatientIdentifier, ...] = ()) -> dict[str, Any]:
    """A patient as JSON for someone who may read it; document numbers are masked, cards and local numbers are not."""
    documents = {IdentifierSystem.RESIDENT_ID, IdentifierSystem.PASSPORT, IdentifierSystem.OTHER_DOCUMENT}
    return {
        "id": patient.id,
        "name": patient.name,
        "sex": patient.sex,
        "birth_date": patient.birth_date,
        "birth_estimated": patient.birth_estimated,
        "phone": patient.phone,
        "guardian": patient.guardian,
        "payer": patient.payer,
        "allergies": patient.allergies,
        "unknown": patient.unknown,
        "mother": patient.mother,
        "merged_into": patient.merged_into,
        "version": patient.version,
        "identifiers": [
            {
                "system": i.system,
                "issuer": i.issuer,
                "value": masked(i.value) if i.system in documents else i.value,
            }
            for i in identifiers
        ],
    }


def with_identifiers(uow: UnitOfWork, patient: Patient) -> dict[str, Any]:
    return patient_view(patient, tuple(uow.patients.identifiers(patient.id)))


def found_view(uow: UnitOfWork, actor: Actor, patient: Patient) -> dict[str, Any]:
    """A search's row: enough to recognise the patient and to begin (DOMAIN §6), the rest for who may read them."""
    readable = may(uow, actor, Action.PATIENT_READ, patient)
    view = with_identifiers(uow, patient)
    if not readable:
        view |= {"phone": masked(patient.phone), "guardian": "", "payer": "", "allergies": ""}
    return view | {"readable": readable}


def _find(uow: UnitOfWork, *, actor: Actor, text: str) -> list[dict[str, Any]]:
    rows = [found_view(uow, actor, found) for found in r.find_patients(uow, actor=actor, text=text)]
    audit(uow, actor, "patient.search", f"organisation:{actor.organisation}", detail={"rows": len(rows)})
    return rows


async def search(request: web.Request) -> web.Response:
    """`POST /api/patients/search` {text}: name, pinyin, initials, document, card, phone, or a reader's typing."""
    wanted = await body(request, Search)
    rows = await work(request).run(_find, actor=actor(request), text=wanted.text)
    return json_response({"patients": rows})


def _duplicates(uow: UnitOfWork, *, actor: Actor, details: Details) -> list[dict[str, Any]]:
    found = r.possible_duplicates(
        uow,
        actor=actor,
        name=details.name,
        sex=details.sex,
        birth_date=details.birth_date,
        identifiers=[i.given() for i in details.identifiers],
        phone=details.phone,
        romanise=romanise,
    )
    return [
        {"patient": found_view(uow, actor, d.patient), "score": d.score, "reasons": d.reasons} for d in found
    ]


async def duplicates(request: web.Request) -> web.Response:
    """`POST /api/patients/duplicates`: who might already be registered."""
    details = await body(request, Details)
    rows = await work(request).read(_duplicates, actor=actor(request), details=details)
    return json_response({"duplicates": rows})


def _register(uow: UnitOfWork, *, actor: Actor, details: Details) -> dict[str, Any]:
    patient = r.register_patient(
        uow,
        actor=actor,
        name=details.name.strip(),
        sex=details.sex,
        birth_date=details.birth_date,
        identifiers=[i.given() for i in details.identifiers],
        phone=details.phone.strip(),
        guardian=details.guardian.strip(),
        payer=details.payer.strip(),
        allergies=details.allergies.strip(),
        unknown=details.unknown,
        mother=PatientId(details.mother) if details.mother else None,
        romanise=romanise,
    )
    audit(uow, actor, "patient.register", f"patient:{patient.id}")
    return with_identifiers(uow, patient)


async def register(request: web.Request) -> web.Response:
    """`POST /api/patients`: 201 with the patient."""
    details = await body(request, Details)
    view = await work(request).run(_register, actor=actor(request), details=details)
    return json_response(view, status=201)


def _read(uow: UnitOfWork, *, actor: Actor, patient: PatientId) -> dict[str, Any]:
    found = open_patient(uow, actor, patient, Action.PATIENT_READ)
    audit(uow, actor, "patient.read", f"patient:{found.id}")
    return with_identifiers(uow, found)


async def read(request: web.Request) -> web.Response:
    """`GET /api/patients/{id}`: audited."""
    view = await work(request).run(_read, actor=actor(request), patient=PatientId(request.match_info["id"]))
    return json_response(view)


def _update(uow: UnitOfWork, *, actor: Actor, patient: PatientId, change: Change) -> dict[str, Any]:
    names = ("name", "sex", "birth_date", "phone", "guardian", "payer", "allergies")
    changes = {n: getattr(change, n) for n in names if getattr(change, n) is not msgspec.UNSET}
    found = r.update_patient(
        uow,
        actor=actor,
        patient=patient,
        version=change.version,
        changes=changes,
        identifiers=None if change.identifiers is None else [i.given() for i in change.identifiers],
        romanise=romanise,
    )
    audit(uow, actor, "patient.update", f"patient:{found.id}")
    return with_identifiers(uow, found)


async def update(request: web.Request) -> web.Response:
    """`PATCH /api/patients/{id}` {version, …}."""
    change = await body(request, Change)
    patient = PatientId(request.match_info["id"])
    return json_response(await work(request).run(_update, actor=actor(request), patient=patient, change=change))


def _merge(uow: UnitOfWork, *, actor: Actor, source: PatientId, merge: Merge) -> dict[str, Any]:
    target = PatientId(merge.target)
    found = r.merge_patients(uow, actor=actor, source=source, target=target, reason=merge.reason)
    audit(uow, actor, "patient.merge", f"patient:{found.id}", detail={"source": source})
    return with_identifiers(uow, found)


async def merge(request: web.Request) -> web.Response:
    """`POST /api/patients/{id}/merge` {target, reason}: {id} becomes part of target."""
    wanted = await body(request, Merge)
    source = PatientId(request.match_info["id"])
    return json_response(await work(request).run(_merge, actor=actor(request), source=source, merge=wanted))


def _unmerge(uow: UnitOfWork, *, actor: Actor, source: PatientId, reason: str) -> dict[str, Any]:
    found = r.unmerge_patients(uow, actor=actor, source=source, reason=reason)
    audit(uow, actor, "patient.unmerge", f"patient:{found.id}")
    return with_identifiers(uow, found)


async def unmerge(request: web.Request) -> web.Response:
    """`POST /api/patients/{id}/unmerge` {reason}: takes {id} out again with the identifiers it brought."""
    wanted = await body(request, Because)
    source = PatientId(request.match_info["id"])
    view = await work(request).run(_unmerge, actor=actor(request), source=source, reason=wanted.reason)
    return json_response(view)


