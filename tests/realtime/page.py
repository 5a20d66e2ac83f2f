"""A browser of the room without a browser: the wire that moves one frame when it is told to, and what the page does."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from server.signalling import schema as s
from tests.realtime.world import FakeServices

FINAL = {str(x) for x in s.FINAL_CLOSES}


class SlowServices(FakeServices):
    """Every unit waits turns of the loop before it runs and before its caller hears: commits cross answers."""

    async def run(self, service, /, *args, **kwargs):
        await asyncio.sleep(0)
        found = await super().run(service, *args, **kwargs)
        await asyncio.sleep(0)
        return found

    async def read(self, service, /, *args, **kwargs):
        await asyncio.sleep(0)
        found = await super().read(service, *args, **kwargs)
        for _ in range(4):
            await asyncio.sleep(0)
        return found


class Wire:
    """One socket. `up` and `down` hold what is under way; the server's end reads `inbox`."""

    def __init__(self) -> None:
        self.up: deque[str] = deque()
        self.down: deque[str] = deque()
        self.inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self.open = True                       # to the browser
        self.code: int | None = None           # the server's close code
        self.task: asyncio.Task | None = None

    async def send_str(self, data: str) -> None:
        self.down.append(data)

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        self.code = code
        self.inbox.put_nowait(None)
        return True


@dataclass
class Page:
    """One page load of one person."""

    who: str
    tab: str
    wire: Wire | None = None
    seat: str = ""
    epoch: str = ""
    seq: int = 0
    n: int = 0
    up: bool = False
    ended: str = ""
    waiting: dict[int, dict[str, Any]] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)            # client_id → id
    refused: dict[str, str] = field(default_factory=dict)          # client_id → code
    seen: dict[str, str] = field(default_factory=dict)             # id → text, in the order shown
    mine: dict[str, int] = field(default_factory=dict)             # text → n, to look at the order of one author
    settled: dict[int, str] = field(default_factory=dict)          # n → "ack" or a code
    state: str = "lobby"
    seen_lobby: bool = False
    told: set[str] = field(default_factory=set)                    # ids that came as chat, under this epoch

    def send(self, type: str, **fields: Any) -> None:
        self.n += 1
        self.waiting[self.n] = {"type": type, "n": self.n, **fields}
        if self.up:
            self.wire.up.append(json.dumps(self.waiting[self.n]))

    def receive(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if "seq" in message and kind != "welcome":
            if message["seq"] <= self.seq:
                return
            assert message["seq"] == self.seq + 1, f"{self.who}: {self.seq} is followed by {message['seq']}"
            self.seq = message["seq"]
            self.wire.up.append(json.dumps({"type": "ack", "seq": self.seq}))
        if kind == "welcome":
            self.welcome(message)
        elif kind == "ack":
            if (sent := self.waiting.pop(message["n"], None)) is not None:
                self.settle(sent, "ack")
                if sent["type"] == "chat":
                    assert message["id"]
                    self.acked[sent["client_id"]] = message["id"]
                    self.seen[message["id"]] = sent["text"]
        elif kind == "refused":
            if (sent := self.waiting.pop(message["n"], None)) is not None:
                self.settle(sent, message["code"])
        elif kind == "closed":
            self.ended = message["code"] if message["code"] in FINAL else ""
        elif kind == "chat":
            line = message["message"]
            assert line["id"] not in self.told, f"{self.who} is told {line['text']} twice"
            self.told.add(line["id"])          # a snapshot may have shown it: the page knows it by its client_id
            assert self.state in {"in", "lost"} or self.who != "colleague", f"{self.who} hears in the {self.state}"
            self.seen.setdefault(line["id"], line["text"])
        elif kind == "delivered":
            waits = any(x["type"] == "chat" for x in self.waiting.values())
            assert message["id"] in self.seen or waits, "delivered, and nobody of this seat said it"
        elif kind == "presence" and message["seat"]["seat"] == self.seat:
            self.state = message["seat"]["state"]

    def settle(self, sent: dict[str, Any], how: str) -> None:
        self.settled[sent["n"]] = how
        if sent["type"] == "chat" and how != "ack":
            self.refused[sent["client_id"]] = how

    def welcome(self, message: dict[str, Any]) -> None:
        assert not self.seat or self.seat == message["seat"], "another seat"
        if message["epoch"] != self.epoch or not message["resumed"]:
            self.seq = message["seq"]
        if message["epoch"] != self.epoch:
            self.told.clear()
        self.seat, self.epoch, self.up = message["seat"], message["epoch"], True
        for frame in self.waiting.values():
            self.wire.up.append(json.dumps(frame))
        if (whole := message["snapshot"]) is not None:
            own = next(x for x in whole["seats"] if x["seat"] == self.seat)
            self.state = "in" if own["state"] == "lost" else own["state"]
            assert self.state != "lobby" or self.who != "colleague" or not whole["chat"]
            self.seen_lobby = self.seen_lobby or self.state == "lobby"
            for line in whole["chat"]:
                self.seen.setdefault(line["id"], line["text"])
