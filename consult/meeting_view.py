"""A session's rows as the live room and its page see them. Reading only; who may see it is attending's business."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consult import model as m
from consult.people import MembershipId, Organisation, Staff
from consult.ports import UnitOfWork
from consult.relations import hosts, overdue

PRINCIPALS = frozenset({m.Part.REFERRING, m.Part.EXPERT, m.Part.CHAIR, m.Part.REVIEWER})


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatInfo:
    """A seat with the words others see. `active`: still takes part. `host`: may admit, remove, lock. `kbps`: what its
    place allows a seat, 0: any.
    """

    seat: m.Seat
    name: str
    title: str
    organisation: str
    host: bool
    active: bool
    kbps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Somebody who was invited by name and has not come yet."""

    membership: MembershipId
    name: str
    title: str
    organisation: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Whom to ring when there is no media path."""

    part: m.Part
    organisation: str
    organisation_phone: str
    name: str
    phone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """All rows of a session that a live room needs."""

    session: m.Session
    state: m.State
    seats: tuple[SeatInfo, ...]
    invited: tuple[Invited, ...]
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A chat message with its author's name."""

    message: m.Message
    name: str


same = sys.intern      # the words of a few people and places, which every room holds: in memory once


class Who:
    """People and their places, each read once."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._known: dict[MembershipId, tuple[Staff, Organisation]] = {}

    def of(self, membership: MembershipId) -> tuple[Staff, Organisation]:
        if membership not in self._known:
            people = self._uow.people
            member = people.membership(membership)
            self._known[membership] = people.staff(member.staff), people.organisation(member.organisation)
        return self._known[membership]


def room_rows(uow: UnitOfWork, *, session: m.SessionId) -> RoomView:
    """The session and its seats as the live room mirrors them."""
    meeting = uow.meetings.session(session)
    consultation = uow.consultations.get(meeting.consultation)
    parts = uow.consultations.participants(meeting.consultation)
    taking_part = {(x.membership, x.part) for x in parts}
    chairing = hosts(uow, meeting.consultation, parts)
    over = meeting.ended_at is not None
    who = Who(uow)
    infos = []
    for seat in uow.meetings.seats(session):
        staff, organisation = who.of(seat.membership)
        infos.append(SeatInfo(
            seat=seat, name=same(staff.name), title=same(staff.title), organisation=same(organisation.short_name),
            host=seat.membership in chairing, kbps=organisation.room_kbps,
            # A guest's part ends with the session; they are told that it is over, not that they were put out.
            active=staff.active and (
                (seat.membership, seat.part) in taking_part or (over and seat.part is m.Part.GUEST)
            ),
        ))
    return RoomView(
        session=meeting, state=consultation.state, seats=tuple(infos), invited=invited(uow, parts, who),
        contacts=contacts_of(parts, who),
    )


def invited(uow: UnitOfWork, parts: Iterable[m.Participant], who: Who) -> tuple[Invited, ...]:
    """Those of a consultation who were invited and have not come, the earliest first."""
    found = []
    for one in parts:
        if one.expires_at is None or overdue(uow, one):
            continue
        staff, organisation = who.of(one.membership)
        found.append(Invited(
            membership=one.membership, name=staff.name, title=staff.title, organisation=organisation.short_name,
            expires_at=one.expires_at,
        ))
    return tuple(found)


def recent_messages(uow: UnitOfWork, *, session: m.SessionId, since: datetime) -> tuple[Line, ...]:
    """Chat lines of the consultation later than `since`, and not from before the session."""
    meeting = uow.meetings.session(session)
    began = meeting.opened_at - timedelta(microseconds=1)      # `after` is strict
    return lines_of(uow, uow.meetings.messages(meeting.consultation, after=max(began, since)))


def lines_of(uow: UnitOfWork, found: Iterable[m.Message]) -> tuple[Line, ...]:
    who = Who(uow)
    return tuple(Line(message=message, name=who.of(message.membership)[0].name) for message in found)


def contacts_of(parts: Iterable[m.Participant], who: Who) -> tuple[Contact, ...]:
    found = []
    for participant in parts:
        if participant.part not in PRINCIPALS:
            continue
        staff, organisation = who.of(participant.membership)
        found.append(Contact(
            part=participant.part, organisation=same(organisation.name),
            organisation_phone=same(organisation.phone), name=same(staff.name), phone=same(staff.phone),
        ))
    return tuple(found)
