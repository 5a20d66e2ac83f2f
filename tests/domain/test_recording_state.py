"""Recording: nobody is ever recorded who has not consented, whatever happens in whatever order."""

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consult import attending
from consult import model as m
from consult import recording as rec
from consult.errors import ConsultError, Invalid, NotAllowed, NotFound, WrongState
from consult.recording_moments import keep_moments
from consult.recording_state import WORDS, Kind, Phase, RecordingId, Stage, Who, intact
from tests.realtime.world import CASE, World, make_world

SEATS = ("doctor", "expert", "colleague")
PEOPLE = ("patient", "son", "student")


def sign(text: str) -> str:
    return hmac.new(b"key", text.encode(), hashlib.sha256).hexdigest()


class Room:
    """The rules on the fakes, by people's short names."""

    def __init__(self) -> None:
        self.world: World = make_world()
        self.uow = self.world.uow
        self.session = attending.open_session(self.uow, actor=self.world["doctor"], consultation=CASE).id
        self.world.invite("colleague")

    def enter(self, who: str) -> None:
        seat = attending.take_seat(self.uow, actor=self.world[who], session=self.session)
        attending.admit(self.uow, actor=self.world[who if who != "colleague" else "expert"], seat=seat.id)

    def ask(self, who: str = "doctor") -> None:
        rec.ask_recording(self.uow, actor=self.world[who], session=self.session, key="sealed", sign=sign)

    def declare(self, who: str, *people: tuple[str, Who]) -> None:
        rec.declare_present(self.uow, actor=self.world[who], session=self.session, people=people, sign=sign)

    def say(self, who: str, person: str, answer: Kind = Kind.GIVEN, words: str = WORDS) -> None:
        rec.answer_recording(
            self.uow, actor=self.world[who], session=self.session, person=person, answer=answer, words=words, sign=sign
        )

    def consent(self, who: str, *people: tuple[str, Who]) -> None:
        self.declare(who, *people)
        for person in ("self", *(x for x, _ in people)):
            self.say(who, person)

    def now(self) -> rec.Recorded:
        found = rec.of_session(self.uow, session=self.session, sign=sign)
        assert found is not None
        return found

    def mark(self, *, running: bool) -> None:
        rec.mark_recording(self.uow, session=self.session, running=running, sign=sign)

    def running(self) -> "Room":
        for who in ("doctor", "expert"):
            self.enter(who)
        self.ask()
        self.consent("doctor", ("p", Who.PATIENT))
        self.consent("expert")
        self.mark(running=True)
        return self


@pytest.fixture
def room() -> Room:
    return Room()


class TestConsent:
    def test_it_runs_only_when_everybody_at_every_seat_has_consented(self, room):
        room.enter("doctor")
        room.enter("expert")
        room.ask()
        assert room.now().standing.phase is Phase.ASKED
        room.consent("doctor")
        room.declare("expert", ("s", Who.STUDENT))
        room.say("expert", "self")
        assert room.now().standing.phase is Phase.ASKED
        room.say("expert", "s")
        assert room.now().standing.phase is Phase.RUNNING

    def test_a_newcomer_at_a_seat_and_a_new_seat_pause_it_until_they_consent(self, room):
        room.running()
        room.declare("doctor", ("p", Who.PATIENT), ("son", Who.FAMILY))
        assert (room.now().standing.phase, room.now().standing.reason) == (Phase.PAUSED, "newcomer")
        room.say("doctor", "son")
        assert room.now().standing.phase is Phase.RUNNING
        room.enter("colleague")
        assert room.now().standing.phase is Phase.PAUSED
        room.consent("colleague")
        assert room.now().standing.phase is Phase.RUNNING

    def test_whoever_gets_up_and_comes_back_is_asked_again_a_lost_line_is_no_getting_up(self, room):
        room.running()
        seat = room.uow.meetings.seat_of(room.session, room.world["expert"].membership).id
        room.uow.advance(timedelta(seconds=5))
        attending.seat_lost(room.uow, seat=seat, at=room.uow.now)
        attending.seat_back(room.uow, seat=seat)
        assert room.now().standing.phase is Phase.RUNNING
        attending.leave_seat(room.uow, actor=room.world["expert"], seat=seat)
        assert room.now().standing.phase is Phase.RUNNING       # those who are left have consented
        room.uow.advance(timedelta(seconds=5))
        room.enter("expert")
        assert room.now().standing.phase is Phase.PAUSED

    def test_a_withdrawal_ends_it_and_nobody_plays_what_was_kept(self, room):
        room.running()
        room.say("doctor", "p", Kind.WITHDRAWN)
        found = room.now()
        assert (found.standing.phase, found.standing.reason) == (Phase.STOPPED, "withdrawn")
        assert found.recording.stage is Stage.WITHHELD
        with pytest.raises(NotFound):
            rec.open_recording(room.uow, actor=room.world["doctor"], id=found.recording.id)
        with pytest.raises(WrongState):
            room.say("doctor", "p")
        room.ask("expert")
        assert room.now().standing.phase is Phase.ASKED         # asked anew, of everybody

    def test_a_refusal_can_be_thought_over(self, room):
        room.enter("doctor")
        room.ask()
        room.declare("doctor")
        room.say("doctor", "self", Kind.WITHDRAWN)              # there was nothing to withdraw
        assert (room.now().standing.phase, room.now().standing.reason) == (Phase.ASKED, "refused")
        room.say("doctor", "self")
        assert room.now().standing.phase is Phase.RUNNING

    def test_the_same_id_as_somebody_else_is_somebody_else(self, room):
        room.running()
        room.declare("doctor", ("p", Who.FAMILY))
        assert room.now().standing.phase is Phase.PAUSED

    def test_what_cannot_be_said_is_refused(self, room):
        room.enter("doctor")
        room.ask()
        for people in ([("x", Who.STAFF)] * 2, [("self", Who.PATIENT)], [("", Who.OTHER)],
                       [(str(n), Who.STUDENT) for n in range(12)]):
            with pytest.raises(Invalid):
                room.declare("doctor", *people)
        room.declare("doctor")
        with pytest.raises(Invalid):
            room.say("doctor", "nobody")
        with pytest.raises(Invalid):
            room.say("doctor", "self", words="0")
        room.enter("colleague")
        with pytest.raises(NotAllowed):
            rec.stop_recording(room.uow, actor=room.world["colleague"], session=room.session, sign=sign)
        with pytest.raises(NotFound):
            room.ask("stranger")


class TestRows:
    def test_a_row_that_was_changed_counts_as_no_consent(self, room):
        room.running()
        events = room.uow.recordings._events
        at = next(n for n, x in enumerate(events) if x.kind is Kind.GIVEN)
        events[at] = replace(events[at], person="p")
        assert (room.now().standing.phase, room.now().standing.reason) == (Phase.STOPPED, "damaged")
        assert not intact(events, sign)
        assert not intact(events[1:], sign)

    def test_running_is_written_only_while_it_may(self, room):
        room.running()
        room.declare("doctor", ("new", Who.OTHER))
        room.mark(running=True)
        kinds = [x.kind for x in room.uow.recordings.events(room.now().recording.id)]
        assert kinds.count(Kind.RUNNING) == 1
        room.mark(running=False)
        room.mark(running=False)
        kinds = [x.kind for x in room.uow.recordings.events(room.now().recording.id)]
        assert kinds.count(Kind.PAUSED) == 1

    def test_a_session_that_ended_anywhere_ends_its_recording(self, room):
        room.running()
        attending.finish_session(room.uow, actor=room.world["doctor"], session=room.session)
        assert rec.end_orphans(room.uow, sign=sign) == 1
        assert rec.end_orphans(room.uow, sign=sign) == 0
        found = room.now().recording
        assert (found.stage, found.stop_reason) == (Stage.WAITING, "finished")

    def test_its_days_end_unless_somebody_holds_it_and_the_key_goes_first(self, room):
        room.running()
        auditor = replace(room.world["stranger"], role="auditor")
        one = rec.stop_recording(room.uow, actor=room.world["expert"], session=room.session, sign=sign).id
        assert rec.remove_recording(room.uow, id=one) is None
        with pytest.raises(ConsultError):
            rec.hold_recording(room.uow, actor=room.world["doctor"], id=one, held=True, reason="x")
        rec.hold_recording(room.uow, actor=auditor, id=one, held=True, reason="诉讼")
        room.uow.advance(timedelta(days=room.uow.rules.recording_days + 1))
        assert rec.remove_recording(room.uow, id=one) is None
        rec.hold_recording(room.uow, actor=auditor, id=one, held=False, reason="结案")
        gone = rec.remove_recording(room.uow, id=one)
        assert (gone.stage, gone.key) == (Stage.REMOVED, "")


class Recording(RuleBasedStateMachine):
    """Beside the rules a list of who is where and what they last said; the rules may never run without all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self.inside: dict[str, dict[str, str] | None] = {}      # seat → person → answer; None: nothing declared
        self.open = False
        self.marked = False                                     # sound and picture are being written
        self.came: list[datetime] = []                          # views, not stored yet
        self.seen: set[datetime] = set()                        # those that came while everybody had consented

    def may(self) -> bool:
        everybody = [x for seat in self.inside.values() for x in (seat or {"": ""}).values()]
        return self.open and bool(everybody) and all(x == "given" for x in everybody)

    def tick(self) -> None:
        self.room.uow.advance(timedelta(seconds=1))

    @rule(who=st.sampled_from(SEATS))
    def enter(self, who):
        self.tick()
        if who not in self.inside:
            self.room.enter(who)
            self.inside[who] = None

    @rule(who=st.sampled_from(SEATS))
    def leave(self, who):
        self.tick()
        if self.inside.pop(who, 0) != 0:
            seat = self.room.uow.meetings.seat_of(self.room.session, self.room.world[who].membership)
            attending.leave_seat(self.room.uow, actor=self.room.world[who], seat=seat.id)

    @rule(who=st.sampled_from(SEATS))
    def lose(self, who):
        self.tick()
        if who in self.inside:
            seat = self.room.uow.meetings.seat_of(self.room.session, self.room.world[who].membership)
            attending.seat_lost(self.room.uow, seat=seat.id, at=self.room.uow.now)
            self.tick()
            attending.seat_back(self.room.uow, seat=seat.id)

    @precondition(lambda self: not self.open)
    @rule()
    def ask(self):
        self.tick()
        self.room.ask()
        self.open, self.marked = True, False
        self.inside = dict.fromkeys(self.inside)

    @precondition(lambda self: self.open)
    @rule(who=st.sampled_from(SEATS), people=st.sets(st.sampled_from(PEOPLE)))
    def declare(self, who, people):
        self.tick()
        if who in self.inside:
            self.room.declare(who, *((x, Who.OTHER) for x in sorted(people)))
            before = self.inside[who] or {}
            self.inside[who] = {x: before.get(x, "") for x in ("self", *people)}

    @precondition(lambda self: self.open)
    @rule(who=st.sampled_from(SEATS), person=st.sampled_from(("self", *PEOPLE)),
          answer=st.sampled_from((Kind.GIVEN, Kind.GIVEN, Kind.GIVEN, Kind.REFUSED, Kind.WITHDRAWN)))
    def say(self, who, person, answer):
        self.tick()
        here = self.inside.get(who) or {}
        if person not in here:
            return
        ends = answer is Kind.WITHDRAWN and here[person] == "given"
        self.room.say(who, person, answer)
        here[person] = answer.value
        self.open = not ends

    @precondition(lambda self: self.open)
    @rule(running=st.booleans())
    def mark(self, running):
        self.tick()
        self.room.mark(running=running)
        if self.may() or not running:
            self.marked = running

    @rule()
    def a_view_comes(self):
        self.tick()
        now = self.room.uow.now
        self.came.append(now)
        if self.may() and self.marked:
            self.seen.add(now)

    @rule(directly=st.booleans())
    def views_are_stored(self, directly):
        if directly:
            self.a_view_comes()
        self.tick()
        found = rec.of_session(self.room.uow, session=self.room.session, sign=sign)
        if found is not None:
            kept = keep_moments(
                self.room.uow, session=self.room.session, recording=found.recording.id, sign=sign,
                moments=[(at, "sealed") for at in self.came],
            )
            assert kept <= len(self.seen.intersection(self.came))
            assert not directly or (kept > 0) is (self.may() and self.marked)
        self.came.clear()

    @invariant()
    def no_view_is_kept_from_before_a_consent_or_from_a_pause(self):
        assert {x.at for x in self.room.uow.recordings._moments} <= self.seen

    @invariant()
    def never_running_while_somebody_present_has_not_consented(self):
        found = rec.of_session(self.room.uow, session=self.room.session, sign=sign)
        assert (found is not None and found.standing.phase is Phase.RUNNING) is self.may()


TestRecordingMachine = Recording.TestCase
TestRecordingMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_an_id_given_by_whoever_sealed_the_key_is_kept(room):
    room.enter("doctor")
    made = rec.ask_recording(
        room.uow, actor=room.world["doctor"], session=room.session, key="k", sign=sign, id=RecordingId("r-1")
    )
    assert (made.id, made.key) == ("r-1", "k")
    assert m.SessionId(made.session) == room.session


def test_what_is_shown_is_kept_up_to_a_limit_and_a_row_says_where_it_ended(room, monkeypatch):
    room.running()
    one, now = room.now().recording.id, room.uow.now

    def keep(*sealed: str, at=now, recording=one) -> int:
        return keep_moments(
            room.uow, session=room.session, recording=recording, moments=[(at, x) for x in sealed], sign=sign
        )

    monkeypatch.setattr("consult.recording_moments.MOST_MOMENTS", 3)
    monkeypatch.setattr("consult.recording_moments.MOST_CHARACTERS", 10)
    assert keep("a", recording=RecordingId("another")) == 0
    assert keep("early", at=now - timedelta(seconds=1)) == keep("late", at=now + timedelta(seconds=1)) == 0
    assert keep("abcdefgh") == 1
    assert keep("i", "too long", "never") == 1
    assert keep("j") == 0
    assert [(x.n, x.sealed) for x in room.uow.recordings.moments(one)] == [(1, "abcdefgh"), (2, "i"), (3, "")]
    monkeypatch.setattr("consult.recording_moments.MOST_CHARACTERS", 1000)
    room.uow.recordings._moments.clear()
    assert keep(*"abcde") == 3
    assert room.uow.recordings.moments_kept(one) == (4, 3, True)


def test_what_was_shown_in_a_pause_or_to_a_guest_who_has_left_again_is_not_kept(room):
    room.running()
    one = room.now().recording.id

    def shown_during(*steps) -> int:
        room.uow.advance(timedelta(seconds=1))
        steps[0]()
        room.uow.advance(timedelta(seconds=1))
        at = room.uow.now
        room.uow.advance(timedelta(seconds=1))
        for step in steps[1:]:
            step()
        return keep_moments(room.uow, session=room.session, recording=one, moments=[(at, "sealed")], sign=sign)

    def leave() -> None:
        seat = room.uow.meetings.seat_of(room.session, room.world["colleague"].membership)
        attending.leave_seat(room.uow, actor=room.world["colleague"], seat=seat.id)

    assert shown_during(lambda: None) == 1
    assert shown_during(lambda: room.enter("colleague"), leave) == 0        # nobody had marked a pause
    assert room.now().standing.phase is Phase.RUNNING
    assert shown_during(lambda: room.mark(running=False)) == 0
    assert shown_during(lambda: None, lambda: room.mark(running=True)) == 0
    assert shown_during(lambda: None) == 1
