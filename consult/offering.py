"""Offers: to one named expert, or to the experts on call of one organisation (and specialty)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime

from consult import model as m
from consult.deadlines import offer_until
from consult.errors import Invalid, NotFound
from consult.people import (
    Actor,
    LinkKind,
    Membership,
    MembershipId,
    OrganisationId,
    OrganisationKind,
    OrgLink,
    Role,
    Tier,
)
from consult.ports import UnitOfWork

_CENTRES = {
    m.Service.IMAGING: OrganisationKind.IMAGING_CENTRE,
    m.Service.ECG: OrganisationKind.ECG_CENTRE,
    m.Service.PATHOLOGY: OrganisationKind.PATHOLOGY_CENTRE,
}
_TIERS = (Tier.CLINIC, Tier.COUNTY, Tier.CITY)


def serves_now(membership: Membership, uow: UnitOfWork) -> bool:
    """An expert who still works there."""
    return (
        membership.role is Role.EXPERT
        and (membership.until is None or membership.until > uow.now)
        and uow.people.staff(membership.staff).active
    )


def named_expert(uow: UnitOfWork, id: MembershipId, *, path: str) -> Membership:
    """The expert's membership. Raises Invalid((path, not_an_expert))."""
    try:
        membership = uow.people.membership(id)
    except NotFound:
        raise Invalid((path, "not_an_expert")) from None
    if not serves_now(membership, uow):
        raise Invalid((path, "not_an_expert"))
    return membership


def _above(uow: UnitOfWork, organisation: OrganisationId) -> list[OrganisationId]:
    """The organisations that links in force today lead up to, directly or through others; nearest tier first."""
    today = (uow.now + uow.rules.utc_offset).date()
    found: list[OrganisationId] = []
    seen = {organisation}
    wave = [organisation]
    while wave:
        above = [
            link.a
            for here in wave
            for link in uow.people.links(here)
            if link.b == here and _in_force(link, today) and link.a not in seen
        ]
        wave = list(dict.fromkeys(above))
        wave.sort(key=lambda x: _TIERS.index(uow.people.organisation(x).tier))
        seen |= set(wave)
        found += wave
    return found


def _in_force(link: OrgLink, today: date) -> bool:
    return link.since <= today and (link.until is None or link.until > today)


def pools(uow: UnitOfWork, organisation: OrganisationId, service: m.Service) -> list[OrganisationId]:
    """The organisations that serve this one for the service, the default first, then where it escalates to.

    Nearest tier first; of a hospital with a centre for the service, the centre. Only places with an expert.
    """
    found: dict[OrganisationId, None] = {}
    for place in _above(uow, organisation):
        kind = _CENTRES.get(service)
        centres = _centres_of(uow, place, kind) if kind is not None else ()
        for one in (*centres, place):
            if uow.people.organisation(one).active and _has_expert(uow, one):
                found.setdefault(one)
    return [x for x in found if x != organisation]


def agreed(uow: UnitOfWork, organisation: OrganisationId, place: OrganisationId) -> bool:
    """Is there an agreement in force by which `place` serves `organisation`? The links are the agreements: one that
    leads up to the place, or to the hospital whose centre it is. Nobody needs one with their own house.
    """
    return place == organisation or place in places_agreed(uow, organisation)


def places_agreed(uow: UnitOfWork, organisation: OrganisationId) -> tuple[OrganisationId, ...]:
    """The places with which `organisation` has an agreement in force, nearest tier first."""
    above = _above(uow, organisation)
    return tuple(dict.fromkeys([*above, *(centre for x in above for centre in _centres_of(uow, x, None))]))


def _centres_of(
    uow: UnitOfWork, place: OrganisationId, kind: OrganisationKind | None
) -> Iterable[OrganisationId]:
    """Centres of a hospital for one kind; None: every place that belongs to it."""
    today = (uow.now + uow.rules.utc_offset).date()
    for link in uow.people.links(place):
        below = link.kind is LinkKind.PARENT and link.a == place and _in_force(link, today)
        if below and (kind is None or uow.people.organisation(link.b).kind is kind):
            yield link.b


def _has_expert(uow: UnitOfWork, organisation: OrganisationId) -> bool:
    return any(
        serves_now(x, uow) for x in uow.people.memberships(organisation=organisation, role=Role.EXPERT)
    )


def make_offer(
    uow: UnitOfWork,
    consultation: m.Consultation,
    *,
    organisation: OrganisationId,
    membership: MembershipId | None = None,
    specialty: str = "",
    made_by: Actor | None = None,
    until: datetime | None = None,
    alongside: bool = False,
) -> m.Offer:
    """Opens an offer (the caller moves the consultation). Closes those still open, unless it stands `alongside`."""
    if not alongside:
        close_offers(uow, consultation.id, m.OfferOutcome.CANCELLED, by=made_by)
    offer = m.Offer(
        id=m.OfferId(uow.new_id()),
        consultation=consultation.id,
        organisation=organisation,
        membership=membership,
        specialty=specialty if membership is None else "",
        made_by=made_by.membership if made_by else None,
        made_at=uow.now,
        expires_at=until or offer_until(consultation, uow.rules, uow.now, named=membership is not None),
    )
    uow.offers.add(offer)
    uow.publish("offer", {"consultation": consultation.id, "offer": offer.id, "organisation": organisation})
    return offer


def open_offers(uow: UnitOfWork, consultation: m.ConsultationId) -> list[m.Offer]:
    return [x for x in uow.offers.of(consultation) if x.outcome is m.OfferOutcome.OPEN]


def close_offers(
    uow: UnitOfWork,
    consultation: m.ConsultationId,
    outcome: m.OfferOutcome,
    *,
    by: Actor | None,
    reason: str = "",
) -> None:
    for offer in open_offers(uow, consultation):
        uow.offers.save(
            replace(
                offer,
                outcome=outcome,
                closed_by=by.membership if by else None,
                closed_at=uow.now,
                reason=reason.strip(),
            )
        )
