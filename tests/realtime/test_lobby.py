"""Lobby, invitations and the chair over real WebSockets: who is told what, and what a restart does not forget."""

from datetime import timedelta

import pytest

from consult import inviting
from consult import model as m
from server.signalling import schema
from tests.realtime.world import CASE, Browser, Hall, closed_with


async def guest(hall: Hall, host: Browser, who: str) -> Browser:
    """Somebody who was invited and waits in the lobby."""
    assert (await host.call("invite", membership=hall.world[who].membership))["type"] == "ack"
    browser = await hall.browser(who).connect()
    assert (await browser.hello())["type"] == "welcome"
    await browser.call("enter")
    return browser


class TestInvitation:
    async def test_both_sides_see_who_is_invited_until_they_come(self, hall: Hall):
        doctor, expert = await hall.both()
        await guest(hall, expert, "colleague")
        told = await doctor.expect("lobby")
        (one,) = told["lobby"]["invited"]
        assert (one["name"], one["membership"]) == ("吴静", hall.world["colleague"].membership)
        assert (await doctor.expect("lobby"))["lobby"]["invited"] == []

    async def test_it_is_used_once_and_survives_a_restart(self, hall: Hall):
        _, expert = await hall.both()
        colleague = await guest(hall, expert, "colleague")
        await expert.call("admit", seat=colleague.seat)
        hall.restart()
        await hall.pass_time(hall.world.uow.rules.invitation.total_seconds() + 1)
        assert inviting.expire_invitations(hall.world.uow) == 0
        again = await hall.browser("colleague").connect()
        assert (await again.hello())["seat"] == colleague.seat

    async def test_taken_back_or_over_its_hour_the_door_is_closed(self, hall: Hall):
        doctor, expert = await hall.both()
        for who in ("colleague", "second"):
            await expert.call("invite", membership=hall.world[who].membership)
        assert (await doctor.call("uninvite", membership=hall.world["colleague"].membership))["type"] == "ack"
        hall.world.uow.advance(hall.world.uow.rules.invitation)
        for who in ("colleague", "second"):
            browser = await hall.browser(who).connect()
            assert (await browser.hello())["code"] == "not_found"

    async def test_strangers_participants_and_the_removed_are_not_invitable(self, hall: Hall):
        _, expert = await hall.both()
        colleague = await guest(hall, expert, "colleague")
        await expert.call("remove", seat=colleague.seat)
        await closed_with(colleague, schema.Close.REMOVED)
        for who in ("stranger", "doctor", "colleague"):
            assert (await expert.call("invite", membership=hall.world[who].membership))["code"] == "not_invitable"
        assert (await expert.call("invite", membership="nobody"))["code"] == "not_invitable"

    async def test_the_guest_hears_that_the_session_is_over_and_comes_back_when_it_goes_on(self, hall: Hall):
        doctor, expert = await hall.both()
        colleague = await guest(hall, expert, "colleague")
        await expert.call("admit", seat=colleague.seat)
        await doctor.call("finish")
        await colleague.expect("finished")
        assert (await colleague.call("chat", client_id="c", text="还在吗"))["code"] == "not_in"
        await doctor.call("undo_finish")
        await colleague.expect("reopened")
        assert (await colleague.call("chat", client_id="d", text="回来了"))["type"] == "ack"


class TestLobby:
    async def test_those_who_wait_read_why_and_for_how_long_and_nothing_else(self, hall: Hall):
        _, expert = await hall.both()
        colleague = await guest(hall, expert, "colleague")
        await expert.call("invite", membership=hall.world["second"].membership)
        await expert.call("waiting", minutes=5, text="正在看片，请稍候")
        told = await colleague.expect("lobby")
        while not told["lobby"]["text"]:
            told = await colleague.expect("lobby")
        until = (hall.world.uow.now + timedelta(minutes=5)).isoformat()
        assert told["lobby"] == {"text": "正在看片，请稍候", "until": until, "invited": []}
        hall.restart()
        again = await hall.browser("colleague").connect()
        snapshot = (await again.hello())["snapshot"]
        assert (snapshot["lobby"]["text"], snapshot["lobby"]["until"], snapshot["chat"]) == ("正在看片，请稍候", until, [])

    @pytest.mark.parametrize("fields", [{"minutes": 241}, {"minutes": -1}, {"minutes": 1, "text": "x" * 201}])
    async def test_what_is_out_of_bounds_is_refused(self, hall: Hall, fields):
        _, expert = await hall.both()
        assert (await expert.call("waiting", **fields))["code"] == "malformed"


class TestChair:
    async def test_it_is_handed_over_told_to_all_and_kept_over_a_restart(self, hall: Hall):
        doctor, expert = await hall.both()
        hall.world.uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=hall.world["second"].membership, part=m.Part.REVIEWER,
            since=hall.world.uow.now,
        ))
        second = await hall.browser("second").enter()
        for one in (doctor, expert, second):
            await one.quiet()
        assert (await second.call("lock", locked=True))["code"] == "not_allowed"
        assert (await expert.call("chair", seat=doctor.seat))["code"] == "malformed"
        assert (await expert.call("chair", seat=second.seat))["type"] == "ack"
        hosts = {}
        for told in [x for x in await doctor.quiet() if x["type"] == "presence"]:
            hosts[told["seat"]["seat"]] = told["seat"]["host"]
        assert hosts == {expert.seat: False, second.seat: True}
        assert (await expert.call("lock", locked=True))["code"] == "not_allowed"
        hall.restart()
        second = await hall.browser("second").connect()
        await second.hello()
        assert (await second.call("lock", locked=True))["type"] == "ack"
