"""Exam orders, and a study that is not the patient's. Matching stands in consult/matching.py."""

from dataclasses import replace

from consult import model as m
from consult.access import Action, authorize, open_consultation, open_order, open_patient, surviving
from consult.errors import Conflict, Invalid, NotFound, WrongState
from consult.events import record, record_note
from consult.lifecycle import CLOSED
from consult.matching import (
    Candidate,
    StudyFacts,
    confirm_match,
    match_automatically,
    rank_candidates,
    undo_match,
    withdraw_match,
)
from consult.offering import pools
from consult.patient import PatientId
from consult.people import Actor, OrganisationId
from consult.ports import UnitOfWork

__all__ = [
    "Candidate", "StudyFacts", "confirm_match", "create_order", "doubted_studies", "match_automatically",
    "rank_candidates", "report_wrong_patient", "settle_wrong_patient", "undo_match", "void_order", "waiting_doubts",
]  # fmt: skip


def create_order(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    procedure: str,
    modality: str,
    performing: OrganisationId,
    consultation: m.ConsultationId | None = None,
) -> m.ExamOrder:
    """An order with its accession number, issued by the performing organisation (DICOM SH: at most 16 characters).

    `modality` is a DICOM modality code. Studies that carry the number are matched, and shared into `consultation`.
    """
    authorize(uow, actor, Action.ORDER_START, actor.organisation)
    found = open_patient(uow, actor, patient, Action.PATIENT_FIND)
    if consultation is not None:
        opened = open_consultation(uow, actor, consultation, Action.ORDER_WRITE)
        if surviving(uow, uow.patients.get(opened.consultation.patient)).id != found.id:
            raise Conflict(reason="other_patient")
        if opened.consultation.state in CLOSED:
            raise WrongState(state=opened.consultation.state.value, trigger="create_order")
    wrong: list[tuple[str, str]] = []
    if not procedure.strip():
        wrong.append(("procedure", "required"))
    if not modality.strip().isalnum() or len(modality.strip()) > 16 or not modality.isascii():
        wrong.append(("modality", "unknown_choice"))
    if not _may_perform(uow, actor, performing):
        wrong.append(("performing", "not_linked"))
    if wrong:
        raise Invalid(*wrong)
    order = m.ExamOrder(
        id=m.OrderId(uow.new_id()),
        issuer=performing,
        accession=_accession(uow, performing),
        patient=found.id,
        ordering=actor.organisation,
        performing=performing,
        ordered_by=actor.membership,
        procedure=procedure.strip()[:200],
        modality=modality.strip().upper(),
        consultation=consultation,
        at=uow.now,
    )
    uow.studies.add_order(order)
    uow.patients.link_organisation(found.id, performing)
    record(
        uow, actor, f"order:{order.id}", "create_order",
        after="open", payload={"accession": order.accession, "modality": order.modality},
    )  # fmt: skip
    if consultation is not None:
        record_note(
            uow, actor, uow.consultations.get(consultation), "create_order", payload={"order": order.id}
        )
    uow.publish(f"study:{performing}", {"order": order.id})
    return order


def _may_perform(uow: UnitOfWork, actor: Actor, performing: OrganisationId) -> bool:
    """The own organisation, one it is linked with, or one that serves it."""
    try:
        if not uow.people.organisation(performing).active:
            return False
    except NotFound:
        return False
    linked = {y for x in uow.people.links(actor.organisation) for y in (x.a, x.b)}
    return performing in {actor.organisation, *linked} or any(
        performing in pools(uow, actor.organisation, service)
        for service in (m.Service.IMAGING, m.Service.ECG, m.Service.PATHOLOGY)
    )


def _accession(uow: UnitOfWork, issuer: OrganisationId) -> str:
    """Letters of the organisation's short name (or of its id), the local day and a counter: `CH2611220042`."""
    day = (uow.now + uow.rules.utc_offset).date()
    name = uow.people.organisation(issuer).short_name
    letters = "".join(x for x in name.upper() if x.isascii() and x.isalnum())
    letters = letters or "".join(x for x in issuer.upper() if x.isascii() and x.isalnum())
    return f"{letters[:5]}{day:%y%m%d}{uow.studies.next_accession(issuer, day):04d}"


def void_order(uow: UnitOfWork, *, actor: Actor, order: m.OrderId, reason: str) -> m.ExamOrder:
    """Voids an order that has no study yet. Raises Invalid without a reason, Conflict, WrongState."""
    found = open_order(uow, actor, order, Action.ORDER_WRITE)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    if found.voided_at is not None:
        raise WrongState(state="voided", trigger="void_order")
    if any(x.order == order for x in uow.studies.matches(patient=found.patient)):
        raise Conflict(reason="order_has_studies")
    saved = uow.studies.save_order(
        replace(found, voided_at=uow.now, voided_reason=reason.strip())
    )
    record(uow, actor, f"order:{order}", "void_order", before="open", after="voided", reason=reason)
    uow.publish(f"study:{found.performing}", {"order": order})
    return saved


def report_wrong_patient(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    study_uid: str,
    reason: str,
) -> m.Consultation:
    """The expert doubts that the study shows this patient: everybody but the technicians of the organisation that
    holds it stops seeing it, in every consultation, until one of them has settled it.
    """
    opened = open_consultation(uow, actor, consultation, Action.STUDIES_DOUBT)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    if all(x.study_uid != study_uid for x in uow.consultations.shares(consultation)):
        raise NotFound
    if study_uid in opened.consultation.hidden_studies:
        return opened.consultation
    for one in uow.consultations.sharing(study_uid):
        if study_uid not in one.hidden_studies:
            saved = uow.consultations.save(
                replace(one, hidden_studies=(*one.hidden_studies, study_uid))
            )
            record_note(
                uow, actor, saved, "report_wrong_patient", reason=reason, payload={"study": study_uid}
            )
    record(uow, actor, f"study:{study_uid}", "report_wrong_patient", reason=reason)
    for match in uow.studies.matches(study_uid=study_uid):
        record(
            uow, actor, f"doubts:{match.organisation}", "report_wrong_patient", payload={"study": study_uid}
        )
        uow.publish(f"study:{match.organisation}", {"study": study_uid, "hidden": True})
    return uow.consultations.get(consultation)


def settle_wrong_patient(
    uow: UnitOfWork, *, actor: Actor, study_uid: str, right: bool, reason: str
) -> None:
    """The technician of the holding organisation decides: right → it is shown again; wrong → the match is undone
    and the study leaves the consultations. Raises NotFound, Invalid without a reason.
    """
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    match = uow.studies.match(study_uid, actor.organisation)
    doubted = [x for x in uow.consultations.sharing(study_uid) if study_uid in x.hidden_studies]
    if match is None or not doubted:
        raise NotFound
    organisations = [x.organisation for x in uow.studies.matches(study_uid=study_uid)]
    if right:
        for one in doubted:
            kept = tuple(x for x in one.hidden_studies if x != study_uid)
            saved = uow.consultations.save(replace(one, hidden_studies=kept))
            record_note(
                uow, actor, saved, "settle_wrong_patient", reason=reason,
                payload={"study": study_uid, "right": True},
            )  # fmt: skip
        record(uow, actor, f"study:{study_uid}", "settle_wrong_patient", reason=reason)
    else:
        withdraw_match(uow, actor, match, reason=reason, trigger="settle_wrong_patient")
    for organisation in organisations:
        record(
            uow, actor, f"doubts:{organisation}", "settle_wrong_patient", payload={"study": study_uid}
        )
        uow.publish(f"study:{organisation}", {"study": study_uid, "hidden": False})


def doubted_studies(uow: UnitOfWork, *, actor: Actor) -> list[str]:
    """Studies held by the technician's organisation that wait to be settled, oldest first."""
    authorize(uow, actor, Action.STUDIES_MATCH, actor.organisation)
    return waiting_doubts(uow, actor.organisation)


def waiting_doubts(uow: UnitOfWork, organisation: OrganisationId) -> list[str]:
    """Studies of this organisation that an expert says show another patient, and nobody has settled; oldest first."""
    waiting: dict[str, None] = {}
    for event in uow.events.of(f"doubts:{organisation}"):
        if event.trigger == "report_wrong_patient":
            waiting.setdefault(str(event.payload["study"]))
        else:
            waiting.pop(str(event.payload["study"]), None)
    return list(waiting)
