"""The relay's process: started when needed, started again when it dies, found again by the next web process."""

import asyncio
import logging
import os
import signal

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack

from server.media.backend import MediaError
from server.media.packet_relay import PacketRelay
from tests.media.waiting import until


@pytest.fixture
async def relay(tmp_path):
    made = PacketRelay(tmp_path, options=["--linger", "20"])
    yield made
    if made.pid:
        os.kill(made.pid, signal.SIGTERM)
    await made.close()
    await until(lambda: not made.path.exists())


async def offer() -> tuple[RTCPeerConnection, str]:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
    await pc.setLocalDescription(await pc.createOffer())
    return pc, pc.localDescription.sdp


async def test_a_dead_relay_is_started_again_and_the_gap_is_logged(relay, caplog):
    caplog.set_level(logging.INFO, "huizhen.media")
    deaths, changes = [], []
    relay._died = lambda: deaths.append(1)
    relay.on_change = lambda: changes.append(relay.generation)
    await relay.open_room("room")
    pc, sdp = await offer()
    assert "a=ice-lite" in await relay.answer("room", "a", pc="one", sdp=sdp, others=[])
    assert relay.seats("room") == {"a"}
    first = relay.generation

    os.kill(relay.pid, signal.SIGKILL)
    await until(lambda: changes)
    assert changes == [relay.generation]
    assert relay.generation != first
    assert deaths == [1]
    assert relay.seats("room") == frozenset()
    gap = next(x for x in caplog.records if x.message == "media relay back").gap_seconds
    assert 0 <= gap < 45
    assert "a=ice-lite" in await relay.answer("room", "a", pc="two", sdp=sdp, others=[])
    with pytest.raises(MediaError, match="fingerprint"):
        await relay.answer("room", "a", pc="three", sdp="v=0\r\nm=audio 9 X 0\r\na=mid:0\r\n", others=[])
    await relay.close_room("room")
    assert relay.seats("room") is None
    assert (await relay.look()).rooms == ()
    await pc.close()


async def test_the_next_web_process_finds_the_rooms_as_they_are(relay, tmp_path):
    await relay.open_room("room")
    pc, sdp = await offer()
    await relay.answer("room", "a", pc="one", sdp=sdp, others=[])
    await relay.close()

    following = PacketRelay(tmp_path)
    await following.adopt()
    assert following.pid == relay.pid
    assert following.generation == relay.generation
    assert following.seats("room") == {"a"}
    await following.leave("room", "a")
    assert (await following.look()).rooms == ()
    await following.close()
    await asyncio.sleep(0)
    await pc.close()


async def test_a_dying_relay_that_still_listens_is_not_asked_but_replaced(relay):
    """As after a kill: the first connection is still taken, and answers nothing. Who asks meanwhile waits."""
    taken, let_go = asyncio.Event(), asyncio.Event()

    async def dying(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set()
        await let_go.wait()
        writer.close()

    relay.path.parent.mkdir(parents=True, exist_ok=True)
    listening = await asyncio.start_unix_server(dying, relay.path)
    first = asyncio.create_task(relay.open_room("one"))
    await taken.wait()
    looks = [asyncio.create_task(relay.look()) for _ in range(3)]
    await asyncio.sleep(0)
    listening.close()
    let_go.set()
    await first
    assert {x.pid for x in await asyncio.gather(*looks)} == {relay.pid}
