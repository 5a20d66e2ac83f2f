"""When a meeting may be recorded: values, and one function from what was said to the state. Nothing is stored here.

A recording runs only while everyone declared present at every seat in the room has consented. What was said are events,
insert-only and signed in a chain; the state is read from them alone, so a restart changes nothing.
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from consult.model import Attendance, ConsultationId, SeatId, SessionId
from consult.people import MembershipId

RecordingId = NewType("RecordingId", str)
Sign = Callable[[str], str]
"""The installation's signature of a text (server/sealing.py)."""

WORDS = "1"
"""The version of the words with which consent is asked (static/js/room/recording.js)."""
SELF = "self"
"""The person of every seat who is always declared: whoever sits in it."""


class Kind(StrEnum):
    ASKED = "asked"
    DECLARED = "declared"      # a seat says who is present at it; replaces what it said before
    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"    # ends the recording for good
    RUNNING = "running"        # sound and picture are being written from here on
    PAUSED = "paused"
    STOPPED = "stopped"


ANSWERS = frozenset({Kind.GIVEN, Kind.REFUSED, Kind.WITHDRAWN})


class Who(StrEnum):
    """What somebody present is; never a name."""

    SELF = "self"
    PATIENT = "patient"
    FAMILY = "family"
    STUDENT = "student"
    INTERPRETER = "interpreter"
    STAFF = "staff"
    OTHER = "other"


class Phase(StrEnum):
    OFF = "off"
    ASKED = "asked"            # not everybody has consented yet
    RUNNING = "running"
    PAUSED = "paused"          # it ran, and somebody present has not consented
    STOPPED = "stopped"


class Stage(StrEnum):
    """What became of the stored recording."""

    OPEN = "open"
    WAITING = "waiting"        # stopped; the file is to be made
    READY = "ready"
    FAILED = "failed"
    EMPTY = "empty"            # nothing was ever written
    WITHHELD = "withheld"      # somebody withdrew: nobody plays it
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording of a session. `key` is sealed. `spans`: [second in the file, epoch second, seconds] each."""

    id: RecordingId
    consultation: ConsultationId
    session: SessionId
    asked_by: MembershipId
    asked_at: datetime
    key: str
    stage: Stage = Stage.OPEN
    stopped_at: datetime | None = None
    stop_reason: str = ""
    milliseconds: int = 0
    size: int = 0
    spans: tuple[Sequence[float], ...] = ()
    whole: bool = True
    held_by: MembershipId | None = None
    held_at: datetime | None = None
    held_reason: str = ""
    removed_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingEvent:
    """`membership`: who said it (None: the system). `people` of a declaration: [id, kind] each. `mark`: the signature
    of the row and of the mark before it.
    """

    id: str
    recording: RecordingId
    n: int
    at: datetime
    kind: Kind
    membership: MembershipId | None = None
    seat: SeatId | None = None
    person: str = ""
    people: tuple[Sequence[str], ...] = ()
    words: str = ""
    reason: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was shown or done while it ran (server/recording/moments.py), sealed; '': from here on nothing more was
    kept, the limit was reached.
    """

    id: str
    recording: RecordingId
    n: int
    at: datetime
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody declared present. `answer` None: not asked or not answered yet."""

    id: str
    who: Who
    answer: Kind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtSeat:
    """Who is present at one seat; nobody is known until the seat has declared."""

    seat: SeatId
    people: tuple[Person, ...] = ()

    @property
    def consented(self) -> bool:
        return bool(self.people) and all(x.answer is Kind.GIVEN for x in self.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a recording stands. `reason`: newcomer, refused, empty, or why it was stopped."""

    phase: Phase
    reason: str = ""
    seats: tuple[AtSeat, ...] = ()


def signed(event: RecordingEvent, previous: str, sign: Sign) -> RecordingEvent:
    """The event with its mark: the signature of its content and of the mark before it ("" for the first)."""
    content: dict[str, Any] = {
        "id": event.id, "recording": event.recording, "n": event.n, "at": event.at.isoformat(timespec="microseconds"),
        "kind": event.kind.value, "membership": event.membership, "seat": event.seat, "person": event.person,
        "people": [list(x) for x in event.people], "words": event.words, "reason": event.reason, "previous": previous,
    }
    return replace(event, mark=sign(json.dumps(content, ensure_ascii=False, sort_keys=True)))


def intact(events: Sequence[RecordingEvent], sign: Sign) -> bool:
    """Whether every event stands as it was written, none is missing before the last, and the order is theirs."""
    previous = ""
    for n, event in enumerate(events, start=1):
        if event.n != n or not hmac.compare_digest(signed(event, previous, sign).mark, event.mark):
            return False
        previous = event.mark
    return True


def stay_began(attendances: Sequence[Attendance]) -> datetime | None:
    """When somebody who is in the room came in; a lost line is no going. None: they are not in. Oldest first."""
    began: datetime | None = None
    for one in attendances:
        began = began or one.entered_at
        if one.left_at is not None and one.reason != "lost":
            began = None
    return began


def standing(events: Sequence[RecordingEvent], present: Mapping[SeatId, datetime]) -> Standing:
    """The state that follows from the events, oldest first, with these seats in the room since these moments."""
    if not events:
        return Standing(phase=Phase.OFF)
    ended = next((x for x in events if x.kind in {Kind.WITHDRAWN, Kind.STOPPED}), None)
    if ended is not None:
        reason = "withdrawn" if ended.kind is Kind.WITHDRAWN else ended.reason
        return Standing(phase=Phase.STOPPED, reason=reason)
    seats = tuple(AtSeat(seat=seat, people=_people(events, seat, since)) for seat, since in sorted(present.items()))
    if seats and all(x.consented for x in seats):
        return Standing(phase=Phase.RUNNING, seats=seats)
    refused = any(x.answer is Kind.REFUSED for seat in seats for x in seat.people)
    return Standing(
        phase=Phase.PAUSED if any(x.kind is Kind.RUNNING for x in events) else Phase.ASKED,
        reason="refused" if refused else "newcomer" if seats else "empty", seats=seats,
    )


def _people(events: Sequence[RecordingEvent], seat: SeatId, since: datetime) -> tuple[Person, ...]:
    """Those declared at the seat in this stay; an answer counts while its person stays declared as the same."""
    people: dict[str, Person] = {}
    for event in events:
        if event.seat != seat or event.at < since:
            continue
        if event.kind is Kind.DECLARED:
            named = [Person(id=str(x[0]), who=Who(x[1])) for x in event.people]
            people = {
                x.id: held if (held := people.get(x.id)) is not None and held.who is x.who else x for x in named
            }
        elif event.kind in ANSWERS and event.person in people:
            counts = event.kind is not Kind.GIVEN or event.words == WORDS
            people[event.person] = replace(people[event.person], answer=event.kind if counts else None)
    return tuple(people.values())
