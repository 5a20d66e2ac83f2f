"""For the recording's tests: somebody who publishes over DTLS and SRTP, and what of it a log has kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from server.media.backend import MediaBackend
from server.media.packet_relay import PacketRelay
from server.media.relay import rtp
from server.recording import log
from tests.media.filming import RATE, Sender, film_of, sound_of
from tests.media.waiting import until

KEY = bytes(range(32))


@contextlib.asynccontextmanager
async def running_relay(folder: Path) -> AsyncIterator[PacketRelay]:
    """One whose process ends with the test."""
    made = PacketRelay(folder, options=["--linger", "20"])
    yield made
    if made.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(made.pid, signal.SIGTERM)
    await made.close()
    await until(lambda: not made.path.exists())


class Publisher:
    """A browser's side of the wire with packets and sender reports of our own making, sent as time passes."""

    async def join(self, relay: MediaBackend, seat: str) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        for kind in ("audio", "video"):
            self.pc.addTransceiver(kind, direction="sendonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = await relay.answer("room", seat, pc="one", sdp=self.pc.localDescription.sdp, others=[])
        await self.pc.setRemoteDescription(RTCSessionDescription(type="answer", sdp=text))
        await until(lambda: self.pc.connectionState == "connected")
        audio, video = (x.sender for x in self.pc.getTransceivers())
        self.wire = audio.transport
        known = {x.mimeType.lower(): x.payloadType for y in self.pc.getTransceivers() for x in y._codecs}
        began = time.time() - 777                           # a clock of its own
        self.sound = Sender(audio._ssrc, known["audio/opus"], 48000, began)
        self.picture = Sender(video._ssrc, known["video/vp8"], 90000, began)
        self.began = time.time()

    async def send(self, seconds: float, flashes=(), *, tone=1000) -> tuple[list[bytes], float]:
        """What was sent, and the moment (s since 1970) of its beginning. Each packet goes when its time has come."""
        start, media = time.time(), time.time() - self.began
        due = [(n / 50, self.sound, x) for n, x in enumerate(sound_of(seconds, flashes, tone=tone))]
        due += [(n / RATE, self.picture, x) for n, x in enumerate(film_of(seconds, flashes))]
        start, media = time.time(), time.time() - self.began
        sent = []
        for at, sender, unit in sorted(due, key=lambda x: x[0]):
            await asyncio.sleep(max(0, start + at - time.time()))
            if sender is self.sound:
                packets = [sender.packet(media + at, unit)]
            else:
                packets = sender.picture(media + at, unit)
            for data in packets:
                await self.wire._send_rtp(data)
            sent += packets
            if at % 0.5 < 0.02:
                await self.wire._send_rtp(sender.report(media + at))
        return sent, start


def kept(folder) -> tuple[list[tuple[int, int, bytes]], log.Condition]:
    condition = log.Condition()
    found = [rtp.parse(x.data) for x in log.read(folder, KEY, condition) if isinstance(x, log.Media)]
    return [name(x) for x in found], condition


def name(packet: rtp.Packet | bytes) -> tuple[int, int, bytes]:
    packet = rtp.parse(packet) if isinstance(packet, bytes) else packet
    return packet.ssrc, packet.sequence, packet.body


async def taken(relay: PacketRelay, packets: int) -> None:
    """Until the recording has as many packets."""
    async with asyncio.timeout(45):
        while (await relay.look()).recordings[0].packets < packets:  # noqa: ASYNC110 - the relay tells when asked
            await asyncio.sleep(0.05)
