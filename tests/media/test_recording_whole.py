"""The whole way: a publisher over DTLS and SRTP, the relay's process, its log, the film; and a relay that is killed."""

import asyncio
import os
import signal
import time
import uuid

import pytest

from server.media.packet_relay import PacketRelay
from server.recording import log
from server.recording.muxing import mux
from tests.media.filming import shown
from tests.media.publisher import KEY, Publisher, kept, name, running_relay, taken
from tests.media.waiting import until


@pytest.fixture
async def relay(tmp_path):
    async with running_relay(tmp_path) as relay:
        yield relay


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
