"""What the relay writes and whom it leaves out: pauses, newcomers, repairs that never came, disks that fail."""

import asyncio
import errno
import os
import struct
import threading
import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from server.media.backend import MediaError
from server.media.packet_relay import PacketRelay
from server.media.relay import messages as m
from server.media.relay import recording as module
from server.media.relay import rtcp, rtp
from server.media.relay.ice import IceLite
from server.media.relay.publication import Publication
from server.media.relay.recordings import AWAY, Recordings
from server.media.relay.service import Service
from server.recording import log
from tests.media.waiting import until

KEY, RECORDING = bytes(range(32)), str(uuid.UUID(int=3))


@dataclass(eq=False)
class Seat:
    """A connection as the recorder sees it, with one stream of pictures."""

    seat: str
    feedback: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        made = Publication(kind="video", ssrc=21, codecs={96: "vp8"}, send=self.feedback.append)
        self.publications = {21: made}

    def send(self, *numbers: int) -> None:
        for number in numbers:
            head = struct.pack("!BBHII", 0x80, 96, number, 9, 21)
            self.publications[21].take(rtp.parse(head + f"{self.seat}{number}".encode()))

    def pictures_asked(self) -> int:
        return sum((x.kind, x.count) == (rtcp.PAYLOAD, rtcp.PLI) for data in self.feedback for x in rtcp.parts(data))


class House:
    """The relay's rooms with one room in them, and its recordings."""

    def __init__(self, folder) -> None:
        self.folder, self.ended, self.seats = folder, [], {}
        home = SimpleNamespace(seats=self.seats)
        self.rooms = SimpleNamespace(rooms={"room": home}, changed=None)
        self.recordings = Recordings(self.rooms, lambda *what: self.ended.append(what))

    def enter(self, name: str) -> Seat:
        made = Seat(name)
        self.seats[name] = SimpleNamespace(current=made)
        self.rooms.changed("room")
        return made

    def record(self, *seats: str, recording=RECORDING, key=KEY):
        return self.recordings.record(m.Record(
            id=1, room="room", recording=recording, folder=str(self.folder), key=key, seats=seats))

    def pause(self):
        return self.recordings.pause(m.PauseRecording(id=1, room="room", recording=RECORDING))

    def read(self) -> tuple[list[str], list[str], log.Condition]:
        condition = log.Condition()
        found = list(log.read(self.folder, KEY, condition))
        packets = [x.data[12:].decode() for x in found if isinstance(x, log.Media)]
        return packets, [" ".join(filter(None, (x.what, x.seat, x.reason))) for x in found if isinstance(x, log.Mark)], condition


@pytest.fixture
async def house(tmp_path):
    made = House(tmp_path / "log")
    yield made
    await made.recordings.close_all()
    for place in made.seats.values():
        place.current.publications[21].close()


async def test_only_the_seats_named_are_written_and_nothing_of_a_pause(house):
    a, b = house.enter("a"), house.enter("b")
    a.send(1)
    assert await house.record("a", "c") == ""
    for seat in (a, b):
        seat.send(2)
    c = house.enter("c")                                    # named before it came
    c.send(2)
    done = house.pause()
    for seat in (a, b, c):
        seat.send(3)
    assert await done == ""
    assert house.read()[0] == ["a2", "c2"]
    await house.record("a", "b")
    for seat in (a, b, c):
        seat.send(4)
    house.enter("d").send(4)
    assert await house.recordings.stop("room", RECORDING) == ""
    packets, marks, condition = house.read()
    assert packets == ["a2", "c2", "a4", "b4"]
    assert marks == ["running", "joined a", "joined c", "paused", "running", "joined a", "joined b", "ended"]
    assert condition.whole
    assert [a.publications[21].takers, b.publications[21].takers] == [[], []]
    a.send(5)
    assert house.pause() is None
    assert house.recordings.stop("room", RECORDING) is None
    assert house.ended == []


async def test_beginning_twice_is_beginning_once_and_a_second_recording_is_refused(house):
    a = house.enter("a")
    assert await house.record("a") == await house.record("a") == ""
    assert await house.record("a", recording=str(uuid.UUID(int=4))) == "another recording"
    assert await house.record("a", recording="x") == "another recording"
    a.send(1)
    await house.recordings.stop("room")
    assert house.read()[0] == ["a1"]
    assert await house.record("a", recording="x") == "recording's name"
    assert await house.record("a", key=b"short") == "key"


async def test_without_the_web_process_nobody_is_written_until_it_says_so_again(house):
    a = house.enter("a")
    await house.record("a")
    house.recordings.alone()
    a.send(1)
    assert [x.running for x in house.recordings.seen()] == [False]
    await house.record("a")
    a.send(2)
    await house.recordings.stop("room")
    packets, marks, _ = house.read()
    assert packets == ["a2"]
    assert f"paused {AWAY}" in marks


async def test_a_whole_picture_is_asked_at_the_beginning_after_a_pause_and_when_a_loss_stays(house, monkeypatch):
    monkeypatch.setattr(module, "UNREPAIRED", 0.0)
    monkeypatch.setattr(module, "CHUNK_SECONDS", 0.1)
    a = house.enter("a")
    await house.record("a")
    assert a.pictures_asked() == 1
    await house.pause()
    await house.record("a")
    await until(lambda: a.pictures_asked() == 2)            # two within half a second are one, a little later
    a.send(1, 4)
    await until(lambda: a.pictures_asked() == 3)
    a.send(6, 5)                                            # late, but there
    await house.pause()
    assert a.pictures_asked() == 3


@pytest.mark.parametrize("when", ["open", "write"])
async def test_a_disk_that_fails_ends_the_recording_and_tells_why(house, monkeypatch, when):
    a = house.enter("a")
    if when == "open":
        house.folder.write_text("no folder")
        assert await house.record("a") == "disk"
    else:
        assert await house.record("a") == ""

        def full(_file):
            raise OSError(errno.ENOSPC, "no space left")

        monkeypatch.setattr(os, "fdatasync", full)
        a.send(1)
        assert await house.pause() == "disk"
    assert house.ended == [("room", RECORDING, "disk")]
    assert house.recordings.seen() == ()
    a.send(2)
    assert a.publications[21].takers == []
    monkeypatch.undo()
    if when == "write":                                     # when there is room again it goes on in a new file
        await house.record("a")
        a.send(3)
        await house.recordings.stop("room")
        assert house.read()[0][-1] == "a3"


async def test_the_web_process_hears_of_a_full_disk_and_the_relay_goes_on(tmp_path, monkeypatch):
    lite, ended = IceLite(), []
    await lite.open(port=0)
    service = Service(lite)
    serving = asyncio.create_task(service.run(tmp_path / "relay.sock"))
    await until((tmp_path / "relay.sock").exists)
    relay = PacketRelay(tmp_path)
    relay.on_recording_ended = lambda *what: ended.append(what)
    (tmp_path / "taken").write_text("no folder")
    with pytest.raises(MediaError, match="disk"):
        await relay.record("room", recording=RECORDING, folder=tmp_path / "taken", key=KEY, seats=["a"])
    assert relay.recorded("room") is None
    assert ended == []

    await relay.record("room", recording=RECORDING, folder=tmp_path / "log", key=KEY, seats=["a"])
    assert relay.recorded("room") == RECORDING

    def full(_file):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fdatasync", full)
    await relay.pause_recording("room", RECORDING)          # writes what there is
    await until(lambda: ended)
    assert ended == [("room", RECORDING, "disk")]
    assert relay.recorded("room") is None
    assert (await relay.look()).recordings == ()
    await relay.stop_recording("room", RECORDING)           # nothing to stop, and nothing wrong
    service.ended.set()
    await serving
    await relay.close()
    lite.close()


async def test_a_disk_that_does_not_keep_up_ends_the_recording_and_never_stops_the_loop(house, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 200)
    monkeypatch.setattr(module, "BACKLOG", 2000)
    stuck, sync = threading.Event(), os.fdatasync
    a = house.enter("a")
    await house.record("a")
    monkeypatch.setattr(os, "fdatasync", lambda file: (stuck.wait(45), sync(file)))
    for number in range(400):
        a.send(number)
    assert house.ended == [("room", RECORDING, "slow_disk")]
    stuck.set()
    await asyncio.sleep(0)
    await until(lambda: len(house.read()[0]) > 10)
