"""The request: draft, autosave, submit, complete, withdraw, take over. STAT stands in consult/emergency.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult import model as m
from consult.access import Action, Opened, authorize, open_consultation, open_patient
from consult.consent import consent_in_force
from consult.errors import Invalid, Stale, WrongState
from consult.events import record, record_note, tell
from consult.forms import FORM_FIELDS, clean_content, clean_questions
from consult.lifecycle import Guard, Trigger, deletable
from consult.moving import move, move_by_system
from consult.offering import close_offers, make_offer, named_expert, pools
from consult.patient import PatientId
from consult.people import Actor, MembershipId, OrganisationId
from consult.ports import UnitOfWork

# The form may be edited here; in an emergency also while the consultation goes on.
_EDITABLE = frozenset({m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED, m.State.AWAITING_MATERIAL})
_REROUTABLE = frozenset({m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED})
_RUNNING = frozenset(
    {
        m.State.SUBMITTED, m.State.TRIAGE, m.State.OFFERED, m.State.ACCEPTED, m.State.SCHEDULED,
        m.State.CHECKED_IN, m.State.IN_SESSION, m.State.ASYNC_REVIEW, m.State.REPORTING,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom the request is for (DOMAIN §3, addressing). Without an organisation: the nearest that serves."""

    addressing: m.Addressing = m.Addressing.POOL
    organisation: OrganisationId | None = None
    specialty: str = ""
    membership: MembershipId | None = None


def new_consultation(
    uow: UnitOfWork, actor: Actor, *, patient: PatientId, fields: Mapping[str, Any]
) -> m.Consultation:
    """A draft with its number, its first request version and its referring doctor. The caller has authorised."""
    day = (uow.now + uow.rules.utc_offset).date()
    consultation = m.Consultation(
        id=m.ConsultationId(uow.new_id()),
        number=f"HZ{day:%Y%m%d}-{uow.consultations.next_number(day):04d}",
        patient=patient,
        organisation=actor.organisation,
        requested_by=actor.membership,
        state_since=uow.now,
        created_at=uow.now,
        **fields,
    )
    uow.consultations.add(consultation)
    uow.consultations.add_participant(
        m.Participant(
            consultation=consultation.id, membership=actor.membership, part=m.Part.REFERRING, since=uow.now
        )
    )
    uow.consultations.put_request(_version(uow, actor, consultation, 1, {}))
    uow.patients.link_organisation(patient, actor.organisation)
    record(uow, actor, f"consultation:{consultation.id}", "start_draft", after=consultation.state)
    return consultation


def _version(
    uow: UnitOfWork, actor: Actor, consultation: m.Consultation, n: int, content: Mapping[str, Any]
) -> m.RequestVersion:
    return m.RequestVersion(
        consultation=consultation.id, n=n, content=content, saved_by=actor.membership, saved_at=uow.now
    )


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


def target_fields(target: Target | None) -> dict[str, Any]:
    if target is None:
        return {}
    return {
        "addressing": target.addressing,
        "target_organisation": target.organisation,
        "target_specialty": target.specialty.strip(),
        "target_membership": target.membership if target.addressing is m.Addressing.EXPERT else None,
    }


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


def write_request(
    uow: UnitOfWork,
    actor: Actor,
    opened: Opened,
    content: Mapping[str, Any],
    questions: Sequence[str],
    changes: Mapping[str, Any],
) -> m.Consultation:
    """Stores the form of an opened consultation and returns it with its new version."""
    stored = opened.consultation
    emergency = stored.urgency is m.Urgency.STAT and stored.state in _RUNNING
    if stored.state not in _EDITABLE and not emergency:
        raise WrongState(state=stored.state.value, trigger="save_request")
    clean = clean_content(content, FORM_FIELDS)
    asked = clean_questions(questions)
    newest = uow.consultations.request(stored.id)
    n = newest.n if newest else 0
    before = tuple(x.text for x in uow.consultations.questions(stored.id))
    if newest is not None and dict(newest.content) == clean and before == asked and not changes:
        return stored
    if before != asked:
        uow.consultations.put_questions(
            stored.id,
            [m.Question(consultation=stored.id, n=i, text=x) for i, x in enumerate(asked, start=1)],
        )
    if stored.state is m.State.DRAFT:
        uow.consultations.put_request(_version(uow, actor, stored, max(n, 1), clean))
        return uow.consultations.save(replace(stored, **dict(changes)))
    uow.consultations.put_request(_version(uow, actor, stored, n + 1, clean))
    saved = uow.consultations.save(replace(stored, **dict(changes)))
    record_note(uow, actor, saved, "save_request", payload={"n": n + 1})
    return saved


def submit_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, version: int | None = None
) -> m.Consultation:
    """Sends the request. A direct request and an emergency are offered at once, others wait for the dispatcher.

    Required: patient, service, urgency, one numbered question, consent, and somebody to send it to.
    Raises Invalid with every missing field, Stale, WrongState.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    check_version(opened.consultation, version)
    fields = _required(uow, opened.consultation, question=True)
    return send(uow, actor, opened, fields)


def send(
    uow: UnitOfWork, actor: Actor, opened: Opened, fields: Mapping[str, Any]
) -> m.Consultation:
    """Submits a complete request; the offer follows where triage is automatic."""
    sent = move(
        uow, actor, opened, Trigger.SUBMIT,
        given=frozenset({Guard.COMPLETE}), change={**fields, "submitted_at": uow.now},
    )  # fmt: skip
    direct = sent.addressing is m.Addressing.EXPERT
    if not direct and sent.urgency is not m.Urgency.STAT:
        return sent
    received = move_by_system(uow, sent, Trigger.RECEIVE)
    organisation = received.target_organisation
    if organisation is None:
        raise WrongState(state=received.state.value, trigger=Trigger.OFFER.value)
    offer = make_offer(
        uow, received,
        organisation=organisation,
        membership=received.target_membership if direct else None,
        specialty=received.target_specialty,
    )  # fmt: skip
    return move_by_system(uow, received, Trigger.OFFER, payload=offer_facts(offer))


def offer_facts(offer: m.Offer) -> dict[str, Any]:
    return {
        "offer": offer.id,
        "organisation": offer.organisation,
        "membership": offer.membership,
        "specialty": offer.specialty,
        "expires_at": offer.expires_at.isoformat(),
    }


def _required(uow: UnitOfWork, stored: m.Consultation, *, question: bool) -> dict[str, Any]:
    """The target as it will be sent. Invalid with everything that is missing."""
    wrong: list[tuple[str, str]] = []
    if question and not uow.consultations.questions(stored.id):
        wrong.append(("questions", "required"))
    if not consent_in_force(uow, stored.id):
        wrong.append(("consent", "required"))
    try:
        fields = resolve_target(uow, stored)
    except Invalid as error:
        wrong += [(x[0], x[1]) for x in error.fields]
        fields = {}
    if wrong:
        raise Invalid(*wrong)
    return fields


def resolve_target(uow: UnitOfWork, stored: m.Consultation) -> dict[str, Any]:
    """Fills in the organisation that is asked. Raises Invalid (target.membership, .specialty, .organisation)."""
    if stored.addressing is m.Addressing.EXPERT:
        if stored.target_membership is None:
            raise Invalid(("target.membership", "required"))
        expert = named_expert(uow, stored.target_membership, path="target.membership")
        return {"target_organisation": expert.organisation}
    if stored.addressing is m.Addressing.SPECIALTY and not stored.target_specialty:
        raise Invalid(("target.specialty", "required"))
    if stored.target_organisation is not None:
        return {"target_organisation": stored.target_organisation}
    serving = pools(uow, stored.organisation, stored.service)
    if not serving:
        raise Invalid(("target.organisation", "required"))
    return {"target_organisation": serving[0]}


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
    fields = _required(uow, opened.consultation, question=not emergency)
    change = fields if opened.consultation.resume_to in {None, m.State.TRIAGE} else {}
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


def check_version(stored: m.Consultation, version: int | None) -> None:
    """Refuses a form that was read before somebody else saved. None: the caller read nothing."""
    if version is not None and version != stored.version:
        raise Stale(version=stored.version)
