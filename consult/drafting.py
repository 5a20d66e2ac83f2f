"""The parts of a request that several services share: numbering, versions of the form, the target, sending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult import model as m
from consult.access import Opened
from consult.errors import Invalid, Stale, WrongState
from consult.events import record, record_note
from consult.forms import FORM_FIELDS, clean_content, clean_questions
from consult.lifecycle import Guard, Trigger
from consult.moving import move, move_by_system
from consult.offering import agreed, make_offer, named_expert, pools
from consult.patient import PatientId
from consult.people import Actor, MembershipId, OrganisationId
from consult.ports import UnitOfWork

# The form may be edited here; in an emergency also while the consultation goes on.
_EDITABLE = frozenset({m.State.DRAFT, m.State.RETURNED, m.State.EXPIRED, m.State.AWAITING_MATERIAL})
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


def target_fields(target: Target | None) -> dict[str, Any]:
    if target is None:
        return {}
    return {
        "addressing": target.addressing,
        "target_organisation": target.organisation,
        "target_specialty": target.specialty.strip(),
        "target_membership": target.membership if target.addressing is m.Addressing.EXPERT else None,
    }


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


def check_agreement(uow: UnitOfWork, stored: m.Consultation, fields: Mapping[str, Any]) -> None:
    """Nobody asks a place with which no agreement is in force (DOMAIN §3). `fields`: what resolve_target found."""
    if not agreed(uow, stored.organisation, fields["target_organisation"]):
        named = stored.addressing is m.Addressing.EXPERT
        raise Invalid(("target.membership" if named else "target.organisation", "not_linked"))


def check_version(stored: m.Consultation, version: int | None) -> None:
    """Refuses a form that was read before somebody else saved. None: the caller read nothing."""
    if version is not None and version != stored.version:
        raise Stale(version=stored.version)
