"""Breaks of a call: the line cut, the web server restarted, the packet relay killed; and what the relay adds at a loss.

Server and relay are broken on a stage without coturn: nothing of the measuring process stands in the media's way, which
the restarting server would hold up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from playwright.async_api import Browser, Page

from bench.calls import HEARD, PEER, WARM, Diary, Heard, Pages, hang_up, our_call, over_line, warm
from bench.common import Row, median, p
from bench.impair import TcpGate, UdpProxy
from server import keys
from server.auth.passwords import Passwords
from server.settings import Ice, Media
from server.signalling.setup import ROOMS
from tests.realtime.stage import Stage, open_stage, until

CUT = 12.0
REST = 6.0                      # between two cuts of one call
NEVER = 45.0                    # seconds that a return is waited for
ANEW = 9999.0                   # packets lost where the connection did not outlive it
GONE = 3.0                      # seconds that the other side is looked at
# When the last packet of the call between two browsers came, read twenty times a second.
LAST = """() => {
  const { pc } = window.room.call.peer;
  let before = 0;
  window.last = performance.timeOrigin + performance.now();
  const look = async () => {
    const rows = [...(await pc.getStats()).values()].filter((row) => row.type === 'inbound-rtp');
    const sum = rows.reduce((all, row) => all + (row.packetsReceived ?? 0), 0);
    if (sum > before) { before = sum; window.last = performance.timeOrigin + performance.now(); }
    if (pc.connectionState !== 'closed') setTimeout(look, 50); };
  look(); }"""
AWAY = """() => { const { signalling } = window.room; signalling.connect = () => {}; signalling.socket.close(); }"""
Calls: TypeAlias = tuple[tuple[str, Callable[[Stage, Browser], Coroutine[Any, Any, Pages]]], ...]
# The longest time without new sound and without a new picture, over all connections that carry the call.
LONGEST = """() => {
  const known = new Map();
  const fresh = {audio: performance.now(), video: performance.now()};
  window.longest = {audio: 0, video: 0};
  const look = async () => {
    for (const pc of [window.room.call?.peer.pc, window.room.group?.relay?.pc]) {
      if (!pc || pc.connectionState === 'closed') continue;
      for (const row of (await pc.getStats()).values()) {
        if (row.type !== 'inbound-rtp') continue;
        const now = row.kind === 'audio' ? row.totalSamplesReceived - row.concealedSamples : row.framesDecoded;
        const key = row.id + row.ssrc + (pc.name ?? '');
        if (now > (known.get(key) ?? 0)) fresh[row.kind] = performance.now();
        known.set(key, now);
      }
    }
    for (const kind of ['audio', 'video'])
      window.longest[kind] = Math.max(window.longest[kind], performance.now() - fresh[kind]);
    setTimeout(look, 20);
  };
  look(); }"""
SETTLE = 0.5                    # what was in flight at the relay's death has been played by then
BACK = f"""(limit) => new Promise((resolve) => {{ const begun = performance.now(); const found = {{audio: 0, video: 0}};
  let first = null; const read = async () => {{ const now = {{sound: 0, frames: 0}};
    const pc = {PEER};
    for (const row of pc ? (await pc.getStats()).values() : []) if (row.type === 'inbound-rtp') {{
      now.sound += (row.totalSamplesReceived ?? 0) - (row.concealedSamples ?? 0);
      now.frames += row.framesDecoded ?? 0; }}
    if (!first || now.sound < first.sound || now.frames < first.frames) first = now;
    const passed = performance.now() - begun;
    if (!found.audio && now.sound > first.sound + 4800) found.audio = passed;
    if (!found.video && now.frames > first.frames + 1) found.video = passed;
    if ((found.audio && found.video) || passed > limit) resolve(found); else setTimeout(read, 50); }};
  read(); }})"""


async def back(pages: Pages, *, since: float = 0.0) -> dict[str, float]:
    """Seconds until sound and picture flow again, at the slower side; `since`: how long ago it began."""
    found = await asyncio.gather(*(page.evaluate(BACK, NEVER * 1000) for page in pages))
    return {what: max((x[what] / 1000 + since) if x[what] else NEVER for x in found) for what in ("audio", "video")}


async def cut_rows(
    stage: Stage, browser: Browser, proxy: UdpProxy, gate: TcpGate, diary: Diary, *, runs: int
) -> list[Row]:
    """Path and socket of both sides gone for CUT s; from their return to sound and to a picture, the slower side."""
    pages = await our_call(stage, browser)
    times: dict[str, list[float]] = {"audio": [], "video": []}
    for number in range(runs):
        for page in pages:
            with suppress(AssertionError):       # a rung lower the picture has to come back just as well
                await until(page, "window.room.call?.rung === 'video' && !window.room.call.silent", seconds=30)
        gate.open.clear()
        proxy.set("cut12")
        await asyncio.sleep(CUT)
        gate.open.set()
        found = await back(pages)
        for what, one in found.items():
            times[what].append(one)
        rungs = [await page.evaluate("window.room.call?.rung") for page in pages]
        diary.note(
            f"cut: sound {found['audio']:.1f} s, picture {found['video']:.1f} s after; rungs {rungs}",
            name="cut", run=number, **found,
        )  # fmt: skip
        proxy.set("clean")
        await asyncio.sleep(REST)
    await hang_up(stage)
    return [
        Row(name=f"path and socket cut 12 s: {what} back, P95 of {runs}", unit="s", ours=p(times[kind], 0.95),
            goal=goal, note=f"median {median(times[kind]):.1f}")
        for what, kind, goal in (("sound", "audio", 2), ("picture", "video", 5))
    ]  # fmt: skip


def seating(stage: Stage) -> Any:
    """Which rooms are on the relay."""
    return stage.app[ROOMS].handler.relay.__self__


async def relayed_call(stage: Stage, browser: Browser) -> Pages:
    """Our room of two on the packet relay, as when it is recorded."""
    pages = await our_call(stage, browser)
    await to_relay(stage, pages)
    await warm(pages)
    return pages


async def to_relay(stage: Stage, pages: Pages) -> None:
    """The room of this call has its media forwarded from now on."""
    [room] = [x for x in stage.app[ROOMS].rooms.values() if any(live.connected for live in x.seats.values())]
    seating(stage).demand(room)
    for page in pages:
        await until(page, "window.room.group?.showing && window.room.call === null && window.room.group.relay.pc")


async def direct_again(stage: Stage) -> None:
    """The next call is one between browsers: a room that was on the relay stays there while it is remembered."""
    for room in list(stage.app[ROOMS].rooms.values()):
        await seating(stage).backend.close_room(room.session)
    stage.app[ROOMS].rooms.clear()


async def restart_rows(
    stage: Stage, browser: Browser, diary: Diary, *, runs: int, calls: Calls = ()
) -> list[Row]:
    """The web server goes and comes in a call: packets lost until two seconds later; when the sockets are back.

    `calls`: between browsers and by the packet relay, unless others are named.
    """
    rows = []
    for name, begin in calls or (("peer to peer", our_call), ("relay", relayed_call)):
        lost, returned = [], []
        pages = await begin(stage, browser)
        for number in range(runs):
            first = [await page.evaluate(HEARD) for page in pages]
            epochs = [await page.evaluate("window.room.signalling.epoch") for page in pages]
            await stage.stop()
            await stage.start()
            returned.append(max(await asyncio.gather(*(again(*x) for x in zip(pages, epochs, strict=True)))))
            await asyncio.sleep(2)
            last = [await page.evaluate(HEARD) for page in pages]
            lost.append(max(missing(a, b) for a, b in zip(first, last, strict=True)))
            diary.note(
                f"server restarted, {name}: sockets back {returned[-1]:.1f} s, {lost[-1]:.0f} packets lost",
                name=f"restart {name}", run=number, back=returned[-1], lost=lost[-1],
            )  # fmt: skip
        await hang_up(stage)
        await direct_again(stage)
        rows += [
            Row(name=f"web server restarted, {name}: media packets lost", unit="", ours=max(lost), goal=0),
            Row(name=f"web server restarted, {name}: signalling back", unit="s", ours=median(returned), goal=5),
        ]
    return rows


async def again(page: Page, epoch: str) -> float:
    """Seconds from now until the page's socket is in a new epoch."""
    begun = asyncio.get_running_loop().time()
    await until(page, f"window.room.signalling.up && window.room.signalling.epoch !== '{epoch}'")
    return asyncio.get_running_loop().time() - begun


def missing(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Packets lost between two readings; ANEW where the connection is another, or nothing came."""
    if after["samples"] <= before["samples"] or after["frames"] <= before["frames"]:
        return ANEW
    return float(after["lost"] - before["lost"])


async def killed_rows(stage: Stage, browser: Browser, diary: Diary, *, runs: int) -> list[Row]:
    """The relay's process dies; until both sides hear and see each other through the next one."""
    times = []
    pages = await relayed_call(stage, browser)
    for number in range(runs):
        os.kill(seating(stage).backend.pid, signal.SIGKILL)
        await asyncio.sleep(SETTLE)
        found = await back(pages, since=SETTLE)
        times.append(max(found.values()))
        diary.note(
            f"relay killed: sound {found['audio']:.1f} s, picture {found['video']:.1f} s after", name="killed",
            run=number, **found,
        )  # fmt: skip
        await asyncio.sleep(WARM)
    await hang_up(stage)
    await direct_again(stage)
    return [Row(name=f"relay child killed: media back, worst of {runs}", unit="s", ours=max(times), goal=8)]


async def revoked_rows(stage: Stage, browser: Browser, diary: Diary, *, runs: int) -> list[Row]:
    """A login ends in a call, with its socket and while that is away: until the last packet of it at the other side."""
    rows = []
    for name, away in (("", False), (" while its line to the server is away", True)):
        times = []
        for number in range(runs):
            doctor, expert = await our_call(stage, browser)
            await expert.evaluate(LAST)
            if away:
                await doctor.evaluate(AWAY)
                await until(expert, "[...window.room.seats.values()].some((seat) => !seat.connected)")
            begun = time.time()
            stage.app[keys.STREAMS].close(staff=stage.city.doctor.staff)
            await asyncio.sleep(GONE)
            times.append(max(0.0, await expert.evaluate("window.last / 1000") - begun))
            diary.note(f"login ended{name}: last packet after {times[-1]:.2f} s", name=f"revoked{name}", run=number)
            await hang_up(stage)
        rows.append(Row(name=f"login ended{name}: its last packet at the other", unit="s", ours=max(times), goal=1,
                        note=f"worst of {runs}, peer to peer"))
    return rows


async def moved_rows(stage: Stage, browser: Browser, diary: Diary, *, runs: int) -> list[Row]:
    """A call between two browsers moves to the packet relay: the longest without new sound, and a new picture."""
    gaps: dict[str, list[float]] = {"audio": [], "video": []}
    for number in range(runs):
        pages = await our_call(stage, browser)
        for page in pages:
            await page.evaluate(LONGEST)
        await to_relay(stage, pages)
        await asyncio.sleep(GONE)
        found = [await page.evaluate("window.longest") for page in pages]
        for kind, times in gaps.items():
            times.append(max(one[kind] for one in found))
        diary.note(
            f"moved to the relay: {gaps['audio'][-1]:.0f} ms without sound, {gaps['video'][-1]:.0f} without a picture",
            name="moved", run=number, audio=gaps["audio"][-1], video=gaps["video"][-1],
        )  # fmt: skip
        await hang_up(stage)
        await direct_again(stage)
    return [
        Row(name=f"moved from peer to peer to the relay: longest without new {what}", unit="ms", ours=max(gaps[kind]),
            note=f"worst of {runs}, median {median(gaps[kind]):.0f}")
        for what, kind in (("sound", "audio"), ("picture", "video"))
    ]  # fmt: skip


async def relay_rows(
    stage: Stage, browser: Browser, proxy: UdpProxy, diary: Diary, *, runs: int, seconds: float
) -> list[Row]:
    """5 % loss: the relay beside our own call between browsers, in turns."""
    heard: dict[str, list[Heard]] = {"direct": [], "relay": []}
    for _ in range(runs):
        for name, begin in (("direct", our_call), ("relay", relayed_call)):
            one = await over_line(
                stage, browser, proxy, "loss5", name=name, begin=begin, seconds=5.0 + seconds, later=5.0, diary=diary
            )
            await direct_again(stage)
            if one is not None:
                heard[name].append(one)
    if not all(heard.values()):
        return []
    made = {name: median([x.later for x in found]) * 100 for name, found in heard.items()}
    late = {
        "direct": median([x.held + max(x.rtt) / 2 for x in heard["direct"]]) * 1000,
        "relay": median([x.held + sum(x.rtt) / 2 for x in heard["relay"]]) * 1000,
    }
    return [
        Row(name="5 % loss: sound made up more by the relay than peer to peer", unit="pt",
            ours=made["relay"] - made["direct"], goal=1, note=f"{made['relay']:.1f} and {made['direct']:.1f} %"),
        Row(name="5 % loss: sound later by the relay than peer to peer", unit="ms",
            ours=late["relay"] - late["direct"], goal=40, note=f"{late['relay']:.0f} and {late['direct']:.0f} ms"),
    ]  # fmt: skip


async def tidy(stage: Stage, proxy: UdpProxy, gate: TcpGate) -> None:
    """After a part that failed: the next one finds what it expects."""
    gate.open.set()
    proxy.set("clean")
    await hang_up(stage)
    await direct_again(stage)


@asynccontextmanager
async def stage_of_its_own(
    folder: Path, browser: Browser, *, ice: Ice | None = None, media: Media | None = None
) -> AsyncIterator[Stage]:
    """A server whose relay, which would outlive it, ends with it."""
    media = media or Media(port=0, addresses=("127.0.0.1",))
    folder.mkdir(exist_ok=True)
    stage = None
    try:
        async with open_stage(folder, Passwords(), browser, ice=ice, media=media) as (stage, _):
            yield stage
    finally:
        if stage is not None and (pid := getattr(seating(stage).backend, "pid", 0)):     # a Janus is somebody else's
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
