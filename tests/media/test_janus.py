"""The shipped configuration in Debian's Janus, and aiortc peers who meet there: nobody but our server is spoken to."""

import asyncio

import aiohttp
import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from server.media.backend import MediaError
from server.media.janus import Janus
from server.media.janus_state import Line, Wish, chosen, climbed, sees
from server.media.packet_relay import PacketRelay
from server.media.relay.ladder import AUDIO, SMALL, Ladder, Report
from server.settings import SettingsError
from server.settings_reading import load_settings
from tests.media.janus_server import SECRET, running_janus
from tests.media.waiting import until

QUIET = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


class Peer:
    """A seat's two connections, as a browser has them."""

    def __init__(self, name: str) -> None:
        self.name, self.up, self.down = name, RTCPeerConnection(QUIET), RTCPeerConnection(QUIET)
        self.pc, self.samples, self.tasks = "", {}, []
        self.up.addTransceiver(AudioStreamTrack(), direction="sendonly")

    async def publish(self, backend: Janus) -> None:
        await self.up.setLocalDescription(await self.up.createOffer())
        text = await backend.answer(
            "room", self.name, pc=f"pc-{self.name}", sdp=self.up.localDescription.sdp, others=()
        )
        await self.up.setRemoteDescription(RTCSessionDescription(type="answer", sdp=text))

    async def take(self, backend: Janus, pc: str, sdp: str) -> None:
        assert self.pc in ("", pc)
        self.pc = pc
        await self.down.setRemoteDescription(RTCSessionDescription(type="offer", sdp=sdp))
        await self.down.setLocalDescription(await self.down.createAnswer())
        await backend.answered("room", self.name, pc=pc, sdp=self.down.localDescription.sdp)
        for transceiver in self.down.getTransceivers()[len(self.tasks):]:
            self.tasks.append(asyncio.create_task(self.watch(transceiver)))

    async def watch(self, transceiver) -> None:
        while True:
            frame = await transceiver.receiver.track.recv()
            self.samples[transceiver.mid] = self.samples.get(transceiver.mid, 0) + frame.samples

    @property
    def heard(self) -> int:
        return sum(self.samples.values())

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(self.up.close(), self.down.close(), *self.tasks, return_exceptions=True)


@pytest.fixture
async def server(tmp_path):
    async with running_janus(tmp_path / "janus") as server:
        yield server


def backend_of(server, folder, peers: dict[str, Peer], tasks: set) -> Janus:
    """A web server's side, which passes every offer on to its peer."""
    backend = Janus(folder, url=server.url, secret=SECRET, recorder=PacketRelay(folder))

    def offered(_room: str, seat: str, pc: str, sdp: str) -> None:
        tasks.add(asyncio.ensure_future(peers[seat].take(backend, pc, sdp)))

    backend.on_offer = offered
    return backend


async def test_the_shipped_configuration_listens_on_loopback_alone_and_knows_its_secret(server):
    assert server.listens() == {("127.0.0.1", server.port)}             # no admin API, no other transport
    assert not await server.answers("another")
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.ws_connect(server.url, protocols=("janus-admin-protocol",))
    assert server.loaded() == {"libjanus_videoroom", "libjanus_websockets"}


async def test_calls_outlive_our_own_restart_and_who_leaves_is_neither_heard_nor_hears(server, tmp_path):
    peers, tasks = {x: Peer(x) for x in ("a", "b", "c")}, set()
    backend = backend_of(server, tmp_path, peers, tasks)
    await backend.open_room("room")
    for peer in peers.values():
        await peer.publish(backend)
    await until(lambda: all(len([x for x in p.samples.values() if x > 4800]) == 2 for p in peers.values()))
    assert backend.seats("room") == {"a", "b", "c"}
    with pytest.raises(MediaError):
        await backend.answered("room", "a", pc="another", sdp="v=0")

    # our process begins anew: the session is claimed, nobody is offered anything, everybody goes on
    generation = backend.generation
    await backend.close()
    assert oct((tmp_path / "janus.json").stat().st_mode & 0o777) == "0o600"
    backend = backend_of(server, tmp_path, peers, tasks)
    before = {name: (peer.heard, len(peer.tasks)) for name, peer in peers.items()}
    await backend.adopt()
    assert (backend.generation, backend.seats("room")) == (generation, {"a", "b", "c"})
    await until(lambda: all(p.heard > before[x][0] + 48000 for x, p in peers.items()))
    assert all(len(p.tasks) == before[x][1] and p.down.connectionState == "connected" for x, p in peers.items())

    # one leaves: Janus ends both of its connections by itself
    await backend.leave("room", "c")
    assert backend.held.ending == []
    await until(lambda: peers["c"].up.connectionState == peers["c"].down.connectionState == "closed")
    gone = peers["c"].heard
    before = {x: peers[x].heard for x in "ab"}
    await until(lambda: all(peers[x].heard > before[x] + 48000 for x in "ab"))
    assert (peers["c"].heard, backend.seats("room")) == (gone, {"a", "b"})

    await backend.close_room("room")
    await until(lambda: peers["a"].down.connectionState == "closed")
    assert (backend.seats("room"), backend.held.closing) == (None, {})
    for peer in peers.values():
        await peer.close()
    await asyncio.gather(*tasks)
    await backend.close()


async def test_a_name_that_a_former_handle_still_has_is_waited_for(server, tmp_path):
    backend, peer = Janus(tmp_path, url=server.url, secret=SECRET, recorder=PacketRelay(tmp_path)), Peer("a")
    await backend.open_room("room")
    client = await backend._session.client()
    former = await client.attach()
    room = backend.held.rooms["room"]
    await client.message(former, {"request": "join", "ptype": "publisher", "room": "room", "pin": room.pin, "id": "a"})
    publishing = asyncio.create_task(peer.publish(backend))
    await asyncio.sleep(0.5)
    assert not publishing.done()
    await client.request("detach", handle=former)
    await publishing
    await until(lambda: peer.up.connectionState == "connected")
    await peer.close()
    await backend.close_room("room")
    await backend.close()


@pytest.mark.parametrize(("heights", "most", "cap", "rung"), [
    ({}, "video", 0, "video"), ({}, "small", 0, "small"), ({}, "audio", 0, "audio"), ({}, "video", 1300, "video"),
    ({}, "video", 1200, "small"), ({"b": 300, "c": 100}, "video", 800, "video"), ({"b": 90, "c": 90}, "video", 300, "video"),
    ({"b": 300, "c": 300}, "video", 800, "small"), ({}, "video", 100, "audio"),
])
def test_a_seat_is_sent_no_more_than_it_wants_or_may_be(heights, most, cap, rung):
    wish = Wish(ladder=Ladder(), heights=heights)
    assert climbed(wish, Report(concealed=0.0, loss=0.0, kbps=400), 2, 1000.0, most=most, cap=cap) is (rung != "video")
    assert (wish.rung, wish.ladder.chosen) == (rung, rung != "video")
    assert chosen(Line(seat="b", video=False), wish)[0]
    assert chosen(Line(seat="b", video=True), wish)[0] is (rung == "video" or (rung == "small" and sees(wish) == "b"))


async def test_a_dead_janus_is_a_new_generation_and_its_rooms_are_empty(server, tmp_path):
    backend, changed = Janus(tmp_path, url=server.url, secret=SECRET, recorder=PacketRelay(tmp_path)), []
    backend.on_change = lambda: changed.append(backend.generation)
    await backend.open_room("room")
    before = backend.generation
    await server.kill()
    await server.start()
    await until(lambda: changed)
    assert changed == [backend.generation] != [before]
    assert backend.seats("room") == frozenset()
    await backend.open_room("room")
    await backend.close()


async def test_without_janus_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("server.media.janus_session.START_SECONDS", 0.1)
    backend = Janus(tmp_path, url="ws://127.0.0.1:1", secret=SECRET, recorder=PacketRelay(tmp_path))
    with pytest.raises(MediaError):
        await backend.open_room("room")
    assert backend.seats("room") is None
    await backend.close()


def test_the_secret_must_be_there_before_anything_starts(tmp_path):
    with pytest.raises(SettingsError, match="janus_secret_file"):
        load_settings(environment={}, override={"media": {"backend": "janus"}})
    (tmp_path / "secret").write_text("x")
    media = {"backend": "janus", "janus_secret_file": str(tmp_path / "secret")}
    assert load_settings(environment={}, override={"media": media}).media.backend == "janus"


def test_a_high_tile_gets_a_large_picture_and_a_thin_line_one_small_one_or_none():
    picture, other, sound = Line(seat="a", video=True), Line(seat="b", video=True), Line(seat="a", video=False)
    wish = Wish(ladder=Ladder(), heights={"a": 400, "b": 150})
    assert (chosen(picture, wish), chosen(other, wish)) == ((True, 2), (True, 1))
    wish.heights = {"a": 90}
    assert (chosen(picture, wish), chosen(other, wish)) == ((True, 0), (True, 1))
    wish.ladder, wish.wants = Ladder(at=SMALL), "b"
    assert (chosen(picture, wish)[0], chosen(other, wish)) == (False, (True, 0))
    wish.ladder = Ladder(at=AUDIO)
    assert [chosen(x, wish)[0] for x in (picture, other, sound)] == [False, False, True]
