"""What is read from a log before anything is decoded: order, redundancy, whole pictures, clocks that drift."""

import random
import struct

import pytest

from server.media.relay import rtp
from server.recording import log
from server.recording.picture import layout
from server.recording.timeline import Unwrapped, survey
from server.recording.units import WAIT, Order, Pictures, Speech
from tests.media.filming import NTP, film_of


def packet(sequence: int, body: bytes = b"x", *, timestamp: int = 0, kind: int = 96, marker: bool = False, padded: bool = False) -> rtp.Packet:
    first = 0xA0 if padded else 0x80
    return rtp.parse(struct.pack("!BBHII", first, kind | 128 * marker, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, 1) + body)


@pytest.mark.parametrize("seed", range(20))
def test_packets_come_out_in_order_once_each_whatever_order_they_came_in(seed):
    draw, order, out = random.Random(seed), Order(), []
    lost = set(draw.sample(range(5, 295), 20))
    kept = [x for x in range(300) if x not in lost]
    arrivals = sorted((x * 20_000 + draw.choice([0, 0, 0, 300_000, 900_000]), x) for x in kept)
    arrivals += [(at, x) for at, x in draw.sample(arrivals, 30)]               # come twice
    for at, number in sorted(arrivals):
        order.push(at, packet(65400 + number))
        out += order.ready(at)
    out += order.ready(None)
    numbers = [(x.sequence - 65400) & 0xFFFF for _, x in out]
    assert numbers == sorted(numbers)
    assert numbers[-250:] == kept[-250:]
    gaps = {(x.sequence - 65400) & 0xFFFF for gap, x in out if gap}
    assert gaps >= {x for x in kept if x - 1 in lost and x > 60}


def test_a_gap_is_waited_for_and_then_left_and_a_new_beginning_is_followed():
    order = Order()
    for number in (10, 11, 13):
        order.push(0, packet(number))
    assert [x.sequence for _, x in order.ready(WAIT)] == [10, 11, 13]
    order.push(WAIT, packet(12))                                               # too late
    order.push(WAIT, packet(9000))
    order.push(WAIT, packet(9001))
    assert list(order.ready(WAIT + 1)) == []
    assert [(gap, x.sequence) for gap, x in order.ready(3 * WAIT)] == [(True, 9000), (False, 9001)]


def red(timestamp_back: list[tuple[int, bytes]], primary: bytes) -> bytes:
    heads = b"".join((0x80 << 24 | 111 << 24 | back << 10 | len(data)).to_bytes(4) for back, data in timestamp_back)
    return heads + bytes([111]) + b"".join(data for _, data in timestamp_back) + primary


def test_lost_sound_is_taken_from_the_redundancy_of_the_next_packet_and_never_twice():
    speech = Speech({63: "red", 111: "opus"})
    heard = []
    for number, lost in enumerate([False, True, False, False]):
        body = red([(960, b"unit%d" % (number - 1))] if number else [], b"unit%d" % number)
        if not lost:
            heard += speech.take(False, packet(number, body, timestamp=number * 960, kind=63))
    assert [(x.timestamp, x.data) for x in heard] == [(n * 960, b"unit%d" % n) for n in range(4)]
    assert list(speech.take(False, packet(5, b"\xff\xff", timestamp=4800, kind=63))) == []


def test_after_a_lost_packet_there_is_no_picture_until_a_whole_one():
    pictures, got, number = Pictures(), [], 0
    for at, frame in enumerate(film_of(1.4, [0.5])):
        parts = [frame[x : x + 300] for x in range(0, len(frame), 300)]
        gap = False
        for n, part in enumerate(parts):
            number += 1
            descriptor = bytes([0x90 if not n else 0x80, 0x80, 0x80, 0x01])    # 15 bits of picture id
            if at == 5 and n == 0:
                gap = True
                continue
            got += [(at, x.whole) for x in pictures.take(gap, packet(number, descriptor + part, timestamp=at, marker=n == len(parts) - 1))]
            gap = False
        if at == 5 and len(parts) == 1:
            got += [(at, x.whole) for x in pictures.take(True, packet(number + 1, b"\0" * 5 + b"\5", timestamp=at, padded=True))]
    assert [at for at, _ in got] == [0, 1, 2, 3, 4, *range(15, 21)]
    assert [at for at, whole in got if whole] == [0, 15]


def test_a_picture_larger_than_we_decode_is_left_out():
    huge = b"\x10\x02\x00\x9d\x01\x2a" + struct.pack("<HH", 16000, 16000) + bytes(20)
    assert list(Pictures().take(False, packet(1, b"\x10" + huge, marker=True))) == []


def test_timestamps_are_unwrapped_from_both_sides():
    unwrapped = Unwrapped()
    assert [unwrapped(x) for x in (0xFFFFFF00, 0x100, 0xFFFFFFF0, 0x200)] == [0xFFFFFF00, 2**32 + 0x100, 0xFFFFFFF0, 2**32 + 0x200]


def test_a_sender_whose_clock_drifts_stays_beside_the_relays_for_an_hour():
    """200 parts in a million too fast: 720 ms in an hour."""
    draw, drift, entries = random.Random(4), 1.0002, []
    entries.append(log.Mark(at=0, what="running"))
    for number, kind in ((1, "audio"), (2, "video")):
        entries.append(log.Stream(at=0, stream=number, seat="a", kind=kind, clock=5, codecs={}))
    rates = {1: 48000, 2: 90000}
    for second in range(3600):
        for number, rate in rates.items():
            sent = second * drift
            timestamp = round(sent * rate) & 0xFFFFFFFF
            arrival = round((second + 0.03 + draw.choice([0, 0.02, 0.1])) * 1e6)
            head = struct.pack("!BBHII", 0x80, 96, second & 0xFFFF, timestamp, number)
            entries.append(log.Media(at=arrival, stream=number, data=head))
            if second % 5 == number:
                entries.append(log.Clock(at=arrival, stream=number, ntp=int((sent + 500 + NTP) * 2**32), timestamp=timestamp))
    timeline = survey(sorted(entries, key=lambda x: x.at), log.Condition())
    for second in range(0, 3600, 60):
        places = [timeline.moment((0, number), round(second * drift * rate)) / 1e6 for number, rate in rates.items()]
        assert abs(places[0] - places[1]) < 0.001
        assert places[0] == pytest.approx(second + 0.03, abs=0.012)


def test_without_sender_reports_sound_and_picture_lie_as_they_came():
    entries = [log.Stream(at=0, stream=x, seat="a", kind=kind, clock=5, codecs={}) for x, kind in ((1, "audio"), (2, "video"))]
    for n in range(100):
        for number, rate in ((1, 48000), (2, 90000)):
            head = struct.pack("!BBHII", 0x80, 96, n, (n * rate // 10 + 7 * number * rate) & 0xFFFFFFFF, number)
            entries.append(log.Media(at=n * 100_000 + 30_000 + n % 3 * 5000, stream=number, data=head))
    timeline = survey(entries, log.Condition())
    for number, rate in ((1, 48000), (2, 90000)):
        assert timeline.moment((0, number), 50 * rate // 10 + 7 * number * rate) == pytest.approx(5_030_000, abs=10)


def test_tiles_fill_the_film_without_touching():
    for seats in range(1, 17):
        width, height, places = layout(seats)
        assert width % 2 == height % 2 == 0
        assert len(set(places)) == seats
        for x, y, wide, high in places:
            assert x % 2 == y % 2 == wide % 2 == high % 2 == 0
            assert x + wide <= width
            assert y + high <= height
