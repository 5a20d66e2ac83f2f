"""The only door to a consultation and its parts: one `authorize`, and one `open_…` per kind of object (DOMAIN §6).

"Absent" and "not yours" answer alike: NotFound. What is in sight but not this part's to do is NotAllowed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from consult import model as m
from consult.errors import ConsultError, NotAllowed, NotFound
from consult.patient import Patient, PatientId
from consult.people import Actor, Organisation, OrganisationId, Role
from consult.permission import (
    EVERY_ORGANISATION,
    OWN_ORGANISATION,
    POLICY,
    READS,
    SIGHT,
    Action,
    Relation,
)
from consult.ports import UnitOfWork, WorklistRow
from consult.relations import Held, granted, relations_to, relations_to_order, relations_to_patient
from consult.scoping import StudyScope, scope_for, worklist_query

__all__ = [
    "Action", "Opened", "Relation", "StudyScope", "allowed_actions", "authorize", "may", "may_show_name",
    "open_consultation", "open_document", "open_order", "open_patient", "open_report", "open_report_version", "present",
    "scope_for", "surviving", "worklist_query",
]  # fmt: skip



Id = TypeVar("Id")
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A consultation that was opened for an action. `relation` is the one that allowed it."""

    consultation: m.Consultation
    relation: Relation
    relations: frozenset[Relation]


def authorize(
    uow: UnitOfWork,
    actor: Actor,
    action: Action,
    object: m.Consultation | Patient | m.ExamOrder | Organisation | OrganisationId,
) -> Relation | None:
    """The relation that allows the action (None: the role does, on an organisation).

    Raises NotFound where the object is out of the actor's sight or the action reads what they may not read,
    NotAllowed where they see it and may not do this.
    """
    match object:
        case m.Consultation():
            held: Held = dict.fromkeys(relations_to(uow, actor, object), object)
        case Patient():
            held = relations_to_patient(uow, actor, object)
        case m.ExamOrder():
            held = relations_to_order(uow, actor, object)
        case Organisation():
            _on_organisation(actor, action, object.id)
            return None
        case _:
            _on_organisation(actor, action, object)
            return None
    relation = granted(uow, actor, action, held)
    if relation is not None:
        return relation
    kind = action.value.partition(".")[0]
    if action not in READS and any(
        granted(uow, actor, sight, held) is not None for sight in SIGHT.get(kind, ())
    ):
        raise NotAllowed(action=action.value)
    raise NotFound


def may(
    uow: UnitOfWork,
    actor: Actor,
    action: Action,
    object: m.Consultation | Patient | m.ExamOrder | Organisation | OrganisationId,
) -> bool:
    """Authorize as a question: what a page asks before it shows a button."""
    try:
        authorize(uow, actor, action, object)
    except ConsultError:
        return False
    return True


def allowed_actions(uow: UnitOfWork, actor: Actor, consultation: m.Consultation) -> frozenset[Action]:
    """Every action the actor may take on the consultation, the lifecycle apart."""
    held: Held = dict.fromkeys(relations_to(uow, actor, consultation), consultation)
    return frozenset(x for x in POLICY if granted(uow, actor, x, held) is not None)


def _on_organisation(actor: Actor, action: Action, organisation: OrganisationId) -> None:
    if actor.role in EVERY_ORGANISATION.get(action, frozenset()):
        return
    if actor.organisation != organisation or action in READS:
        if actor.organisation == organisation and actor.role in OWN_ORGANISATION.get(action, frozenset()):
            return
        raise NotFound
    if actor.role not in OWN_ORGANISATION.get(action, frozenset()):
        raise NotAllowed(action=action.value)


def present(get: Callable[[Id], Thing], id: Id) -> Thing:
    """What the store holds; its NotFound says nothing that "not yours" does not say."""
    try:
        return get(id)
    except NotFound:
        raise NotFound from None


def open_consultation(uow: UnitOfWork, actor: Actor, id: m.ConsultationId, action: Action) -> Opened:
    """The consultation, if the actor may do this with it. Raises NotFound, NotAllowed."""
    consultation = present(uow.consultations.get, id)
    relation = authorize(uow, actor, action, consultation)
    if relation is None:
        raise NotFound
    return Opened(
        consultation=consultation,
        relation=relation,
        relations=frozenset(relations_to(uow, actor, consultation)),
    )


def open_patient(uow: UnitOfWork, actor: Actor, id: PatientId, action: Action) -> Patient:
    """The patient, or the one they were merged into. Raises NotFound, NotAllowed."""
    patient = surviving(uow, present(uow.patients.get, id))
    authorize(uow, actor, action, patient)
    return patient


def surviving(uow: UnitOfWork, patient: Patient) -> Patient:
    """Follows merges to the record that lives."""
    while patient.merged_into is not None:
        patient = uow.patients.get(patient.merged_into)
    return patient


def open_order(uow: UnitOfWork, actor: Actor, id: m.OrderId, action: Action) -> m.ExamOrder:
    order = present(uow.studies.order, id)
    authorize(uow, actor, action, order)
    return order


def open_document(
    uow: UnitOfWork, actor: Actor, id: m.DocumentId, action: Action = Action.DOCUMENT_READ
) -> tuple[m.Document, Opened]:
    document = present(uow.consultations.document, id)
    return document, open_consultation(uow, actor, document.consultation, action)


def open_report_version(
    uow: UnitOfWork, actor: Actor, id: m.ReportVersionId, action: Action = Action.REPORT_READ
) -> tuple[m.ReportVersion, Opened]:
    version = present(uow.reports.version, id)
    return version, open_consultation(uow, actor, version.consultation, action)


def open_report(
    uow: UnitOfWork, actor: Actor, id: m.ReportId, action: Action
) -> tuple[m.Report, Opened]:
    """A draft. Writing is its author's own; the other experts of a consultation read it."""
    report = present(uow.reports.get, id)
    opened = open_consultation(uow, actor, report.consultation, action)
    if action is Action.DRAFT_WRITE and report.author != actor.membership:
        raise NotAllowed(action=action.value)
    return report, opened


def may_show_name(actor: Actor, row: WorklistRow) -> bool:
    """May a worklist row carry the patient's name for this viewer? Everyone else gets age band and sex: a guest too,
    who reads only while admitted, and then sits in the room.
    """
    return row.part not in {None, m.Part.GUEST} or (
        actor.role is Role.DISPATCHER and row.consultation.state in {m.State.SUBMITTED, m.State.TRIAGE}
    )

