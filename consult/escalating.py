"""What happens when nobody answers: the next pool, then the dispatcher; and requests that are never completed.

`expire_offers` and `expire_returned` are the system's ticks (server/tasks.py); each handles what is late now.
"""

from dataclasses import replace
from datetime import datetime

from consult import model as m
from consult.access import Action, open_consultation
from consult.deadlines import item_times
from consult.drafting import offer_facts
from consult.errors import Stale
from consult.lifecycle import Trigger
from consult.moving import move, move_by_system
from consult.offering import make_offer, open_offers, pools
from consult.people import Actor, OrganisationId, Role
from consult.ports import UnitOfWork
from consult.ringing import raise_alarm


def offer_next(uow: UnitOfWork, consultation: m.Consultation) -> m.Consultation:
    """The next pool in turn, or back to the dispatcher when there is none.

    Routine requests go no further than the organisation asked; urgent ones climb to those above it.
    """
    place = _next_pool(uow, consultation)
    if place is None:
        return move_by_system(uow, consultation, Trigger.REQUEUE)
    offer = make_offer(
        uow, consultation, organisation=place, specialty=_specialty(uow, consultation, place)
    )
    return move_by_system(uow, consultation, Trigger.OFFER, payload=offer_facts(offer))


def _next_pool(uow: UnitOfWork, consultation: m.Consultation) -> OrganisationId | None:
    offers = uow.offers.of(consultation.id)
    start = max(
        (x.closed_at for x in offers if x.outcome is m.OfferOutcome.ACCEPTED and x.closed_at is not None),
        default=None,
    )
    asked = {
        x.organisation for x in offers if x.membership is None and (start is None or x.made_at >= start)
    }
    places = [consultation.target_organisation] if consultation.target_organisation else []
    if consultation.urgency is not m.Urgency.ROUTINE:
        places += pools(uow, consultation.organisation, consultation.service)
    return next((x for x in places if x not in asked and _on_call(uow, x)), None)


def _on_call(uow: UnitOfWork, organisation: OrganisationId) -> bool:
    return any(x.on_call for x in uow.people.memberships(organisation=organisation, role=Role.EXPERT))


def _specialty(uow: UnitOfWork, consultation: m.Consultation, place: OrganisationId) -> str:
    """The wanted specialty where the pool has it, else the whole pool: an emergency must not wait for a label."""
    wanted = consultation.target_specialty
    experts = uow.people.memberships(organisation=place, role=Role.EXPERT)
    return wanted if any(x.on_call and wanted in x.specialties for x in experts) else ""


def expire_offers(uow: UnitOfWork, *, limit: int = 100) -> int:
    """Raises the alarm about emergencies, times out offers that are past their time and escalates each; returns how
    many timed out.
    """
    raise_alarm(uow)
    done = 0
    for offer in uow.offers.expired(uow.now, limit=limit):
        try:
            uow.offers.save(
                replace(offer, outcome=m.OfferOutcome.TIMED_OUT, closed_at=uow.now)
            )
        except Stale:
            continue                   # accepted in this very moment
        done += 1
        consultation = uow.consultations.get(offer.consultation)
        if consultation.state is not m.State.OFFERED or open_offers(uow, consultation.id):
            continue
        late = move_by_system(uow, consultation, Trigger.TIME_OUT, payload={"offer": offer.id})
        offer_next(uow, late)
    return done


def expire_returned(uow: UnitOfWork, *, limit: int = 1000) -> int:
    """Expires returned requests whose last missing item is overdue; returns how many."""
    done = 0
    for consultation in uow.consultations.due_before(uow.now, limit=limit):
        if consultation.state is not m.State.RETURNED or _last_due(consultation, uow.now) > uow.now:
            continue
        move_by_system(uow, consultation, Trigger.EXPIRE)
        done += 1
    return done


def _last_due(consultation: m.Consultation, now: datetime) -> datetime:
    return max(item_times(consultation), default=consultation.due_at or now)


def escalate_expired(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = ""
) -> m.Consultation:
    """The dispatcher takes an expired request up again."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_RECEIVE)
    return move(uow, actor, opened, Trigger.ESCALATE, reason=reason)
