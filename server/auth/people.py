"""Who is acting, as the pages show it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime

from consult.people import Actor, Membership, MembershipId, OrganisationId, Role, Staff, StaffId
from consult.ports import UnitOfWork

WIDER = frozenset({Role.PLATFORM_ADMIN})
"""The first administrator holds two roles from the same moment; the platform comes before the organisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One membership to choose from."""

    membership: MembershipId
    organisation: OrganisationId
    organisation_name: str
    role: Role
    department: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """The signed-in person in their chosen place."""

    staff: StaffId
    membership: MembershipId
    organisation: OrganisationId
    organisation_name: str
    name: str
    title: str
    role: Role
    department: str
    specialties: tuple[str, ...]
    places: tuple[Place, ...]


def in_force(membership: Membership, now: datetime) -> bool:
    """Begun and not ended."""
    begun = membership.since is None or membership.since <= now
    return begun and (membership.until is None or membership.until > now)


def actor_of(staff: Staff, membership: Membership) -> Actor:
    """The flattened value services take. The words of a place, which many share, are in memory once."""
    return Actor(
        membership=membership.id,
        staff=staff.id,
        organisation=OrganisationId(sys.intern(membership.organisation)),
        role=membership.role,
        name=staff.name,
        title=sys.intern(staff.title),
        department=sys.intern(membership.department),
        specialties=membership.specialties,
    )


def places_of(uow: UnitOfWork, staff: StaffId) -> tuple[Place, ...]:
    """Memberships in force at active organisations, in the order they began (of two at once the wider: see WIDER)."""
    places = []
    memberships = [held for held in uow.people.memberships(staff=staff) if in_force(held, uow.now)]
    memberships.sort(key=lambda held: (held.since is not None, held.since or uow.now, held.role not in WIDER, held.id))
    for held in memberships:
        organisation = uow.people.organisation(held.organisation)
        if organisation.active:
            places.append(
                Place(
                    membership=held.id,
                    organisation=organisation.id,
                    organisation_name=organisation.short_name or organisation.name,
                    role=held.role,
                    department=held.department,
                )
            )
    return tuple(places)


def load_me(uow: UnitOfWork, actor: Actor) -> Me:
    """What the shell shows of the actor."""
    organisation = uow.people.organisation(actor.organisation)
    return Me(
        staff=actor.staff,
        membership=actor.membership,
        organisation=actor.organisation,
        organisation_name=organisation.short_name or organisation.name,
        name=actor.name,
        title=actor.title,
        role=actor.role,
        department=actor.department,
        specialties=actor.specialties,
        places=places_of(uow, actor.staff),
    )
