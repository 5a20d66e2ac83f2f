"""Three aiortc peers through the relay's rooms, in one loop and over real UDP: frames arrive, gaps and all."""

import asyncio
import fractions
import random

import numpy as np
import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack
from av import VideoFrame

from server.media.relay.ice import IceLite
from server.media.relay.rooms import Rooms
from tests.media.waiting import until


class Picture(VideoStreamTrack):
    """Grey of one shade, moving a little, 15 a second."""

    def __init__(self, shade: int) -> None:
        super().__init__()
        self.shade, self.n = shade, 0

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / 15)
        image = np.full((120, 160, 3), self.shade, np.uint8)
        image[self.n % 120, :, :] = 255 - self.shade
        frame = VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = self.n * 6000, fractions.Fraction(1, 90000)
        self.n += 1
        return frame


class Seat:
    """One aiortc peer as a browser would be: it offers, publishes, and receives a line for every other seat."""

    def __init__(self, rooms: Rooms, name: str, shade: int) -> None:
        self.rooms, self.name = rooms, name
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.shades: dict[str, list[int]] = {}
        self.samples: dict[str, int] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
        self.pc.addTransceiver(Picture(shade), direction="sendonly")

    async def join(self, others: list[str]) -> None:
        for _ in others:
            for kind in ("audio", "video"):
                self.pc.addTransceiver(kind, direction="recvonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        text = self.rooms.offer(
            "room", self.name, pc="one", sdp=self.pc.localDescription.sdp, others=tuple(others)
        )
        await self.pc.setRemoteDescription(RTCSessionDescription(type="answer", sdp=text))
        seats = iter(x for other in others for x in (other, other))
        for transceiver in self.pc.getTransceivers()[2:]:
            self.tasks.append(asyncio.create_task(self.watch(next(seats), transceiver.receiver.track)))

    async def watch(self, seat: str, track) -> None:
        while True:
            frame = await track.recv()
            if track.kind == "video":
                self.shades.setdefault(seat, []).append(int(frame.to_ndarray(format="gray").mean()))
            else:
                self.samples[seat] = self.samples.get(seat, 0) + frame.samples

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await self.pc.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def rooms():
    lite = IceLite()
    await lite.open(port=0)
    made = Rooms(lite, lambda *_: None)
    yield made
    await made.close_all()
    lite.close()


@pytest.fixture
async def seats(rooms):
    made = {name: Seat(rooms, name, shade) for name, shade in [("a", 40), ("b", 120), ("c", 200)]}
    for name, seat in made.items():
        await seat.join([x for x in made if x != name])
    yield made
    for seat in made.values():
        await seat.close()


async def test_three_seats_see_and_hear_each_other_and_a_leaver_is_gone_at_once(rooms, seats):
    shade = {"a": 40, "b": 120, "c": 200}
    for name, seat in seats.items():
        for other in seats:
            if other != name:
                await until(lambda s=seat, o=other: len(s.shades.get(o, [])) > 3 and s.samples.get(o, 0) > 4800)
                assert abs(seat.shades[other][-1] - shade[other]) < 12

    rooms.leave("room", "c")
    before = rooms.packets()[0]
    sent = {x.seat: y.sent for x in (place.current for place in rooms.rooms["room"].seats.values())
            for y in x.subscriptions.values() if y.seat == "c"}
    assert len(sent) == 2
    await until(lambda: rooms.packets()[0] > before + 50)
    after = {x.seat: y.sent for x in (place.current for place in rooms.rooms["room"].seats.values())
             for y in x.subscriptions.values() if y.seat == "c"}
    assert after == sent


async def test_lost_pictures_are_repaired_on_both_ways(rooms, seats):
    a, b = seats["a"], seats["b"]
    await until(lambda: len(b.shades.get("a", [])) > 3)
    draw = random.Random(7)
    publisher, subscriber = (rooms.rooms["room"].seats[x].current for x in "ab")
    take, send = publisher.path.media, subscriber.path.send
    publisher.path.media = lambda data: take(data) if draw.random() > 0.05 else None
    subscriber.path.send = lambda data: send(data) if draw.random() > 0.05 else None
    line = next(x for x in subscriber.subscriptions.values() if x.seat == "a" and x.kind == "video")
    seen = len(b.shades["a"])
    await until(lambda: line.resent > 3 and len(b.shades["a"]) > seen + 30)
    assert a.pc.connectionState == "connected"
