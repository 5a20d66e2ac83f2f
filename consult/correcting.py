"""Corrections of studies: who may, what must not follow from one, and what the clinical side does with it.

The archive shows studies otherwise (`dicom.corrections`); here stands whose they are and who sees them. A correction
never shows anybody what they did not see before: shares go by study, so nothing may move under a share that it does
not have itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from consult import model as m
from consult.access import Action, authorize, open_patient
from consult.errors import Conflict, Invalid
from consult.events import record
from consult.matching import StudyFacts, confirm_match, withdraw_match
from consult.material import add_share
from consult.patient import Patient, PatientId
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.scoping import is_hidden
from consult.studying import settle_wrong_patient

Kind = Literal["patient", "merge", "move", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Series that were shown under `source` and will be under `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A correction as the technician asks for it; `target_uid` is '' where there is no other study."""

    kind: Kind
    study_uid: str
    target_uid: str
    patient: PatientId | None
    reason: str


def plan_correction(uow: UnitOfWork, *, actor: Actor, wanted: Wanted) -> Patient | None:
    """Whether the technician may make it; the patient it names. Raises Invalid without a reason or patient, Conflict
    where it would show or hide what a share does not cover, or where an expert's doubt is open.
    """
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    if not wanted.reason.strip():
        raise Invalid(("reason", "required"))
    if wanted.kind == "patient":
        if wanted.patient is None:
            raise Invalid(("patient", "required"))
        return open_patient(uow, actor, wanted.patient, Action.PATIENT_FIND)
    _refuse_doubted(uow, [wanted.study_uid, wanted.target_uid])
    if wanted.kind in {"merge", "move"}:
        source, target = _sharing(uow, wanted.study_uid), _sharing(uow, wanted.target_uid)
        if target - source:
            raise Conflict(reason="would_show")
        if wanted.kind == "merge" and source - target:
            raise Conflict(reason="would_hide")
    return None


def plan_undo(uow: UnitOfWork, *, actor: Actor, flows: Iterable[Flow], made_at: datetime) -> None:
    """Whether taking it back is allowed. What was shared before the correction may show again what it showed then."""
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    for flow in flows:
        _refuse_doubted(uow, [flow.source, flow.target])
        source = _sharing(uow, flow.source)
        for consultation in uow.consultations.sharing(flow.target):
            since = min(
                x.since for x in uow.consultations.shares(consultation.id) if x.study_uid == flow.target
            )
            if consultation.id not in source and since > made_at:
                raise Conflict(reason="would_show")


def follow_correction(uow: UnitOfWork, *, actor: Actor, wanted: Wanted) -> m.StudyMatch | None:
    """The archive shows it: matches and shares follow. Returns the match of the study before.

    Another patient: the study leaves the consultations of the former one. A study split off keeps patient and shares.
    """
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    study_uid, patient, reason = wanted.study_uid, wanted.patient, wanted.reason
    match = uow.studies.match(study_uid, actor.organisation)
    if wanted.kind == "patient" and patient is not None:
        if match is not None and is_hidden(uow, study_uid):
            settle_wrong_patient(uow, actor=actor, study_uid=study_uid, right=False, reason=reason)
        elif match is not None and match.patient != patient:
            withdraw_match(uow, actor, match, reason=reason, trigger="correct_patient")
        _rematch(uow, actor, study_uid, patient)
    elif wanted.kind == "merge" and match is not None:
        uow.studies.void_match(match.id, by=actor.membership, at=uow.now, reason=reason)
    elif wanted.kind == "split":
        if match is not None:
            _rematch(uow, actor, wanted.target_uid, match.patient)
        for consultation in uow.consultations.sharing(study_uid):
            add_share(uow, actor, consultation, wanted.target_uid)
    _told(uow, actor, f"correct_{wanted.kind}", study_uid, wanted.target_uid, reason)
    return match


def follow_undo(
    uow: UnitOfWork,
    *,
    actor: Actor,
    kind: Kind,
    study_uid: str,
    target_uid: str,
    former: PatientId | None,
    order: m.OrderId | None = None,
) -> None:
    """The archive shows it as before, matched to patient and order of the former match: whoever ordered the exam sees
    it again. Shares that a change of patient ended are not given back.
    """
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    if kind == "patient":
        match = uow.studies.match(study_uid, actor.organisation)
        if match is not None and match.patient != former:
            withdraw_match(uow, actor, match, reason="", trigger="undo_correct_patient")
        if former is not None:
            _rematch(uow, actor, study_uid, former, order)
    elif kind == "merge" and former is not None:
        _rematch(uow, actor, study_uid, former, order)
    elif kind == "split":
        match = uow.studies.match(target_uid, actor.organisation)
        if match is not None:
            withdraw_match(uow, actor, match, reason="", trigger="undo_correct_split")
    _told(uow, actor, f"undo_correct_{kind}", study_uid, target_uid, "")


def _rematch(
    uow: UnitOfWork, actor: Actor, study_uid: str, patient: PatientId, order: m.OrderId | None = None
) -> None:
    if uow.studies.match(study_uid, actor.organisation) is None:
        if order is not None and uow.studies.order(order).voided_at is not None:
            order = None
        facts = StudyFacts(study_uid=study_uid, organisation=actor.organisation)
        confirm_match(uow, actor=actor, facts=facts, patient=patient, order=order)


def _sharing(uow: UnitOfWork, study_uid: str) -> set[m.ConsultationId]:
    return {x.id for x in uow.consultations.sharing(study_uid)}


def _refuse_doubted(uow: UnitOfWork, studies: Iterable[str]) -> None:
    if any(uid and is_hidden(uow, uid) for uid in studies):
        raise Conflict(reason="doubted_study")


def _told(uow: UnitOfWork, actor: Actor, trigger: str, study_uid: str, target_uid: str, reason: str) -> None:
    payload = {"target": target_uid, "organisation": actor.organisation}
    record(uow, actor, f"study:{study_uid}", trigger, reason=reason, payload=payload)
    for uid in {study_uid, target_uid} - {""}:
        uow.publish(f"study:{actor.organisation}", {"study": uid, "corrected": True})
