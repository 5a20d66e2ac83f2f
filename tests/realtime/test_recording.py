"""Recording over real WebSockets on a relay that remembers what it was asked: never more than the rows allow."""

import asyncio
from pathlib import Path

import pytest

from consult import model as m
from consult import recording as rules
from consult.recording_state import WORDS, Stage
from server.media.backend import MediaError
from server.media.seating import Seating
from server.recording.conducting import RecordingConductor, open_key
from server.recording.moments import Moments
from tests.media.test_seating import Backend
from tests.realtime.world import SDP, Browser, Hall, make_world, turn_settings


class Recorder(Backend):
    """Beside the rooms: which recording runs where, for whom, and everything that was asked, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.on_recording_ended = lambda *_: None
        self.holds: dict[str, str] = {}
        self.running: dict[str, frozenset[str]] = {}
        self.keys: set[bytes] = set()
        self.asked: list[str] = []

    async def record(self, room, *, recording, folder, key, seats):
        if self.fails:
            raise MediaError("no relay")
        assert folder.name == recording
        self.holds[room] = recording
        self.running[room] = frozenset(seats)
        self.keys.add(key)
        self.asked.append("record")

    async def pause_recording(self, room, recording):
        self.running.pop(room, None)
        self.asked.append("pause")

    async def stop_recording(self, room, recording):
        self.running.pop(room, None)
        self.holds.pop(room, None)
        self.asked.append("stop")

    def recorded(self, room):
        return self.holds.get(room)

    def alone(self) -> None:
        """The web process has gone: the relay pauses by itself."""
        self.running.clear()


class Studio(Hall):
    """A hall whose rooms may be recorded."""

    def ready(self, folder: Path) -> "Studio":
        self.backend, self.tasks, self.folder, self.muxes = Recorder(), set(), folder, 0
        self.conduct()
        return self

    def conduct(self) -> None:
        def once(_name, coroutine):
            task = asyncio.ensure_future(coroutine)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        def stopped() -> None:
            self.muxes += 1

        rooms = self.rooms
        seating = Seating(self.backend, rooms=lambda: list(rooms.rooms.values()), once=once)
        self.conductor = conductor = RecordingConductor(
            seating=seating, rooms=lambda: list(rooms.rooms.values()), folder=self.folder / "recordings",
            keys=self.folder / "keys", once=once, stopped=stopped,
        )
        rooms.handler.relay, rooms.handler.recordings.conductor = seating.offer, conductor
        self.moments = Moments(writing=conductor, keys=self.folder / "keys", clock=lambda: self.world.uow.now)
        rooms.handler.noticed = self.moments.noticed

        def made(room) -> None:
            seating.made(room)
            conductor.made(room)

        rooms.made = made

    def restart(self) -> None:
        self.backend.alone()
        super().restart()
        self.conduct()

    async def rest(self) -> None:
        while self.tasks:
            await asyncio.gather(*self.tasks)

    @property
    def recorded(self) -> frozenset[str] | None:
        """Whose seats are written at this moment."""
        return self.backend.running.get(self.session)

    def row(self):
        found = rules.of_session(self.world.uow, session=m.SessionId(self.session), sign=self.conductor.sign)
        assert found is not None
        return found


@pytest.fixture
async def studio(tmp_path):
    studio = (await Studio(make_world(), turn_settings()).start()).ready(tmp_path)
    yield studio
    for browser in studio.browsers:
        if browser.ws is not None and not browser.ws.closed:
            await browser.ws.close()
    await studio.rest()
    await studio.stop()


async def on_relay(*browsers: Browser) -> None:
    for browser in browsers:
        await browser.call("offer", to="relay", pc=f"pc-{browser.tab}", sdp=SDP)


async def consent(browser: Browser, *people: tuple[str, str]) -> None:
    assert (await browser.call("record_declare", people=[{"id": x, "who": who} for x, who in people]))["type"] == "ack"
    for person in ("self", *(x for x, _ in people)):
        assert (await browser.call("record_answer", person=person, answer="given", words=WORDS))["type"] == "ack"


async def phase(browser: Browser, wanted: str) -> dict:
    """The next message that tells of this phase, of what came and was not asked for yet."""
    while browser.kept:
        message = browser.kept.pop(0)
        if message["type"] == "recording" and message["recording"]["phase"] == wanted:
            return message["recording"]
    while (message := await browser.read()).get("recording", {}).get("phase") != wanted:
        pass
    return message["recording"]


async def recording(studio: Studio) -> tuple[Browser, Browser]:
    """Doctor with a patient, and expert: all have consented, and it runs."""
    return await begun(studio, *await studio.both())


async def begun(studio: Studio, doctor: Browser, expert: Browser) -> tuple[Browser, Browser]:
    """The two, whose recording runs now."""
    assert (await expert.call("record_ask"))["type"] == "ack"
    asked = await phase(doctor, "asked")
    assert (asked["by"], asked["words"]) == (studio.world["expert"].membership, WORDS)
    await consent(doctor, ("p", "patient"))
    await consent(expert)
    for browser in (doctor, expert):
        assert (await browser.expect("media"))["topology"] == "relay"
        assert studio.recorded is None
        await on_relay(browser)
    await phase(doctor, "running")
    await studio.rest()
    await expert.quiet()
    assert studio.recorded == {doctor.seat, expert.seat}
    return doctor, expert


async def test_it_moves_two_seats_to_the_relay_and_begins_when_all_are_there(studio):
    _, expert = await recording(studio)
    assert studio.backend.keys == {open_key(studio.folder / "keys", studio.row().recording)}
    whole = (await (await studio.browser("expert").connect()).hello())["snapshot"]["recording"]
    assert (whole["may"], whole["phase"]) == (True, "running")
    assert [[(x["who"], x["answer"]) for x in seat["people"]] for seat in whole["seats"] if seat["seat"] != expert.seat] == [
        [("self", "given"), ("patient", "given")]
    ]


async def test_a_newcomer_pauses_it_before_the_acknowledgement(studio):
    doctor, expert = await recording(studio)
    people = [{"id": "p", "who": "patient"}, {"id": "d", "who": "family"}]
    await doctor.call("record_declare", people=people)
    assert studio.recorded is None
    assert (await phase(expert, "paused"))["reason"] == "newcomer"
    await doctor.call("record_answer", person="d", answer="given", words=WORDS)
    assert studio.recorded == {doctor.seat, expert.seat}


async def test_a_guest_who_enters_pauses_it_and_is_never_written_without_consent(studio):
    doctor, expert = await recording(studio)
    studio.world.invite("colleague")
    guest = await studio.browser("colleague").connect()
    snapshot = (await guest.hello())["snapshot"]["recording"]
    assert (snapshot["phase"], snapshot["seats"]) == ("running", [])     # the lobby knows before it enters
    await guest.call("enter")
    await expert.call("admit", seat=guest.seat)
    await phase(doctor, "paused")
    assert studio.recorded is None
    assert (await guest.call("record_stop"))["code"] == "not_allowed"
    await consent(guest)
    await studio.rest()
    assert studio.recorded is None                                       # not on the relay yet
    await on_relay(guest)
    await studio.rest()
    assert studio.recorded == {doctor.seat, expert.seat, guest.seat}


async def test_a_withdrawal_stops_it_for_good(studio):
    doctor, expert = await recording(studio)
    assert (await doctor.call("record_answer", person="p", answer="withdrawn", words=WORDS))["type"] == "ack"
    assert (studio.recorded, studio.backend.holds) == (None, {})
    assert (await phase(expert, "stopped"))["reason"] == "withdrawn"
    assert studio.row().recording.stage is Stage.WITHHELD


async def test_a_withdrawal_that_the_store_does_not_take_stops_the_writing_all_the_same(studio):
    doctor, expert = await recording(studio)
    studio.services.failing = 1
    assert (await doctor.call("record_answer", person="p", answer="withdrawn", words=WORDS))["code"] == "unavailable"
    await studio.conductor.sweep()
    await expert.call("record_declare", people=[])
    assert studio.recorded is None
    await phase(expert, "paused")
    await doctor.call("record_answer", person="p", answer="withdrawn", words=WORDS)
    assert studio.row().recording.stage is Stage.WITHHELD


async def test_a_withdrawal_of_nobody_is_refused_and_bars_nothing(studio):
    doctor, expert = await recording(studio)
    refused = await expert.call("record_answer", person="nobody", answer="withdrawn", words=WORDS)
    assert refused["code"] == "malformed"
    assert studio.recorded == {doctor.seat, expert.seat}
    assert (await phase(doctor, "running"))["seats"]
    studio.services.failing = 1                                          # one who means it, one who does not
    assert (await doctor.call("record_answer", person="p", answer="withdrawn", words=WORDS))["code"] == "unavailable"
    await expert.call("record_answer", person="nobody", answer="withdrawn", words=WORDS)
    await doctor.call("record_answer", person="self", answer="given", words=WORDS)
    assert studio.recorded is None


async def test_after_a_restart_it_goes_on_only_when_the_rows_were_read_and_all_are_back(studio):
    doctor, expert = await recording(studio)
    studio.restart()
    assert studio.recorded is None
    await doctor.connect()
    whole = (await doctor.hello())["snapshot"]["recording"]
    assert whole["phase"] != "running"
    await studio.rest()
    assert studio.recorded == {doctor.seat, expert.seat}                 # the expert's line is only being waited for
    await expert.connect()
    assert (await expert.hello())["snapshot"]["recording"]["phase"] == "running"


async def test_a_changed_row_stops_it_at_the_next_reading(studio):
    doctor, expert = await recording(studio)
    events = studio.world.uow.recordings._events
    del events[2]
    await studio.conductor.settled(studio.rooms.rooms[m.SessionId(studio.session)])
    assert studio.recorded is None
    assert (await phase(doctor, "stopped"))["reason"] == "damaged"
    assert (await phase(expert, "stopped"))["seats"] == []


@pytest.mark.parametrize(("reason", "left"), [("disk", None), ("relay", "again")])
async def test_what_the_relay_ends_by_itself(studio, reason, left):
    doctor, expert = await recording(studio)
    held = studio.backend.holds.pop(studio.session)
    studio.backend.running.clear()
    studio.backend.on_recording_ended(studio.session, held, reason)
    await studio.rest()
    if left is None:
        assert (await phase(doctor, "stopped"))["reason"] == "disk"
        assert studio.row().recording.stage is Stage.WAITING
        assert studio.muxes
    else:
        assert studio.recorded == {doctor.seat, expert.seat}


async def test_a_relay_that_does_not_answer_leaves_no_banner_and_is_tried_again(studio):
    doctor, _ = await recording(studio)
    await doctor.call("record_declare", people=[])
    assert studio.recorded is not None                                   # the patient has left the room
    await doctor.call("record_declare", people=[{"id": "p", "who": "patient"}])
    studio.backend.fails = True
    await doctor.call("record_answer", person="p", answer="given", words=WORDS)
    assert (await phase(doctor, "paused"))["reason"] == "newcomer"
    assert (await phase(doctor, "paused"))["reason"] == "relay"
    studio.backend.fails = False
    await studio.conductor.sweep()
    await phase(doctor, "running")


async def test_the_end_of_the_session_ends_it_and_stop_does_too(studio):
    doctor, expert = await recording(studio)
    await expert.call("record_stop")
    assert (await phase(doctor, "stopped"))["reason"] == "asked"
    first = studio.row().recording
    await doctor.call("record_ask")
    await consent(doctor)
    await consent(expert)
    await studio.rest()
    assert studio.recorded == {doctor.seat, expert.seat}
    await doctor.call("finish")
    await studio.rest()
    assert studio.recorded is None
    assert studio.row().recording.stop_reason == "finished"
    assert first.id != studio.row().recording.id
    assert studio.muxes == 2


async def test_where_it_is_not_switched_on_nobody_may_ask(hall):
    doctor, _ = await hall.both()
    for kind, fields in [("record_ask", {}), ("record_stop", {}), ("record_declare", {"people": []}),
                         ("record_answer", {"person": "self", "answer": "given", "words": WORDS})]:
        assert (await doctor.call(kind, **fields))["code"] == "recording_off"
