"""What the chair of a running session does beside admitting, removing and locking (consult/attending.py)."""

from dataclasses import replace
from datetime import timedelta

from consult import model as m
from consult.access import Action
from consult.attending import running_session, tell_room
from consult.errors import Invalid, NotFound
from consult.events import record_note
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.relations import EXPERT_PARTS

WAIT_TEXT = 200
WAIT_MINUTES = 240


def hand_over_chair(uow: UnitOfWork, *, actor: Actor, session: m.SessionId, seat: m.SeatId) -> m.Session:
    """Another expert who sits in the room admits, removes and locks from here on, until they leave or hand it over.

    Raises NotFound, NotAllowed, WrongState, Invalid (nobody's to give: not in the room, or no expert).
    """
    meeting, opened = running_session(uow, actor, session, Action.ROOM_REMOVE)
    wanted = uow.meetings.seat(seat)
    if wanted.session != session:
        raise NotFound
    parts = {
        x.part for x in uow.consultations.participants(meeting.consultation) if x.membership == wanted.membership
    }
    if wanted.state is not m.SeatState.IN or not parts & EXPERT_PARTS:
        raise Invalid(("seat", "not_an_expert"))
    saved = uow.meetings.save_session(replace(meeting, chair=wanted.membership))
    record_note(
        uow, actor, opened.consultation, "hand_over_chair", payload={"session": session, "seat": seat}
    )
    return saved


def set_waiting(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, minutes: int, text: str
) -> m.Session:
    """What those in the lobby read, and in about how many minutes (0 to 240; 0: not said) they will be let in.

    Raises NotFound, NotAllowed, WrongState, Invalid.
    """
    meeting, _opened = running_session(uow, actor, session, Action.ROOM_REMOVE)
    text = " ".join(text.split())
    if len(text) > WAIT_TEXT:
        raise Invalid(("text", "too_long", {"max": WAIT_TEXT}))
    if not 0 <= minutes <= WAIT_MINUTES:
        raise Invalid(("minutes", "out_of_range"))
    until = uow.now + timedelta(minutes=minutes) if minutes else None
    saved = uow.meetings.save_session(replace(meeting, wait_text=text, wait_until=until))
    tell_room(uow, saved)
    return saved
