"""What Janus costs in the packet relay's place: CPU of one core per seat received, forwarded and recorded.

`python -m bench.janus [--quick]`. Debian's Janus with the configuration that we ship; what is sent is that of
bench/relay.py: VP8 of 640×480 at 30 pictures a second and about 600 kbit/s, encoded before the clock runs, and sound.
The figures are the CPU seconds of Janus' process alone; for a seat recorded, those of the recorder's process as well.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from pathlib import Path

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from bench.archive_sides import busy
from bench.common import Row, show
from bench.relay import ROOM, Film, pictures, swallow
from server.media.janus import Janus
from server.media.janus_client import JanusClient
from server.media.packet_relay import PacketRelay
from tests.media.janus_server import SECRET, running_janus

QUIET = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


async def connected(pc: RTCPeerConnection) -> RTCPeerConnection:
    async with asyncio.timeout(30):
        while pc.connectionState != "connected":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return pc


async def send(backend: Janus, frames: list[bytes]) -> RTCPeerConnection:
    """The one seat that publishes."""
    pc = RTCPeerConnection(QUIET)
    pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
    pc.addTransceiver(Film(frames), direction="sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    text = await backend.answer(ROOM, "sender", pc="one", sdp=pc.localDescription.sdp, others=())
    await pc.setRemoteDescription(RTCSessionDescription(type="answer", sdp=text))
    return await connected(pc)


async def receive(client: JanusClient, pin: str) -> RTCPeerConnection:
    """One more who only receives; what comes is not decoded."""
    handle, pc = await client.attach(), RTCPeerConnection(QUIET)
    told = await client.message(handle, {
        "request": "join", "ptype": "subscriber", "room": ROOM, "pin": pin, "streams": [{"feed": "sender"}],
    })
    await pc.setRemoteDescription(RTCSessionDescription(type="offer", sdp=told["jsep"]["sdp"]))
    for transceiver in pc.getTransceivers():
        transceiver.receiver._handle_rtp_packet = swallow  # noqa: SLF001
    await pc.setLocalDescription(await pc.createAnswer())
    answer = {"type": "answer", "sdp": pc.localDescription.sdp}
    await client.message(handle, {"request": "start"}, answer)
    return await connected(pc)


async def share(pids: list[int], seconds: float) -> float:
    """Percent of one core."""
    await asyncio.sleep(2)
    before, began = busy(pids), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (busy(pids) - before) / (time.monotonic() - began)


async def run(folder: Path, *, quick: bool) -> list[Row]:
    frames, seconds, most = pictures(), 5 if quick else 20, 2 if quick else 4
    seats: list[RTCPeerConnection] = []
    async with running_janus(folder / "janus") as server:
        backend = Janus(folder, url=server.url, secret=SECRET, recorder=PacketRelay(folder))
        client = JanusClient(server.url, SECRET, told=lambda _handle, _event: None)
        try:
            await client.connect()
            await backend.open_room(ROOM)
            janus = [server.process.pid]
            idle = await share(janus, seconds)
            seats.append(await send(backend, frames))
            alone = await share(janus, seconds)
            for _ in range(most):
                seats.append(await receive(client, backend.held.rooms[ROOM].pin))
            all_of_them = await share(janus, seconds)
            kept = {"recording": str(uuid.uuid4()), "folder": folder / "log", "key": bytes(32)}
            await backend.record(ROOM, **kept, seats=["sender"])
            recorded = await share([*janus, backend.taps.relay.pid], seconds) - all_of_them
            await backend.close_room(ROOM)
        finally:
            for pc in seats:
                await pc.close()
            await client.close()
            await backend.close()
    print(f"  idle {idle:.1f} %, one sender {alone:.1f} %, and {most} receivers {all_of_them:.1f} %")
    return [
        Row(name="Janus, a seat received (640×480 and sound)", unit="%", ours=alone - idle),
        Row(name="Janus, a seat forwarded", unit="%", ours=(all_of_them - alone) / most, goal=3),
        Row(name="Janus and the recorder, a seat recorded", unit="%", ours=recorded, goal=3),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, coarser")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="huizhen-bench-") as folder:
        show("janus", asyncio.run(run(Path(folder), quick=options.quick)))


if __name__ == "__main__":
    main()
