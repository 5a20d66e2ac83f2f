"""A room and its browsers with lines that break anywhere: frames come late, twice, from a socket long replaced, or never.

Rooms, sockets and the schema are the real ones; only the wire is ours, and it moves one frame when it is told to. `Page`
does what static/js/room/signalling.js does. Every promise of docs/protocol.md is checked as the frames come.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from datetime import timedelta
from typing import Any

from consult import attending
from consult import model as m
from server.settings import Settings
from server.signalling import schema as s
from server.signalling.connection import Connection
from server.signalling.limits import Limiter
from server.signalling.rooms import Rooms
from server.signalling.socket import Socket
from tests.realtime.page import Page, SlowServices, Wire
from tests.realtime.world import CASE, TOKEN, World, make_world

PEOPLE = ("doctor", "expert", "colleague")     # the last is a guest


class History:
    """One history: what happens is called from outside, what must hold is asserted here."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.world: World = make_world()
        self.services = SlowServices(self.world.uow)
        self.seconds = 0.0
        self.rooms = self.new_rooms()
        self.session = attending.open_session(self.world.uow, actor=self.world["doctor"], consultation=CASE).id
        self.world.invite("colleague")
        self.pages: dict[str, Page] = {}
        self.gone: list[Page] = []              # page loads that were closed
        self.old: list[tuple[Page, Wire]] = []  # sockets that were replaced, with frames still under way
        self.said = 0
        self.tabs = 0
        self.failed = False
        self.trouble: list[BaseException] = []
        self.notes: list[asyncio.Task] = []
        for who in PEOPLE:
            self.reload(who)
        self.heal()

    # -- the server's end ------------------------------------------------------------------------------------------

    def new_rooms(self) -> Rooms:
        return Rooms(services=self.services, settings=Settings(), clock=lambda: self.world.uow.now)

    async def serve(self, wire: Wire, who: str) -> None:
        """What Socket.serve does, over this wire."""
        socket = Socket(self.rooms, actor=self.world[who], login=who, token=TOKEN, remote=None)
        connection = socket.connection = Connection(wire)
        before = Limiter(self.seconds)
        try:
            while (text := await wire.inbox.get()) is not None:
                await socket.frame(text, connection, before, self.seconds)
        except Exception as error:
            self.trouble.append(error)
            raise
        finally:
            connection.lost()
            if socket.room is not None and socket.live is not None:
                socket.room.detach(socket.live, connection)
            await connection.over()

    def turns(self, count: int = 60) -> None:
        """Let the server work for so many turns of the loop."""
        async def some() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(some())
        if self.trouble:
            raise self.trouble[0]

    # -- what may happen ---------------------------------------------------------------------------------------------

    def connect(self, who: str) -> None:
        """The page opens a socket where it has none."""
        page = self.pages[who]
        if page.ended or (page.wire is not None and page.wire.open):
            return
        wire = page.wire = Wire()
        wire.task = self.loop.create_task(self.serve(wire, who))
        wire.up.append(json.dumps({
            "type": "hello", "v": s.VERSION, "token": TOKEN, "session": self.session, "seat": page.seat,
            "tab": page.tab, "epoch": page.epoch, "last_seq": page.seq,
        }))

    def reload(self, who: str) -> None:
        """A new page load; the former one and its unsent words are gone, its socket may be noticed late."""
        if (page := self.pages.get(who)) is not None:
            self.gone.append(page)
            if page.wire is not None:
                # A hello that is still under way when its page goes never arrives; the newest page has the seat.
                page.wire.up = deque(x for x in page.wire.up if '"hello"' not in x)
                self.old.append((page, page.wire))
        self.tabs += 1
        self.pages[who] = Page(who=who, tab=f"tab-{self.tabs}")
        self.connect(who)

    def cut(self, who: str, *, late: bool) -> None:
        """The line breaks. `late`: the server has not noticed, and what was under way may still arrive there."""
        page = self.pages[who]
        wire = page.wire
        if wire is None or not wire.open:
            return
        wire.open, page.up = False, False
        wire.down.clear()
        if late:
            self.old.append((page, wire))
        else:
            wire.up.clear()
            wire.inbox.put_nowait(None)

    def straggle(self, index: int, count: int) -> None:
        """A socket that was replaced delivers some frames, then is noticed to be gone."""
        if not self.old:
            return
        _, wire = self.old.pop(index % len(self.old))
        for _ in range(min(count, len(wire.up))):
            wire.inbox.put_nowait(wire.up.popleft())
        wire.inbox.put_nowait(None)

    def move_up(self, who: str, count: int, *, twice: bool = False, turns: int = 3) -> None:
        """Some frames reach the server; the last one twice if wanted."""
        wire = self.pages[who].wire
        if wire is None or not wire.open:
            return
        frame = None
        for _ in range(min(count, len(wire.up))):
            frame = wire.up.popleft()
            wire.inbox.put_nowait(frame)
        if twice and frame is not None and '"hello"' not in frame:
            wire.inbox.put_nowait(frame)
        self.turns(turns)

    def move_down(self, who: str, count: int) -> None:
        """Some frames reach the page."""
        page = self.pages[who]
        wire = page.wire
        if wire is None or not wire.open:
            return
        for _ in range(min(count, len(wire.down))):
            waited = page.state == "lobby"
            page.receive(json.loads(wire.down.popleft()))
            if waited and page.state == "in" and who == "colleague" and page.seen_lobby:
                self.reload(who)               # as the page does: what a guest may read comes with a new load
                return
        if wire.code is not None and not wire.down:
            wire.open, page.up = False, False
            wire.inbox.put_nowait(None)

    def say(self, who: str) -> None:
        self.said += 1
        text = f"{self.said}"
        page = self.pages[who]
        page.send("chat", client_id=f"{page.tab}-{text}", text=text)
        page.mine[text] = page.n

    def do(self, who: str, type: str, **fields: Any) -> None:
        self.pages[who].send(type, **fields)

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.world.uow.advance(timedelta(seconds=seconds))
        task = self.loop.create_task(self.rooms.sweep())
        self.turns(30)
        self.loop.run_until_complete(task)

    def hear_hub(self) -> None:
        """The hub's note that something of the consultation changed, which the room knows already or not yet."""
        self.notes.append(self.loop.create_task(self.rooms.noted(CASE, chat=True)))
        self.turns(2)

    def store_fails(self, times: int) -> None:
        self.services.failing = times
        self.failed = True

    def restart(self) -> None:
        """The process is a new one. Sockets break with whatever was under way."""
        self.loop.call_soon(self.rooms.close)
        self.turns(5)
        for page in self.pages.values():
            if page.wire is not None and page.wire.open:
                page.wire.open, page.up = False, False
                page.wire.inbox.put_nowait(None)
        for _, wire in self.old:
            wire.inbox.put_nowait(None)
        self.old.clear()
        self.turns(30)
        self.rooms = self.new_rooms()

    def remove_guest(self) -> None:
        seat = self.pages["colleague"].seat
        if seat:
            self.do("expert", "remove", seat=seat)

    # -- what must hold ------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Every line comes back and everything under way arrives, until nothing more is said."""
        self.services.failing = 0
        for _ in range(200):
            self.pass_time(1.0)                # rates recover, sockets that are gone are swept
            while self.old:
                self.straggle(0, 0)
            for who, page in self.pages.items():
                self.connect(who)
                self.move_up(who, 1000, turns=20)
                self.move_down(who, 1000)
                if page.state == "lobby" and page.up and not page.ended and not page.waiting:
                    if who != "colleague":
                        page.send("enter")
                    elif (host := self.pages["expert"]).state == "in" and not host.waiting:
                        host.send("admit", seat=page.seat)
            busy = any(
                not x.ended and (not x.up or x.waiting or x.wire.up or x.wire.down or x.state == "lobby")
                for x in self.pages.values()
            )
            if not busy:
                return
        raise AssertionError(f"never quiet: {[(x.who, x.state, x.up, x.ended, x.waiting) for x in self.pages.values()]}")

    def check(self) -> None:
        """After healing: what was acknowledged is stored once and shown once to everyone inside, in its author's order."""
        self.heal()
        stored = self.world.uow.meetings.messages(CASE)
        by_client = {x.client_id: x for x in stored}
        assert len(by_client) == len(stored)
        for page in (*self.pages.values(), *self.gone):
            for client_id, identity in page.acked.items():
                assert by_client[client_id].id == identity
            for client_id, code in page.refused.items():
                assert client_id not in by_client, f"refused with {code}, and stored"
        for page in self.pages.values():
            assert not page.waiting or page.ended
            if page.ended:
                assert page.who == "colleague", (page.who, page.ended)
                assert page.ended in {"removed", "not_found", "revoked"}
                continue
            live = self.rooms.rooms[self.session].seats[page.seat]
            assert live.received <= page.n, f"{page.who}: the numbers of a former page load count"
            missing = {x.id for x in stored} - set(page.seen)
            assert not missing, f"{page.who} never saw {len(missing)} lines"
            for other in self.pages.values():
                shown = [other.mine[text] for text in page.seen.values() if text in other.mine]
                if self.failed:                # a line whose store failed may be sent again after a later one
                    rank = {x.text: n for n, x in enumerate(stored)}
                    shown = [rank[text] for text in page.seen.values() if text in other.mine]
                if other is not page:
                    assert shown == sorted(shown), f"{page.who} sees {other.who}'s lines out of order"
        if self.removed_in_rows():
            self.reload("colleague")
            self.restart()
            self.heal()
            assert self.pages["colleague"].ended in {"removed", "not_found"}, self.pages["colleague"]

    def removed_in_rows(self) -> bool:
        seat = self.world.uow.meetings.seat_of(self.session, self.world["colleague"].membership)
        return seat is not None and seat.state is m.SeatState.REMOVED

    def close(self) -> None:
        for page in (*self.pages.values(), *self.gone):
            if page.wire is not None:
                page.wire.inbox.put_nowait(None)
        for _, wire in self.old:
            wire.inbox.put_nowait(None)
        tasks = asyncio.all_tasks(self.loop)
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=5))
        self.loop.close()


def wander(history: History, draw, steps: int) -> None:
    """A random history: `draw(n)` gives a number below n."""
    for _ in range(steps):
        who = PEOPLE[draw(3)]
        match draw(19):
            case 0 | 1 | 2:
                history.say(who)
            case 3 | 4 | 5:
                history.move_up(who, 1 + draw(4), twice=draw(4) == 0, turns=1 + draw(8))
            case 6 | 7 | 8:
                history.move_down(who, 1 + draw(6))
            case 9:
                history.cut(who, late=draw(2) == 0)
            case 10:
                history.connect(who)
            case 11 | 15 | 16:
                history.straggle(draw(4), draw(5))
            case 12:
                history.do(who, ("hand", "annotation", "state")[(kind := draw(3))],
                           **({"up": True}, {"body": {"a": 1}}, {"mic": True, "camera": False})[kind])
            case 13:
                history.pass_time((0.2, 2.0, 7.0, 20.0)[draw(4)])
            case 14:
                (history.reload(who) if draw(2) else history.store_fails(1 + draw(2)))
            case 17:
                history.hear_hub()
            case _:
                rare = draw(6)
                if rare == 0:
                    history.restart()
                elif rare == 1:
                    history.remove_guest()
                elif rare == 2:
                    history.do("expert", "lock", locked=bool(draw(2)))
                else:
                    history.turns(5)
