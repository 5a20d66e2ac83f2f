"""Invitations by name, the chair that is handed over, and what the lobby reads, on the fakes."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from consult import attending, chairing, meeting_view
from consult import inviting as i
from consult import model as m
from consult import people as o
from consult.access import Action, may
from consult.errors import Invalid, NotAllowed, NotFound, WrongState
from tests.realtime.world import CASE, World, make_world


@pytest.fixture
def world() -> World:
    """Clinic and hospital have an agreement; "elsewhere" has none."""
    world = make_world()
    world.uow.people.add_link(o.OrgLink(
        a=o.OrganisationId("hospital"), b=o.OrganisationId("clinic"), kind=o.LinkKind.ALLIANCE,
        since=date(2020, 1, 1),
    ))
    return world


@pytest.fixture
def session(world: World) -> m.SessionId:
    identity = attending.open_session(world.uow, actor=world["doctor"], consultation=CASE).id
    for who in ("doctor", "expert"):
        enter(world, identity, who)
    return identity


def enter(world: World, session: m.SessionId, who: str, *, by: str = "") -> m.Seat:
    seat = attending.take_seat(world.uow, actor=world[who], session=session)
    return attending.admit(world.uow, actor=world[by or who], seat=seat.id)


def invite(world: World, session: m.SessionId, who: str, *, by: str = "expert") -> m.Participant:
    return i.invite_guest(world.uow, actor=world[by], session=session, membership=world[who].membership)


def names(world: World, who: str, text: str = "") -> set[str]:
    return {x.name for x in i.find_invitees(world.uow, actor=world[who], consultation=CASE, text=text)}


class TestWhoMayBeInvited:
    def test_colleagues_and_technicians_of_the_clinic_and_experts_of_the_centre(self, world, session):
        assert names(world, "doctor") == {"吴静", "郑岩", "林舟"}
        assert names(world, "expert", "林") == {"林舟"}
        assert names(world, "expert", "九堡") == {"吴静", "郑岩"}

    def test_an_expert_of_a_place_without_agreement_is_not_found_and_not_invited(self, world, session):
        assert names(world, "expert", "何远") == set()
        with pytest.raises(i.NotInvitable):
            invite(world, session, "stranger")

    def test_an_agreement_brings_its_experts_and_its_end_takes_them_away(self, world, session):
        link = o.OrgLink(
            a=o.OrganisationId("elsewhere"), b=o.OrganisationId("clinic"), kind=o.LinkKind.SPECIALTY,
            since=date(2020, 1, 1), until=date(2026, 11, 24),
        )
        world.uow.people.add_link(link)
        assert "何远" in names(world, "doctor")
        world.uow.advance(timedelta(days=2))
        assert "何远" not in names(world, "doctor")

    @pytest.mark.parametrize("who", ["doctor", "expert"])
    def test_nobody_who_takes_part_is_invited(self, world, session, who):
        with pytest.raises(i.NotInvitable):
            invite(world, session, who, by="expert" if who == "doctor" else "doctor")

    def test_nobody_who_has_left_the_place_is_invited(self, world, session):
        member = world.uow.people.membership(world["second"].membership)
        world.uow.people.save_membership(replace(member, until=world.uow.now - timedelta(days=1)))
        assert names(world, "expert", "林") == set()
        with pytest.raises(i.NotInvitable):
            invite(world, session, "second")

    @pytest.mark.parametrize("who", ["colleague", "second", "stranger", "technician"])
    def test_nobody_outside_searches_or_invites(self, world, session, who):
        with pytest.raises((NotFound, NotAllowed)):
            i.find_invitees(world.uow, actor=world[who], consultation=CASE)
        with pytest.raises((NotFound, NotAllowed)):
            invite(world, session, "colleague", by=who)

    def test_a_guest_invites_nobody(self, world, session):
        invite(world, session, "colleague")
        enter(world, session, "colleague", by="expert")
        with pytest.raises(NotAllowed):
            invite(world, session, "second", by="colleague")

    def test_a_locked_session_takes_no_invitation_and_an_ended_one_neither(self, world, session):
        attending.lock_session(world.uow, actor=world["expert"], session=session, locked=True)
        with pytest.raises(attending.RoomLocked):
            invite(world, session, "second")
        attending.finish_session(world.uow, actor=world["expert"], session=session)
        with pytest.raises(WrongState):
            invite(world, session, "second")


class TestUse:
    def test_until_admitted_the_invited_sees_the_door_alone(self, world, session):
        invite(world, session, "second")
        case = world.uow.consultations.get(CASE)
        assert may(world.uow, world["second"], Action.ROOM_ENTER, case)
        for action in (Action.REQUEST_READ, Action.STUDIES_LIST, Action.PIXELS_READ, Action.ROOM_CHAT):
            assert not may(world.uow, world["second"], action, case)
        enter(world, session, "second", by="expert")
        for action in (Action.REQUEST_READ, Action.STUDIES_LIST, Action.PIXELS_READ, Action.ROOM_CHAT):
            assert may(world.uow, world["second"], action, case)
        for action in (Action.DRAFT_READ, Action.DICOM_DOWNLOAD, Action.ROOM_FINISH, Action.REPORT_READ):
            assert not may(world.uow, world["second"], action, case)

    def test_an_unused_invitation_ends_at_its_hour_and_the_door_with_it(self, world, session):
        guest = invite(world, session, "second")
        assert guest.expires_at == world.uow.now + world.uow.rules.invitation
        world.uow.advance(world.uow.rules.invitation)
        with pytest.raises(NotFound):
            attending.take_seat(world.uow, actor=world["second"], session=session)
        assert i.expire_invitations(world.uow) == 1
        assert i.expire_invitations(world.uow) == 0
        assert [x.part for x in world.uow.consultations.participants(CASE)] == [m.Part.REFERRING, m.Part.EXPERT]

    def test_a_used_one_has_no_hour_any_more(self, world, session):
        invite(world, session, "second")
        enter(world, session, "second", by="expert")
        world.uow.advance(world.uow.rules.invitation * 2)
        assert i.expire_invitations(world.uow) == 0
        assert attending.take_seat(world.uow, actor=world["second"], session=session).state is m.SeatState.IN

    def test_asking_twice_gives_one_invitation_and_after_its_hour_a_new_one(self, world, session):
        first = invite(world, session, "second")
        assert invite(world, session, "second", by="doctor") == first
        world.uow.advance(world.uow.rules.invitation)
        again = invite(world, session, "second")
        assert again.since == world.uow.now
        assert [x.name for x in meeting_view.room_rows(world.uow, session=session).invited] == ["林舟"]

    def test_taken_back_it_opens_nothing(self, world, session):
        invite(world, session, "second")
        i.withdraw_invitation(world.uow, actor=world["doctor"], session=session, membership=world["second"].membership)
        with pytest.raises(NotFound):
            attending.take_seat(world.uow, actor=world["second"], session=session)
        with pytest.raises(NotFound):
            i.withdraw_invitation(
                world.uow, actor=world["doctor"], session=session, membership=world["second"].membership
            )

    def test_whoever_was_removed_is_not_invited_again(self, world, session):
        invite(world, session, "second")
        seat = enter(world, session, "second", by="expert")
        attending.remove_seat(world.uow, actor=world["expert"], seat=seat.id)
        with pytest.raises(i.NotInvitable):
            invite(world, session, "second")

    def test_finish_ends_the_guests_part_and_undo_gives_it_back(self, world, session):
        invite(world, session, "second")
        enter(world, session, "second", by="expert")
        attending.finish_session(world.uow, actor=world["expert"], session=session)
        assert not may(world.uow, world["second"], Action.ROOM_ENTER, world.uow.consultations.get(CASE))
        attending.undo_finish(world.uow, actor=world["expert"], session=session)
        assert attending.take_seat(world.uow, actor=world["second"], session=session).state is m.SeatState.LOST

    def test_a_technician_reads_the_chat_from_the_moment_of_coming(self, world, session):
        def say(text):
            world.uow.advance(timedelta(seconds=1))
            attending.send_message(
                world.uow, actor=world["doctor"], consultation=CASE, client_id=text, text=text, session=session
            )

        invite(world, session, "technician")
        say("邀请之后")
        world.uow.advance(timedelta(seconds=1))
        enter(world, session, "technician", by="expert")
        say("进来之后")
        lines = attending.messages(world.uow, actor=world["technician"], consultation=CASE)
        assert [x.message.text for x in lines] == ["进来之后"]


class TestChair:
    @pytest.fixture
    def reviewer(self, world, session) -> m.Seat:
        world.uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=world["second"].membership, part=m.Part.REVIEWER, since=world.uow.now
        ))
        return enter(world, session, "second")

    def host(self, world, session) -> set[str]:
        return {x.name for x in meeting_view.room_rows(world.uow, session=session).seats if x.host}

    def test_the_expert_hands_it_over_and_can_get_it_back(self, world, session, reviewer):
        assert self.host(world, session) == {"陈立"}
        chairing.hand_over_chair(world.uow, actor=world["expert"], session=session, seat=reviewer.id)
        assert self.host(world, session) == {"林舟"}
        with pytest.raises(NotAllowed):
            attending.lock_session(world.uow, actor=world["expert"], session=session, locked=True)
        attending.lock_session(world.uow, actor=world["second"], session=session, locked=True)
        own = world.uow.meetings.seat_of(session, world["expert"].membership)
        chairing.hand_over_chair(world.uow, actor=world["second"], session=session, seat=own.id)
        assert self.host(world, session) == {"陈立"}

    def test_a_chair_who_leaves_or_is_released_gives_it_back(self, world, session, reviewer):
        chairing.hand_over_chair(world.uow, actor=world["expert"], session=session, seat=reviewer.id)
        attending.leave_seat(world.uow, actor=world["second"], seat=reviewer.id)
        assert self.host(world, session) == {"陈立"}

    def test_a_chair_whose_line_is_lost_keeps_it(self, world, session, reviewer):
        chairing.hand_over_chair(world.uow, actor=world["expert"], session=session, seat=reviewer.id)
        attending.seat_lost(world.uow, seat=reviewer.id, at=world.uow.now)
        assert self.host(world, session) == {"林舟"}

    def test_only_an_expert_in_the_room_gets_it(self, world, session):
        doctor = world.uow.meetings.seat_of(session, world["doctor"].membership)
        with pytest.raises(Invalid):
            chairing.hand_over_chair(world.uow, actor=world["expert"], session=session, seat=doctor.id)
        with pytest.raises(NotAllowed):
            chairing.hand_over_chair(world.uow, actor=world["doctor"], session=session, seat=doctor.id)


class TestWaiting:
    def test_the_host_says_how_long_and_why(self, world, session):
        saved = chairing.set_waiting(world.uow, actor=world["expert"], session=session, minutes=5, text=" 正在看  片 ")
        assert (saved.wait_text, saved.wait_until) == ("正在看 片", world.uow.now + timedelta(minutes=5))
        cleared = chairing.set_waiting(world.uow, actor=world["expert"], session=session, minutes=0, text="")
        assert (cleared.wait_text, cleared.wait_until) == ("", None)

    @pytest.mark.parametrize(("minutes", "text"), [(-1, ""), (241, ""), (1, "长" * 201)])
    def test_what_is_out_of_bounds_is_refused(self, world, session, minutes, text):
        with pytest.raises(Invalid):
            chairing.set_waiting(world.uow, actor=world["expert"], session=session, minutes=minutes, text=text)

    def test_only_the_host_says_it(self, world, session):
        with pytest.raises(NotAllowed):
            chairing.set_waiting(world.uow, actor=world["doctor"], session=session, minutes=1, text="")
