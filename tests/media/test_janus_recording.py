"""Where Debian's Janus forwards, the packet relay records: whom it may, while it may, sound and picture together."""

import asyncio
import os
import signal
import uuid

import pytest

from server.media.janus import Janus
from server.recording.muxing import mux
from tests.media.filming import shown
from tests.media.janus_server import SECRET, running_janus
from tests.media.publisher import KEY, Publisher, kept, running_relay
from tests.media.waiting import until


@pytest.fixture
async def server(tmp_path):
    async with running_janus(tmp_path / "janus") as server:
        yield server


@pytest.fixture
async def backend(server, tmp_path):
    async with running_relay(tmp_path / "recorder") as recorder:
        backend = Janus(tmp_path, url=server.url, secret=SECRET, recorder=recorder)
        await backend.open_room("room")
        yield backend
        await backend.close()


async def packets(backend: Janus) -> int:
    """How many the recording has taken."""
    return (await backend.taps.relay.look()).recordings[0].packets


async def begun(backend: Janus, publisher: Publisher) -> None:
    """Until what is sent is recorded."""
    before = await packets(backend)
    async with asyncio.timeout(45):
        while await packets(backend) < before + 10:
            await publisher.send(0.2)


def bodies(sent: list[bytes]) -> set[bytes]:
    return {x[12:] for x in sent}


async def test_who_agreed_is_in_the_film_together_and_nothing_of_others_or_of_a_pause(backend, tmp_path):
    folder, recording = tmp_path / "log", str(uuid.uuid4())
    a, b = Publisher(), Publisher()
    await a.join(backend, "a")
    await backend.record("room", recording=recording, folder=folder, key=KEY, seats=["a", "c"])
    assert backend.recorded("room") == recording
    await b.join(backend, "b")
    await begun(backend, a)
    (first, _), (others, _) = await asyncio.gather(a.send(2, [1.0]), b.send(2, [0.5], tone=700))
    await asyncio.sleep(0.3)
    await backend.pause_recording("room", recording)
    await until(lambda: not any(x.tap for x in backend.held.rooms["room"].seats.values()))
    assert backend.taps.relay.seats("room") == frozenset()              # it is not even received
    between, _ = await a.send(0.6, [0.3], tone=500)
    assert backend.held.ending == []

    # they agree again, and somebody who was asked before comes now
    await backend.record("room", recording=recording, folder=folder, key=KEY, seats=["a", "c"])
    c = Publisher()
    await c.join(backend, "c")
    await begun(backend, c)
    second, _ = await c.send(0.5)
    await asyncio.sleep(0.3)
    await backend.leave("room", "c")
    assert backend.taps.relay.seats("room") == {"a"}
    await backend.stop_recording("room", recording)
    assert backend.recorded("room") is None

    found, condition = kept(folder)
    assert condition.whole
    found = {body for _, _, body in found}
    assert bodies(first) <= found
    assert bodies(second) <= found
    for unwanted in (between, others):
        told = bodies(unwanted) - bodies(first) - bodies(second)       # silence is the same for everybody
        assert told
        assert not told & found
    made = await mux(folder, KEY, tmp_path / "film", lambda _: None)
    assert made.seats == ("a", "c")
    seen = shown(tmp_path / "film", KEY)
    assert abs(seen.flashes(0, 2)[0] - seen.beeps()[0]) <= 0.04
    for publisher in (a, b, c):
        await publisher.pc.close()


async def test_a_server_that_comes_back_records_nobody_until_it_is_told_and_a_dead_recorder_is_said(
    backend, server, tmp_path
):
    folder, recording, ended = tmp_path / "log", str(uuid.uuid4()), []
    a = Publisher()
    await a.join(backend, "a")
    await backend.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    await begun(backend, a)
    await backend.close()

    following = Janus(tmp_path, url=server.url, secret=SECRET, recorder=type(backend.taps.relay)(tmp_path / "recorder"))
    following.on_recording_ended = lambda *what: ended.append(what)
    await following.adopt()
    assert (following.seats("room"), following.recorded("room")) == ({"a"}, recording)
    await until(lambda: not any(x.tap for x in following.held.rooms["room"].seats.values()))
    await following.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    await begun(following, a)

    os.kill(following.taps.relay.pid, signal.SIGKILL)
    await until(lambda: ended)
    assert ended == [("room", recording, "relay")]
    await until(lambda: not any(x.tap for x in following.held.rooms["room"].seats.values()))
    await following.record("room", recording=recording, folder=folder, key=KEY, seats=["a"])
    await begun(following, a)
    await following.close_room("room")
    assert following.recorded("room") is None
    await following.close()
    await a.pc.close()
