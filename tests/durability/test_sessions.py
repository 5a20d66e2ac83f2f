"""kill -9 of the real server while two people meet: open, take a seat, enter, chat, finish, undo; and documents."""

from __future__ import annotations

import io

import pytest
from aiohttp import FormData
from PIL import Image

from consult import model as m
from tests.durability.house import House
from tests.durability.tab import Cut, Room

UNIT = ("unit_begun", "before_commit", "after_commit_before_publish", "after_commit_before_ack")
BLOB = ("blob_before_fsync", "blob_before_rename", "blob_before_directory_fsync")
STEPS = ("open", "seat", "enter", "chat", "finish", "undo")


@pytest.fixture(scope="module")
async def house(tmp_path_factory, launcher):
    """A consultation that is checked in for every death, and a draft for the documents."""
    house = House(tmp_path_factory.mktemp("sessions"), launcher)
    house.build(cases={m.State.CHECKED_IN: len(UNIT) * len(STEPS), m.State.DRAFT: 1})
    house.start()
    for who in ("doctor", "expert"):
        await house.browser(who)
    yield house
    await house.close()


class Meeting:
    """The doctor's and the expert's side of one session, step by step."""

    def __init__(self, house: House, case: str) -> None:
        self.house, self.case = house, case
        self.session = ""
        self.rooms: dict[str, Room] = {}

    async def open(self) -> None:
        self.session = await (await self.house.browser("doctor")).open_session(self.case)

    async def seat(self) -> None:
        for who in ("doctor", "expert"):
            before = self.rooms.get(who)
            room = await Room(await self.house.browser(who), self.case, self.session).connect()
            room.seat = before.seat if before else ""
            await room.hello()
            assert before is None or before.seat in {"", room.seat}
            self.rooms[who] = room

    async def enter(self) -> None:
        for room in self.rooms.values():
            await room.enter()

    async def chat(self) -> None:
        await self.rooms["doctor"].chat("血压 150/95")
        await self.rooms["expert"].chat("请复查心电图")

    async def finish(self) -> None:
        await self.rooms["expert"].finish()

    async def undo(self) -> None:
        await self.rooms["expert"].undo_finish()

    async def close(self) -> None:
        for room in self.rooms.values():
            await room.close()


@pytest.mark.parametrize("point", UNIT)
@pytest.mark.parametrize("step", STEPS)
async def test_killed_in_a_session_the_same_session_goes_on(house, step, point):
    meeting = Meeting(house, house.cases[m.State.CHECKED_IN].pop())
    house.cases.setdefault(m.State.IN_SESSION, []).append(meeting.case)
    at = STEPS.index(step)
    for name in STEPS[:at]:
        await getattr(meeting, name)()
    house.arm(point)
    with pytest.raises(Cut):
        await getattr(meeting, step)()
    house.wait_dead()
    await meeting.close()
    house.start()
    said = house.acknowledged.states.pop(meeting.case, None)    # the step that was cut may have been committed
    house.inspect()
    state = house.read(lambda uow: uow.consultations.get(meeting.case).state)
    assert said is None or state in {said, m.State.REPORTING if step == "finish" else m.State.IN_SESSION}
    await go_on(meeting, state, step)
    sessions = house.read(lambda uow: uow.meetings.sessions(meeting.case))
    assert len(sessions) == 1                   # no death makes a second session
    house.inspect()


async def go_on(meeting: Meeting, state: m.State, step: str) -> None:
    """What browsers do by themselves: open (the same session), hello with the old seat, and the step again."""
    if state is m.State.REPORTING:
        assert step in {"finish", "undo"}
        seated = meeting.rooms
        meeting.rooms = {}
        tab = await meeting.house.browser("expert")
        await tab.call("POST", f"/api/sessions/{meeting.session}/undo-finish", json={})
        meeting.house.acknowledged.states[meeting.case] = m.State.IN_SESSION
        meeting.rooms = seated
    await meeting.open()
    await meeting.seat()
    await meeting.enter()
    await meeting.chat()
    await meeting.close()


@pytest.mark.parametrize("point", [*BLOB, *UNIT])
async def test_killed_while_a_document_is_stored_it_is_whole_or_absent(house, point):
    (case,) = house.cases[m.State.DRAFT]
    doctor = await house.browser("doctor")
    before = documents(house, case)
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), (len(before), 0, 9)).save(picture, "PNG")

    async def add():
        form = FormData({"kind": "document", "title": "门诊病历"})
        form.add_field("file", picture.getvalue(), filename="x.png", content_type="image/png")
        return await doctor.call("POST", f"/api/consultations/{case}/documents", data=form)

    house.arm(point)
    with pytest.raises(Cut):
        await add()
    house.wait_dead()
    house.start()
    house.inspect()
    assert len(documents(house, case)) - len(before) in {0, 1}
    added = await add()
    await doctor.call_bytes(f"/api/documents/{added['id']}/pages/1")
    for document in documents(house, case):
        page = await doctor.call_bytes(f"/api/documents/{document.id}/pages/1")
        Image.open(io.BytesIO(page)).load()


def documents(house, case):
    return house.read(lambda uow: uow.consultations.documents(case))
