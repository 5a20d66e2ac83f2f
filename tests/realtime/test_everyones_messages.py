"""Every message of the schema × every kind of seat × every state of it: what the sender is told, and who hears it.

The table is written by hand; the rooms, the handler and the services are the real ones, over the fakes and without
sockets. A message type without a row here fails.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from consult import attending, inviting
from consult import model as m
from consult import people as o
from server.signalling import schema as s
from server.signalling.room import Live, Room
from server.signalling.rooms import Rooms
from tests.realtime.world import CASE, SDP, FakeServices, World, make_world, turn_settings

EVERYONE = "referring expert expert-beside-a-chair reviewer chair guest"
PRINCIPALS = "referring expert expert-beside-a-chair reviewer chair"
HOSTS = "expert chair"
STATES = ("lobby", "in", "lost", "left", "finished", "removed", "revoked")
SEATED, INSIDE, ALWAYS = "lobby in lost", "in lost", "lobby in lost left finished"
AT_THE_DOOR = {"presence", "lobby", "locked", "finished", "reopened", "telephone", "closed"}
"""All that a guest who waits may hear of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Who may send it in which states; `answer` to whoever may, `running` instead while the session runs; what the
    `other` principal inside hears of it.
    """

    who: str = EVERYONE
    states: str = INSIDE
    answer: str = "ack"
    running: str = ""
    hears: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    numbered: bool = True


TABLE: dict[str, Row] = {
    "hello": Row(states=SEATED, answer="hello_twice", numbered=False, fields={
        "v": 1, "token": "t", "session": "s", "seat": "", "tab": "x", "epoch": "", "last_seq": 0,
    }),
    "ping": Row(states=ALWAYS, answer="pong", numbered=False, fields={"at": 1}),
    "ack": Row(states=ALWAYS, answer="", numbered=False, fields={"seq": 0}),
    "precheck": Row(states=SEATED, fields={"result": {}}),
    "enter": Row(states=SEATED, hears="presence"),
    "leave": Row(states=SEATED, hears="presence"),
    "offer": Row(hears="offer", fields={"to": "OTHER", "pc": "p", "sdp": SDP}),
    "answer": Row(hears="answer", fields={"to": "OTHER", "pc": "p", "sdp": SDP}),
    "candidate": Row(hears="candidate", fields={"to": "OTHER", "pc": "p", "candidate": ""}),
    "restart": Row(hears="restart", fields={"to": "OTHER", "pc": "p", "attempt": 1}),
    "path": Row(hears="path", fields={"to": "OTHER", "pc": "p", "path": "direct"}),
    "state": Row(hears="presence", fields={"mic": True, "camera": True}),
    "hand": Row(hears="presence", fields={"up": True}),
    "chat": Row(hears="chat", fields={"client_id": "c", "text": "看这里"}),
    "quality": Row(answer="", hears="quality", numbered=False, fields={"of": "OTHER"}),
    "tally": Row(states="in lost left finished", fields={"breaks": 1}),
    "view": Row(answer="", hears="view", numbered=False, fields={"body": {"frame": 1}}),
    "cursor": Row(answer="", hears="cursor", numbered=False, fields={"body": {"x": 1}}),
    "annotation": Row(hears="annotation", fields={"body": {"line": 1}}),
    "snapshot": Row(hears="snapshot", fields={"body": {"frame": 1}}),
    "admit": Row(who=HOSTS, hears="presence", fields={"seat": "WAITING"}),
    "remove": Row(who=HOSTS, hears="presence", fields={"seat": "WAITING", "reason": "无关"}),
    "lock": Row(who=HOSTS, hears="locked", fields={"locked": True}),
    "invite": Row(who=PRINCIPALS, hears="lobby", fields={"membership": "m-nurse"}),
    "uninvite": Row(who=PRINCIPALS, hears="lobby", fields={"membership": "m-invited"}),
    "chair": Row(who=HOSTS, hears="presence", fields={"seat": "FRIEND"}),
    "waiting": Row(who=HOSTS, hears="lobby", fields={"minutes": 5, "text": "稍候"}),
    "finish": Row(who=PRINCIPALS, hears="finished"),
    "undo_finish": Row(who=PRINCIPALS, states="in lost left finished", running="wrong_state", hears="reopened"),
    "phone": Row(who=PRINCIPALS, hears="telephone"),
    "record_ask": Row(who=PRINCIPALS, answer="recording_off"),
    "record_declare": Row(answer="recording_off", fields={"people": []}),
    "record_answer": Row(answer="recording_off", fields={"person": "self", "answer": "given", "words": "1"}),
    "record_stop": Row(who=PRINCIPALS, answer="recording_off"),
    "ice": Row(states=SEATED, answer="ice ack"),
}


class Line:
    """A socket that takes everything."""

    closed = False

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def send_newest(self, _key: tuple[str, str], frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def end(self, why: s.Close) -> None:
        self.frames.append({"type": "closed", "code": why.value})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A room with the sender, another principal inside, an expert beside them, and a guest at the door."""

    room: Room
    rooms: Rooms
    services: FakeServices
    sender: Live
    other: Live
    friend: Live
    waiting: Live
    lines: dict[str, Line]

    async def send(self, kind: str, row: Row) -> str:
        """What the sender is told: types, or the code of a refusal."""
        seats = {"OTHER": self.other, "FRIEND": self.friend, "WAITING": self.waiting}
        fields = {
            x: seats[value].info.seat.id if isinstance(value, str) and value in seats else value
            for x, value in row.fields.items()
        }
        number = {"n": 1} if row.numbered else {}
        message = s.decode(json.dumps({"type": kind, **number, **fields}))
        await self.rooms.handler.take(self.room, self.sender, message, seconds=1000.0)
        told = [x for x in self.heard(self.sender) if x["type"] in {"ack", "refused", "pong", "ice"}]
        assert all(x.get("n", 1) in {1, 0} for x in told)
        return " ".join(x["code"] if x["type"] == "refused" else x["type"] for x in told)

    def heard(self, live: Live) -> list[dict[str, Any]]:
        return self.lines[live.info.seat.id].frames


def cast(kind: str) -> tuple[World, str, str]:
    """Everybody of a consultation with such a seat in it; the sender's and the other principal's names."""
    world = make_world()
    for login in ("nurse", "invited"):
        staff = o.StaffId(f"s-{login}")
        world.uow.people.add_staff(o.Staff(id=staff, login=login, name=login, title="", phone="1"))
        world.uow.people.add_membership(o.Membership(
            id=o.MembershipId(f"m-{login}"), staff=staff, organisation=o.OrganisationId("clinic"),
            role=o.Role.TECHNICIAN,
        ))
    part = {"reviewer": m.Part.REVIEWER, "chair": m.Part.CHAIR, "expert-beside-a-chair": m.Part.CHAIR}.get(kind)
    if part is not None:
        world.uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=world["second"].membership, part=part, since=world.uow.now
        ))
    if kind == "expert":
        world.uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=world["second"].membership, part=m.Part.EXPERT, since=world.uow.now
        ))
    for name in ("colleague", "technician"):
        world.invite(name)
    sender = {"referring": "doctor", "guest": "colleague", "reviewer": "second", "chair": "second"}.get(kind, "expert")
    return world, sender, "expert" if sender == "doctor" else "doctor"


async def open_stage(kind: str, state: str) -> Stage:
    world, sender, other = cast(kind)
    uow = world.uow
    session = attending.open_session(uow, actor=world["doctor"], consultation=CASE).id
    host = world["second" if kind in {"chair", "expert-beside-a-chair"} else "expert"]
    seats = {}
    for name in ("doctor", "expert", "technician", sender, "second"):
        seated = any(x.membership == world[name].membership for x in uow.consultations.participants(CASE))
        if name in seats or not seated:
            continue
        seat = seats[name] = attending.take_seat(uow, actor=world[name], session=session)
        if name != "technician" and (name != sender or state != "lobby"):
            attending.admit(uow, actor=host if name == "colleague" else world[name], seat=seat.id)
    inviting.invite_guest(uow, actor=world["doctor"], session=session, membership=o.MembershipId("m-invited"))
    here = seats[sender].id
    if state == "lost":
        attending.seat_lost(uow, seat=here, at=uow.now)
    elif state == "left":
        attending.leave_seat(uow, actor=world[sender], seat=here)
    elif state == "finished":
        attending.finish_session(uow, actor=world["doctor"], session=session)
    elif state == "removed":
        uow.meetings.save_seat(replace(uow.meetings.seat(here), state=m.SeatState.REMOVED))
    services = FakeServices(uow)
    rooms = Rooms(services=services, settings=turn_settings(), clock=lambda: uow.now)
    room = await rooms.room(session)
    lines = {}
    for name, seat in seats.items():
        live = room.seats[seat.id]
        live.connection = lines[seat.id] = Line()
        live.actor = world[name]
    live = room.seats[here]
    if state == "revoked":
        live.info = replace(live.info, active=False)
    friend = next(x for x in ("expert", "second") if x in seats and x != sender)
    return Stage(
        room=room, rooms=rooms, services=services, sender=live, other=room.seats[seats[other].id],
        friend=room.seats[seats[friend].id], waiting=room.seats[seats["technician"].id], lines=lines,
    )


def test_every_message_of_the_schema_has_a_row():
    assert set(TABLE) == {s.name(x) for x in s.RULES}


def expected(kind: str, state: str, row: Row) -> str:
    """What such a seat is told."""
    if state == "revoked":
        return "not_found"
    if state not in row.states.split():
        return "not_in"
    if kind not in row.who.split():
        return "not_allowed"
    return row.answer if state == "finished" else row.running or row.answer


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", EVERYONE.split())
async def test_each_message_does_what_the_table_says_and_nothing_else(kind, state):
    for name, row in TABLE.items():
        stage = await open_stage(kind, state)
        told, wanted = await stage.send(name, row), expected(kind, state, row)
        assert told == wanted, name
        heard, waits = stage.heard(stage.other), {x["type"] for x in stage.heard(stage.waiting)}
        if wanted in {"not_found", "not_in", "not_allowed"}:
            assert (heard, waits, stage.services.ran) == ([], set(), []), name
        elif wanted == row.answer and row.hears:
            of_it = [x for x in heard if x["type"] == row.hears]
            assert of_it, name
            assert {x.get("from", stage.sender.info.seat.id) for x in of_it} == {stage.sender.info.seat.id}, name
        assert waits <= AT_THE_DOOR, name


def test_who_and_states_of_the_table_are_names_of_it():
    for name, row in TABLE.items():
        assert set(row.who.split()) <= set(EVERYONE.split()), name
        assert set(row.states.split()) < set(STATES), name
