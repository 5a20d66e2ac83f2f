"""The request: draft, autosave, submit, complete, withdraw, take over."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consult import model as m
from consult.access import Action, authorize, open_consultation, open_patient
from consult.consent import consent_in_force
from consult.drafting import (
    Target,
    check_agreement,
    check_version,
    new_consultation,
    resolve_target,
    send,
    target_fields,
    write_request,
)
from consult.emergency import complete_stat, start_stat
from consult.errors import Invalid, Stale, WrongState
from consult.events import record, tell
from consult.lifecycle import Guard, Trigger, deletable
from consult.moving import move
from consult.offering import close_offers
from consult.patient import PatientId
from consult.people import Actor
from consult.ports import UnitOfWork

__all__ = [
    "Target", "complete_stat", "delete_draft", "resubmit_request", "save_request", "start_draft", "start_stat",
    "submit_request", "take_over_consultation", "withdraw_request",
]  # fmt: skip

_REROUTABLE = frozenset({m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED})


def start_draft(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    service: m.Service = m.Service.CLINICAL,
    mode: m.Mode = m.Mode.STORED,
    urgency: m.Urgency = m.Urgency.ROUTINE,
    target: Target | None = None,
) -> m.Consultation:
    """A new draft for a patient known to the clinic; the actor is its referring doctor."""
    authorize(uow, actor, Action.REQUEST_START, actor.organisation)
    found = open_patient(uow, actor, patient, Action.PATIENT_FIND)
    fields: dict[str, Any] = {"service": service, "mode": mode, "urgency": urgency}
    consultation = new_consultation(uow, actor, patient=found.id, fields=fields | target_fields(target))
    tell(uow, consultation)
    return consultation


def save_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    version: int,
    content: Mapping[str, Any],
    questions: Sequence[str],
    service: m.Service | None = None,
    mode: m.Mode | None = None,
    participation: m.Participation | None = None,
    urgency: m.Urgency | None = None,
    target: Target | None = None,
) -> m.Consultation:
    """Autosave. A draft is overwritten; later the form gets a new version each time (unchanged content does not).

    Raises Stale (params `version`: the stored one), Invalid, WrongState once the request is with the centre.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    stored = opened.consultation
    if stored.version != version:
        raise Stale(version=stored.version)
    fields: dict[str, Any] = {
        "service": service, "mode": mode, "participation": participation, "urgency": urgency,
    }  # fmt: skip
    fields = {k: v for k, v in fields.items() if v is not None} | target_fields(target)
    changes = {k: v for k, v in fields.items() if v != getattr(stored, k)}
    if changes and stored.state not in _REROUTABLE:
        raise WrongState(state=stored.state.value, trigger="save_request")
    return write_request(uow, actor, opened, content, questions, changes)


def submit_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, version: int | None = None
) -> m.Consultation:
    """Sends the request. A direct request and an emergency are offered at once, others wait for the dispatcher.

    Required: patient, service, urgency, one numbered question, consent, and somebody to send it to, with whom an
    agreement is in force.
    Raises Invalid with every missing field, Stale, WrongState.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    check_version(opened.consultation, version)
    fields = _required(uow, opened.consultation, question=True, routed=True)
    return send(uow, actor, opened, fields)


def _required(uow: UnitOfWork, stored: m.Consultation, *, question: bool, routed: bool) -> dict[str, Any]:
    """The target as it will be sent (`routed`: it is decided now). Invalid with everything that is missing."""
    wrong: list[tuple[str, str]] = []
    if question and not uow.consultations.questions(stored.id):
        wrong.append(("questions", "required"))
    if not consent_in_force(uow, stored.id):
        wrong.append(("consent", "required"))
    try:
        fields = resolve_target(uow, stored)
        if routed:
            check_agreement(uow, stored, fields)
    except Invalid as error:
        wrong += [(x[0], x[1]) for x in error.fields]
        fields = {}
    if wrong:
        raise Invalid(*wrong)
    return fields


def resubmit_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    version: int | None = None,
    note: str = "",
) -> m.Consultation:
    """A returned request goes back to whoever returned it. Raises Invalid, Stale, WrongState."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    check_version(opened.consultation, version)
    emergency = opened.consultation.urgency is m.Urgency.STAT
    routed = opened.consultation.resume_to in {None, m.State.TRIAGE}
    fields = _required(uow, opened.consultation, question=not emergency, routed=routed)
    change = fields if routed else {}
    return move(
        uow, actor, opened, Trigger.RESUBMIT, given=frozenset({Guard.COMPLETE}), reason=note, change=change
    )


def delete_draft(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> None:
    """Deletes a draft, the only thing that may be. Raises WrongState for everything else."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    if not deletable(opened.consultation):
        raise WrongState(state=opened.consultation.state.value, trigger="delete_draft")
    for order in uow.studies.orders(consultation=consultation):
        uow.studies.save_order(replace(order, consultation=None))
    record(
        uow, actor, f"consultation:{consultation}", "delete_draft",
        before=opened.consultation.state, payload={"number": opened.consultation.number},
    )  # fmt: skip
    uow.consultations.delete_draft(consultation)
    uow.publish("worklist", {"consultation": consultation, "state": "deleted"})


def withdraw_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = ""
) -> m.Consultation:
    """The clinic takes the request back before an expert has accepted."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WITHDRAW)
    moved = move(uow, actor, opened, Trigger.WITHDRAW, reason=reason)
    close_offers(uow, consultation, m.OfferOutcome.CANCELLED, by=actor, reason=reason)
    return moved


def take_over_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    """接手: a colleague of the clinic becomes a referring doctor of the consultation too. A reason is required."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_TAKE_OVER)
    moved = move(uow, actor, opened, Trigger.TAKE_OVER, reason=reason)
    uow.consultations.add_participant(
        m.Participant(
            consultation=consultation, membership=actor.membership, part=m.Part.REFERRING, since=uow.now
        )
    )
    return moved
