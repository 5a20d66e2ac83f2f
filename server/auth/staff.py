"""Organisations, people and their memberships, as administrators change them. Services: one unit of work each.

An organisation's administrator manages the people who serve there and nowhere else, never themselves. Whoever serves
in several places, and every administrator, is managed by the platform: else one place could take over another's
accounts by setting a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from consult.access import Action, authorize
from consult.errors import Invalid, NotAllowed, NotFound
from consult.people import (
    Actor,
    LinkKind,
    Membership,
    MembershipId,
    Organisation,
    OrganisationId,
    OrganisationKind,
    OrgLink,
    Role,
    Staff,
    StaffId,
    Tier,
)
from server.auth import signin
from server.auth.audit import audit
from server.auth.people import in_force
from server.storage.accounts import Account
from server.storage.unit import SqlUnitOfWork

CLINICAL = frozenset({Role.CLINIC_DOCTOR, Role.EXPERT, Role.TECHNICIAN, Role.DISPATCHER})
GIVES = {
    Role.ORG_ADMIN: CLINICAL | {Role.ORG_ADMIN},
    Role.PLATFORM_ADMIN: frozenset({Role.ORG_ADMIN, Role.AUDITOR, Role.PLATFORM_ADMIN}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One line of the staff list: the person, what they are here, and whether this administrator may change them."""

    staff: Staff
    memberships: tuple[Membership, ...]
    manageable: bool


def list_staff(uow: SqlUnitOfWork, *, actor: Actor, organisation: OrganisationId) -> Sequence[Person]:
    """Everyone who serves or served there, by name. NotFound for anybody without PEOPLE_READ there."""
    authorize(uow, actor, Action.PEOPLE_READ, uow.people.organisation(organisation))
    people = []
    for staff in uow.people.staff_of(organisation):
        held = uow.people.memberships(staff=staff.id, organisation=organisation)
        people.append(Person(staff=staff, memberships=tuple(held), manageable=manages(uow, actor, staff.id)))
    return people


def manages(uow: SqlUnitOfWork, actor: Actor, staff: StaffId) -> bool:
    """May this administrator change the account of this person (name, password, closing)?"""
    if staff == actor.staff or actor.role not in GIVES:
        return False
    held = [item for item in uow.people.memberships(staff=staff) if in_force(item, uow.now)]
    if actor.role is Role.PLATFORM_ADMIN:
        return True
    here = all(item.organisation == actor.organisation for item in held)
    known = any(item.organisation == actor.organisation for item in uow.people.memberships(staff=staff))
    return known and here and all(item.role in GIVES[Role.ORG_ADMIN] for item in held)


def open_staff(uow: SqlUnitOfWork, actor: Actor, staff: StaffId) -> Staff:
    """The person, to be changed. NotFound out of sight, NotAllowed within sight (oneself, or serving elsewhere too)."""
    person = uow.people.staff(staff)
    if manages(uow, actor, staff):
        return person
    seen = actor.role in GIVES and any(
        item.organisation == actor.organisation for item in uow.people.memberships(staff=staff)
    )
    if seen or actor.staff == staff:
        raise NotAllowed(action="people.manage")
    raise NotFound(kind="staff")


def may_give(actor: Actor, role: Role, organisation: OrganisationId) -> None:
    """NotAllowed unless this administrator may put somebody into this role at this organisation."""
    if role not in GIVES.get(actor.role, frozenset()):
        raise NotAllowed(action="people.manage")
    if actor.role is Role.ORG_ADMIN and actor.organisation != organisation:
        raise NotFound(kind="organisation")


def add_person(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    organisation: OrganisationId,
    login: str,
    name: str,
    role: Role,
    password_hash: str,
    title: str = "",
    licence: str = "",
    phone: str = "",
    department: str = "",
    specialties: tuple[str, ...] = (),
    on_call: bool = False,
) -> Person:
    """A new person with an account (password to be changed at the first sign-in) and a membership."""
    place = uow.people.organisation(organisation)
    may_give(actor, role, place.id)
    if not signin.LOGIN_NAME.fullmatch(login):
        raise Invalid(("login", "login_form"))
    if uow.people.staff_by_login(login) is not None:
        raise Invalid(("login", "taken"))
    staff = Staff(
        id=StaffId(uow.new_id()), login=login, name=name, title=title, licence=licence, phone=phone
    )
    uow.people.add_staff(staff)
    uow.accounts.put(
        Account(staff=staff.id, password_hash=password_hash, must_change=True, changed_at=uow.now)
    )
    audit(uow, actor, "staff.add", f"staff:{staff.id}", detail={"organisation": place.id, "role": str(role)})
    membership = new_membership(uow, staff.id, place.id, role, department, specialties, on_call=on_call)
    return Person(staff=staff, memberships=(membership,), manageable=True)


def new_membership(
    uow: SqlUnitOfWork,
    staff: StaffId,
    organisation: OrganisationId,
    role: Role,
    department: str,
    specialties: tuple[str, ...],
    *,
    on_call: bool,
) -> Membership:
    """Stored, in force from now."""
    membership = Membership(
        id=MembershipId(uow.new_id()),
        staff=staff,
        organisation=organisation,
        role=role,
        department=department,
        specialties=specialties,
        on_call=on_call,
        since=uow.now,
    )
    uow.people.add_membership(membership)
    return membership


def add_membership(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    organisation: OrganisationId,
    login: str,
    role: Role,
    department: str = "",
    specialties: tuple[str, ...] = (),
    on_call: bool = False,
) -> Membership:
    """Somebody who already has an account serves here too. Invalid `login` unknown; `taken` for a twin."""
    place = uow.people.organisation(organisation)
    may_give(actor, role, place.id)
    staff = uow.people.staff_by_login(login)
    if staff is None or not staff.active:
        raise Invalid(("login", "unknown"))
    if staff.id == actor.staff:
        raise Invalid(("login", "not_self"))
    held = uow.people.memberships(staff=staff.id, organisation=place.id, role=role)
    if any(in_force(item, uow.now) for item in held):
        raise Invalid(("role", "taken"))
    membership = new_membership(uow, staff.id, place.id, role, department, specialties, on_call=on_call)
    audit(uow, actor, "membership.add", f"membership:{membership.id}", detail={"role": str(role)})
    return membership


def open_membership(uow: SqlUnitOfWork, actor: Actor, id: MembershipId) -> Membership:
    """A membership this administrator may change: of the own organisation, in a role they give, not their own."""
    membership = uow.people.membership(id)
    if actor.role is not Role.PLATFORM_ADMIN and membership.organisation != actor.organisation:
        raise NotFound(kind="membership")
    may_give(actor, membership.role, membership.organisation)
    if membership.staff == actor.staff:
        raise NotAllowed(action="people.manage")
    return membership


def change_membership(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    membership: MembershipId,
    version: int,
    department: str,
    specialties: tuple[str, ...],
    on_call: bool,
) -> Membership:
    """Department, specialties, on call. Stale when somebody saved in between."""
    found = open_membership(uow, actor, membership)
    changed = replace(
        found, version=version, department=department, specialties=specialties, on_call=on_call
    )
    audit(uow, actor, "membership.change", f"membership:{membership}")
    return uow.people.save_membership(changed)


def end_membership(uow: SqlUnitOfWork, *, actor: Actor, membership: MembershipId) -> Membership:
    """Nobody serves in it any more; its logins and viewing grants end."""
    found = open_membership(uow, actor, membership)
    ended = uow.people.save_membership(replace(found, until=uow.now, on_call=False))
    logins = uow.logins.revoke(now=uow.now, membership=membership)
    uow.grants.revoke(now=uow.now, memberships=(membership,))
    audit(uow, actor, "membership.end", f"membership:{membership}", detail={"ended": len(logins)})
    return ended


def change_person(
    uow: SqlUnitOfWork, *, actor: Actor, staff: StaffId, version: int, name: str, title: str, licence: str, phone: str
) -> Staff:
    """Name, title, licence, telephone. Stale when somebody saved in between."""
    found = open_staff(uow, actor, staff)
    changed = replace(found, version=version, name=name, title=title, licence=licence, phone=phone)
    audit(uow, actor, "staff.change", f"staff:{staff}")
    return uow.people.save_staff(changed)


def set_active(uow: SqlUnitOfWork, *, actor: Actor, staff: StaffId, active: bool) -> Staff:
    """Close or open an account; closing ends every login at once."""
    found = open_staff(uow, actor, staff)
    if found.active == active:
        return found
    audit(uow, actor, "staff.enable" if active else "staff.disable", f"staff:{staff}")
    if not active:
        signin.sign_out_everywhere(uow, staff=staff, by=actor)
    return uow.people.save_staff(replace(found, active=active))


def reset_password(uow: SqlUnitOfWork, *, actor: Actor, staff: StaffId, password_hash: str) -> int:
    """A temporary password, to be changed at the next sign-in; how many logins ended."""
    open_staff(uow, actor, staff)
    return signin.set_password(uow, staff=staff, password_hash=password_hash, by=actor, must_change=True)


def add_organisation(
    uow: SqlUnitOfWork,
    *,
    actor: Actor,
    name: str,
    short_name: str,
    tier: Tier,
    kind: OrganisationKind,
    district: str = "",
    phone: str = "",
) -> Organisation:
    """A new place. Platform administration alone."""
    managing(actor)
    if any(item.name == name for item in uow.people.organisations()):
        raise Invalid(("name", "taken"))
    place = Organisation(
        id=OrganisationId(uow.new_id()),
        name=name,
        short_name=short_name or name,
        tier=tier,
        kind=kind,
        district=district,
        phone=phone,
    )
    uow.people.add_organisation(place)
    audit(uow, actor, "organisation.add", f"organisation:{place.id}")
    return place


def change_organisation(
    uow: SqlUnitOfWork, /, *, actor: Actor, organisation: OrganisationId, version: int, **changes: Any
) -> Organisation:
    """Names, district, telephone, its rooms' limit, active. Its own administrator changes telephone and limit alone."""
    place = uow.people.organisation(organisation)
    if actor.role is Role.ORG_ADMIN:
        authorize(uow, actor, Action.PEOPLE_MANAGE, place)
        if set(changes) - {"phone", "room_kbps"}:
            raise NotAllowed(action="organisations.manage")
    else:
        managing(actor)
    audit(uow, actor, "organisation.change", f"organisation:{organisation}", detail={"fields": sorted(changes)})
    return uow.people.save_organisation(replace(place, version=version, **changes))


def link_organisations(
    uow: SqlUnitOfWork, *, actor: Actor, a: OrganisationId, b: OrganisationId, kind: LinkKind
) -> OrgLink:
    """`a` serves `b` (or is its parent) from today."""
    managing(actor)
    if a == b:
        raise Invalid(("b", "choice"))
    link = OrgLink(
        a=uow.people.organisation(a).id, b=uow.people.organisation(b).id, kind=kind, since=uow.now.date()
    )
    uow.people.add_link(link)
    audit(uow, actor, "organisation.link", f"organisation:{a}", detail={"b": b, "kind": str(kind)})
    return link


def managing(actor: Actor) -> None:
    """NotAllowed unless the actor administers the platform."""
    if actor.role is not Role.PLATFORM_ADMIN:
        raise NotAllowed(action="organisations.manage")
