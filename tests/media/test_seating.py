"""Which rooms are on the relay and who may be: the third seat moves them, whoever goes loses the media at once."""

import asyncio
from dataclasses import replace

import pytest

from consult import attending
from consult import model as m
from server.media.backend import MediaError, Passed
from server.media.seating import Seating
from tests.realtime.world import CASE, SDP, Hall, make_world, turn_settings


class Backend:
    """Remembers what it was asked; `fails` makes it refuse."""

    topology, records = "relay", True

    def __init__(self) -> None:
        self.generation, self.fails = "one", False
        self.on_change = lambda: None
        self.rooms: dict[str, set[str]] = {}
        self.offers: list[tuple[str, tuple[str, ...]]] = []
        self.during = lambda: None
        self.on_passed = lambda *_: None
        self.told: list[tuple[str, str, dict]] = []
        self.begun: list[bool] = []

    async def open_room(self, room):
        if self.fails:
            raise MediaError("no relay")
        self.rooms.setdefault(room, set())

    def seats(self, room):
        return frozenset(self.rooms[room]) if room in self.rooms else None

    async def answer(self, room, seat, *, pc, sdp, others, speech=False):
        if self.fails:
            raise MediaError("no relay")
        assert "a=candidate" not in sdp
        self.offers.append((seat, tuple(others)))
        self.begun.append(speech)
        self.during()
        self.rooms[room].add(seat)
        return f"answer to {pc}"

    def heard(self, room, seat, **figures):
        self.told.append((room, seat, figures))

    async def leave(self, room, seat):
        self.rooms[room].discard(seat)

    async def close_room(self, room):
        self.rooms.pop(room, None)

    async def close(self):
        self.rooms.clear()


@pytest.fixture
async def hall():
    hall = await Hall(make_world(), turn_settings()).start()
    hall.backend, hall.tasks = Backend(), set()
    on_relay(hall)
    yield hall
    for browser in hall.browsers:
        if browser.ws is not None and not browser.ws.closed:
            await browser.ws.close()
    await hall.stop()


def on_relay(hall: Hall) -> None:
    def once(_name, coroutine):
        task = asyncio.ensure_future(coroutine)
        hall.tasks.add(task)
        task.add_done_callback(hall.tasks.discard)

    hall.seating = seating = Seating(hall.backend, rooms=lambda: list(hall.rooms.rooms.values()), once=once)
    hall.rooms.made, hall.rooms.handler.relay = seating.made, seating.offer
    hall.rooms.handler.heard = seating.heard


async def three(hall: Hall):
    """Doctor, expert, and a second expert who comes later."""
    doctor, expert = await hall.both()
    hall.world.uow.consultations.add_participant(m.Participant(
        consultation=hall.rooms.rooms[m.SessionId(hall.session)].view.session.consultation,
        membership=hall.world["second"].membership, part=m.Part.REVIEWER, since=hall.world.uow.now,
    ))
    assert (await doctor.call("offer", to="relay", pc="pc", sdp=SDP))["code"] == "unavailable"
    third = await hall.browser("second").enter()
    for browser in (doctor, expert, third):
        assert (await browser.expect("media"))["generation"] == "one"
    return doctor, expert, third


async def test_the_third_seat_moves_the_room_and_offers_are_answered_with_the_others_seats(hall):
    doctor, expert, third = await three(hall)
    await doctor.send("offer", to="relay", pc="pc-1", sdp=SDP)
    answer = await doctor.expect("relay_answer")
    assert (answer["pc"], answer["sdp"]) == ("pc-1", "answer to pc-1")
    assert hall.backend.offers == [(doctor.seat, (expert.seat, third.seat))]
    assert (await doctor.call("answer", to="relay", pc="pc-1", sdp=SDP))["code"] == "not_found"
    assert (await doctor.call("offer", to="relay", pc="pc-1", sdp="v=0"))["code"] == "bad_description"
    hall.backend.fails = True
    assert (await doctor.call("offer", to="relay", pc="pc-2", sdp=SDP))["code"] == "unavailable"

    # the relay began a new life
    hall.backend.generation = "two"
    hall.backend.on_change()
    for browser in (doctor, expert, third):
        assert (await browser.expect("media"))["generation"] == "two"


async def test_the_relay_hears_what_a_seat_receives_and_its_browser_what_is_passed_on(hall):
    doctor, expert, third = await three(hall)
    await doctor.call("offer", to="relay", pc="pc", sdp=SDP, speech=True)
    assert hall.backend.begun == [True]
    await doctor.raw({"type": "quality", "of": "relay", "heard": {expert.seat: 0.25}, "loss": 0.1, "kbps": 90,
                      "wants": third.seat})
    await doctor.call("hand", up=True)
    assert hall.backend.told == [(hall.session, doctor.seat, {
        "heard": {expert.seat: 0.25}, "loss": 0.1, "kbps": 90, "wants": third.seat, "most": "video", "cap": 0})]
    # who chose pictures tells no more than the report needs, and keeps them
    await doctor.raw({"type": "quality", "of": "relay", "concealed": 0.2, "loss": 0.1, "rtt_ms": 40, "kbps": 90})
    await doctor.call("hand", up=False)
    assert hall.backend.told[1:] == [(hall.session, doctor.seat, {
        "heard": {}, "loss": None, "kbps": 90, "wants": "", "most": "video", "cap": 0})]
    assert not [x for x in await expert.quiet() if x["type"] == "quality"]
    hall.backend.on_passed(hall.session, doctor.seat, Passed(rung="small", sees=third.seat, thin=False, busy=False))
    hall.backend.on_passed("another", doctor.seat, Passed(rung="audio", sees="", thin=False, busy=True))
    told = await doctor.expect("relay_line")
    assert (told["rung"], told["sees"], told["thin"], told["busy"]) == ("small", third.seat, False, False)
    assert told["chosen"] is False
    assert not [x for x in [*await doctor.quiet(), *await expert.quiet()] if x["type"] == "relay_line"]


@pytest.mark.parametrize(("person", "place", "installation", "cap"), [
    (0, 0, 0, 0), (300, 0, 0, 300), (300, 100, 0, 100), (0, 300, 1000, 300), (5000, 0, 1000, 1000),
])
async def test_what_a_seat_wants_and_may_be_sent_at_most_reaches_the_relay(hall, person, place, installation, cap):
    doctor, _, _ = await three(hall)
    people = hall.world.uow.people
    clinic = people.organisation(hall.world["doctor"].organisation)
    people.save_organisation(replace(clinic, room_kbps=place))
    hall.seating._kbps = installation
    await hall.rooms.changed(CASE)
    await doctor.call("state", mic=True, camera=True, most="audio", kbps=person)
    await doctor.raw({"type": "quality", "of": "relay", "heard": {}, "loss": 0, "kbps": 90})
    await doctor.call("hand", up=True)
    [(_, seat, told)] = hall.backend.told
    assert (seat, told["most"], told["cap"]) == (doctor.seat, "audio", cap)


async def settled(hall: Hall) -> set[str]:
    await asyncio.gather(*hall.tasks)
    return hall.backend.rooms.get(hall.session, set())


async def test_who_leaves_is_removed_or_logged_out_loses_the_media_at_once(hall):
    doctor, expert, third = await three(hall)
    for browser in (doctor, expert, third):
        await browser.call("offer", to="relay", pc="pc", sdp=SDP)
    assert await settled(hall) == {doctor.seat, expert.seat, third.seat}
    await third.call("leave")
    assert await settled(hall) == {doctor.seat, expert.seat}
    hall.sockets["doctor"].revoke()
    assert await settled(hall) == {expert.seat}
    await expert.call("finish")
    assert await settled(hall) == set()
    assert hall.session not in hall.backend.rooms


async def test_a_seat_that_is_put_out_while_the_relay_answers_does_not_stay_on_it(hall):
    doctor, _, third = await three(hall)
    room = hall.rooms.rooms[m.SessionId(hall.session)]
    live = room.seats[third.seat]

    def removed() -> None:
        gone = hall.world.uow.meetings.seat(third.seat)
        live.info = replace(live.info, seat=replace(gone, state=m.SeatState.REMOVED))

    hall.backend.during = removed
    await third.send("offer", to="relay", pc="pc", sdp=SDP)
    await third.expect("relay_answer")
    assert third.seat not in await settled(hall)
    assert doctor.seat not in hall.backend.rooms[hall.session]


async def test_after_a_restart_a_room_that_the_relay_carries_is_on_it_from_the_first_word(hall):
    doctor, expert, _ = await three(hall)
    await doctor.call("offer", to="relay", pc="pc", sdp=SDP)
    hall.restart()
    on_relay(hall)
    await doctor.connect()
    welcome = await doctor.hello()
    assert welcome["snapshot"]["media"] == {"topology": "relay", "generation": "one"}
    assert expert.seat in {x["seat"] for x in welcome["snapshot"]["seats"]}


async def test_a_session_that_ended_while_nobody_looked_is_taken_off_the_relay(hall):
    doctor, _, _ = await three(hall)
    await doctor.call("offer", to="relay", pc="pc", sdp=SDP)
    hall.restart()
    attending.finish_session(hall.world.uow, actor=hall.world["doctor"], session=m.SessionId(hall.session))
    on_relay(hall)
    await doctor.connect()
    assert (await doctor.hello())["snapshot"]["media"]["topology"] == "direct"
    await settled(hall)
    assert hall.session not in hall.backend.rooms
