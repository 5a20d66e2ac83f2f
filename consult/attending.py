"""The meeting: sessions, seats, attendance, chat. Losing the line never ends a session; only Finish does.

`seat_lost`, `seat_back` and `evict` are called by the live room on behalf of a seat whose socket was already
authorised (as is consult/meeting_view.py); everything else opens the consultation through consult/access.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from consult import model as m
from consult.access import Action, Opened, open_consultation, present
from consult.errors import Conflict, ConsultError, Invalid, NotAllowed, NotFound, WrongState
from consult.events import record_note
from consult.lifecycle import Trigger
from consult.meeting_view import PRINCIPALS, Contact, Line, Who, contacts_of, lines_of
from consult.moving import move
from consult.people import Actor, MembershipId
from consult.ports import UnitOfWork
from consult.relations import guest_of

TEXT_LIMIT = 4000
CLIENT_ID_LIMIT = 64
PRECHECK_LIMIT = 64
MOST_SEATS = 16           # in the room at once: as many as the media relay takes
INSIDE = frozenset({m.SeatState.IN, m.SeatState.LOST})
# Somebody with several parts sits in the first of these.
_ORDER = (m.Part.CHAIR, m.Part.EXPERT, m.Part.REVIEWER, m.Part.REFERRING, m.Part.GUEST)


class RoomLocked(ConsultError):
    """The chair has locked the session; those who sat in it may come back, nobody else may enter."""

    code: ClassVar[str] = "room_locked"


class RoomFull(ConsultError):
    """Every chair is taken or kept for those whose consultation it is."""

    code: ClassVar[str] = "room_full"


class SeatRemoved(ConsultError):
    """The chair has removed this seat from the session; it stays removed."""

    code: ClassVar[str] = "seat_removed"


def open_session(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Session:
    """The running session, or a new one: the consultation goes to in-session (by checking in where needed).

    Raises NotFound, NotAllowed, WrongState.
    """
    opened = open_consultation(uow, actor, consultation, Action.ROOM_ENTER)
    running = uow.meetings.running(consultation)
    if running is not None:
        return running
    if not _parts(uow, actor, consultation) & PRINCIPALS:
        raise NotAllowed(action=Action.ROOM_ENTER.value)
    current, identity = opened.consultation, m.SessionId(uow.new_id())
    emergency = current.urgency is m.Urgency.STAT
    if current.state is m.State.SCHEDULED or (current.state is m.State.ACCEPTED and not emergency):
        opened = replace(opened, consultation=move(uow, actor, opened, Trigger.CHECK_IN))
    if opened.consultation.state is not m.State.IN_SESSION:
        move(uow, actor, opened, Trigger.START, payload={"session": identity})
    session = m.Session(
        id=identity, consultation=consultation, n=len(uow.meetings.sessions(consultation)) + 1,
        opened_by=actor.membership, opened_at=uow.now,
    )
    uow.meetings.add_session(session)
    return session


def running_session(
    uow: UnitOfWork, actor: Actor, session: m.SessionId, action: Action
) -> tuple[m.Session, Opened]:
    """The session, if the actor may do this in it; only they are told that it has ended (WrongState)."""
    meeting = present(uow.meetings.session, session)
    opened = open_consultation(uow, actor, meeting.consultation, action)
    if meeting.ended_at is not None:
        raise WrongState(state="ended", trigger="session")
    return meeting, opened


def take_seat(uow: UnitOfWork, *, actor: Actor, session: m.SessionId) -> m.Seat:
    """The actor's seat: the one they had, or a new one in the lobby. A guest's invitation is used with it.

    Raises NotFound, SeatRemoved, RoomLocked (new seats only), WrongState (a new seat in an ended session).
    """
    meeting = uow.meetings.session(session)
    open_consultation(uow, actor, meeting.consultation, Action.ROOM_ENTER)
    seat = uow.meetings.seat_of(session, actor.membership)
    if seat is not None:
        if seat.state is m.SeatState.REMOVED:
            raise SeatRemoved
        _use_invitation(uow, actor, meeting.consultation)
        if seat.state is m.SeatState.LEFT and meeting.ended_at is None:
            if meeting.locked:
                raise RoomLocked
            return _seat(uow, seat, m.SeatState.LOBBY)
        return seat
    if meeting.ended_at is not None:
        raise WrongState(state="ended", trigger="take_seat")
    parts = _parts(uow, actor, meeting.consultation)
    part = next((x for x in _ORDER if x in parts), None)
    if part is None:
        raise NotFound
    if meeting.locked:
        raise RoomLocked
    seat = m.Seat(
        id=m.SeatId(uow.new_id()), session=session, membership=actor.membership, part=part,
        state=m.SeatState.LOBBY, since=uow.now,
    )
    uow.meetings.add_seat(seat)
    _use_invitation(uow, actor, meeting.consultation)
    tell_room(uow, meeting)
    return seat


def save_precheck(uow: UnitOfWork, *, actor: Actor, seat: m.SeatId, result: Mapping[str, Any]) -> m.Seat:
    """Keep the device and path test with the actor's own seat."""
    own, meeting = _own_seat(uow, actor, seat)
    if len(result) > PRECHECK_LIMIT:
        raise Invalid(("result", "too_long", {"max": PRECHECK_LIMIT}))
    saved = uow.meetings.save_seat(replace(own, precheck=dict(result)))
    tell_room(uow, meeting)
    return saved


def admit(uow: UnitOfWork, *, actor: Actor, seat: m.SeatId) -> m.Seat:
    """From the lobby into the room. The principals of the consultation admit themselves, guests are admitted by the
    chair (the expert where there is none), as long as there are chairs (RoomFull). Harmless when already inside.
    """
    wanted = uow.meetings.seat(seat)
    own = wanted.membership == actor.membership and wanted.part in PRINCIPALS
    meeting, _opened = running_session(uow, actor, wanted.session, Action.ROOM_ENTER if own else Action.ROOM_REMOVE)
    if wanted.state in INSIDE:
        return wanted
    if wanted.state is not m.SeatState.LOBBY:
        raise WrongState(state=wanted.state.value, trigger="admit")
    if meeting.locked:
        raise RoomLocked
    if wanted.part not in PRINCIPALS and _full(uow, meeting):
        raise RoomFull
    entered = _seat(uow, wanted, m.SeatState.IN)
    uow.meetings.enter(m.Attendance(seat=seat, entered_at=uow.now))
    tell_room(uow, meeting)
    return entered


def seat_lost(uow: UnitOfWork, *, seat: m.SeatId, at: datetime) -> m.Seat:
    """The line of a seat has been silent since `at`: a gap in the attendance, nothing more."""
    held = uow.meetings.seat(seat)
    if held.state is not m.SeatState.IN:
        return held
    uow.meetings.leave(seat, at=min(at, uow.now), reason="lost")
    return _seat(uow, held, m.SeatState.LOST)


def seat_back(uow: UnitOfWork, *, seat: m.SeatId) -> m.Seat:
    """The line is back: a new attendance begins, in the same seat of the same session."""
    held = uow.meetings.seat(seat)
    if held.state is not m.SeatState.LOST or uow.meetings.session(held.session).ended_at is not None:
        return held
    uow.meetings.enter(m.Attendance(seat=seat, entered_at=uow.now))
    return _seat(uow, held, m.SeatState.IN)


def leave_seat(uow: UnitOfWork, *, actor: Actor, seat: m.SeatId) -> m.Seat:
    """The person gets up. The session goes on and they may come back."""
    own, meeting = _own_seat(uow, actor, seat)
    if own.state in {m.SeatState.LEFT, m.SeatState.REMOVED}:
        return own
    uow.meetings.leave(seat, at=uow.now, reason="left")
    left = _seat(uow, own, m.SeatState.LEFT)
    tell_room(uow, meeting)
    return left


def remove_seat(uow: UnitOfWork, *, actor: Actor, seat: m.SeatId, reason: str = "") -> m.Seat:
    """The chair puts a guest out for good. Principals are released through the consultation, not from the room."""
    wanted = uow.meetings.seat(seat)
    meeting, _opened = running_session(uow, actor, wanted.session, Action.ROOM_REMOVE)
    if wanted.part in PRINCIPALS or wanted.membership == actor.membership:
        raise NotAllowed(action=Action.ROOM_REMOVE.value)
    if wanted.state is m.SeatState.REMOVED:
        return wanted
    uow.meetings.leave(seat, at=uow.now, reason="removed")
    removed = _seat(uow, wanted, m.SeatState.REMOVED)
    uow.consultations.end_participant(
        meeting.consultation, wanted.membership, m.Part.GUEST, at=uow.now
    )
    _note(uow, actor, meeting, "seat_removed", reason=reason, seat=seat)
    uow.revoke(memberships=(wanted.membership,), consultation=meeting.consultation)
    tell_room(uow, meeting)
    return removed


def lock_session(uow: UnitOfWork, *, actor: Actor, session: m.SessionId, locked: bool) -> m.Session:
    """A locked session takes nobody new; who sits in it may come back after a lost line."""
    meeting, _opened = running_session(uow, actor, session, Action.ROOM_REMOVE)
    if meeting.locked is locked:
        return meeting
    saved = uow.meetings.save_session(replace(meeting, locked=locked))
    _note(uow, actor, saved, "session_locked" if locked else "session_unlocked")
    tell_room(uow, saved)
    return saved


def start_telephone(uow: UnitOfWork, *, actor: Actor, session: m.SessionId) -> m.Session:
    """The meeting goes on by telephone. It counts as a session."""
    meeting, _opened = running_session(uow, actor, session, Action.ROOM_FINISH)
    if meeting.kind == "telephone":
        return meeting
    saved = uow.meetings.save_session(replace(meeting, kind="telephone"))
    _note(uow, actor, saved, "session_by_telephone")
    tell_room(uow, saved)
    return saved


def finish_session(uow: UnitOfWork, *, actor: Actor, session: m.SessionId) -> m.Session:
    """The only end of a session: attendance closes, the consultation goes to reporting. The page has asked.

    A consultation that already moved on (material was requested) keeps its state; only the meeting ends.
    """
    meeting, opened = running_session(uow, actor, session, Action.ROOM_FINISH)
    for seat in uow.meetings.seats(session):
        if seat.state not in {m.SeatState.LEFT, m.SeatState.REMOVED}:
            uow.meetings.leave(seat.id, at=uow.now, reason="finished")
            _seat(uow, seat, m.SeatState.LEFT)
    for guest in [x for x in uow.consultations.participants(meeting.consultation) if x.part is m.Part.GUEST]:
        uow.consultations.end_participant(guest.consultation, guest.membership, m.Part.GUEST, at=uow.now)
    saved = uow.meetings.save_session(replace(meeting, ended_by=actor.membership, ended_at=uow.now))
    if opened.consultation.state is m.State.IN_SESSION:
        move(uow, actor, opened, Trigger.FINISH, payload={"session": session})
    tell_room(uow, saved)
    return saved


def undo_finish(uow: UnitOfWork, *, actor: Actor, session: m.SessionId) -> m.Session:
    """Take Finish back, as long as nothing is signed: the same session runs on; who sat in it comes back by itself.

    Raises WrongState when it still runs, a report was signed, or a newer session has begun.
    """
    meeting = present(uow.meetings.session, session)
    opened = open_consultation(uow, actor, meeting.consultation, Action.ROOM_FINISH)
    newest = uow.meetings.sessions(meeting.consultation)[-1]
    if meeting.ended_at is None or newest.id != session:
        raise WrongState(state="running" if meeting.ended_at is None else "newer", trigger="undo_finish")
    move(uow, actor, opened, Trigger.UNDO_FINISH, payload={"session": session})
    for seat in uow.meetings.seats(session):
        sat = [x for x in uow.meetings.attendances(session) if x.seat == seat.id]
        if seat.state is m.SeatState.LEFT and sat and sat[-1].reason == "finished":
            _seat(uow, seat, m.SeatState.LOST)
            if seat.part is m.Part.GUEST:
                _guest_again(uow, meeting, seat.membership)
    saved = uow.meetings.save_session(replace(meeting, ended_by=None, ended_at=None))
    tell_room(uow, saved)
    return saved


def evict(
    uow: UnitOfWork, *, consultation: m.ConsultationId, memberships: Iterable[MembershipId]
) -> None:
    """Their assignment has ended: seats in the running session close. (They get no seat again: no part, no room.)"""
    meeting = uow.meetings.running(consultation)
    if meeting is None:
        return
    for membership in memberships:
        seat = uow.meetings.seat_of(meeting.id, membership)
        if seat is not None and seat.state not in {m.SeatState.LEFT, m.SeatState.REMOVED}:
            uow.meetings.leave(seat.id, at=uow.now, reason="removed")
            _seat(uow, seat, m.SeatState.LEFT)


def send_message(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    client_id: str,
    text: str,
    session: m.SessionId | None = None,
) -> m.Message:
    """Store a chat line. The same `client_id` again returns the stored line and tells nobody twice."""
    open_consultation(uow, actor, consultation, Action.ROOM_CHAT)
    text = text.strip()
    if not text:
        raise Invalid(("text", "required"))
    if len(text) > TEXT_LIMIT:
        raise Invalid(("text", "too_long", {"max": TEXT_LIMIT}))
    if not 0 < len(client_id) <= CLIENT_ID_LIMIT:
        raise Invalid(("client_id", "required"))
    message = m.Message(
        id=uow.new_id(), consultation=consultation, session=session, membership=actor.membership,
        client_id=client_id, text=text, at=uow.now,
    )
    stored = uow.meetings.add_message(message)
    if stored.id == message.id:
        uow.publish(f"consultation:{consultation}", {"consultation": consultation, "message": stored.id})
    elif stored.text != text:
        raise Conflict(kind="message")
    return stored


def messages(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> tuple[Line, ...]:
    """The chat as the actor may see it, oldest first: all of it, or for an invited technician from the invitation."""
    open_consultation(uow, actor, consultation, Action.ROOM_CHAT)
    try:
        open_consultation(uow, actor, consultation, Action.ROOM_HISTORY)
        since = None
    except NotFound:
        mine = [x for x in uow.consultations.participants(consultation) if x.membership == actor.membership]
        since = max((x.since for x in mine), default=uow.now)
    return lines_of(uow, uow.meetings.messages(consultation, after=since))


def contacts(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> tuple[Contact, ...]:
    """Names and telephone numbers of both sides."""
    open_consultation(uow, actor, consultation, Action.ROOM_ENTER)
    return contacts_of(uow.consultations.participants(consultation), Who(uow))


def _note(
    uow: UnitOfWork, actor: Actor, meeting: m.Session, what: str, *, reason: str = "", **payload: str
) -> None:
    consultation = uow.consultations.get(meeting.consultation)
    record_note(uow, actor, consultation, what, reason=reason, payload={"session": meeting.id, **payload})


def _parts(uow: UnitOfWork, actor: Actor, consultation: m.ConsultationId) -> frozenset[m.Part]:
    return frozenset(
        x.part for x in uow.consultations.participants(consultation) if x.membership == actor.membership
    )


def _full(uow: UnitOfWork, meeting: m.Session) -> bool:
    inside = {x.membership for x in uow.meetings.seats(meeting.id) if x.state in INSIDE}
    kept = {x.membership for x in uow.consultations.participants(meeting.consultation) if x.part in PRINCIPALS}
    return len(inside | kept) >= MOST_SEATS


def _use_invitation(uow: UnitOfWork, actor: Actor, consultation: m.ConsultationId) -> None:
    """The invitation is spent; the participation goes on without an end, and what is read of the chat begins here."""
    guest = guest_of(uow, consultation, actor.membership)
    if guest is not None and guest.expires_at is not None:
        uow.consultations.end_participant(consultation, actor.membership, m.Part.GUEST, at=uow.now)
        uow.consultations.add_participant(replace(guest, since=uow.now, expires_at=None))


def _guest_again(uow: UnitOfWork, meeting: m.Session, membership: MembershipId) -> None:
    past = [
        x for x in uow.consultations.participants(meeting.consultation, past=True)
        if x.membership == membership and x.part is m.Part.GUEST
    ]
    if past and past[-1].until is not None:
        uow.consultations.add_participant(replace(past[-1], until=None))


def _own_seat(uow: UnitOfWork, actor: Actor, seat: m.SeatId) -> tuple[m.Seat, m.Session]:
    own = uow.meetings.seat(seat)
    if own.membership != actor.membership:
        raise NotFound
    meeting = uow.meetings.session(own.session)
    open_consultation(uow, actor, meeting.consultation, Action.ROOM_ENTER)
    return own, meeting


def _seat(uow: UnitOfWork, seat: m.Seat, state: m.SeatState) -> m.Seat:
    return uow.meetings.save_seat(replace(seat, state=state, since=uow.now))


def tell_room(uow: UnitOfWork, meeting: m.Session) -> None:
    """After the commit the live room and the pages read the session anew."""
    uow.publish(f"consultation:{meeting.consultation}", {"consultation": meeting.consultation, "session": meeting.id})
