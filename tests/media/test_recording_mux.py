"""A film of a log: sound and picture together by the senders' clocks, whatever the way did to their packets."""

import asyncio
import random
import uuid

import pytest

from server.recording import film, log
from server.recording.muxing import MuxError, mux
from tests.media.filming import RATE, Sender, film_of, shown, sound_of

KEY = b"\x07" * 32
BEGAN = 1_800_000_000.0
RECORDING = str(uuid.UUID(int=9))
CODECS = {"audio": {111: "opus", 63: "red"}, "video": {96: "vp8"}}


class Written:
    """Entries by arrival, written as the relay writes them."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, object]] = []
        self.streams: dict[int, log.Stream] = {}

    def stream(self, number, *, seat, kind, clock=1) -> None:
        self.streams[number] = log.Stream(at=0, stream=number, seat=seat, kind=kind, clock=clock, codecs=CODECS[kind])

    def packet(self, at: float, stream: int, data: bytes) -> None:
        self.entries.append((at, lambda offset: log.media(stream, data, offset=offset)))

    def report(self, at: float, stream: int, sender: Sender, media: float) -> None:
        self.entries.append((at, lambda offset: log.clock(stream, sender.clock(media), sender.timestamp(media), offset=offset)))

    def mark(self, at: float, what: str) -> None:
        self.entries.append((at, lambda offset: log.said(log.Mark(at=round((BEGAN + at) * 1e6), what=what), offset=offset)))

    def write(self, folder) -> None:
        made = log.Log(folder, recording=RECORDING, key=KEY)
        self.entries.sort(key=lambda x: x[0])
        for second in range(int(self.entries[-1][0]) + 1):
            part = [x for x in self.entries if second <= x[0] < second + 1]
            if part:
                plain = b"".join(log.said(x, offset=0) for x in self.streams.values())
                plain += b"".join(make(round((at - part[0][0]) * 1e6)) for at, make in part)
                first = round((BEGAN + part[0][0]) * 1e6)
                made.append(plain, first=first, last=first + 10**6, ended=part[-1] is self.entries[-1])
        made.close()


def seat(to: Written, *, numbers, name, clock, skew, began=0.0, seconds=5.0, flashes=(2.0,), tone=1000, lose=0.0,
         way=lambda _: 0.02) -> None:
    """A seat that sends from `began` on; its clock is wrong by `skew` seconds; way(kind): how long a packet takes."""
    draw = random.Random(clock)
    for kind, number in zip(("audio", "video"), numbers, strict=True):
        to.stream(number, seat=name, kind=kind, clock=clock)
        sender = Sender(number, 111 if kind == "audio" else 96, 48000 if kind == "audio" else 90000, BEGAN + began + skew)
        step = 0.02 if kind == "audio" else 1 / RATE
        units = (sound_of(seconds, flashes, tone=tone) if kind == "audio" else film_of(seconds, flashes))
        for n, unit in enumerate(units):
            at = n * step
            packets = [sender.packet(at, unit)] if kind == "audio" else sender.picture(at, unit)
            for data in packets:
                if draw.random() >= lose:
                    to.packet(began + at + way(kind), number, data)
            if n % 12 == 0:
                to.report(began + at + way(kind), number, sender, at)


def made(folder, to: Written, target) -> dict:
    to.write(folder)
    return film.make(folder, KEY, target, lambda _: None)


def test_sound_and_picture_of_two_seats_lie_together_by_the_senders_clocks(tmp_path):
    """Sound takes 300 ms longer than pictures, arrival is shaken, both senders' clocks are wrong."""
    draw, to = random.Random(1), Written()
    to.mark(0, "running")

    def shaken(kind):
        return (0.32 if kind == "audio" else 0.02) + draw.choice([0, 0, 0.01, 0.08])

    seat(to, numbers=(1, 2), name="a", clock=1, skew=-3000, seconds=3, flashes=(0.6, 2.2), way=shaken)
    seat(to, numbers=(3, 4), name="b", clock=2, skew=77, seconds=3, flashes=(1.4,), tone=2000, way=shaken)
    to.mark(3.4, "ended")
    answer = made(tmp_path / "log", to, tmp_path / "film")
    assert answer["seats"] == ["a", "b"]
    assert (answer["width"], answer["height"]) == (1280, 480)
    assert answer["whole"]
    seen = shown(tmp_path / "film", KEY)
    assert abs(seen.duration - 3.4) < 0.05
    for part, tone, truth in ((0, 1000, [0.6, 2.2]), (1, 2000, [1.4])):
        flashes, beeps = seen.flashes(part, 2), seen.beeps(tone)
        assert len(flashes) == len(beeps) == len(truth)
        for flash, beep, when in zip(flashes, beeps, truth, strict=True):
            assert abs(flash - beep) <= 0.04
            assert abs(beep - when - 0.02) <= 0.04          # seats beside each other: by the fastest way


async def test_a_pause_is_cut_out_a_latecomer_on_a_bad_line_finds_its_place_and_who_is_gone_turns_black(tmp_path):
    to = Written()
    to.mark(0, "running")
    seat(to, numbers=(1, 2), name="a", clock=1, skew=0, seconds=2, flashes=(1.0,))
    to.mark(2.0, "paused")
    to.mark(60.0, "running")
    seat(to, numbers=(3, 4), name="b", clock=2, skew=5, began=61.0, seconds=2, flashes=(1.0,), tone=2000, lose=0.1)
    to.mark(63.5, "ended")
    to.write(tmp_path / "log")
    shares: list[float] = []
    answer = await mux(tmp_path / "log", KEY, tmp_path / "film", shares.append)
    assert [(x.at, x.began - BEGAN, x.seconds) for x in answer.spans] == [
        (0, pytest.approx(0, abs=1e-3), pytest.approx(2)), (pytest.approx(2), pytest.approx(60), pytest.approx(3.5))]
    assert answer.position(BEGAN + 61) == pytest.approx(3, abs=0.01)
    assert answer.position(BEGAN + 30) is None
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
    seen = shown(tmp_path / "film", KEY)
    assert answer.duration == pytest.approx(5.5, abs=1e-3)
    assert abs(seen.duration - 5.5) < 0.05
    assert abs(seen.flashes(0, 2)[0] - seen.beeps(1000)[0]) <= 0.04
    assert seen.beeps(2000)[0] == pytest.approx(4.02, abs=0.04)        # losses move nothing
    assert abs(seen.sound.shape[1] / 48000 - 5.5) < 0.03
    assert seen.at(3.5)[300] > 40                           # held
    assert seen.at(5.3)[300] < 25                           # three seconds later
    assert list(tmp_path.glob("*.partial")) == []


async def test_an_empty_log_another_key_and_a_cancelled_work_leave_no_film(tmp_path):
    to = Written()
    to.mark(0, "running")
    to.mark(1, "ended")
    to.write(tmp_path / "empty")
    with pytest.raises(MuxError, match="empty"):
        await mux(tmp_path / "empty", KEY, tmp_path / "film", lambda _: None)
    with pytest.raises(MuxError, match="key"):
        await mux(tmp_path / "empty", bytes(32), tmp_path / "film", lambda _: None)
    work = asyncio.create_task(mux(tmp_path / "empty", KEY, tmp_path / "film", lambda _: None))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert {x.name for x in tmp_path.iterdir()} == {"empty"}
