"""The whole way: a publisher over DTLS and SRTP, the relay's process, its log, the film; and a relay that is killed."""

import asyncio
import contextlib
import os
import signal
import time
import uuid

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from server.media.packet_relay import PacketRelay
from server.media.relay import rtp
from server.recording import log
from server.recording.muxing import mux
from tests.media.filming import RATE, Sender, film_of, shown, sound_of
from tests.media.waiting import until

KEY = bytes(range(32))


@pytest.fixture
async def relay(tmp_path):
    made = PacketRelay(tmp_path, options=["--linger", "20"])
    yield made
    if made.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(made.pid, signal.SIGTERM)
    await made.close()
    await until(lambda: not made.path.exists())


class Publisher:
    """A browser's side of the wire with packets and sender reports of our own making, sent as time passes."""

    async def join(self, relay: PacketRelay, seat: str) -> None:
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

    async def send(self, seconds: float, flashes=()) -> tuple[list[bytes], float]:
        """What was sent, and the moment (s since 1970) of its beginning. Each packet goes when its time has come."""
        start, media = time.time(), time.time() - self.began
        due = [(n / 50, self.sound, x) for n, x in enumerate(sound_of(seconds, flashes))]
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


async def test_every_packet_while_it_runs_is_in_the_log_none_of_a_pause_and_the_film_is_as_long_and_together(
    relay, tmp_path
):
    folder, recording = tmp_path / "one", str(uuid.uuid4())
    await relay.open_room("room")
    a = Publisher()
    await a.join(relay, "a")
    asked = time.time()
    await relay.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    running = time.time()
    first, start = await a.send(2, [1.0])
    await taken(relay, len(first))
    pausing = time.time()
    await relay.pause_recording("room", recording)
    paused = time.time()
    before = (await relay.look()).received
    between, _ = await a.send(0.3)
    async with asyncio.timeout(45):     # what is still in the socket when it goes on would be kept, rightly
        while (await relay.look()).received < before + len(between):  # noqa: ASYNC110 - the relay tells when asked
            await asyncio.sleep(0.05)
    await relay.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    assert relay.recorded("room") == recording
    second, _ = await a.send(0.5)
    await taken(relay, len(first) + len(second))
    await relay.stop_recording("room", recording)
    assert relay.recorded("room") is None
    found, condition = kept(folder)
    assert condition.whole
    assert sorted(found) == sorted(name(x) for x in (*first, *second))
    assert not {name(x) for x in between} & set(found)

    made = await mux(folder, KEY, tmp_path / "film", lambda _: None)
    assert made.seats == ("a",)
    assert made.whole
    assert pausing - running - 0.2 <= made.spans[0].seconds <= paused - asked + 0.2
    seen = shown(tmp_path / "film", KEY)
    assert abs(seen.duration - made.duration) < 0.1
    flash, beep = seen.flashes(0, 1)[0], seen.beeps()[0]
    assert abs(flash - beep) <= 0.04
    assert beep >= start + 1 - made.spans[0].began - 0.06
    await a.pc.close()


async def test_a_relay_that_is_killed_leaves_a_log_that_reads_and_the_next_one_goes_on_in_a_new_file(relay, tmp_path):
    folder, recording, ended = tmp_path / "one", str(uuid.uuid4()), []
    relay.on_recording_ended = lambda *what: ended.append(what)
    await relay.open_room("room")
    a = Publisher()
    await a.join(relay, "a")
    await relay.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    before, _ = await a.send(1)
    await taken(relay, len(before))
    await until(lambda: len(kept(folder)[0]) == len(before))            # what has lain for a moment is safe
    await a.send(0.3)
    os.kill(relay.pid, signal.SIGKILL)
    await until(lambda: ended)
    assert ended == [("room", recording, "relay")]
    assert relay.recorded("room") is None
    found, condition = kept(folder)
    assert {name(x) for x in before} <= set(found)
    assert (condition.damaged, condition.unended) == (0, [1])
    await relay.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    await relay.close()

    following = PacketRelay(tmp_path)                                    # the next web process
    await following.adopt()
    assert following.recorded("room") == recording
    assert [x.running for x in (await following.look()).recordings] == [False]
    await following.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    assert [x.running for x in (await following.look()).recordings] == [True]
    await following.stop_recording("room", recording)
    await following.close()
    condition = log.Condition()
    marks = [x.what for x in log.read(folder, KEY, condition) if isinstance(x, log.Mark)]
    assert [number for number, _ in log.files(folder)] == [1, 2]
    assert condition.unended == [1]
    assert marks[-4:] == ["running", "paused", "running", "ended"]
    await a.pc.close()
