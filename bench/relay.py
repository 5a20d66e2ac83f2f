"""What the packet relay costs: CPU of one core per seat received and per seat forwarded, 640×480 and speech.

`python -m bench.relay [--quick] [--minutes 10]`. One seat sends VP8 at 30 pictures a second and about 600 kbit/s,
encoded before the clock runs, with speech beside it; then seats that only receive come one after the other. The relay
is its own process and tells its CPU seconds itself, so what the senders and receivers here cost is not in the figures.
Then a recording (bench/recording.py) and eight seats (bench/relay_room.py).
"""

import argparse
import asyncio
import fractions
import itertools
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from bench.common import Row, show
from server.media.packet_relay import PacketRelay

ROOM = "bench"
RATE = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a picture; `rate` pictures a second."""

    width: int = 640
    height: int = 480
    rate: int = RATE
    kbps: int = 600


def pictures(count: int = 90, size: Size = Size()) -> list[bytes]:
    """Encoded VP8 frames of a moving pattern."""
    codec = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = size.width, size.height, "yuv420p"
    codec.time_base, codec.bit_rate = fractions.Fraction(1, size.rate), size.kbps * 1000
    codec.options = {"deadline": "realtime", "cpu-used": "8", "g": "30", "maxrate": f"{size.kbps * 7 // 6}k",
                     "bufsize": f"{size.kbps // 3}k"}
    draw = np.random.default_rng(7)
    still = draw.integers(0, 255, (size.height, size.width, 3), np.uint8)
    found = []
    for number in range(count):
        image = np.roll(still // 4 + 96, number * 3, axis=1)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        found += [bytes(packet) for packet in codec.encode(frame)]
    return found


class Film(MediaStreamTrack):
    """The same pictures again and again, already encoded."""

    kind = "video"

    def __init__(self, frames: list[bytes], rate: int = RATE) -> None:
        super().__init__()
        self._frames, self._rate, self._began = itertools.cycle(frames), rate, time.monotonic()
        self._numbers = itertools.count()

    async def recv(self) -> av.Packet:
        number = next(self._numbers)
        await asyncio.sleep(max(0, self._began + number / self._rate - time.monotonic()))
        packet = av.Packet(next(self._frames))
        packet.pts, packet.time_base = number, fractions.Fraction(1, self._rate)
        return packet


async def swallow(*_args, **_kwargs) -> None:
    """What comes is not decoded: only the relay is looked at."""


async def join(
    relay: PacketRelay, seat: str, *, frames: list[bytes] | None, others: list[str], rate: int = RATE
) -> RTCPeerConnection:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    if frames:
        pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
        pc.addTransceiver(Film(frames, rate), direction="sendonly")
    for _ in others:
        for kind in ("audio", "video"):
            pc.addTransceiver(kind, direction="recvonly").receiver._handle_rtp_packet = swallow  # noqa: SLF001
    await pc.setLocalDescription(await pc.createOffer())
    text = await relay.answer(ROOM, seat, pc="one", sdp=pc.localDescription.sdp, others=others)
    await pc.setRemoteDescription(RTCSessionDescription(type="answer", sdp=text))
    async with asyncio.timeout(30):
        while pc.connectionState != "connected":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return pc


async def share(relay: PacketRelay, seconds: float) -> tuple[float, float, float]:
    """(percent of one core, packets received a second, packets sent a second)."""
    await asyncio.sleep(2)
    before, began = await relay.look(), time.monotonic()
    await asyncio.sleep(seconds)
    after, took = await relay.look(), time.monotonic() - began
    return (
        100 * (after.cpu_seconds - before.cpu_seconds) / took,
        (after.received - before.received) / took, (after.sent - before.sent) / took,
    )  # fmt: skip


async def run(folder: Path, *, quick: bool) -> list[Row]:
    relay = PacketRelay(folder, options=["--linger", "10"])
    await relay.open_room(ROOM)
    frames, seconds, most = pictures(), 5 if quick else 20, 2 if quick else 4
    seats: list[RTCPeerConnection] = []
    try:
        idle, _, _ = await share(relay, seconds)
        seats.append(await join(relay, "sender", frames=frames, others=[]))
        alone, received, _ = await share(relay, seconds)
        for number in range(most):
            seats.append(await join(relay, f"receiver{number}", frames=None, others=["sender"]))
        all_of_them, _, sent = await share(relay, seconds)
    finally:
        for pc in seats:
            await pc.close()
        os.kill(relay.pid, signal.SIGTERM)
        await relay.close()
    print(f"  idle {idle:.1f} %, one sender {alone:.1f} %, and {most} receivers {all_of_them:.1f} %")
    note = f"{received:.0f} packets/s in, {sent / most:.0f} out per receiver"
    return [
        Row(name="relay, a seat received (640×480 and speech)", unit="%", ours=alone - idle, goal=9, note=note),
        Row(name="relay, a seat forwarded", unit="%", ours=(all_of_them - alone) / most, goal=2),
    ]


def main() -> None:
    from bench import recording, relay_room  # which use what stands here

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, coarser")
    parser.add_argument("--minutes", type=float, default=0, help="that eight seats are looked at (10; with --quick 1)")
    options = parser.parse_args()
    minutes = options.minutes or (1 if options.quick else 10)
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        rows = asyncio.run(run(Path(folder), quick=options.quick))
        rows += asyncio.run(recording.run(Path(folder) / "recording", quick=options.quick))
        rows += asyncio.run(relay_room.run(Path(folder) / "room", minutes=minutes))
        show("relay", rows)


if __name__ == "__main__":
    main()
