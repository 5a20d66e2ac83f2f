"""The signalling relay beside a bare aiohttp relay: `python -m bench.signalling [--quick]`.

2,000 sockets, two to a room, all seated; 1,000 messages of 2 KB a second, each of another room, in turns with the bare
relay and PeerJS's server (bench/peerjs, brought by npm). Ours is the whole application: login, seat, schema, rates,
numbers, acknowledgement and replay of `annotation`. Then the same while one seat floods, one sends rubbish and one
reads nothing. A socket's memory is what every further one takes once the first rooms sit: what a process takes for
its first visitor whatever follows (modules, caches, the first login) is a row of its own.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, TCPConnector, WSMsgType

from bench.common import Row, median, p, show
from bench.signalling_server import pss_kb
from server.frontend import ROOT, FrontendError, node_program, npm_script, run_node
from tests.fuzz._run import scratch

RATE, SIZE = 1000, 2048
TOGETHER = 20            # sockets opened at once
SETTLE = 60              # seconds at most until a filled server is at rest
PEERJS = json.loads((ROOT / "bench" / "peerjs" / "package.json").read_text())["dependencies"]["peer"]
ACK_EVERY = 4            # a page acknowledges by a timer; here every few messages


@dataclass
class End:
    """One socket and what it has received of its room's messages: ms from sending to here."""

    ws: ClientWebSocketResponse
    n: int = 1
    seq: int = 0
    delays: list[float] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    async def read(self, *, numbered: bool) -> None:
        async for frame in self.ws:
            if frame.type is not WSMsgType.TEXT:
                return
            now = time.perf_counter()
            message = json.loads(frame.data)
            if (body := message.get("body") or message.get("payload")) and "at" in body:
                self.delays.append((now - body["at"]) * 1000)
            if numbered and "seq" in message:
                self.seq = message["seq"]
                if self.seq % ACK_EVERY == 0:
                    with suppress(ConnectionError):              # the server stops: nothing is measured any more
                        await self.ws.send_str(json.dumps({"type": "ack", "seq": self.seq}))


class Side:
    """One relay: its process, its sockets."""

    def __init__(self, name: str, folder: Path, rooms: int) -> None:
        self.name, self.folder, self.rooms = name, folder, rooms
        self.ends: list[tuple[End, End]] = []

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.signalling_server", self.name, str(self.folder), str(self.rooms)]

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24
        )
        await self.sign_in(json.loads(await self.process.stdout.readline()))

    async def sign_in(self, at: dict[str, Any]) -> None:
        """The two people whose seats are taken."""
        self.at = at
        self.url = f"http://127.0.0.1:{self.at['port']}"
        self.clients, self.tokens = [], []
        for who in range(2):
            client = ClientSession(connector=TCPConnector(limit=0), cookie_jar=CookieJar(unsafe=True))
            if self.name == "ours":
                given = {"login": self.at["logins"][who], "password": self.at["password"]}
                async with client.post(f"{self.url}/api/login", json=given, headers={"Origin": self.url}) as answer:
                    self.tokens.append((await answer.json())["csrf"])
            self.clients.append(client)

    async def told(self) -> dict[str, Any]:
        """Memory and processor time of the process, and the largest replay buffer."""
        self.process.stdin.write(b"\n")
        return json.loads(await self.process.stdout.readline())

    async def sit(self, room: int, who: int) -> End:
        """A socket in its seat."""
        session = self.at["sessions"][room]
        ws = await self.clients[who].ws_connect(
            f"{self.url}/socket?room={session}" if self.name == "bare" else f"{self.url}/socket",
            headers={"Origin": self.url}, compress=0, max_msg_size=1 << 20,
        )
        end = End(ws)
        if self.name == "ours":
            hello = {"type": "hello", "v": 1, "token": self.tokens[who], "session": session, "tab": f"{room}-{who}"}
            await ws.send_str(json.dumps(hello))
            await ws.receive()
            await ws.send_str(json.dumps({"type": "enter", "n": 1}))
        end.reader = asyncio.create_task(end.read(numbered=self.name == "ours"))
        return end

    async def fill(self, upto: int) -> None:
        """Every room with its two, and all that they were told acknowledged."""
        for first in range(len(self.ends), upto, TOGETHER):
            rooms = range(first, min(first + TOGETHER, upto))
            doctors = await asyncio.gather(*(self.sit(x, 0) for x in rooms))
            experts = await asyncio.gather(*(self.sit(x, 1) for x in rooms))
            self.ends += zip(doctors, experts, strict=True)
        await asyncio.sleep(1.0)
        for end in (one for pair in self.ends for one in pair):
            if end.seq:
                await end.ws.send_str(json.dumps({"type": "ack", "seq": end.seq}))
        for _ in range(SETTLE):              # what sitting down left to do is no message's cost
            before = (await self.told())["cpu"]
            await asyncio.sleep(1.0)
            if (await self.told())["cpu"] - before < 0.1:
                break

    async def run(self, seconds: float, rate: int) -> list[float]:
        """Messages at an even rate, one room after the other; every delay."""
        for pair in self.ends:
            pair[1].delays.clear()
        filler = "x" * (SIZE - 80)
        start = time.perf_counter()
        for number in range(round(seconds * rate)):
            wait = start + number / rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            sender = self.ends[number % self.rooms][0]
            sender.n += 1
            body = {"at": time.perf_counter(), "x": filler}
            await sender.ws.send_str(json.dumps(self.message(number % self.rooms, sender.n, body)))
        await asyncio.sleep(1.0)
        return [one for pair in self.ends for one in pair[1].delays]

    def message(self, _room: int, n: int, body: dict[str, Any]) -> dict[str, Any]:
        """What one end sends to the other."""
        return {"type": "annotation", "n": n, "body": body}

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        self.process.stdin.close()
        await self.process.wait()


class PeerJs(Side):
    """PeerJS's server in a process of node; it answers nothing, so it is looked at from outside."""

    @property
    def command(self) -> list[str]:
        return [str(node_program()), str(self.folder / "server.mjs")]

    async def start(self) -> None:
        """FrontendError without the packages."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / "bench" / "peerjs", self.folder, dirs_exist_ok=True)
        if not (self.folder / "node_modules" / ".package-lock.json").is_file():      # npm's last file
            command = [str(npm_script()), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            await asyncio.to_thread(run_node, self.folder, command, "PeerJS's server could not be fetched.")
        await super().start()

    async def told(self) -> dict[str, Any]:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")        # proc(5): utime, stime
        return {"pss_kb": pss_kb(str(self.process.pid)), "cpu": cpu, "replay": 0}

    async def sit(self, room: int, who: int) -> End:
        query = f"key=peerjs&id={room}-{who}&token=t{room}-{who}&version=1.5.5"
        ws = await self.clients[who].ws_connect(f"{self.url}/peerjs?{query}", compress=0, max_msg_size=1 << 20)
        assert json.loads((await ws.receive()).data)["type"] == "OPEN"
        end = End(ws)
        end.reader = asyncio.create_task(end.read(numbered=False))
        return end

    def message(self, room: int, _n: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"type": "CANDIDATE", "dst": f"{room}-1", "payload": body}


async def peers(folder: Path, rooms: int) -> list[Side]:
    """The bare relay, and PeerJS's server where it can be had."""
    bare, peer = Side("bare", folder / "bare", rooms), PeerJs("peerjs", ROOT / ".cache" / f"peerjs-{PEERJS}", rooms)
    await bare.start()
    try:
        await peer.start()
    except (FrontendError, OSError, ValueError) as error:
        print(f"  without PeerJS: {error}", flush=True)
        return [bare]
    return [bare, peer]


async def beside_trouble(side: Side, seconds: float, rate: int) -> list[float]:
    """Delays of all rooms but the last three, in which others do harm."""
    harmed = list(range(side.rooms - 3, side.rooms))
    for pair in side.ends[-3:]:
        await pair[0].ws.close()
    del side.ends[-3:]
    side.rooms -= 3
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.signalling_trouble", stdin=asyncio.subprocess.PIPE, limit=1 << 24
    )
    process.stdin.write(json.dumps({"at": side.at, "rooms": harmed}).encode() + b"\n")
    try:
        await asyncio.sleep(2.0)                 # it has signed in
        return await side.run(seconds, rate)
    finally:
        process.kill()
        await process.wait()


async def rows(*, quick: bool) -> list[Row]:
    rooms, runs, seconds = (100, 3, 4.0) if quick else (1000, 5, 30.0)
    rate = RATE * rooms // 1000
    with scratch() as name:              # what is measured here is no disk
        folder = Path(name)
        ours = Side("ours", folder / "ours", rooms)
        await ours.start()
        sides = [*await peers(folder, rooms), ours]
        first, idle = {}, {}
        for side in sides:
            empty = (await side.told())["pss_kb"]
            await side.fill(TOGETHER)
            warm = (await side.told())["pss_kb"]
            await side.fill(rooms)
            print(f"  {side.name}: {2 * rooms} sockets seated", flush=True)
            first[side.name] = (warm - empty) / 1024
            idle[side.name] = ((await side.told())["pss_kb"] - warm) / (2 * (rooms - TOGETHER))
        delays: dict[str, list[list[float]]] = {side.name: [] for side in sides}
        used = dict.fromkeys(delays, 0.0)
        replay = 0
        for number in range(runs):
            for side in sides:
                start = (await side.told())["cpu"]
                delays[side.name].append(await side.run(seconds, rate))
                used[side.name] += (await side.told())["cpu"] - start
                print(f"  run {number + 1} {side.name}: P99 {p(delays[side.name][-1], 0.99):.1f} ms", flush=True)
            replay = max(replay, (await ours.told())["replay"])
        lost = sum(round(seconds * rate) - len(x) for x in delays["ours"])
        beside = await beside_trouble(ours, seconds, rate)
        for side in sides:
            await side.stop()

    def of(side: str, share: float) -> float:
        return median([p(one, share) for one in delays[side]])

    sent = runs * round(seconds * rate) / 1e6
    what = f"{2 * rooms} sockets, {rate}/s of 2 KB"
    others = ", ".join(f"{side} {kb:.1f}" for side, kb in idle.items() if side != "ours")
    found = [
        Row(name=f"relay P50, {what}", unit="ms", ours=of("ours", 0.5), peer=of("bare", 0.5)),
        Row(name=f"relay P99, {what}", unit="ms", ours=of("ours", 0.99), peer=of("bare", 0.99), goal=1.5),
        Row(name="processor time of a message", unit="µs", ours=used["ours"] / sent, peer=used["bare"] / sent),
        Row(name="messages that did not arrive", unit="", ours=lost, goal=0),
        Row(name="memory of an idle seated socket", unit="KB", ours=idle["ours"], goal=24, note=others),
        Row(name="memory for the first visitors", unit="MB", ours=first["ours"], peer=first["bare"]),
        Row(name="largest replay buffer of a seat", unit="KB", ours=replay / 1024, goal=64),
        Row(name="P99 beside a flood, rubbish and a slow reader", unit="ms", ours=p(beside, 0.99), goal=200),
    ]
    if "peerjs" in delays:
        found[2:2] = [
            Row(name=f"relay P50 beside PeerJS, {what}", unit="ms", ours=of("ours", 0.5), peer=of("peerjs", 0.5)),
            Row(name=f"relay P99 beside PeerJS, {what}", unit="ms", ours=of("ours", 0.99), peer=of("peerjs", 0.99)),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 sockets at 100/s, within two minutes")
    show("signalling", asyncio.run(rows(quick=parser.parse_args().quick)), more={"PeerJS server": PEERJS})


if __name__ == "__main__":
    main()
