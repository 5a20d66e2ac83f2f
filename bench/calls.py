"""Calls to measure: our room, and two bare pages with Chrome's defaults, over the same relay behind the same proxy.

What counts is what the receiver made up: concealed less silent concealed samples, of all (W3C webrtc-stats §8.3), in
the worse direction; both are printed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from bench.impair import Traffic, UdpProxy
from server.signalling.ice import ice_servers
from tests.realtime.stage import Stage, until

SENTENCE = (
    "医生您好，患者男，五十六岁，反复胸痛三天，活动后加重，休息以后可以缓解，"
    "心电图已经上传，请您看一下是否需要转上级医院。"
)
WARM = 5.0                      # seconds of a good line first: the picture has its full size
# The connection that carries media, whichever page this is.
PEER = """window.room
  ? (window.room.group?.showing ? window.room.group.relay.down ?? window.room.group.relay.pc
    : window.room.call?.peer.pc) : window.peer"""
HEARD = f"""async () => {{
  const all = {{samples: 0, made: 0, frames: 0, energy: 0, lost: 0, held: 0, emitted: 0, rtt: 0}};
  const pc = {PEER};
  const rows = pc ? await pc.getStats() : new Map();
  for (const row of rows.values()) {{
    if (row.type === 'transport') all.rtt = rows.get(row.selectedCandidatePairId)?.currentRoundTripTime ?? 0;
    if (row.type !== 'inbound-rtp') continue;
    all.samples += row.totalSamplesReceived ?? 0; all.frames += row.framesDecoded ?? 0;
    all.energy += row.totalAudioEnergy ?? 0; all.lost += row.packetsLost ?? 0;
    all.made += (row.concealedSamples ?? 0) - (row.silentConcealedSamples ?? 0);
    if (row.kind !== 'audio') continue;
    all.held += row.jitterBufferDelay ?? 0; all.emitted += row.jitterBufferEmittedCount ?? 0; }}
  return all; }}"""
HOLD = """async (wanted) => { window.stream = await navigator.mediaDevices.getUserMedia(wanted); return true; }"""
BARE = """(ice) => { const wire = new BroadcastChannel('bare');
  const peer = window.peer = new RTCPeerConnection({iceServers: ice.servers, iceTransportPolicy: 'relay'});
  stream.getTracks().forEach((track) => peer.addTrack(track, stream));
  const [me, other] = ice.calls ? ['caller', 'callee'] : ['callee', 'caller'];
  peer.onicecandidate = ({candidate}) => candidate && wire.postMessage({to: other, candidate: candidate.toJSON()});
  peer.ontrack = ({track}) => { const player = document.createElement(track.kind); player.autoplay = true;
    player.muted = track.kind === 'video'; player.srcObject = new MediaStream([track]); document.body.append(player); };
  const early = [];
  wire.onmessage = async ({data}) => { if (data.to !== me) return;
    if (data.offer || data.answer) { await peer.setRemoteDescription(data.offer ?? data.answer);
      if (data.offer) { await peer.setLocalDescription();
        wire.postMessage({to: other, answer: peer.localDescription.toJSON()}); }
      for (const one of early.splice(0)) await peer.addIceCandidate(one); }
    else if (peer.remoteDescription) await peer.addIceCandidate(data.candidate); else early.push(data.candidate); };
  if (ice.calls) peer.setLocalDescription().then(() =>
    wire.postMessage({to: other, offer: peer.localDescription.toJSON()})); }"""
Pages = tuple[Page, Page]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Shares of sound made up, in the worse direction: over all of the window, and from its later part."""

    all: float
    later: float
    ways: tuple[float, float]   # the later part at each receiver: the first page, the second
    frames: int                 # pictures decoded in the worse direction
    energy: float               # of the sound that was heard, in the worse direction
    held: float                 # seconds that sound waited before it was played, in the worse direction
    rtt: tuple[float, float]    # seconds, of each side's path

    def text(self) -> str:
        one, two = self.ways
        return f"{self.all:6.1%}, later {one:.1%} and {two:.1%}, {self.frames:4d} pictures"


class Diary:
    """Every run as a line for people, and as one of JSON in a file where that is wanted."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def note(self, text: str, **fields: Any) -> None:
        print(f"  {text}", flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(fields, ensure_ascii=False, default=str) + "\n")


def speech(folder: Path) -> Path:
    """A spoken sentence as the microphone of both sides."""
    path = folder / "speech.wav"
    subprocess.run(["espeak-ng", "-v", "cmn", "-w", str(path), SENTENCE], check=True)
    return path


async def listen(pages: Pages, proxy: UdpProxy, profile: str, *, seconds: float, later: float) -> Heard:
    """Worsens the line under a call that runs, and reads both receivers."""
    proxy.set(profile)
    first = [await page.evaluate(HEARD) for page in pages]
    await asyncio.sleep(later)
    middle = [await page.evaluate(HEARD) for page in pages]
    await asyncio.sleep(seconds - later)
    last = [await page.evaluate(HEARD) for page in pages]
    proxy.set("clean")
    there, back = (share(a, b) for a, b in zip(middle, last, strict=True))
    return Heard(
        all=max(share(a, b) for a, b in zip(first, last, strict=True)),
        later=max(there, back), ways=(there, back),
        frames=min(b["frames"] - a["frames"] for a, b in zip(first, last, strict=True)),
        energy=min(b["energy"] - a["energy"] for a, b in zip(first, last, strict=True)),
        held=max(waited(a, b) for a, b in zip(middle, last, strict=True)),
        rtt=(last[0]["rtt"], last[1]["rtt"]),
    )


def share(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Of the samples between two readings, those made up; all of them when none came."""
    samples = after["samples"] - before["samples"]
    return (after["made"] - before["made"]) / samples if samples > 0 else 1.0


def waited(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Seconds that a sample waited before it was played, on average between two readings."""
    emitted = after["emitted"] - before["emitted"]
    return (after["held"] - before["held"]) / emitted if emitted > 0 else 0.0


async def warm(pages: Pages) -> None:
    """Until both see and hear each other, and then until the picture has grown."""
    for page in pages:
        await until(page, f"async () => {{ const x = await ({HEARD})(); return x.frames > 10 && x.energy > 0; }}")
    await asyncio.sleep(WARM)


async def our_call(stage: Stage, browser: Browser) -> Pages:
    doctor, expert = [await stage.open(browser, who, keep_picture=False) for who in ("doctor", "expert")]
    for page in (doctor, expert):
        await stage.enter(page)
    await warm((doctor, expert))
    return doctor, expert


async def bare_call(stage: Stage, browser: Browser) -> Pages:
    """Two pages, Chrome's defaults, the same relay."""
    context = await browser.new_context(permissions=["camera", "microphone"])
    stage.contexts["bare"] = context
    pages = await context.new_page(), await context.new_page()
    for calls, page in enumerate(pages):
        await page.goto(f"{stage.url}/login")
        await page.evaluate(HOLD, {"video": {"width": 1280, "height": 720}, "audio": True})
        servers = ice_servers(stage.ice, holder=f"bare{calls}", now=datetime.now(UTC))
        await page.evaluate(BARE, {"servers": servers, "calls": bool(calls)})
    await warm(pages)
    return pages


async def hang_up(stage: Stage) -> None:
    for name in list(stage.contexts):
        await stage.contexts.pop(name).close()


Begin = Callable[[Stage, Browser], Any]


async def over_line(
    stage: Stage, browser: Browser, proxy: UdpProxy, profile: str, *, name: str, begin: Begin, seconds: float,
    later: float, diary: Diary,
) -> Heard | None:
    """One call over one line; None, and a word of it, when the call itself did not come about."""
    try:
        pages = await begin(stage, browser)
        before = {user: x.since(Traffic()) for user, x in proxy.traffic().items()}
        heard = await listen(pages, proxy, profile, seconds=seconds, later=later)
    except AssertionError as error:
        proxy.set("clean")
        diary.note(f"{profile} {name}: no call: {str(error).splitlines()[0]}", profile=profile, name=name, failed=True)
        return None
    finally:
        await hang_up(stage)
    wire = [x.since(before.get(user, Traffic())) for user, x in proxy.traffic().items()]
    sent = " | ".join(
        f"{x.bytes * 8 / seconds / 1000:.0f} kbit/s, {x.dropped} of {x.packets} lost" for x in wire if x.packets
    )
    diary.note(f"{profile} {name}: made up {heard.text()}; {sent}", profile=profile, name=name, **asdict(heard))
    return heard
