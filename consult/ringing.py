"""An emergency that nobody accepts gets louder: ring again, message, telephone list, next pool (DOMAIN §4).

The steps are data (STEPS with rules.deadlines.stat_steps). What step an offer has reached follows from its own expiry,
and each is written down once per round, so a tick may come late, twice, or after a restart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from consult import model as m
from consult.events import record_note
from consult.offering import make_offer, open_offers, serves_now
from consult.people import Membership, OrganisationId, Role
from consult.ports import UnitOfWork
from consult.rules import Rules


class Step(StrEnum):
    """In their order; the values are the events' triggers."""

    RING = "ring_again"            # everybody on call of the organisation rings, also where one was named
    MESSAGE = "tell_unanswered"    # the dispatchers' bell and the hospitals' pager
    PHONES = "show_phones"         # the clinic sees whom to telephone; the offer goes on to the next pool


STEPS = tuple(Step)
_WAITING = frozenset({m.State.OFFERED, m.State.TRIAGE, m.State.SUBMITTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """Somebody on call who could be telephoned; both numbers may be empty."""

    organisation: str
    organisation_phone: str
    name: str
    title: str
    phone: str


def step_at(offer: m.Offer, step: Step, rules: Rules) -> datetime:
    """When an emergency's offer takes the step; the last one is its expiry."""
    steps = rules.deadlines.stat_steps
    return offer.expires_at - steps[-1] + steps[STEPS.index(step)]


def rings(offer: m.Offer, rules: Rules, now: datetime) -> int:
    """How many times an emergency's offer has rung by now."""
    return 1 + (now >= step_at(offer, Step.RING, rules))


def unanswered(consultation: m.Consultation, offer: m.Offer | None, rules: Rules, now: datetime) -> bool:
    """An emergency so long without an answer that dispatchers and pagers are told."""
    return (
        offer is not None
        and consultation.urgency is m.Urgency.STAT
        and consultation.state is m.State.OFFERED
        and now >= step_at(offer, Step.MESSAGE, rules)
    )


def raise_alarm(uow: UnitOfWork, *, limit: int = 1000) -> int:
    """Takes every step that is due and not taken yet; returns how many. Before `expire_offers` closes the round."""
    taken = 0
    seen: set[m.ConsultationId] = set()
    for offer in uow.offers.expired(uow.now + uow.rules.deadlines.stat_steps[-1], limit=limit):
        if offer.consultation in seen:
            continue                    # the pool beside a named expert is one round
        seen.add(offer.consultation)
        consultation = uow.consultations.get(offer.consultation)
        if consultation.urgency is m.Urgency.STAT and consultation.state is m.State.OFFERED:
            taken += _catch_up(uow, consultation, offer)
    return taken


def _catch_up(uow: UnitOfWork, consultation: m.Consultation, offer: m.Offer) -> int:
    due = [x for x in STEPS if step_at(offer, x, uow.rules) <= uow.now]
    if not due:
        return 0
    round_ = offer.expires_at.isoformat()
    done = {
        x.trigger for x in uow.events.of(f"consultation:{consultation.id}") if x.payload.get("round") == round_
    }
    missing = [x for x in due if x not in done]
    for step in missing:
        if step is Step.RING:
            _whole_pool(uow, consultation, offer)
        record_note(
            uow, None, consultation, step, payload={"round": round_, "organisation": offer.organisation}
        )
        uow.publish(
            "offer", {"consultation": consultation.id, "offer": offer.id, "organisation": offer.organisation}
        )
    return len(missing)


def _whole_pool(uow: UnitOfWork, consultation: m.Consultation, offer: m.Offer) -> None:
    """Beside a named expert everybody on call may accept now; the named one still may."""
    alone = all(x.membership is not None for x in open_offers(uow, consultation.id))
    others = [x for x in on_call(uow, offer.organisation) if x.id != offer.membership]
    if alone and others:
        make_offer(
            uow, consultation, organisation=offer.organisation, alongside=True, until=offer.expires_at
        )


def on_call(uow: UnitOfWork, organisation: OrganisationId) -> list[Membership]:
    """Experts on call there now."""
    everybody = uow.people.memberships(organisation=organisation, role=Role.EXPERT)
    return [x for x in everybody if x.on_call and serves_now(x, uow)]


def phone_list(uow: UnitOfWork, consultation: m.Consultation) -> Sequence[Phone]:
    """Whom the clinic may telephone while nobody has accepted: those on call of every pool that was rung in vain."""
    if consultation.urgency is not m.Urgency.STAT or consultation.state not in _WAITING:
        return ()
    places = dict.fromkeys(
        OrganisationId(x.payload["organisation"])
        for x in uow.events.of(f"consultation:{consultation.id}")
        if x.trigger == Step.PHONES
    )
    found = []
    for place in places:
        organisation = uow.people.organisation(place)
        for membership in on_call(uow, place):
            staff = uow.people.staff(membership.staff)
            found.append(
                Phone(
                    organisation=organisation.name, organisation_phone=organisation.phone,
                    name=staff.name, title=staff.title, phone=staff.phone,
                )
            )  # fmt: skip
    return found
