"""Pictures left out for one receiver: its numbers go on without a gap, real gaps stay, and what is passed on is whole."""

import struct
import time
from itertools import pairwise

from server.media.relay import rtcp, rtp, vp8
from server.media.relay.publication import Publication
from server.media.relay.subscription import Subscription

KEY, DELTA = 0, 1


def descriptor(picture: int) -> bytes:
    return bytes([0x90, 0x80]) + struct.pack("!H", 0x8000 | picture)


class Wire:
    """Streams of VP8 by frame, and the line that takes one of them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.asked: dict[int, int] = {}
        self.main, self.thin = self.publish(21), self.publish(31)
        self.line = Subscription(seat="a", kind="video", mid="4", codecs={"vp8": 100}, send=self.sent.append)
        self.line.connect(self.main)

    def publish(self, ssrc: int) -> Publication:
        return Publication(kind="video", ssrc=ssrc, codecs={96: "vp8"}, send=lambda _: None)

    def frame(self, stream: Publication, sequence: int, picture: int, kind: int, *, packets=2, lose=()) -> list[rtp.Packet]:
        """Send a frame; the packets that were lost."""
        lost = []
        for n in range(packets):
            start = 0x10 if n == 0 else 0
            body = bytes([0x80 | start, 0x80]) + struct.pack("!H", 0x8000 | picture) + bytes([kind, n]) + b"data"
            made = rtp.parse(struct.pack(
                "!BBHII", 0x80, 96 | 128 * (n == packets - 1), (sequence + n) & 0xFFFF, picture * 3000, stream.ssrc) + body)
            if n in lose:
                lost.append(made)
            else:
                stream.take(made)
        return lost

    def got(self) -> list[tuple[int, int | None, bytes]]:
        """(number, picture number, what stands behind the descriptor) of media; padding has none."""
        found = []
        for data in self.sent:
            if not 192 <= data[1] <= 223 and not data[0] & 0x20:
                packet = rtp.parse(data)
                seen = vp8.read(packet.body)
                found.append((packet.sequence, seen.picture, packet.body[4:6]))
        return found


def test_a_descriptor_is_read_and_written_in_all_its_forms():
    for body, key, picture in [
        (b"\x10\x00data", True, None), (b"\x10\x01data", False, None), (b"\x00\x00data", False, None),
        (b"\x90\x80\x85\x39\x00d", True, 0x539), (b"\x90\x80\x39\x01d", False, 0x39), (b"\x90\xc0\x39\x07\x00d", True, 0x39),
        (b"\x90\xe0\x85\x39\x07\x20\x00d", True, 0x539), (b"\x91\x80\x39\x00d", False, 0x39),
    ]:
        seen = vp8.read(body)
        assert (seen.key, seen.picture) == (key, picture), body
        if picture is not None:
            again = vp8.renumbered(body, seen, picture + 1)
            assert vp8.read(again).picture == picture + 1
            assert len(again) == len(body)
    assert vp8.read(b"\x90") is None
    assert vp8.read(b"\x90\x80\x85") is None


async def test_stills_are_whole_pictures_with_numbers_that_go_on():
    wire = Wire()
    wire.frame(wire.main, 65534, 10, KEY)
    wire.frame(wire.main, 0, 11, DELTA)
    wire.line.give("stills")
    for at in range(5):
        wire.frame(wire.main, 2 + 2 * at, 12 + at, DELTA)
    wire.frame(wire.main, 12, 17, KEY, packets=3)
    wire.frame(wire.main, 15, 18, DELTA)
    lost = wire.frame(wire.main, 17, 19, KEY, packets=3, lose=(1,))
    got = wire.got()
    assert [x[0] for x in got] == [65534, 65535, 0, 1, 2, 3, 4, 5, 7]
    assert [x[1] for x in got] == [10, 10, 11, 11, 12, 12, 12, 13, 13]
    # the gap is asked for and answered under its own number
    wire.line.missing([6])
    wire.main.take(lost[0])
    assert wire.got()[-1] == (6, 13, b"\x00\x01")
    wire.line.missing([2])
    assert wire.got()[-1][:2] == (2, 12)
    # everything again: from the next whole picture on
    wire.line.give("all")
    wire.frame(wire.main, 20, 20, DELTA)
    wire.frame(wire.main, 22, 21, KEY)
    wire.frame(wire.main, 24, 22, DELTA)
    assert [x[:2] for x in wire.got()[-4:]] == [(8, 14), (9, 14), (10, 15), (11, 15)]
    wire.main.close()


async def test_the_small_stream_takes_the_place_with_its_first_whole_picture():
    wire = Wire()
    wire.frame(wire.main, 100, 7, KEY)
    wire.line.follow(wire.thin)
    wire.frame(wire.thin, 900, 400, DELTA)
    wire.frame(wire.main, 102, 8, DELTA)
    wire.frame(wire.thin, 902, 401, KEY)
    wire.frame(wire.main, 104, 9, DELTA)
    wire.frame(wire.thin, 904, 402, DELTA)
    got = wire.got()
    assert [x[0] for x in got] == list(range(100, 108))
    assert [x[1] for x in got] == [7, 7, 8, 8, 9, 9, 10, 10]
    assert wire.main.takers == []
    stamps = [rtp.parse(x).timestamp for x in wire.sent]
    assert all((b - a) & 0xFFFFFFFF < 0x80000000 for a, b in pairwise(stamps))
    for stream in (wire.main, wire.thin):
        stream.close()


async def test_padding_takes_numbers_and_no_gap_is_hidden_by_it():
    wire = Wire()
    wire.frame(wire.main, 50, 1, KEY)
    wire.frame(wire.main, 52, 2, DELTA, packets=3, lose=(2,))
    assert wire.line.pad(4) == 0                                    # in the midst of a picture
    wire.frame(wire.main, 55, 3, DELTA)
    assert wire.line.pad(4) == 4
    lost = wire.frame(wire.main, 57, 4, DELTA, lose=(0,))
    padded = [rtp.parse(x) for x in wire.sent if x[0] & 0x20]
    assert [x.sequence for x in padded] == [57, 58, 59, 60]
    assert all(len(x.body) == 255 == x.body[-1] for x in padded)
    assert [x[0] for x in wire.got()] == [50, 51, 52, 53, 55, 56, 62]
    wire.main.take(lost[0])
    assert wire.got()[-1][:2] == (61, 4)
    wire.line.give("none")
    wire.frame(wire.main, 59, 5, KEY)
    assert wire.line.pad(2) == 2
    assert rtp.parse(wire.sent[-1]).sequence == 64
    wire.main.close()


async def test_a_sound_without_redundancy_is_half_as_heavy():
    sent: list[bytes] = []
    publication = Publication(kind="audio", ssrc=1, codecs={63: "red", 111: "opus"}, send=lambda _: None)
    line = Subscription(seat="a", kind="audio", mid="1", codecs={"red": 63, "opus": 111}, send=sent.append)
    line.connect(publication)
    body = bytes([0x80 | 111, 0, 0, 3, 111]) + b"oldnew"
    for number in (1, 2):
        publication.take(rtp.parse(struct.pack("!BBHII", 0x80, 63, number, 960 * number, 1) + body))
        line.redundant = False
    assert [(rtp.parse(x).payload_type, rtp.parse(x).body) for x in sent] == [(63, body), (111, b"new")]


def test_a_receivers_estimate_is_read():
    block = b"REMB" + bytes([1]) + (3 << 18 | 50_000).to_bytes(3) + bytes(4)
    data = struct.pack("!BBHII", 0x8F, 206, 5, 1, 0) + block
    assert [rtcp.estimate(x) for x in rtcp.parts(data)] == [400.0]
    assert [rtcp.estimate(x) for x in rtcp.parts(rtcp.pli(1, 2))] == [None]


def test_a_wire_that_is_measured_tells_its_rate():
    wire = Wire()
    wire.main._measured = (time.monotonic() - 1, 0)
    wire.frame(wire.main, 1, 1, KEY)
    assert wire.main.report() is not None
    assert 0 < wire.main.kbps < 10
