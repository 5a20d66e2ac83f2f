"""From submitted to accepted: receive, return, reject, offer, accept, decline; and giving a consultation away."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Action, Opened, open_consultation, present
from consult.drafting import check_version, offer_facts
from consult.ending import cancel_consultation, convert_consultation, mark_entered_in_error
from consult.errors import Conflict, Invalid, NotFound, Stale, Wrong, WrongState
from consult.escalating import escalate_expired, expire_offers, expire_returned, offer_next
from consult.lifecycle import Guard, Trigger
from consult.moving import move, move_by_system
from consult.offering import agreed, close_offers, make_offer, named_expert, open_offers
from consult.people import Actor, MembershipId, OrganisationId, Role
from consult.ports import UnitOfWork
from consult.relations import EXPERT_PARTS, offered_to

__all__ = [
    "accept_offer", "cancel_consultation", "convert_consultation", "decline_offer", "escalate_expired",
    "expire_offers", "expire_returned", "mark_entered_in_error", "offer_consultation", "reassign_consultation",
    "receive_request", "reject_request", "release_consultation", "return_request",
]  # fmt: skip


def receive_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> m.Consultation:
    """The dispatcher takes a submitted request up."""
    return move(
        uow, actor, open_consultation(uow, actor, consultation, Action.REQUEST_RECEIVE), Trigger.RECEIVE
    )


def _received(uow: UnitOfWork, actor: Actor, opened: Opened) -> Opened:
    """Deciding on a request that nobody has taken up takes it up."""
    if opened.consultation.state is not m.State.SUBMITTED:
        return opened
    return replace(opened, consultation=move(uow, actor, opened, Trigger.RECEIVE))


def clean_items(uow: UnitOfWork, items: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Missing items as they are stored: ({"item": text, "due": ISO 8601 with zone or ""}, …). Raises Invalid."""
    kept: list[Mapping[str, Any]] = []
    wrong: list[Wrong] = []
    for n, entry in enumerate(items):
        text = str(entry.get("item", "")).strip()
        if not text:
            continue
        due = entry.get("due") or ""
        try:
            moment = due if isinstance(due, datetime) else datetime.fromisoformat(str(due)) if due else None
        except ValueError:
            wrong.append((f"items.{n}.due", "wrong_kind"))
            continue
        if moment is not None and (moment.tzinfo is None or moment <= uow.now):
            wrong.append((f"items.{n}.due", "not_in_future"))
        elif len(text) > 500:
            wrong.append((f"items.{n}.item", "too_long", {"max": 500}))
        else:
            kept.append({"item": text, "due": moment.isoformat() if moment else ""})
    if wrong:
        raise Invalid(*wrong)
    if not kept:
        raise Invalid(("items", "required"))
    return tuple(kept)


def return_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    items: Sequence[Mapping[str, Any]],
    note: str = "",
    version: int | None = None,
) -> m.Consultation:
    """Back to the clinic with a list of what is missing: [{"item": …, "due": ISO time or None}]. The clock stops."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_RETURN)
    check_version(opened.consultation, version)
    missing = clean_items(uow, items)
    return move(uow, actor, _received(uow, actor, opened), Trigger.RETURN, missing=missing, reason=note)


def reject_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    reason: str,
    version: int | None = None,
) -> m.Consultation:
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_REJECT)
    check_version(opened.consultation, version)
    if not reason.strip():
        raise Invalid(("reason", "required"))
    return move(uow, actor, _received(uow, actor, opened), Trigger.REJECT, reason=reason)


def offer_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    organisation: OrganisationId | None = None,
    membership: MembershipId | None = None,
    specialty: str = "",
    urgency: m.Urgency | None = None,
    version: int | None = None,
) -> m.Offer:
    """To a named expert, or to the pool on call of an organisation (default: the one asked), urgency adjusted."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_OFFER)
    check_version(opened.consultation, version)
    place = _place(uow, opened.consultation, organisation, membership)
    opened = _received(uow, actor, opened)
    decided = urgency or opened.consultation.urgency
    offer = make_offer(
        uow, replace(opened.consultation, urgency=decided),
        organisation=place, membership=membership, specialty=specialty.strip(), made_by=actor,
    )  # fmt: skip
    move(uow, actor, opened, Trigger.OFFER, payload=offer_facts(offer), change={"urgency": decided})
    return offer


def _place(
    uow: UnitOfWork,
    consultation: m.Consultation,
    organisation: OrganisationId | None,
    membership: MembershipId | None,
) -> OrganisationId:
    """Whom it may be offered to: a place that serves the clinic by an agreement, or the one that was asked while there
    was one (DOMAIN §3).
    """
    if membership is not None:
        named = named_expert(uow, membership, path="membership").organisation
        _check_served(uow, consultation, named, path="membership")
        return named
    place = organisation or consultation.target_organisation
    if place is None:
        raise Invalid(("organisation", "required"))
    try:
        known = uow.people.organisation(place)
    except NotFound:
        raise Invalid(("organisation", "not_found")) from None
    if not known.active or not uow.people.memberships(organisation=place, role=Role.EXPERT):
        raise Invalid(("organisation", "no_expert"))
    _check_served(uow, consultation, place, path="organisation")
    return place


def _check_served(uow: UnitOfWork, consultation: m.Consultation, place: OrganisationId, *, path: str) -> None:
    if place != consultation.target_organisation and not agreed(uow, consultation.organisation, place):
        raise Invalid((path, "not_linked"))


def accept_offer(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    """Accepts the open offer made to the actor or to their pool. Of two at once exactly one wins.

    Raises Conflict(reason="already_accepted") for the other, Conflict(reason="offer_closed") when it went on.
    """
    stored = present(uow.consultations.get, consultation)
    offer = offered_to(uow, actor, stored)
    if offer is None:
        _explain_missing_offer(uow, actor, stored)
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_ACCEPT)
    if offer is None:
        raise WrongState(state=stored.state.value, trigger=Trigger.ACCEPT.value)
    try:
        uow.offers.save(
            replace(
                offer, outcome=m.OfferOutcome.ACCEPTED, closed_by=actor.membership, closed_at=uow.now
            )
        )
    except Stale:
        raise Conflict(reason="already_accepted") from None
    close_offers(uow, consultation, m.OfferOutcome.CANCELLED, by=actor)
    accepted = move(
        uow, actor, opened, Trigger.ACCEPT,
        given=frozenset({Guard.OPEN_OFFER}), payload={"offer": offer.id, "membership": actor.membership},
    )  # fmt: skip
    uow.consultations.add_participant(
        m.Participant(
            consultation=consultation, membership=actor.membership, part=m.Part.EXPERT, since=uow.now
        )
    )
    return accepted


def _explain_missing_offer(uow: UnitOfWork, actor: Actor, stored: m.Consultation) -> None:
    """Tells somebody who was offered it why it is gone; strangers learn nothing."""
    for offer in reversed(uow.offers.of(stored.id)):
        mine = offer.membership == actor.membership or (
            offer.membership is None
            and offer.organisation == actor.organisation
            and actor.role is Role.EXPERT
            and (not offer.specialty or offer.specialty in actor.specialties)
        )
        if mine and offer.outcome is not m.OfferOutcome.OPEN:
            taken = offer.outcome is m.OfferOutcome.ACCEPTED or any(
                x.outcome is m.OfferOutcome.ACCEPTED and x.made_at >= offer.made_at
                for x in uow.offers.of(stored.id)
            )
            raise Conflict(reason="already_accepted" if taken else "offer_closed")


def decline_offer(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    """A named expert's decline closes the offer; a pool's closes when everyone on call has declined.

    Then the next offer follows, or the dispatcher decides again.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_ACCEPT)
    offer = offered_to(uow, actor, opened.consultation)
    if offer is None:
        raise WrongState(state=opened.consultation.state.value, trigger=Trigger.DECLINE.value)
    declined = move(
        uow, actor, opened, Trigger.DECLINE, reason=reason, payload={"offer": offer.id}
    )
    if offer.membership is None and not _all_declined(uow, offer):
        return declined
    uow.offers.save(
        replace(
            offer,
            outcome=m.OfferOutcome.DECLINED,
            closed_by=actor.membership,
            closed_at=uow.now,
            reason=reason.strip(),
        )
    )
    if open_offers(uow, declined.id):
        return declined                # the pool is being rung beside the named expert
    return offer_next(uow, declined)


def _all_declined(uow: UnitOfWork, offer: m.Offer) -> bool:
    on_call = {
        x.id
        for x in uow.people.memberships(organisation=offer.organisation, role=Role.EXPERT)
        if x.on_call and (not offer.specialty or offer.specialty in x.specialties)
    }
    declined = {
        x.membership
        for x in uow.events.of(f"consultation:{offer.consultation}")
        if x.trigger == Trigger.DECLINE and x.payload.get("offer") == offer.id
    }
    return on_call <= declined


def _close_access(uow: UnitOfWork, consultation: m.Consultation, only: MembershipId | None = None) -> None:
    """Ends the experts' parts; their rooms and viewing grants close with the commit."""
    leaving = [
        x
        for x in uow.consultations.participants(consultation.id)
        if x.part in EXPERT_PARTS and (only is None or x.membership == only)
    ]
    for x in leaving:
        uow.consultations.end_participant(consultation.id, x.membership, x.part, at=uow.now)
    if leaving:
        uow.revoke(memberships={x.membership for x in leaving}, consultation=consultation.id)


def release_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    """The expert gives it back with a reason; it is offered to the pool of their organisation. Access ends at once."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_RELEASE)
    change = {"scheduled_at": None}
    released = move(uow, actor, opened, Trigger.RELEASE, reason=reason, change=change)
    _close_access(uow, released, actor.membership)
    offer = make_offer(uow, released, organisation=actor.organisation, specialty=released.target_specialty)
    return move_by_system(uow, released, Trigger.OFFER, payload=offer_facts(offer))


def reassign_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    reason: str,
    membership: MembershipId | None = None,
    organisation: OrganisationId | None = None,
    specialty: str = "",
) -> m.Consultation:
    """The dispatcher offers an accepted consultation to somebody else. The former expert's access ends at once."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_REASSIGN)
    place = _place(uow, opened.consultation, organisation, membership)
    offer = make_offer(
        uow, opened.consultation,
        organisation=place, membership=membership, specialty=specialty.strip(), made_by=actor,
    )  # fmt: skip
    moved = move(
        uow, actor, opened, Trigger.REASSIGN,
        reason=reason, payload=offer_facts(offer), change={"scheduled_at": None},
    )  # fmt: skip
    _close_access(uow, moved)
    return moved
