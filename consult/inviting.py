"""Colleagues and experts invited by name into a running session (DOMAIN §6, guest).

An invitation is the guest's participation with an expiry. Taking the seat uses it: the expiry goes, and what the guest
reads of the chat begins there. Until then it can be taken back, and it ends by itself.
"""

from dataclasses import dataclass
from typing import ClassVar

from consult import model as m
from consult.access import Action, open_consultation
from consult.attending import MOST_SEATS, RoomFull, RoomLocked, running_session
from consult.errors import ConsultError, NotFound
from consult.events import record_note
from consult.offering import places_agreed
from consult.people import Actor, Membership, MembershipId, OrganisationId, Role
from consult.ports import UnitOfWork
from consult.relations import guest_of, overdue, serving

FOUND = 20
_HOUSE = frozenset({Role.CLINIC_DOCTOR, Role.TECHNICIAN, Role.EXPERT})
_CENTRE = frozenset({Role.EXPERT, Role.TECHNICIAN})
_AGREED = frozenset({Role.EXPERT})


class NotInvitable(ConsultError):
    """No colleague of either side and no expert of a place with an agreement, or in the session (once) already."""

    code: ClassVar[str] = "not_invitable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitee:
    """Somebody who may be invited."""

    membership: MembershipId
    name: str
    title: str
    department: str
    organisation: str
    role: Role


def _roles(uow: UnitOfWork, consultation: m.Consultation) -> dict[OrganisationId, frozenset[Role]]:
    """Which roles of which organisation may be invited, the actor's own two sides first."""
    found = {consultation.organisation: _HOUSE}
    for place in sorted(serving(uow, consultation)):
        found.setdefault(place, _CENTRE)
    for place in places_agreed(uow, consultation.organisation):
        found.setdefault(place, _AGREED)
    return found


def _works_there(uow: UnitOfWork, membership: Membership) -> bool:
    return membership.until is None or membership.until > uow.now


def _present(uow: UnitOfWork, consultation: m.ConsultationId) -> frozenset[str]:
    """The people (not memberships) who take part already: nobody sits on two chairs."""
    parts = uow.consultations.participants(consultation)
    return frozenset(uow.people.membership(x.membership).staff for x in parts if not overdue(uow, x))


def find_invitees(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, text: str = ""
) -> tuple[Invitee, ...]:
    """Those whom the actor may invite, by a part of the name, department or organisation; the first 20.

    Raises NotFound, NotAllowed.
    """
    opened = open_consultation(uow, actor, consultation, Action.ROOM_INVITE)
    busy = _present(uow, consultation)
    wanted = "".join(text.split()).lower()
    found: list[Invitee] = []
    for place, roles in _roles(uow, opened.consultation).items():
        organisation = uow.people.organisation(place)
        if not organisation.active:
            continue
        people = {x.id: x for x in uow.people.staff_of(place)}
        for member in uow.people.memberships(organisation=place):
            staff = people.get(member.staff)
            if (
                staff is None or not staff.active or member.role not in roles or member.staff in busy
                or not _works_there(uow, member)
            ):
                continue
            if wanted not in f"{staff.name}{member.department}{organisation.short_name}{organisation.name}".lower():
                continue
            found.append(Invitee(
                membership=member.id, name=staff.name, title=staff.title, department=member.department,
                organisation=organisation.short_name, role=member.role,
            ))
            if len(found) == FOUND:
                return tuple(found)
    return tuple(found)


def invite_guest(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, membership: MembershipId
) -> m.Participant:
    """Invite one membership; again while the first is open gives the first.

    Raises NotFound, NotAllowed, WrongState (ended), RoomLocked, NotInvitable, RoomFull.
    """
    meeting, opened = running_session(uow, actor, session, Action.ROOM_INVITE)
    consultation = opened.consultation
    known = guest_of(uow, consultation.id, membership)
    if known is not None and known.expires_at is not None and not overdue(uow, known):
        return known
    if meeting.locked:
        raise RoomLocked
    try:
        member = uow.people.membership(membership)
    except NotFound:
        raise NotInvitable from None
    seat = uow.meetings.seat_of(session, membership)
    if (
        member.role not in _roles(uow, consultation).get(member.organisation, frozenset())
        or not _works_there(uow, member)
        or not uow.people.staff(member.staff).active
        or not uow.people.organisation(member.organisation).active
        or member.staff in _present(uow, consultation.id)
        or (seat is not None and seat.state is m.SeatState.REMOVED)
    ):
        raise NotInvitable
    if len(_present(uow, consultation.id)) >= MOST_SEATS:
        raise RoomFull
    if known is not None:
        uow.consultations.end_participant(consultation.id, membership, m.Part.GUEST, at=uow.now)
    guest = m.Participant(
        consultation=consultation.id, membership=membership, part=m.Part.GUEST, since=uow.now,
        invited_by=actor.membership, expires_at=uow.now + uow.rules.invitation,
    )
    uow.consultations.add_participant(guest)
    record_note(uow, actor, consultation, "invite", payload={"session": session, "membership": membership})
    return guest


def withdraw_invitation(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, membership: MembershipId
) -> None:
    """Take back an invitation that nobody has used; whoever has come is removed instead. Raises NotFound when unused
    ones hold none of this name.
    """
    _meeting, opened = running_session(uow, actor, session, Action.ROOM_INVITE)
    known = guest_of(uow, opened.consultation.id, membership)
    if known is None or known.expires_at is None:
        raise NotFound
    uow.consultations.end_participant(opened.consultation.id, membership, m.Part.GUEST, at=uow.now)
    payload = {"session": session, "membership": membership}
    record_note(uow, actor, opened.consultation, "withdraw_invitation", payload=payload)


def expire_invitations(uow: UnitOfWork) -> int:
    """End those whose time has passed; returns how many."""
    gone = uow.consultations.invitations(before=uow.now)
    for one in gone:
        uow.consultations.end_participant(one.consultation, one.membership, m.Part.GUEST, at=uow.now)
        consultation = uow.consultations.get(one.consultation)
        record_note(uow, None, consultation, "invitation_expired", payload={"membership": one.membership})
    return len(gone)
