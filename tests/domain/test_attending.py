"""Sessions, seats, attendance and chat on the fakes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from consult import attending, meeting_view
from consult import model as m
from consult.access import Action, may
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, WrongState
from tests.realtime.world import CASE, World, make_world


@pytest.fixture
def world() -> World:
    return make_world()


def opened(world: World, who: str = "doctor") -> m.SessionId:
    return attending.open_session(world.uow, actor=world[who], consultation=CASE).id


def seated(world: World, session: m.SessionId, who: str) -> m.Seat:
    seat = attending.take_seat(world.uow, actor=world[who], session=session)
    return attending.admit(world.uow, actor=world[who], seat=seat.id)


def stays(world: World, session: m.SessionId, seat: m.Seat) -> list[m.Attendance]:
    return [x for x in world.uow.meetings.attendances(session) if x.seat == seat.id]


class TestOpening:
    @pytest.mark.parametrize(
        ("state", "urgency"),
        [
            (m.State.ACCEPTED, m.Urgency.STAT),
            (m.State.ACCEPTED, m.Urgency.ROUTINE),
            (m.State.SCHEDULED, m.Urgency.ROUTINE),
            (m.State.CHECKED_IN, m.Urgency.ROUTINE),
            (m.State.ASYNC_REVIEW, m.Urgency.ROUTINE),
            (m.State.REPORTING, m.Urgency.ROUTINE),
        ],
    )
    def test_opening_puts_the_consultation_in_session(self, state: m.State, urgency: m.Urgency) -> None:
        world = make_world(state=state, urgency=urgency)
        opened(world)
        assert world.state() is m.State.IN_SESSION
        triggers = [x.trigger for x in world.uow.events.of(f"consultation:{CASE}")]
        assert triggers[-1] == "start"
        needs_check_in = state is m.State.SCHEDULED or (
            state is m.State.ACCEPTED and urgency is m.Urgency.ROUTINE
        )
        assert ("check_in" in triggers) is needs_check_in

    def test_the_second_side_joins_the_running_session(self, world: World) -> None:
        assert opened(world, "doctor") == opened(world, "expert")
        assert len(world.uow.meetings.sessions(CASE)) == 1

    @pytest.mark.parametrize("state", [m.State.DRAFT, m.State.TRIAGE, m.State.SIGNED, m.State.CANCELLED])
    def test_no_session_where_the_lifecycle_has_none(self, state: m.State) -> None:
        world = make_world(state=state)
        with pytest.raises(WrongState):
            opened(world)

    @pytest.mark.parametrize("who", ["colleague", "technician", "second", "stranger"])
    def test_nobody_uninvited_learns_that_there_is_a_room(self, world: World, who: str) -> None:
        session = opened(world)
        with pytest.raises(NotFound):
            opened(world, who)
        with pytest.raises(NotFound):
            attending.take_seat(world.uow, actor=world[who], session=session)

    def test_a_guest_cannot_begin_a_session(self, world: World) -> None:
        world.invite("colleague")
        with pytest.raises(NotAllowed):
            opened(world, "colleague")


class TestSeats:
    def test_the_part_comes_from_the_participant(self, world: World) -> None:
        session = opened(world)
        assert seated(world, session, "doctor").part is m.Part.REFERRING
        assert seated(world, session, "expert").part is m.Part.EXPERT

    def test_the_same_person_gets_the_same_seat(self, world: World) -> None:
        session = opened(world)
        first = seated(world, session, "doctor")
        assert attending.take_seat(world.uow, actor=world["doctor"], session=session).id == first.id

    def test_a_guest_waits_until_the_expert_admits(self, world: World) -> None:
        session = opened(world)
        world.invite("colleague")
        seat = attending.take_seat(world.uow, actor=world["colleague"], session=session)
        assert (seat.state, seat.part) == (m.SeatState.LOBBY, m.Part.GUEST)
        for who in ("colleague", "doctor"):
            with pytest.raises(NotAllowed):
                attending.admit(world.uow, actor=world[who], seat=seat.id)
        assert attending.admit(world.uow, actor=world["expert"], seat=seat.id).state is m.SeatState.IN

    def test_removed_stays_removed_even_when_invited_again(self, world: World) -> None:
        session = opened(world)
        world.invite("colleague")
        seat = attending.take_seat(world.uow, actor=world["colleague"], session=session)
        attending.admit(world.uow, actor=world["expert"], seat=seat.id)
        attending.remove_seat(world.uow, actor=world["expert"], seat=seat.id, reason="换人")
        with pytest.raises(NotFound):
            attending.take_seat(world.uow, actor=world["colleague"], session=session)
        world.invite("colleague")
        with pytest.raises(attending.SeatRemoved):
            attending.take_seat(world.uow, actor=world["colleague"], session=session)
        assert stays(world, session, seat)[-1].reason == "removed"
        assert world.uow.revoked == [(frozenset({world["colleague"].membership}), CASE)]

    def test_the_chair_cannot_remove_the_referring_doctor(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        with pytest.raises(NotAllowed):
            attending.remove_seat(world.uow, actor=world["expert"], seat=seat.id)

    def test_locked_takes_nobody_new_but_lets_the_lost_come_back(self, world: World) -> None:
        session = opened(world)
        world.invite("colleague")
        doctor = seated(world, session, "doctor")
        seated(world, session, "expert")
        with pytest.raises(NotAllowed):
            attending.lock_session(world.uow, actor=world["doctor"], session=session, locked=True)
        attending.lock_session(world.uow, actor=world["expert"], session=session, locked=True)
        with pytest.raises(attending.RoomLocked):
            attending.take_seat(world.uow, actor=world["colleague"], session=session)
        attending.seat_lost(world.uow, seat=doctor.id, at=world.uow.now)
        assert attending.take_seat(world.uow, actor=world["doctor"], session=session).id == doctor.id
        assert attending.seat_back(world.uow, seat=doctor.id).state is m.SeatState.IN

    def test_the_precheck_is_kept_with_ones_own_seat_only(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        with pytest.raises(NotFound):
            attending.save_precheck(world.uow, actor=world["expert"], seat=seat.id, result={"rtt": 3})
        attending.save_precheck(world.uow, actor=world["doctor"], seat=seat.id, result={"rtt": 3})
        assert world.uow.meetings.seat(seat.id).precheck == {"rtt": 3}


class TestAttendance:
    def test_a_lost_line_is_a_gap_and_never_an_end(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        lost_at = world.uow.now + timedelta(minutes=3)
        world.uow.advance(timedelta(minutes=3, seconds=6))
        attending.seat_lost(world.uow, seat=seat.id, at=lost_at)
        world.uow.advance(timedelta(hours=2))
        attending.seat_back(world.uow, seat=seat.id)
        assert world.state() is m.State.IN_SESSION
        first, second = stays(world, session, seat)
        assert (first.left_at, first.reason) == (lost_at, "lost")
        assert (second.entered_at, second.left_at) == (world.uow.now, None)

    def test_a_guest_whose_line_stays_lost_sees_nothing_more_until_they_are_back(self, world: World) -> None:
        session = opened(world)
        seated(world, session, "expert")
        world.invite("colleague")
        guest = attending.take_seat(world.uow, actor=world["colleague"], session=session)
        attending.admit(world.uow, actor=world["expert"], seat=guest.id)
        case = world.uow.consultations.get(CASE)
        attending.seat_lost(world.uow, seat=guest.id, at=world.uow.now)
        world.uow.advance(world.uow.rules.lost_seat - timedelta(seconds=1))
        assert may(world.uow, world["colleague"], Action.REQUEST_READ, case)
        world.uow.advance(timedelta(seconds=1))
        assert not may(world.uow, world["colleague"], Action.REQUEST_READ, case)
        assert not may(world.uow, world["colleague"], Action.PIXELS_READ, case)
        again = attending.take_seat(world.uow, actor=world["colleague"], session=session)
        attending.seat_back(world.uow, seat=again.id)
        assert may(world.uow, world["colleague"], Action.PIXELS_READ, case)

    def test_losing_a_seat_twice_writes_one_gap(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        attending.seat_lost(world.uow, seat=seat.id, at=world.uow.now)
        attending.seat_lost(world.uow, seat=seat.id, at=world.uow.now)
        attending.seat_back(world.uow, seat=seat.id)
        attending.seat_back(world.uow, seat=seat.id)
        assert [x.reason for x in stays(world, session, seat)] == ["lost", ""]

    def test_who_left_may_come_back_through_the_lobby(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        attending.leave_seat(world.uow, actor=world["doctor"], seat=seat.id)
        assert world.state() is m.State.IN_SESSION
        again = seated(world, session, "doctor")
        assert (again.id, again.state) == (seat.id, m.SeatState.IN)
        assert [x.reason for x in stays(world, session, seat)] == ["left", ""]

    def test_an_ended_assignment_closes_the_seat(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "expert")
        attending.evict(world.uow, consultation=CASE, memberships=[world["expert"].membership])
        assert world.uow.meetings.seat(seat.id).state is m.SeatState.LEFT
        assert stays(world, session, seat)[-1].reason == "removed"


class TestFinish:
    def test_only_finish_ends_a_session(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        ended = attending.finish_session(world.uow, actor=world["expert"], session=session)
        assert ended.ended_at == world.uow.now
        assert world.state() is m.State.REPORTING
        assert stays(world, session, seat)[-1].reason == "finished"

    def test_finish_can_be_undone_until_signing(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        attending.finish_session(world.uow, actor=world["doctor"], session=session)
        attending.undo_finish(world.uow, actor=world["expert"], session=session)
        assert world.state() is m.State.IN_SESSION
        assert world.uow.meetings.running(CASE) is not None
        assert world.uow.meetings.seat(seat.id).state is m.SeatState.LOST
        attending.finish_session(world.uow, actor=world["doctor"], session=session)
        world.put(state=m.State.SIGNED)
        with pytest.raises(WrongState):
            attending.undo_finish(world.uow, actor=world["expert"], session=session)

    def test_who_had_left_before_finish_is_not_put_back_by_undo(self, world: World) -> None:
        session = opened(world)
        seat = seated(world, session, "doctor")
        attending.leave_seat(world.uow, actor=world["doctor"], seat=seat.id)
        attending.finish_session(world.uow, actor=world["expert"], session=session)
        attending.undo_finish(world.uow, actor=world["expert"], session=session)
        assert world.uow.meetings.seat(seat.id).state is m.SeatState.LEFT

    def test_a_running_session_has_no_finish_to_undo(self, world: World) -> None:
        with pytest.raises(WrongState):
            attending.undo_finish(world.uow, actor=world["expert"], session=opened(world))

    def test_a_session_finishes_once(self, world: World) -> None:
        session = opened(world)
        attending.finish_session(world.uow, actor=world["expert"], session=session)
        with pytest.raises(WrongState):
            attending.finish_session(world.uow, actor=world["doctor"], session=session)

    def test_a_guest_cannot_finish(self, world: World) -> None:
        session = opened(world)
        world.invite("colleague")
        with pytest.raises(NotAllowed):
            attending.finish_session(world.uow, actor=world["colleague"], session=session)

    def test_after_finish_a_new_session_has_the_next_number(self, world: World) -> None:
        attending.finish_session(world.uow, actor=world["expert"], session=opened(world))
        second = world.uow.meetings.session(opened(world))
        assert second.n == 2

    def test_a_telephone_session_counts(self, world: World) -> None:
        session = opened(world)
        attending.start_telephone(world.uow, actor=world["doctor"], session=session)
        attending.start_telephone(world.uow, actor=world["doctor"], session=session)
        attending.finish_session(world.uow, actor=world["doctor"], session=session)
        assert world.uow.meetings.session(session).kind == "telephone"
        assert world.state() is m.State.REPORTING
        events = [x.trigger for x in world.uow.events.of(f"consultation:{CASE}")]
        assert events.count("session_by_telephone") == 1


class TestChat:
    def send(self, world: World, who: str, text: str, client_id: str = "c1") -> m.Message:
        return attending.send_message(
            world.uow, actor=world[who], consultation=CASE, client_id=client_id, text=text
        )

    def test_a_resent_line_is_stored_once(self, world: World) -> None:
        opened(world)
        first = self.send(world, "doctor", "请看第 3 个问题")
        assert self.send(world, "doctor", "请看第 3 个问题") == first
        lines = attending.messages(world.uow, actor=world["expert"], consultation=CASE)
        assert [(x.message.text, x.name) for x in lines] == [("请看第 3 个问题", "周明")]
        told = [payload for _, payload in world.uow.published if "message" in payload]
        assert len(told) == 1

    def test_the_same_id_with_other_words_is_refused(self, world: World) -> None:
        self.send(world, "doctor", "一")
        with pytest.raises(Conflict):
            self.send(world, "doctor", "二")

    @pytest.mark.parametrize("text", ["", "   \n", "长" * 4001])
    def test_empty_and_overlong_lines_are_refused(self, world: World, text: str) -> None:
        with pytest.raises(Invalid):
            self.send(world, "doctor", text)

    def test_an_invited_technician_sees_nothing_said_before(self, world: World) -> None:
        session = opened(world)
        self.send(world, "doctor", "之前")
        world.uow.advance(timedelta(seconds=1))
        world.invite("technician")
        seat = attending.take_seat(world.uow, actor=world["technician"], session=session)
        with pytest.raises(NotAllowed):
            attending.messages(world.uow, actor=world["technician"], consultation=CASE)
        attending.admit(world.uow, actor=world["expert"], seat=seat.id)
        world.uow.advance(timedelta(seconds=1))
        self.send(world, "doctor", "之后", "c2")
        seen = attending.messages(world.uow, actor=world["technician"], consultation=CASE)
        assert [x.message.text for x in seen] == ["之后"]

    @pytest.mark.parametrize("who", ["colleague", "second", "stranger"])
    def test_nobody_else_reads_or_writes(self, world: World, who: str) -> None:
        with pytest.raises((NotFound, NotAllowed)):
            self.send(world, who, "你好")
        with pytest.raises((NotFound, NotAllowed)):
            attending.messages(world.uow, actor=world[who], consultation=CASE)


def test_both_sides_telephone_numbers_are_known(world: World) -> None:
    found = attending.contacts(world.uow, actor=world["doctor"], consultation=CASE)
    assert {(x.organisation_phone, x.phone) for x in found} == {
        ("0571-1000", "138-doctor"), ("0571-2000", "138-expert"),
    }


def test_a_seat_of_somebody_reassigned_is_not_active(world: World) -> None:
    session = opened(world)
    seated(world, session, "expert")
    world.uow.consultations.end_participant(CASE, world["expert"].membership, m.Part.EXPERT, at=world.uow.now)
    (info,) = meeting_view.room_rows(world.uow, session=session).seats
    assert (info.active, info.host) == (False, False)


def test_seats_of_a_stopped_member_of_staff_are_not_active(world: World) -> None:
    session = opened(world)
    seated(world, session, "doctor")
    staff = world.uow.people.staff(world["doctor"].staff)
    world.uow.people.save_staff(replace(staff, active=False))
    assert [x.active for x in meeting_view.room_rows(world.uow, session=session).seats] == [False]
