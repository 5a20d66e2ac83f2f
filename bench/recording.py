"""What recording costs the relay, what a kill loses, what a film costs: rows of bench/relay.py.

One seat sends 640×480 and speech to a relay of its own; recording goes on and off in turns of equal length, and the
figure is the median of neighbouring differences. For the kill the relay gets SIGKILL while it records: what is lost is
the time between the last packet that the log gives back and the kill.
"""

import asyncio
import os
import resource
import secrets
import signal
import statistics
import time
import uuid
from pathlib import Path

from bench.common import Row
from bench.relay import ROOM, join, pictures
from server.media.packet_relay import PacketRelay
from server.recording import log
from server.recording.muxing import mux
from tests.media.filming import shown
from tests.media.publisher import Publisher


def last_packet(folder: Path, key: bytes) -> float:
    """When (s since 1970) the last packet came that the log gives back."""
    return max(x.at for x in log.read(folder, key, log.Condition()) if isinstance(x, log.Media)) / 1e6


async def used(relay: PacketRelay, seconds: float) -> float:
    """Percent of a core over some seconds."""
    before, began = await relay.look(), time.monotonic()
    await asyncio.sleep(seconds)
    after = await relay.look()
    return 100 * (after.cpu_seconds - before.cpu_seconds) / (time.monotonic() - began)


async def together(relay: PacketRelay, folder: Path, key: bytes, *, moments: int) -> float:
    """Most seconds between a flash and the beep that was sent with it, in the film of a seat whose sound and picture
    count from different numbers: only its sender reports bring them together.
    """
    recording, logs, place = str(uuid.uuid4()), folder / "apart", "room"     # where it joins
    await relay.open_room(place)
    publisher = Publisher()
    await publisher.join(relay, "seat")
    await relay.record(place, recording=recording, folder=logs, key=key, seats=["seat"])
    await publisher.send(moments + 1, [at + 0.5 for at in range(moments)])
    await relay.stop_recording(place, recording)
    await publisher.pc.close()
    await relay.close_room(place)
    await mux(logs, key, folder / "apart.film", lambda _: None)
    seen = shown(folder / "apart.film", key)
    flashes, beeps = seen.flashes(0, 1), seen.beeps()
    if not len(flashes) == len(beeps) == moments:
        raise RuntimeError(f"{len(flashes)} flashes and {len(beeps)} beeps of {moments}")
    return max(abs(a - b) for a, b in zip(flashes, beeps, strict=True))


async def run(folder: Path, *, quick: bool) -> list[Row]:
    """Four rows."""
    relay, key, recording = PacketRelay(folder, options=["--linger", "10"]), secrets.token_bytes(32), str(uuid.uuid4())
    logs, turns, seconds, lost = folder / "log", 3 if quick else 7, 2 if quick else 5, []
    await relay.open_room(ROOM)
    sender = await join(relay, "sender", frames=pictures(), others=[])
    relay.on_change = lambda: None

    async def record() -> None:
        await relay.record(ROOM, recording=recording, folder=logs, key=key, seats=["sender"])

    try:
        differences = []
        for _ in range(turns):
            await relay.pause_recording(ROOM, recording)
            without = await used(relay, seconds)
            await record()
            differences.append(await used(relay, seconds) - without)
        packets = (await relay.look()).recordings[0].packets / (turns * seconds)
        await relay.stop_recording(ROOM, recording)
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        film = await mux(logs, key, folder / "film", lambda _: None)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
        for _ in range(1 if quick else 5):
            await sender.close()
            sender = await join(relay, "sender", frames=pictures(30), others=[])
            await record()
            await asyncio.sleep(3 + secrets.randbelow(1000) / 1000)
            generation, killed = relay.generation, time.time()
            os.kill(relay.pid, signal.SIGKILL)
            lost.append(killed - last_packet(logs, key))
            async with asyncio.timeout(30):
                while relay.generation == generation:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        apart = await together(relay, folder, key, moments=3 if quick else 10)
    finally:
        await sender.close()
        os.kill(relay.pid, signal.SIGTERM)
        await relay.close()
    note = f"{packets:.0f} packets/s, {turns} turns of {seconds} s, {min(differences):.1f} to {max(differences):.1f}"
    per = took / film.duration
    return [
        Row(name="relay, a seat recorded", unit="%", ours=statistics.median(differences), goal=3, note=note),
        Row(name="recording lost by a kill", unit="s", ours=max(lost), goal=2, note=f"most of {len(lost)}"),
        Row(name="film, sound and picture apart", unit="ms", ours=apart * 1000, goal=40, note="by the senders' clocks"),
        Row(name="film, CPU per second recorded", unit="s", ours=per, note=f"of {film.duration:.0f} s"),
    ]
