"""A clinic, a hospital, a consultation that is checked in, and a room over the fakes: no sockets, no storage."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestServer

from consult import attending
from consult import model as m
from consult import patient as p
from consult import people as o
from server.settings import Ice, Settings
from server.signalling import schema
from server.signalling.rooms import Rooms
from server.signalling.socket import Socket
from tests.domain.fakes import NOON, FakeUnitOfWork

T = TypeVar("T")
CASE = m.ConsultationId("case-1")
ORIGIN = "http://room.test"
TOKEN = "csrf-token"
SDP = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA:BB\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=candidate:1 1 udp 2113937151 10.1.2.3 50000 typ host\r\na=end-of-candidates\r\n"
)


@dataclass
class World:
    """People by short names, and the unit of work that all of them share."""

    uow: FakeUnitOfWork
    actors: dict[str, o.Actor]

    def __getitem__(self, name: str) -> o.Actor:
        return self.actors[name]

    def invite(self, name: str) -> None:
        """A guest by name, who has used the invitation."""
        self.uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=self[name].membership, part=m.Part.GUEST, since=self.uow.now
        ))

    def person(self, key: str, place: str, role: o.Role) -> str:
        """One more of them, by name."""
        add_person(self.uow, self.actors, key, key, place, role)
        return key

    def state(self) -> m.State:
        return self.uow.consultations.get(CASE).state

    def put(self, **changes: Any) -> None:
        self.uow.consultations.save(replace(self.uow.consultations.get(CASE), **changes))


def add_person(
    uow: FakeUnitOfWork, actors: dict[str, o.Actor], key: str, name: str, place: str, role: o.Role
) -> None:
    """Somebody who works at a place."""
    staff, member = o.StaffId(f"s-{key}"), o.MembershipId(f"m-{key}")
    uow.people.add_staff(o.Staff(id=staff, login=key, name=name, title="主任医师", phone=f"138-{key}"))
    uow.people.add_membership(o.Membership(
        id=member, staff=staff, organisation=o.OrganisationId(place), role=role
    ))
    actors[key] = o.Actor(
        membership=member, staff=staff, organisation=o.OrganisationId(place), role=role, name=name
    )


def make_world(*, state: m.State = m.State.CHECKED_IN, urgency: m.Urgency = m.Urgency.ROUTINE) -> World:
    uow = FakeUnitOfWork()
    actors: dict[str, o.Actor] = {}
    for key, name, phone, tier, kind in [
        ("clinic", "九堡中心", "0571-1000", o.Tier.CLINIC, o.OrganisationKind.COMMUNITY_CENTRE),
        ("hospital", "市一院", "0571-2000", o.Tier.CITY, o.OrganisationKind.HOSPITAL),
        ("elsewhere", "另一医院", "0571-3000", o.Tier.CITY, o.OrganisationKind.HOSPITAL),
    ]:
        uow.people.add_organisation(o.Organisation(
            id=o.OrganisationId(key), name=name, short_name=name, tier=tier, kind=kind, phone=phone
        ))
    for key, name, place, role in [
        ("doctor", "周明", "clinic", o.Role.CLINIC_DOCTOR),
        ("colleague", "吴静", "clinic", o.Role.CLINIC_DOCTOR),
        ("technician", "郑岩", "clinic", o.Role.TECHNICIAN),
        ("expert", "陈立", "hospital", o.Role.EXPERT),
        ("second", "林舟", "hospital", o.Role.EXPERT),
        ("stranger", "何远", "elsewhere", o.Role.EXPERT),
    ]:
        add_person(uow, actors, key, name, place, role)
    uow.patients.add(p.Patient(
        id=p.PatientId("p-1"), name="测试患者", sex=p.Sex.MALE, birth_date=date(1960, 1, 1),
        registered_by=o.OrganisationId("clinic"), created_at=NOON,
    ))
    uow.consultations.add(m.Consultation(
        id=CASE, number="HZ20261123-0001", patient=p.PatientId("p-1"), organisation=o.OrganisationId("clinic"),
        requested_by=actors["doctor"].membership, service=m.Service.CLINICAL, mode=m.Mode.LIVE, urgency=urgency,
        target_organisation=o.OrganisationId("hospital"), state=state, state_since=NOON, created_at=NOON,
    ))
    for key, part in [("doctor", m.Part.REFERRING), ("expert", m.Part.EXPERT)]:
        uow.consultations.add_participant(m.Participant(
            consultation=CASE, membership=actors[key].membership, part=part, since=NOON
        ))
    return World(uow=uow, actors=actors)


class FakeServices:
    """server.work.Work over the fakes: every unit at once, published notes handed to `rooms` as the hub would."""

    def __init__(self, uow: FakeUnitOfWork) -> None:
        self.uow = uow
        self.failing = 0
        self.ran: list[str] = []

    async def run(self, service: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        if self.failing:
            self.failing -= 1
            raise OSError("the store does not answer")
        self.ran.append(service.__name__)
        return service(self.uow, *args, **kwargs)

    async def read(self, service: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        return service(self.uow, *args, **kwargs)


class Browser:
    """One page load: a socket with hello, numbered messages, and everything received in order."""

    def __init__(self, hall: "Hall", who: str, *, tab: str) -> None:
        self.hall, self.who, self.tab = hall, who, tab
        self.n = 0
        self.epoch, self.seq, self.seat = "", 0, ""
        self.ws: ClientWebSocketResponse | None = None
        self.kept: list[dict[str, Any]] = []

    async def connect(self) -> "Browser":
        self.ws = await self.hall.client.ws_connect(self.hall.url(self.who), headers={"Origin": ORIGIN})
        return self

    async def hello(self, session: str | None = None, **changes: Any) -> dict[str, Any]:
        """Say hello and return the answer (welcome, or closed)."""
        await self.raw({
            "type": "hello", "v": 1, "token": TOKEN, "session": session or self.hall.session, "seat": self.seat,
            "tab": self.tab, "epoch": self.epoch, "last_seq": self.seq, **changes,
        })
        answer = await self.read()
        if answer["type"] == "welcome":
            self.epoch, self.seat = answer["epoch"], answer["seat"]
            if answer["snapshot"] is not None:
                self.seq = answer["seq"]
        return answer

    async def raw(self, frame: Any) -> None:
        await self.ws.send_str(frame if isinstance(frame, str) else __import__("json").dumps(frame))

    async def send(self, type: str, **fields: Any) -> int:
        """A reliable message under the next number."""
        self.n += 1
        await self.raw({"type": type, "n": self.n, **fields})
        return self.n

    async def read(self) -> dict[str, Any]:
        """The next frame, whatever it is."""
        message = (await self.ws.receive_json(timeout=45))
        self.seq = max(self.seq, message.get("seq", 0)) if message["type"] != "welcome" else self.seq
        return message

    async def expect(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next frame of a type whose fields match; frames before it are kept in `kept`."""
        while True:
            message = await self.read()
            if message["type"] == type and all(message.get(key) == value for key, value in fields.items()):
                return message
            self.kept.append(message)

    async def call(self, type: str, **fields: Any) -> dict[str, Any]:
        """Send and wait for the acknowledgement or refusal of that number."""
        number = await self.send(type, **fields)
        while True:
            message = await self.read()
            if message["type"] in {"ack", "refused"} and message["n"] == number:
                return message
            self.kept.append(message)

    async def enter(self) -> "Browser":
        """Connect, hello, and through the lobby."""
        await self.connect()
        await self.hello()
        await self.call("enter")
        return self

    async def quiet(self) -> list[dict[str, Any]]:
        """Everything that has arrived until the answer to a ping: what comes later was not sent."""
        await self.raw({"type": "ping", "at": 1})
        got, self.kept = self.kept, []
        while (message := await self.read())["type"] != "pong":
            got.append(message)
        return got

    async def drop(self) -> None:
        """The line is gone."""
        await self.ws.close()


class Hall:
    """Rooms behind a real WebSocket server on the fakes, with a clock that stands still until told."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world, self.settings = world, settings
        self.services = FakeServices(world.uow)
        self.rooms = self.new_rooms()
        self.session = ""
        self.browsers: list[Browser] = []
        self.sockets: dict[str, Socket] = {}       # the newest of each person

    def new_rooms(self) -> Rooms:
        return Rooms(services=self.services, settings=self.settings, clock=lambda: self.world.uow.now)

    def restart(self) -> None:
        """The server process is a new one: memory is gone, rows are not."""
        self.rooms.close()
        self.rooms = self.new_rooms()

    async def start(self) -> "Hall":
        app = web.Application()
        app.router.add_get("/socket/{who}", self._serve)
        self.server = TestServer(app)
        await self.server.start_server()
        self.client = ClientSession()
        opened = attending.open_session(self.world.uow, actor=self.world["doctor"], consultation=CASE)
        self.session = opened.id
        return self

    async def stop(self) -> None:
        await self.client.close()
        await self.server.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        who = request.match_info["who"]
        socket = Socket(
            self.rooms, actor=self.world[who], login=f"login-{who}", token=TOKEN, remote=request.remote
        )
        self.sockets[who] = socket
        return await socket.serve(request)

    def url(self, who: str) -> str:
        return str(self.server.make_url(f"/socket/{who}"))

    def browser(self, who: str, *, tab: str = "") -> Browser:
        self.browsers.append(Browser(self, who, tab=tab or f"tab-{who}-{len(self.browsers)}"))
        return self.browsers[-1]

    async def both(self) -> tuple[Browser, Browser]:
        """Doctor and expert in the room, everything said so far read."""
        doctor = await self.browser("doctor").enter()
        expert = await self.browser("expert").enter()
        for browser in (doctor, expert):
            await browser.quiet()
        return doctor, expert

    async def pass_time(self, seconds: float) -> None:
        self.world.uow.advance(timedelta(seconds=seconds))
        await self.rooms.sweep()

    def seat(self, who: str) -> m.Seat:
        found = self.world.uow.meetings.seat_of(m.SessionId(self.session), self.world[who].membership)
        assert found is not None
        return found

    def attendance(self, who: str) -> list[tuple[datetime | None, str]]:
        """(left at, reason) of every stay of a seat."""
        stays = self.world.uow.meetings.attendances(m.SessionId(self.session))
        return [(x.left_at, x.reason) for x in stays if x.seat == self.seat(who).id]


async def closed_with(browser, code: schema.Close) -> dict:
    """Reads on until the socket ends; it must say why and use the code's number."""
    last = {}
    while (message := await browser.ws.receive(timeout=45)).type is WSMsgType.TEXT:
        last = message.json()
    assert last == {"type": "closed", "code": code.value}
    assert browser.ws.close_code == schema.CLOSE_CODES[code]
    return last


def turn_settings() -> Settings:
    return Settings(ice=Ice(turn_urls=("turn:turn.test:3478",), turn_secret="shared"))
