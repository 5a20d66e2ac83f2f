"""`/studies/{uid}`: the reading room of one study. It is opened, and that is audited, before the page is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consult import model as m
from consult.access import Action, allowed_actions, may, open_consultation, surviving
from consult.errors import NotFound
from consult.people import Actor, Role
from consult.ports import UnitOfWork
from consult.scoping import Purpose
from dicom.model import Scope
from server import keys
from server.api.common import actor, settings, work
from server.api.opening import UID
from server.auth.grants import open_study, study_scope
from server.auth.scopes import note_denied, seen_study
from server.cases import patient_banner
from server.pages import render
from server.storage.unit import SqlUnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`banner` None: nobody has said yet whose study it is."""

    banner: dict[str, Any] | None
    consultation: m.Consultation | None
    may_doubt: bool
    may_download: bool
    doubted: bool
    writes: bool                         # the report: what is on screen can be put into it


def _open(
    uow: SqlUnitOfWork, *, actor: Actor, login: str, study_uid: str, consultation: str, minutes: int
) -> Reading:
    case = _case(uow, actor, study_uid, consultation)
    open_study(
        uow, actor=actor, login=login, study_uid=study_uid, minutes=minutes, consultation=case.id if case else None
    )
    patient = None
    match = uow.studies.match(study_uid, actor.organisation)
    if case is not None:
        patient = case.patient
    elif match is not None:
        patient = match.patient
    actions = allowed_actions(uow, actor, case) if case else frozenset()
    return Reading(
        banner=patient_banner(uow, surviving(uow, uow.patients.get(patient))) if patient else None,
        consultation=case,
        may_doubt=Action.STUDIES_DOUBT in actions,
        may_download=_held(study_scope(uow, actor, study_uid, Purpose.DOWNLOAD), study_uid),
        doubted=any(study_uid in x.hidden_studies for x in uow.consultations.sharing(study_uid)),
        writes=Action.DRAFT_WRITE in actions,
    )


def _held(scope: Scope, study_uid: str) -> bool:
    return study_uid not in scope.hidden and (bool(scope.organisations) or study_uid in scope.studies)


def _case(uow: UnitOfWork, actor: Actor, study_uid: str, consultation: str) -> m.Consultation | None:
    """The consultation the study is read for: the one named, or the newest that shares it with this person."""
    if consultation:
        found = open_consultation(uow, actor, m.ConsultationId(consultation), Action.PIXELS_READ).consultation
        if all(x.study_uid != study_uid for x in uow.consultations.shares(found.id)):
            raise NotFound(kind="study")
        return found
    if actor.role is Role.TECHNICIAN:
        return None
    shared = [x for x in uow.consultations.sharing(study_uid) if may(uow, actor, Action.PIXELS_READ, x)]
    return max(shared, key=lambda x: x.created_at, default=None)


async def page(request: web.Request) -> web.StreamResponse:
    """The viewer over the whole page; 404 (and a denied audit row) for a study that is not this person's to see."""
    who, uid = actor(request), request.match_info["uid"]
    if not UID.fullmatch(uid):
        raise NotFound
    await request.app[keys.ARCHIVE_STARTED].wait()
    try:
        row = await seen_study(request, who, uid)
        found = await work(request).run(
            _open, actor=who, login=request[keys.LOGIN].digest, study_uid=uid,
            consultation=request.query.get("consultation", "")[:64],
            minutes=settings(request).access.viewing_grant_minutes,
        )  # fmt: skip
    except NotFound:
        await work(request).run(note_denied, who, uid)
        raise
    return await render(
        request, "viewer.html", banner=found.banner, reading=found, known_patient=found.banner is not None,
        may_download=found.may_download, consultation=found.consultation.id if found.consultation else None,
        study={"uid": uid, "description": row.description},
        key_image_url=f"/api/consultations/{found.consultation.id}/key-images"
        if found.writes and found.consultation else None,
    )  # fmt: skip
