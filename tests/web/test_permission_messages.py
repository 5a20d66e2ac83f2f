"""Who may send which message of the room, written by hand from DOMAIN §6 ("room, chat") and from what a guest may do.

`+` taken · `x` not this part's to do · `o` not from where they sit (the lobby)
doctor: referring · expert: assigned, and host where there is no chair · guest: invited and admitted · lobby: invited,
waiting. Everybody else gets no seat at all.
"""

from __future__ import annotations

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from consult import model as m
from server import keys
from server.signalling import schema
from tests.conftest import sign_in
from tests.realtime.stage import build_case
from tests.realtime.world import SDP

SEATS = ("lobby", "guest", "doctor", "expert")       # principals last: what they do has effects on the others
WHO = {"doctor": "doctor", "expert": "expert", "guest": "colleague", "lobby": "technician"}
TABLE = """
             doctor expert guest lobby
hello          +      +      +     +
ping           +      +      +     +
ack            +      +      +     +
precheck       +      +      +     +
enter          +      +      +     +
offer          +      +      +     o
answer         +      +      +     o
candidate      +      +      +     o
restart        +      +      +     o
path           +      +      +     o
state          +      +      +     o
hand           +      +      +     o
chat           +      +      +     o
quality        +      +      +     o
tally          +      +      +     o
view           +      +      +     o
cursor         +      +      +     o
annotation     +      +      +     o
snapshot       +      +      +     o
ice            +      +      +     +
admit          x      +      x     o
lock           x      +      x     o
remove         x      +      x     o
invite         +      +      x     o
uninvite       +      +      x     o
chair          x      +      x     o
waiting        x      +      x     o
phone          +      +      x     o
undo_finish    +      +      x     o
finish         +      +      x     o
record_ask     +      +      x     o
record_declare +      +      +     o
record_answer  +      +      +     o
record_stop    +      +      x     o
leave          +      +      +     +
"""
FIELDS = {
    "ping": {"at": 1}, "ack": {"seq": 0}, "precheck": {"result": {"grade": "good"}},
    "offer": {"to": "$to", "pc": "p", "sdp": SDP}, "answer": {"to": "$to", "pc": "p", "sdp": SDP},
    "candidate": {"to": "$to", "pc": "p", "candidate": ""}, "restart": {"to": "$to", "pc": "p", "attempt": 1},
    "path": {"to": "$to", "path": "direct"}, "state": {"mic": True, "camera": False}, "hand": {"up": True},
    "chat": {"client_id": "c", "text": "x"}, "quality": {"of": "$to"}, "view": {"body": {}}, "cursor": {"body": {}},
    "annotation": {"body": {}}, "snapshot": {"body": {}}, "admit": {"seat": "$waiting"}, "lock": {"locked": False},
    "remove": {"seat": "$waiting"}, "invite": {"membership": "nobody"}, "uninvite": {"membership": "nobody"},
    "chair": {"seat": "$to"}, "waiting": {"minutes": 5, "text": "x"},
    "record_declare": {"people": []}, "record_answer": {"person": "self", "answer": "given", "words": "1"},
}
UNNUMBERED = {"hello", "ping", "ack", "quality", "view", "cursor"}
REFUSED = {"not_allowed": "x", "not_in": "o"}


def read_table() -> dict[tuple[str, str], str]:
    head, *lines = [x.split() for x in TABLE.strip().splitlines()]
    return {(line[0], seat): cell for line in lines for seat, cell in zip(head, line[1:], strict=True)}


EXPECTED = read_table()


class Seat:
    """One person's socket in the room."""

    def __init__(self, browser, session: str, who: str) -> None:
        self.browser, self.session, self.who = browser, session, who
        self.n = 0

    async def sit(self) -> Seat:
        self.ws = await self.browser.ws_connect("/socket", headers={"Origin": self.browser.origin})
        await self.ws.send_json({
            "type": "hello", "v": 1, "token": self.browser.csrf, "session": self.session, "tab": self.who
        })
        self.id = (await self.hear(lambda x: x["type"] == "welcome"))[-1]["seat"]
        return self

    async def send(self, type: str, **fields) -> str:
        """`+`, or the code of the refusal; a numbered `ping` after it tells when an unnumbered one was taken."""
        if type in UNNUMBERED:
            await self.ws.send_json({"type": type, **fields})
            await self.ws.send_json({"type": "ping", "at": 77})
            heard = await self.hear(lambda x: x["type"] in {"pong", "closed"} and x.get("at", 77) == 77)
        else:
            self.n += 1
            n = self.n
            await self.ws.send_json({"type": type, "n": n, **fields})
            heard = await self.hear(lambda x: x["type"] == "closed" or (x["type"] in {"ack", "refused"} and x["n"] >= n))
        refusals = [x["code"] for x in heard if x["type"] == "refused" and x["kind"] == type]
        return refusals[-1] if refusals else "+"

    async def hear(self, enough) -> list[dict]:
        heard = []
        while not heard or not enough(heard[-1]):
            message = await self.ws.receive(timeout=10)
            assert message.type is WSMsgType.TEXT, (self.who, message, heard)
            heard.append(message.json())
        return heard


@pytest.fixture
async def people(open_browser, city):
    """Browsers of the four who sit in the room."""
    found = {}
    for seat, who in WHO.items():
        found[seat] = await open_browser()
        await sign_in(found[seat], getattr(city, who).login)
    return found


@pytest.fixture
async def room(app, city, people):
    """`await room()`: a consultation in session, with everybody where the table says they are."""

    async def one() -> dict[str, Seat]:
        def build(uow):
            case = build_case(uow, city)
            for seat in ("guest", "lobby"):
                uow.consultations.add_participant(m.Participant(
                    consultation=case, membership=getattr(city, WHO[seat]).membership, part=m.Part.GUEST, since=uow.now
                ))
            return case

        case = await app[keys.WORK].run(build)
        async with people["expert"].post(f"/api/consultations/{case}/session", json={}) as answer:
            session = (await answer.json())["session"]
        seats = {seat: await Seat(people[seat], session, seat).sit() for seat in WHO}
        for seat in ("doctor", "expert"):
            assert await seats[seat].send("enter") == "+"
        assert await seats["guest"].send("enter") == "+"
        assert await seats["expert"].send("admit", seat=seats["guest"].id) == "+"
        return seats

    return one


def filled(type: str, seats: dict[str, Seat], sender: str) -> dict:
    other = seats["doctor" if sender == "expert" else "expert"].id
    words = {"$to": other, "$waiting": seats["lobby"].id}
    return {key: words.get(value, value) if isinstance(value, str) else value for key, value in FIELDS.get(type, {}).items()}


@pytest.mark.parametrize("type", [x for x in dict.fromkeys(kind for kind, _ in EXPECTED) if x != "hello"])
async def test_a_message_is_taken_from_those_whose_it_is_to_send(room, type):
    seats = await room()
    got = {}
    for sender in SEATS:
        code = await seats[sender].send(type, **filled(type, seats, sender))
        got[sender] = REFUSED.get(code, "+")       # any other refusal comes after permission
        if type == "finish" and code == "+":        # all have left with it: back for the next one
            assert await seats[sender].send("undo_finish") == "+"
    assert got == {sender: EXPECTED[type, sender] for sender in SEATS}


async def test_hello_seats_those_who_take_part_and_nobody_else(room, open_browser, city):
    seats = await room()
    session = seats["doctor"].session
    for who in ("stranger", "expert2", "dispatcher", "hospital_technician"):
        browser = await open_browser()
        await sign_in(browser, getattr(city, who).login)
        for wanted in (session, "f" * 32):
            ws = await browser.ws_connect("/socket", headers={"Origin": browser.origin})
            await ws.send_json({"type": "hello", "v": 1, "token": browser.csrf, "session": wanted, "tab": "t"})
            assert (await ws.receive_json(timeout=10)) == {"type": "closed", "code": "not_found"}
            await ws.receive(timeout=10)
            assert ws.close_code == schema.CLOSE_CODES[schema.Close.NOT_FOUND]


@pytest.mark.parametrize("who", ["clinic_admin", "platform_admin", "auditor"])
async def test_those_without_clinical_content_get_no_socket(open_browser, city, who):
    browser = await open_browser()
    await sign_in(browser, getattr(city, who).login)
    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.ws_connect("/socket", headers={"Origin": browser.origin})
    assert refused.value.status == 403


def test_every_message_stands_in_the_table_once():
    assert sorted(x.__struct_config__.tag for x in schema.RULES) == sorted({kind for kind, _ in EXPECTED})
