"""Recording a meeting: asking, who is present, everybody's consent, the end, and who may see what was recorded.

Whether it may run stands in consult/recording_state.py; what writes sound and picture follows it
(server/recording/conducting.py). `sign` is the installation's signature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from consult import model as m
from consult.access import Action, authorize, open_consultation, present
from consult.attending import INSIDE, running_session, tell_room
from consult.errors import ConsultError, Invalid, NotFound, WrongState
from consult.events import record_note
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.recording_state import (
    ANSWERS,
    SELF,
    WORDS,
    Kind,
    Phase,
    Recording,
    RecordingEvent,
    RecordingId,
    Sign,
    Stage,
    Standing,
    Who,
    intact,
    signed,
    standing,
    stay_began,
)

PEOPLE_AT_A_SEAT = 12
REASON_LIMIT = 200
PLAYED_FOR = timedelta(hours=4)
"""A purpose that was given lets the recording be played for so long."""


class RecordingOff(ConsultError):
    """The installation does not record, or has nothing to record with."""

    code: ClassVar[str] = "recording_off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recording and where it stands now."""

    recording: Recording
    standing: Standing


def of_session(uow: UnitOfWork, *, session: m.SessionId, sign: Sign) -> Recorded | None:
    """The newest recording of the session as its rows tell; rows that were changed count as no consent at all."""
    found = uow.recordings.of_session(session)
    if not found:
        return None
    newest = found[-1]
    events = uow.recordings.events(newest.id)
    if not intact(events, sign):
        return Recorded(recording=newest, standing=Standing(phase=Phase.STOPPED, reason="damaged"))
    return Recorded(recording=newest, standing=standing(events, _present(uow, session)))


def _present(uow: UnitOfWork, session: m.SessionId) -> dict[m.SeatId, datetime]:
    """Seats in the room, and since when without having left it."""
    if uow.meetings.session(session).ended_at is not None:
        return {}
    stays = uow.meetings.attendances(session)
    seats = (x.id for x in uow.meetings.seats(session) if x.state in INSIDE)
    # A seat that is in without a known beginning has said nothing yet.
    return {seat: stay_began([x for x in stays if x.seat == seat]) or uow.now for seat in seats}


def ask_recording(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, key: str, sign: Sign, id: RecordingId | None = None
) -> Recording:
    """A principal asks for a recording; the one that is asked for or runs already is returned as it is.

    `key` is the sealed key under which it will be stored. Raises NotFound, NotAllowed, WrongState.
    """
    meeting, opened = running_session(uow, actor, session, Action.RECORDING_ASK)
    now = of_session(uow, session=session, sign=sign)
    if now is not None and now.standing.phase is not Phase.STOPPED:
        return now.recording
    recording = Recording(
        id=id or RecordingId(uow.new_id()), consultation=meeting.consultation, session=session,
        asked_by=actor.membership, asked_at=uow.now, key=key,
    )
    uow.recordings.add(recording)
    _append(uow, recording, Kind.ASKED, sign, actor=actor)
    record_note(uow, actor, opened.consultation, "ask_recording", payload={"recording": recording.id})
    tell_room(uow, meeting)
    return recording


def declare_present(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, people: Sequence[tuple[str, Who]], sign: Sign
) -> Recording:
    """Who is present at the actor's seat, besides themselves: (id, what they are). Replaces what was said before;
    answers of those who stay are kept. Raises NotFound, WrongState, Invalid.
    """
    open_now, meeting, seat = _at_own_seat(uow, actor, session, sign)
    others = [(name, who) for name, who in people if who is not Who.SELF]
    ids = [name for name, _who in others]
    if len(others) >= PEOPLE_AT_A_SEAT or len(set(ids)) != len(ids) or SELF in ids or not all(ids):
        raise Invalid(("people", "choice"))
    named = ((SELF, Who.SELF.value), *((name, who.value) for name, who in others))
    _append(uow, open_now.recording, Kind.DECLARED, sign, actor=actor, seat=seat.id, people=named)
    tell_room(uow, meeting)
    return open_now.recording


def answer_recording(
    uow: UnitOfWork, *, actor: Actor, session: m.SessionId, person: str, answer: Kind, words: str, sign: Sign
) -> Recording:
    """What somebody present at the actor's seat says; a withdrawal ends the recording. Raises NotFound, WrongState,
    Invalid (nobody of this id was declared, or other words were asked).
    """
    open_now, meeting, seat = _at_own_seat(uow, actor, session, sign)
    here = next((x for x in open_now.standing.seats if x.seat == seat.id), None)
    held = next((x for x in here.people if x.id == person), None) if here else None
    if held is None:
        raise Invalid(("person", "unknown"))
    if answer not in ANSWERS or words != WORDS:
        raise Invalid(("words", "choice"))
    if answer is Kind.WITHDRAWN and held.answer is not Kind.GIVEN:
        answer = Kind.REFUSED                   # there was nothing to take back
    if answer is held.answer:
        return open_now.recording
    _append(uow, open_now.recording, answer, sign, actor=actor, seat=seat.id, person=person, words=words)
    if answer is Kind.WITHDRAWN:
        return end_recording(uow, id=open_now.recording.id, reason="withdrawn", sign=sign, actor=actor)
    tell_room(uow, meeting)
    return open_now.recording


def stop_recording(uow: UnitOfWork, *, actor: Actor, session: m.SessionId, sign: Sign) -> Recording:
    """A principal ends it. Raises NotFound, NotAllowed, WrongState."""
    running_session(uow, actor, session, Action.RECORDING_ASK)
    open_now = of_session(uow, session=session, sign=sign)
    if open_now is None or open_now.standing.phase is Phase.STOPPED:
        raise WrongState(state="stopped", trigger="stop_recording")
    return end_recording(uow, id=open_now.recording.id, reason="asked", sign=sign, actor=actor)


def _at_own_seat(
    uow: UnitOfWork, actor: Actor, session: m.SessionId, sign: Sign
) -> tuple[Recorded, m.Session, m.Seat]:
    meeting, _opened = running_session(uow, actor, session, Action.ROOM_ENTER)
    seat = uow.meetings.seat_of(session, actor.membership)
    if seat is None or seat.state not in INSIDE:
        raise NotFound
    found = of_session(uow, session=session, sign=sign)
    if found is None or found.standing.phase is Phase.STOPPED:
        raise WrongState(state="stopped", trigger="recording")
    return found, meeting, seat


def _append(
    uow: UnitOfWork, recording: Recording, kind: Kind, sign: Sign, *, actor: Actor | None = None,
    seat: m.SeatId | None = None, person: str = "", people: Sequence[tuple[str, str]] = (), words: str = "",
    reason: str = "",
) -> None:
    before = uow.recordings.events(recording.id)
    event = RecordingEvent(
        id=uow.new_id(), recording=recording.id, n=len(before) + 1, at=uow.now, kind=kind,
        membership=actor.membership if actor else None, seat=seat, person=person, people=tuple(people), words=words,
        reason=reason,
    )
    uow.recordings.append(signed(event, before[-1].mark if before else "", sign))


# -- by the system -----------------------------------------------------------------------------------------------------


def mark_recording(uow: UnitOfWork, *, session: m.SessionId, running: bool, reason: str = "", sign: Sign) -> Recorded:
    """Writes down that sound and picture are kept from here on, or no longer are. Whether they may be is decided in
    this very unit: where somebody's consent is missing by now nothing is written and the present standing comes back.
    """
    found = of_session(uow, session=session, sign=sign)
    if found is None:
        raise NotFound
    events = uow.recordings.events(found.recording.id)
    last = next((x.kind for x in reversed(events) if x.kind in {Kind.RUNNING, Kind.PAUSED}), Kind.PAUSED)
    allowed = found.standing.phase is Phase.RUNNING
    if running and allowed and last is not Kind.RUNNING:
        _append(uow, found.recording, Kind.RUNNING, sign)
    elif not running and found.standing.phase is not Phase.STOPPED and last is Kind.RUNNING:
        _append(uow, found.recording, Kind.PAUSED, sign, reason=reason or found.standing.reason)
    return found


def end_recording(
    uow: UnitOfWork, *, id: RecordingId, reason: str, sign: Sign, actor: Actor | None = None
) -> Recording:
    """The end: withdrawn, asked, finished (the session is), disk, relay. Harmless when it has ended."""
    recording = uow.recordings.get(id)
    if recording.stage is not Stage.OPEN:
        return recording
    events = uow.recordings.events(id)
    _append(uow, recording, Kind.STOPPED, sign, actor=actor, reason=reason)
    ran = any(x.kind is Kind.RUNNING for x in events)
    withdrawn = any(x.kind is Kind.WITHDRAWN for x in events)
    stage = Stage.WITHHELD if withdrawn and ran else Stage.WAITING if ran else Stage.EMPTY
    saved = uow.recordings.save(replace(recording, stage=stage, stopped_at=uow.now, stop_reason=reason))
    opened = uow.consultations.get(recording.consultation)
    record_note(uow, actor, opened, "end_recording", payload={"recording": id, "reason": reason})
    tell_room(uow, uow.meetings.session(recording.session))
    return saved


def end_orphans(uow: UnitOfWork, *, sign: Sign) -> int:
    """Recordings whose session has ended, whoever ended it and wherever. How many were ended."""
    over = [
        x for x in uow.recordings.in_stage(Stage.OPEN) if uow.meetings.session(x.session).ended_at is not None
    ]
    for recording in over:
        end_recording(uow, id=recording.id, reason="finished", sign=sign)
    return len(over)


# -- what was recorded -------------------------------------------------------------------------------------------------


def list_recordings(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> tuple[Recording, ...]:
    """The recordings of a consultation, oldest first, for those who may play them. Raises NotFound."""
    open_consultation(uow, actor, consultation, Action.RECORDING_READ)
    return tuple(uow.recordings.of_consultation(consultation))


def open_recording(
    uow: UnitOfWork, *, actor: Actor, id: RecordingId, consultation: m.ConsultationId | None = None
) -> Recording:
    """A recording to be played. What was withdrawn or removed is not there for anybody. Raises NotFound."""
    recording = present(uow.recordings.get, id)
    open_consultation(uow, actor, recording.consultation, Action.RECORDING_READ)
    if consultation not in {None, recording.consultation} or recording.stage in {Stage.WITHHELD, Stage.REMOVED}:
        raise NotFound
    return recording


def hold_recording(
    uow: UnitOfWork, *, actor: Actor, id: RecordingId, held: bool, reason: str
) -> Recording:
    """A legal hold: while it is in force the recording is not removed. Raises NotFound, WrongState, Invalid."""
    recording = present(uow.recordings.get, id)
    consultation = uow.consultations.get(recording.consultation)
    authorize(uow, actor, Action.RECORDING_HOLD, consultation)
    reason = reason.strip()
    if not reason:
        raise Invalid(("reason", "required"))
    if len(reason) > REASON_LIMIT:
        raise Invalid(("reason", "too_long", {"max": REASON_LIMIT}))
    if recording.stage is Stage.REMOVED or (recording.held_at is not None) is held:
        raise WrongState(state=recording.stage.value, trigger="hold")
    trigger = "hold_recording" if held else "lift_recording_hold"
    record_note(uow, actor, consultation, trigger, reason=reason, payload={"recording": id})
    return uow.recordings.save(replace(
        recording, held_by=actor.membership if held else None, held_at=uow.now if held else None,
        held_reason=reason if held else "",
    ))


def due_for_removal(uow: UnitOfWork, recording: Recording) -> bool:
    """Its days are over and nobody holds it."""
    if recording.stage in {Stage.OPEN, Stage.REMOVED} or recording.held_at is not None:
        return False
    return recording.stopped_at is not None and uow.now >= keep_until(uow, recording)


def keep_until(uow: UnitOfWork, recording: Recording) -> datetime:
    """When its days are over, a hold apart."""
    return (recording.stopped_at or uow.now) + timedelta(days=uow.rules.recording_days)


def remove_recording(uow: UnitOfWork, *, id: RecordingId) -> Recording | None:
    """The tombstone of a recording whose days are over: its key goes with it, so that no copy of the file can be
    opened. None where it is no longer due.
    """
    recording = uow.recordings.get(id)
    if not due_for_removal(uow, recording):
        return None
    record_note(
        uow, None, uow.consultations.get(recording.consultation), "remove_recording", payload={"recording": id}
    )
    return uow.recordings.save(replace(recording, stage=Stage.REMOVED, removed_at=uow.now, key="", spans=()))
