"""The room's protocol over real WebSockets: numbers, replay, takeover, removal, refusals. No browser, no storage."""

from datetime import timedelta

import pytest

from consult import attending
from consult import model as m
from consult import people as o
from server.signalling import schema
from tests.realtime.world import CASE, Hall, closed_with


class TestSeats:
    async def test_hello_gives_seat_snapshot_and_expiring_turn_credentials(self, hall: Hall):
        doctor = await hall.browser("doctor").connect()
        welcome = await doctor.hello()
        assert welcome["v"] == schema.VERSION
        assert welcome["snapshot"]["consultation"] == CASE
        assert {x["organisation_phone"] for x in welcome["snapshot"]["contacts"]} == {"0571-1000", "0571-2000"}
        (turn,) = welcome["ice"]
        expiry, holder = turn["username"].split(":")
        assert int(expiry) == int((hall.world.uow.now + timedelta(hours=1)).timestamp())
        assert holder == welcome["seat"]

    async def test_principals_enter_by_themselves_and_the_other_is_told(self, hall: Hall):
        doctor = await hall.browser("doctor").enter()
        expert = await hall.browser("expert").enter()
        told = await doctor.expect("presence")
        while told["seat"]["state"] != "in":
            told = await doctor.expect("presence")
        assert (told["seat"]["seat"], told["seat"]["name"], told["seat"]["connected"]) == (expert.seat, "陈立", True)

    async def test_a_guest_waits_in_the_lobby_and_hears_nothing_until_admitted(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.world.invite("colleague")
        guest = await hall.browser("colleague").connect()
        assert (await guest.hello())["snapshot"]["chat"] == []
        assert (await guest.call("enter"))["type"] == "ack"
        assert (await guest.call("chat", client_id="g", text="在吗"))["code"] == "not_in"
        await doctor.call("chat", client_id="a", text="内部")
        assert not [x for x in await guest.quiet() if x["type"] == "chat"]
        assert (await doctor.call("admit", seat=guest.seat))["code"] == "not_allowed"
        assert (await expert.call("admit", seat=guest.seat))["type"] == "ack"
        await guest.expect("presence")
        assert (await guest.call("chat", client_id="g2", text="到了"))["type"] == "ack"

    async def test_a_newer_tab_takes_over_and_the_older_is_told(self, hall: Hall):
        old, _ = await hall.both()
        new = await hall.browser("doctor").connect()
        welcome = await new.hello()
        assert welcome["seat"] == old.seat
        await closed_with(old, schema.Close.TAKEN_OVER)
        assert (await new.call("hand", up=True))["type"] == "ack"
        assert hall.attendance("doctor") == [(None, "")]

    async def test_removed_stays_removed_whatever_restarts(self, hall: Hall):
        _, expert = await hall.both()
        hall.world.invite("colleague")
        guest = await hall.browser("colleague").connect()
        await guest.hello()
        await expert.call("admit", seat=guest.seat)
        await expert.quiet()
        await expert.call("remove", seat=guest.seat, reason="无关人员")
        await closed_with(guest, schema.Close.REMOVED)
        gone = next(x for x in [*await expert.quiet()] if x["type"] == "presence")
        assert (gone["gone"], gone["seat"]["seat"]) == (True, guest.seat)
        hall.world.invite("colleague")
        hall.restart()
        again = await hall.browser("colleague").connect()
        assert (await again.hello())["code"] == "removed"

    async def test_a_removal_is_told_once(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.world.invite("colleague")
        guest = await hall.browser("colleague").connect()
        await guest.hello()
        await expert.call("admit", seat=guest.seat)
        await expert.call("remove", seat=guest.seat)
        for at in range(3):
            await doctor.call("chat", client_id=f"c{at}", text="继续")
            await hall.rooms.changed(CASE)
        gone = [x for x in await doctor.quiet() if x["type"] == "presence" and x["gone"]]
        assert [x["seat"]["seat"] for x in gone] == [guest.seat]

    async def test_who_is_removed_while_sitting_down_gets_no_welcome(self, hall: Hall):
        _, expert = await hall.both()
        hall.world.invite("colleague")
        guest = await hall.browser("colleague").connect()
        take = attending.take_seat

        def removed_meanwhile(uow, **given):
            seat = take(uow, **given)
            attending.remove_seat(uow, actor=hall.world["expert"], seat=seat.id)
            return seat

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attending, "take_seat", removed_meanwhile)
            assert (await guest.hello())["code"] == "removed"
        await expert.quiet()

    async def test_nobody_is_shown_a_view_before_being_admitted(self, hall: Hall):
        _, expert = await hall.both()
        await expert.call("snapshot", body={"study": "1.2.3"})
        hall.world.invite("colleague")
        guest = await hall.browser("colleague").connect()
        assert (await guest.hello())["snapshot"]["views"] == {}
        await expert.call("admit", seat=guest.seat)
        await guest.drop()
        hall.restart()
        await expert.connect()
        await expert.hello()
        await expert.call("snapshot", body={"study": "1.2.3"})
        await guest.connect()
        assert (await guest.hello())["snapshot"]["views"] == {expert.seat: {"study": "1.2.3"}}

    async def test_a_room_takes_sixteen_and_keeps_the_chairs_of_its_own_doctors(self, hall: Hall):
        expert = await hall.browser("expert").enter()
        seats = []
        for at in range(15):
            one = hall.world.person(f"guest-{at}", "clinic", o.Role.TECHNICIAN)
            hall.world.invite(one)
            seats.append((await (await hall.browser(one).connect()).hello())["seat"])
        for seat in seats[:13]:
            attending.admit(hall.world.uow, actor=hall.world["expert"], seat=m.SeatId(seat))
        assert (await expert.call("admit", seat=seats[13]))["type"] == "ack"
        assert (await expert.call("admit", seat=seats[14]))["code"] == "full"
        doctor = await hall.browser("doctor").enter()
        assert hall.seat("doctor").state is m.SeatState.IN
        await doctor.quiet()

    async def test_a_locked_room_takes_nobody_new(self, hall: Hall):
        _, expert = await hall.both()
        hall.world.invite("colleague")
        await expert.call("lock", locked=True)
        guest = await hall.browser("colleague").connect()
        assert (await guest.hello())["code"] == "locked"

    @pytest.mark.parametrize("who", ["colleague", "second", "stranger"])
    async def test_a_seat_of_the_room_is_no_right(self, hall: Hall, who: str):
        doctor, _ = await hall.both()
        thief = await hall.browser(who).connect()
        thief.seat = doctor.seat
        assert (await thief.hello())["code"] == "not_found"

    async def test_another_session_is_answered_like_an_absent_one(self, hall: Hall):
        absent = await hall.browser("doctor").connect()
        assert (await absent.hello("no-such-session"))["code"] == "not_found"
        foreign = await hall.browser("stranger").connect()
        assert (await foreign.hello())["code"] == "not_found"

    async def test_a_wrong_token_opens_nothing(self, hall: Hall):
        doctor = await hall.browser("doctor").connect()
        assert (await doctor.hello(token="guessed"))["code"] == "not_found"

    async def test_another_version_is_told_so(self, hall: Hall):
        doctor = await hall.browser("doctor").connect()
        assert (await doctor.hello(v=99))["code"] == "version"


class TestReplay:
    async def test_what_was_said_during_a_lost_line_arrives_once_after_it(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.drop()
        for at in range(3):
            await expert.call("chat", client_id=f"c{at}", text=f"第 {at} 句")
        await doctor.connect()
        welcome = await doctor.hello()
        assert (welcome["resumed"], welcome["snapshot"]) == (True, None)
        said = [x for x in await doctor.quiet() if x["type"] == "chat"]
        assert [x["message"]["text"] for x in said] == ["第 0 句", "第 1 句", "第 2 句"]
        numbers = [x["seq"] for x in said]
        assert numbers == sorted(set(numbers))

    async def test_a_replay_begins_after_what_the_browser_has(self, hall: Hall):
        doctor, expert = await hall.both()
        await expert.call("chat", client_id="c0", text="已收到")
        await doctor.expect("chat")
        await doctor.drop()
        await expert.call("chat", client_id="c1", text="没收到")
        await doctor.connect()
        await doctor.hello()
        assert [x["message"]["text"] for x in await doctor.quiet() if x["type"] == "chat"] == ["没收到"]

    async def test_an_overrun_buffer_gives_a_snapshot_instead(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.drop()
        for at in range(8):
            await expert.call("annotation", body={"text": "x" * 15_000, "at": at})
        assert hall.rooms.rooms[hall.session].seats[doctor.seat].replay.size <= schema.REPLAY_LIMIT
        await doctor.connect()
        welcome = await doctor.hello()
        assert welcome["resumed"] is False
        assert {x["seat"] for x in welcome["snapshot"]["seats"]} == {doctor.seat, expert.seat}

    async def test_a_long_chat_and_large_views_keep_nobody_out(self, hall: Hall):
        doctor, expert = await hall.both()
        for browser in (doctor, expert):
            await browser.call("snapshot", body={"drawn": "x" * 32_000})
        for at in range(80):
            attending.send_message(
                hall.world.uow, actor=hall.world["doctor"], consultation=CASE, client_id=f"c{at}", text="字" * 4000
            )
        hall.rooms.rooms[hall.session].seats[doctor.seat].view = {"drawn": "x" * 300_000}      # ten seats' worth
        await expert.drop()
        again = await hall.browser("expert").connect()
        whole = (await again.hello())["snapshot"]
        assert whole["chat_more"] is True
        assert [x["client_id"] for x in whole["chat"]] == [f"c{at}" for at in range(75, 80)]
        assert (await again.call("hand", up=True))["type"] == "ack"

    async def test_a_new_epoch_begins_with_a_snapshot_in_the_same_session_and_seat(self, hall: Hall):
        doctor, expert = await hall.both()
        await expert.call("chat", client_id="c", text="重启之前")
        seat, epoch = doctor.seat, doctor.epoch
        hall.restart()
        await closed_with(doctor, schema.Close.RESTART)
        await doctor.connect()
        welcome = await doctor.hello()
        assert welcome["epoch"] != epoch
        assert (welcome["seat"], welcome["snapshot"]["session"]) == (seat, hall.session)
        assert [x["text"] for x in welcome["snapshot"]["chat"]] == ["重启之前"]
        assert hall.attendance("doctor") == [(None, "")]

    async def test_a_duplicate_has_no_second_effect(self, hall: Hall):
        doctor, expert = await hall.both()
        number = await doctor.send("annotation", body={"a": 1})
        await doctor.expect("ack", n=number)
        await doctor.raw({"type": "annotation", "n": number, "body": {"a": 1}})
        assert (await doctor.read()) == {"type": "ack", "n": number, "id": "", "at": ""}
        assert len([x for x in await expert.quiet() if x["type"] == "annotation"]) == 1

    async def test_a_resent_chat_line_is_stored_once_and_acknowledged_with_the_same_id(self, hall: Hall):
        doctor, expert = await hall.both()
        first = await doctor.call("chat", client_id="same", text="一句话")
        await doctor.raw({"type": "chat", "n": doctor.n, "client_id": "same", "text": "一句话"})
        assert (await doctor.expect("ack", n=doctor.n))["id"] == first["id"]
        hall.restart()
        await doctor.connect()
        await doctor.hello()
        assert (await doctor.call("chat", client_id="same", text="一句话"))["id"] == first["id"]
        assert len(hall.world.uow.meetings.messages(CASE)) == 1
        assert len([x for x in expert.kept if x["type"] == "chat"]) == 0

    async def test_delivery_is_marked_when_the_other_browser_has_the_line(self, hall: Hall):
        doctor, expert = await hall.both()
        stored = await doctor.call("chat", client_id="c", text="收到请回复")
        line = await expert.expect("chat")
        assert not [x for x in await doctor.quiet() if x["type"] == "delivered"]
        await expert.raw({"type": "ack", "seq": line["seq"]})
        mark = await doctor.expect("delivered")
        assert (mark["id"], mark["by"]) == (stored["id"], expert.seat)

    async def test_chat_is_not_acknowledged_when_the_store_fails(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.services.failing = 1
        refused = await doctor.call("chat", client_id="c", text="第一次")
        assert (refused["type"], refused["code"]) == ("refused", "unavailable")
        assert not [x for x in await expert.quiet() if x["type"] == "chat"]
        assert (await doctor.call("chat", client_id="c", text="第一次"))["type"] == "ack"
        await expert.expect("chat")


    async def test_a_refusal_that_got_lost_is_refused_again_and_never_acknowledged(self, hall: Hall):
        doctor, _ = await hall.both()
        assert (await doctor.call("lock", locked=True))["code"] == "not_allowed"
        await doctor.drop()
        await doctor.connect()
        await doctor.hello()
        await doctor.raw({"type": "lock", "n": doctor.n, "locked": True})
        assert (await doctor.expect("refused", n=doctor.n))["code"] == "not_allowed"

    async def test_who_enters_later_reads_what_was_said_before_and_at_the_door(self, hall: Hall):
        expert = await hall.browser("expert").enter()
        await expert.call("chat", client_id="a", text="先到")
        doctor = await hall.browser("doctor").connect()
        assert [x["text"] for x in (await doctor.hello())["snapshot"]["chat"]] == ["先到"]
        await expert.call("chat", client_id="b", text="在门口")
        await doctor.call("enter")
        assert [x["message"]["text"] for x in await doctor.quiet() if x["type"] == "chat"] == ["在门口"]

    async def test_a_store_that_does_not_answer_a_hello_lets_the_browser_come_back(self, hall: Hall):
        doctor, _ = await hall.both()
        await doctor.drop()
        hall.services.failing = 1
        await doctor.connect()
        assert (await doctor.hello())["code"] == "restart"
        await doctor.connect()
        assert (await doctor.hello())["resumed"] is True


class TestAttendance:
    async def test_a_short_blink_leaves_no_gap(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.drop()
        away = await expert.expect("presence")
        assert away["seat"]["connected"] is False
        await hall.pass_time(4)
        await doctor.connect()
        await doctor.hello()
        await hall.pass_time(10)
        assert hall.attendance("doctor") == [(None, "")]

    async def test_a_long_silence_is_a_gap_from_its_beginning(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.drop()
        await expert.expect("presence")
        began = hall.world.uow.now
        await hall.pass_time(60)
        assert hall.seat("doctor").state is m.SeatState.LOST
        assert hall.attendance("doctor") == [(began, "lost")]
        await doctor.connect()
        await doctor.hello()
        assert hall.attendance("doctor") == [(began, "lost"), (None, "")]
        assert hall.world.state() is m.State.IN_SESSION

    async def test_an_empty_room_never_ends_the_session(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.drop()
        await expert.drop()
        for _ in range(4):
            await hall.pass_time(3600)
        assert hall.rooms.rooms == {}
        assert hall.world.state() is m.State.IN_SESSION
        await doctor.connect()
        assert (await doctor.hello())["snapshot"]["ended_at"] is None


class TestRevocation:
    async def test_an_ended_assignment_closes_the_socket_and_tells_the_other_browser(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.world.uow.consultations.end_participant(
            CASE, hall.world["expert"].membership, m.Part.EXPERT, at=hall.world.uow.now
        )
        await hall.rooms.revoked([hall.world["expert"].membership], CASE)
        await closed_with(expert, schema.Close.REVOKED)
        gone = await doctor.expect("presence", gone=True)
        assert gone["seat"]["seat"] == expert.seat
        again = await hall.browser("expert").connect()
        assert (await again.hello())["code"] == "not_found"

    async def test_rows_are_read_again_even_if_nobody_said_that_they_changed(self, hall: Hall):
        _, expert = await hall.both()
        hall.world.uow.consultations.end_participant(
            CASE, hall.world["expert"].membership, m.Part.EXPERT, at=hall.world.uow.now
        )
        await hall.pass_time(61)
        await closed_with(expert, schema.Close.REVOKED)

    async def test_an_ended_login_closes_its_socket_but_keeps_the_seat(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.sockets["expert"].revoke()
        await closed_with(expert, schema.Close.REVOKED)
        assert (await doctor.expect("presence", gone=True))["reason"] == "revoked"
        again = await hall.browser("expert").connect()
        assert (await again.hello())["seat"] == expert.seat


    async def test_an_ended_login_whose_line_is_away_loses_its_media_too(self, hall: Hall):
        doctor, expert = await hall.both()
        await expert.drop()
        await doctor.expect("presence")
        expelled = []
        hall.rooms.rooms[hall.session].expelled = lambda _room, live: expelled.append(live.info.seat.id)
        hall.rooms.logins_ended(lambda login, _actor: login == "login-doctor")
        assert expelled == []                              # a socket that is here is closed by itself
        hall.rooms.logins_ended(lambda login, _actor: login == "login-expert")
        hall.rooms.logins_ended(lambda login, _actor: login == "login-expert")
        assert expelled == [expert.seat]
        assert (await doctor.expect("presence", gone=True))["reason"] == "revoked"


class TestFinish:
    async def test_finish_reaches_both_and_can_be_undone(self, hall: Hall):
        doctor, expert = await hall.both()
        assert (await expert.call("finish"))["type"] == "ack"
        assert (await doctor.expect("finished"))["by"] == hall.world["expert"].membership
        assert hall.world.state() is m.State.REPORTING
        assert (await doctor.call("annotation", body={}))["code"] == "not_in"
        assert (await doctor.call("undo_finish"))["type"] == "ack"
        await expert.expect("reopened")
        assert hall.world.state() is m.State.IN_SESSION
        assert (await expert.call("annotation", body={}))["type"] == "ack"
        assert [reason for _, reason in hall.attendance("expert")] == ["finished", ""]
        assert hall.seat("doctor").state is m.SeatState.IN

    async def test_after_signing_there_is_nothing_to_undo(self, hall: Hall):
        doctor, expert = await hall.both()
        await expert.call("finish")
        hall.world.put(state=m.State.SIGNED)
        assert (await doctor.call("undo_finish"))["code"] == "wrong_state"

    async def test_telephone_shows_both_numbers_to_both(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.call("phone")
        told = await expert.expect("telephone")
        assert {x["phone"] for x in told["contacts"]} == {"138-doctor", "138-expert"}
        assert hall.world.uow.meetings.session(m.SessionId(hall.session)).kind == "telephone"

    async def test_what_another_page_changes_reaches_the_room(self, hall: Hall):
        _, expert = await hall.both()
        attending.send_message(
            hall.world.uow, actor=hall.world["doctor"], consultation=CASE, client_id="page", text="来自会诊页"
        )
        await hall.rooms.changed(CASE)
        await hall.rooms.changed(CASE)
        assert [x["message"]["text"] for x in await expert.quiet() if x["type"] == "chat"] == ["来自会诊页"]
        attending.finish_session(hall.world.uow, actor=hall.world["doctor"], session=m.SessionId(hall.session))
        await hall.rooms.changed(CASE)
        await expert.expect("finished")
