"""Eight seats on the packet relay: seven that replay encoded pictures and sound, one Chromium that sees them all.

Rows of bench/relay.py. The Chromium is a bare page: it looks ten times a second how many pictures of each seat it has
decoded. What it takes to send and to decode is on the same machine, so look at the load that is printed: a machine too
busy to decode seven pictures shows freezes that the relay did not make.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiortc import RTCPeerConnection

from bench.common import Row
from bench.relay import ROOM, Size, join, pictures
from server.media.packet_relay import PacketRelay
from tests.chromium import Chromium
from tests.realtime.stage import until

SEATS = 7
SMALL = Size(width=320, height=180, rate=15, kbps=200)
WARM = 5.0                      # seconds from the last seat's first picture
GONE = 3.0                      # seconds that a removed seat is looked at
OFFER = """async (seats) => {
  const pc = window.peer = new RTCPeerConnection({bundlePolicy: 'max-bundle'});
  const vp8 = RTCRtpReceiver.getCapabilities('video').codecs.filter((x) => /vp8|rtx/i.test(x.mimeType));
  for (let at = 0; at < seats; at += 1) {
    pc.addTransceiver('audio', {direction: 'recvonly'});
    pc.addTransceiver('video', {direction: 'recvonly'}).setCodecPreferences(vp8);
  }
  pc.ontrack = ({track}) => { const player = document.createElement(track.kind); player.autoplay = true;
    player.muted = true; player.srcObject = new MediaStream([track]); document.body.append(player); };
  await pc.setLocalDescription();
  return pc.localDescription.sdp; }"""
# Of every line of a picture: pictures decoded, the longest time without a new one (s), and when the last packet came.
WATCH = """async (sdp) => {
  const pc = window.peer;
  await pc.setRemoteDescription({type: 'answer', sdp});
  window.lines = new Map();
  window.fresh = () => { for (const x of window.lines.values()) { x.longest = 0; x.at = performance.now(); } };
  const look = async () => {
    const now = performance.now();
    for (const row of (await pc.getStats()).values()) {
      if (row.type !== 'inbound-rtp' || row.kind !== 'video' || !row.framesDecoded) continue;
      const x = window.lines.get(row.mid) ?? {frames: 0, packets: 0, longest: 0, at: now, last: 0};
      if (row.framesDecoded > x.frames) { x.at = now; x.frames = row.framesDecoded; }
      if (row.packetsReceived > x.packets) { x.packets = row.packetsReceived; x.last = performance.timeOrigin + now; }
      x.longest = Math.max(x.longest, (now - x.at) / 1000);
      window.lines.set(row.mid, x);
    }
    setTimeout(look, 100); };
  look();
  const seats = {};
  for (const part of sdp.split(/(?=^m=)/m)) if (part.startsWith('m=video'))
    seats[/^a=msid:(\\S+)/m.exec(part)?.[1]] = /^a=mid:(\\S+)/m.exec(part)[1];
  return seats; }"""


async def run(folder: Path, *, minutes: float) -> list[Row]:
    """Longest time without a picture of a seat, CPU of all of it, and how soon a removed seat's media has stopped."""
    relay = PacketRelay(folder, options=["--linger", "10"])
    await relay.open_room(ROOM)
    seats: list[RTCPeerConnection] = []
    names = [f"sender{number}" for number in range(SEATS)]
    chromium = Chromium()
    try:
        frames = pictures(size=SMALL)
        for name in names:
            seats.append(await join(relay, name, frames=frames, others=[], rate=SMALL.rate))
        page = await (await chromium.browser()).new_page()
        offer = await page.evaluate(OFFER, SEATS)
        mids = await page.evaluate(WATCH, await relay.answer(ROOM, "chromium", pc="one", sdp=offer, others=names))
        await until(page, f"window.lines?.size === {SEATS}")
        await asyncio.sleep(WARM)
        await page.evaluate("window.fresh()")
        before, began = await relay.look(), time.monotonic()
        start = await page.evaluate("Object.fromEntries(window.lines)")
        await asyncio.sleep(minutes * 60)
        after, took = await relay.look(), time.monotonic() - began
        end = await page.evaluate("Object.fromEntries(window.lines)")
        stopped = await removal(relay, page, names[0], mids[names[0]])
    finally:
        for pc in seats:
            await pc.close()
        await chromium.close()
        with suppress(ProcessLookupError):
            os.kill(relay.pid, signal.SIGTERM)
        await relay.close()
    used = 100 * (after.cpu_seconds - before.cpu_seconds) / took
    shown = min(end[mid]["frames"] - start[mid]["frames"] for mid in end) / took
    note = f"{minutes:g} minutes, at least {shown:.1f} pictures a second of each, load {os.getloadavg()[0]:.1f}"
    return [
        Row(name="8 seats: longest time without a picture of a seat", unit="s", note=note, goal=1,
            ours=max(x["longest"] for x in end.values())),
        Row(name="8 seats: CPU of seven received, each forwarded once", unit="%", ours=used,
            note=f"{(after.received - before.received) / took:.0f} packets/s in"),
        Row(name="a seat put out: its last packet at another", unit="s", ours=stopped, goal=1),
    ]  # fmt: skip


async def removal(relay: PacketRelay, page: Any, name: str, mid: str) -> float:
    """Seconds from when a seat is put out to the last packet of it that another receives, read ten times a second."""
    begun = time.time()
    await relay.leave(ROOM, name)
    await asyncio.sleep(GONE)
    last = await page.evaluate("(mid) => window.lines.get(mid).last", mid)
    return max(0.0, float(last) / 1000 - begun)
