"""Studies of one site for its technicians: whose they are, what waits to be matched, doubts, quarantine."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult import matching, studying
from consult import model as m
from consult.access import Action, authorize, surviving
from consult.errors import NotFound
from consult.patient import PatientId
from consult.people import Actor
from consult.ports import UnitOfWork
from dicom.archive import Archive
from dicom.model import Query, Scope, StudyRow
from server import keys
from server.api.common import actor, body, int_query, json_response, no_content, work
from server.api.patients import with_identifiers
from server.auth.audit import audit
from server.auth.grants import end_grants
from server.dicomweb.ports import ARCHIVE
from server.matching import facts_of
from server.romanise import romanise
from server.storage.unit import SqlUnitOfWork

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    patient: Id
    order: Id | None = None


class Undo(msgspec.Struct, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Doubt(msgspec.Struct, forbid_unknown_fields=True):
    consultation: Id
    reason: Reason


class Settle(msgspec.Struct, forbid_unknown_fields=True):
    right: bool
    reason: Reason


def study_view(row: StudyRow, match: m.StudyMatch | None, *, doubted: bool = False) -> dict[str, Any]:
    """A study as its files name it, beside the match in force."""
    return {
        "study": row.study_uid,
        "name": row.patient_name,
        "patient_id": row.patient_id,
        "birth_date": row.birth_date,
        "sex": row.sex,
        "accession": row.accession,
        "date": row.study_date,
        "time": row.study_time,
        "description": row.description,
        "institution": row.institution,
        "modalities": list(row.modalities),
        "series": row.series_count,
        "instances": row.instance_count,
        "stored_at": row.stored_at,
        "repaired": row.repaired,
        "mixed": row.mixed_patients,
        "doubted": doubted,
        "match": None if match is None else {"id": match.id, "patient": match.patient, "method": match.method},
    }


def _own(actor: Actor) -> Scope:
    return Scope(organisations=frozenset({actor.organisation}))


def _matches(uow: UnitOfWork, *, actor: Actor, action: str) -> tuple[dict[str, m.StudyMatch], list[str]]:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    found = {x.study_uid: x for x in uow.studies.matches(organisation=actor.organisation) if x.voided_at is None}
    audit(uow, actor, action, f"organisation:{actor.organisation}")
    return found, list(studying.doubted_studies(uow, actor=actor))


async def own_studies(request: web.Request, *, waiting: bool, limit: int) -> list[dict[str, Any]]:
    """Studies held here, newest first; `waiting`: only unmatched and doubted ones, the doubted on top."""
    who = actor(request)
    action = "study.unmatched" if waiting else "study.list"
    matches, doubted = await work(request).run(_matches, actor=who, action=action)
    archive = request.app[ARCHIVE]
    found: list[dict[str, Any]] = []
    offset = 0
    while len(found) < limit:
        rows = await asyncio.to_thread(archive.studies, _own(who), Query(limit=500, offset=offset))
        for row in rows:
            is_doubted = row.study_uid in doubted
            if waiting and row.study_uid in matches and not is_doubted:
                continue
            found.append(study_view(row, matches.get(row.study_uid), doubted=is_doubted))
        offset += len(rows)
        if len(rows) < 500:
            break
    return sorted(found[:limit], key=lambda x: not x["doubted"]) if waiting else found[:limit]


async def index(request: web.Request) -> web.StreamResponse:
    """`GET /api/studies?waiting=1&limit=`."""
    limit = int_query(request, "limit", 200, low=1, high=1000)
    return json_response({"studies": await own_studies(request, waiting="waiting" in request.query, limit=limit)})


async def _row(request: web.Request) -> StudyRow:
    archive: Archive = request.app[ARCHIVE]
    row = await asyncio.to_thread(archive.study, _own(actor(request)), request.match_info["uid"])
    if row is None:
        raise NotFound
    return row


def _one(uow: UnitOfWork, *, actor: Actor, row: StudyRow) -> dict[str, Any]:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    match = uow.studies.match(row.study_uid, actor.organisation)
    doubted = row.study_uid in studying.doubted_studies(uow, actor=actor)
    audit(uow, actor, "study.read", f"study:{row.study_uid}")
    patient = None
    if match is not None:
        patient = with_identifiers(uow, surviving(uow, uow.patients.get(match.patient)))
    return study_view(row, match, doubted=doubted) | {"patient": patient}


async def read(request: web.Request) -> web.StreamResponse:
    """`GET /api/studies/{uid}`: one study held here, with the patient it is matched to."""
    row = await _row(request)
    return json_response(await work(request).run(_one, actor=actor(request), row=row))


def _candidates(uow: UnitOfWork, *, actor: Actor, row: StudyRow) -> list[dict[str, Any]]:
    facts = facts_of(row, actor.organisation)
    ranked = matching.rank_candidates(uow, actor=actor, facts=facts, romanise=romanise)
    audit(uow, actor, "study.candidates", f"study:{row.study_uid}", detail={"rows": len(ranked)})
    return [
        {
            "patient": with_identifiers(uow, x.patient),
            "order": None
            if x.order is None
            else {
                "id": x.order.id, "accession": x.order.accession, "procedure": x.order.procedure,
                "modality": x.order.modality, "at": x.order.at,
            },
            "score": x.score,
            "differences": x.differences,
        }
        for x in ranked
    ]  # fmt: skip


async def candidates(request: web.Request) -> web.StreamResponse:
    """`GET /api/studies/{uid}/candidates`: ranked, with what differs."""
    row = await _row(request)
    rows = await work(request).run(_candidates, actor=actor(request), row=row)
    return json_response({"candidates": rows})


def _confirm(uow: UnitOfWork, *, actor: Actor, row: StudyRow, choice: Choice) -> dict[str, Any]:
    match = matching.confirm_match(
        uow,
        actor=actor,
        facts=facts_of(row, actor.organisation),
        patient=PatientId(choice.patient),
        order=m.OrderId(choice.order) if choice.order else None,
    )
    audit(uow, actor, "study.match", f"study:{row.study_uid}", detail={"patient": match.patient})
    return study_view(row, match)


async def confirm(request: web.Request) -> web.StreamResponse:
    """`POST /api/studies/{uid}/match` {patient, order?}."""
    choice = await body(request, Choice)
    row = await _row(request)
    return json_response(await work(request).run(_confirm, actor=actor(request), row=row, choice=choice))


def _undo(uow: SqlUnitOfWork, *, actor: Actor, study_uid: str, reason: str) -> None:
    matching.undo_match(uow, actor=actor, study_uid=study_uid, reason=reason)
    end_grants(uow, study_uid)
    audit(uow, actor, "study.unmatch", f"study:{study_uid}")


async def undo(request: web.Request) -> web.StreamResponse:
    """`POST /api/studies/{uid}/unmatch` {reason?}."""
    given = await body(request, Undo)
    row = await _row(request)
    await work(request).run(_undo, actor=actor(request), study_uid=row.study_uid, reason=given.reason)
    request.app[keys.GRANTS].forget(study=row.study_uid)
    return no_content()


def _doubt(uow: SqlUnitOfWork, *, actor: Actor, study_uid: str, doubt: Doubt) -> None:
    consultation = m.ConsultationId(doubt.consultation)
    studying.report_wrong_patient(
        uow, actor=actor, consultation=consultation, study_uid=study_uid, reason=doubt.reason
    )
    end_grants(uow, study_uid)
    audit(uow, actor, "study.doubt", f"study:{study_uid}", detail={"consultation": consultation})


async def doubt(request: web.Request) -> web.StreamResponse:
    """`POST /api/studies/{uid}/wrong-patient` {consultation, reason}: hidden until a technician settles it."""
    given = await body(request, Doubt)
    uid = request.match_info["uid"]
    await work(request).run(_doubt, actor=actor(request), study_uid=uid, doubt=given)
    request.app[keys.GRANTS].forget(study=uid)
    return no_content()


def _settle(uow: SqlUnitOfWork, *, actor: Actor, study_uid: str, settle: Settle) -> None:
    studying.settle_wrong_patient(uow, actor=actor, study_uid=study_uid, right=settle.right, reason=settle.reason)
    end_grants(uow, study_uid)
    audit(uow, actor, "study.settle", f"study:{study_uid}", detail={"right": settle.right})


async def settle(request: web.Request) -> web.StreamResponse:
    """`POST /api/studies/{uid}/settle` {right, reason}."""
    given = await body(request, Settle)
    row = await _row(request)
    await work(request).run(_settle, actor=actor(request), study_uid=row.study_uid, settle=given)
    request.app[keys.GRANTS].forget(study=row.study_uid)
    return no_content()


def may_match(uow: UnitOfWork, *, actor: Actor) -> None:
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    audit(uow, actor, "study.quarantine", f"organisation:{actor.organisation}")


async def quarantine(request: web.Request) -> web.StreamResponse:
    """`GET /api/quarantine`: other bytes under an identity that is held already."""
    who = actor(request)
    await work(request).run(may_match, actor=who)
    rows = await asyncio.to_thread(request.app[ARCHIVE].quarantine, frozenset({who.organisation}))
    return json_response(
        {
            "items": [
                {
                    "id": x.id, "study": x.study_uid, "series": x.series_uid, "sop": x.sop_uid,
                    "source": x.source.partition(":")[0], "received_at": x.received_at, "state": x.state,
                }
                for x in rows
            ]
        }
    )  # fmt: skip
