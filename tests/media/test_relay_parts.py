"""The relay's parts one by one: gaps, constants, repairs, whole pictures, redundancy, descriptions, feedback."""

import asyncio
import struct

import pytest

from server.media.relay import red, rtcp, rtp
from server.media.relay.arrivals import Arrivals
from server.media.relay.description import BadOffer, Line, answer, read
from server.media.relay.ice import IceLite
from server.media.relay.publication import KEYFRAME_PAUSE, Publication
from server.media.relay.subscription import Subscription
from tests.media.waiting import until

OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2 3
m=audio 9 UDP/TLS/RTP/SAVPF 63 111
a=ice-ufrag:abcd
a=ice-pwd:abcdabcdabcdabcdabcdabcd
a=fingerprint:sha-256 AA:BB
a=setup:actpass
a=mid:0
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendonly
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:111 opus/48000/2
a=ssrc:11 cname:x
m=video 9 UDP/TLS/RTP/SAVPF 96 97
a=mid:1
a=sendonly
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 21 22
a=ssrc:21 cname:x
a=ssrc:22 cname:x
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:2
a=recvonly
a=rtpmap:111 opus/48000/2
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:3
"""


def packet(sequence: int, *, timestamp: int = 1000, payload_type: int = 96, ssrc: int = 21, body: bytes = b"x") -> rtp.Packet:
    return rtp.parse(struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, timestamp, ssrc) + body)


class Wire:
    """A publication and a subscription with everything that either sends."""

    def __init__(self, kind: str = "video", *, codecs=None, theirs=None) -> None:
        self.feedback: list[bytes] = []
        self.sent: list[bytes] = []
        self.publication = self.publish(kind, codecs or {96: "vp8"})
        self.line = Subscription(seat="a", kind=kind, mid="4", codecs=theirs or {"vp8": 100}, send=self.sent.append)
        self.line.connect(self.publication)

    def publish(self, kind: str, codecs, ssrc: int = 21) -> Publication:
        return Publication(kind=kind, ssrc=ssrc, codecs=codecs, send=self.feedback.append)

    def numbers(self) -> list[int]:
        return [rtp.parse(x).sequence for x in self.sent]

    def asked(self, kind: int, count: int) -> list[rtcp.Part]:
        return [x for data in self.feedback for x in rtcp.parts(data) if (x.kind, x.count) == (kind, count)]


async def test_gaps_are_passed_on_and_asked_of_the_publisher_and_a_late_packet_follows():
    wire = Wire()
    for number in (65533, 65534, 1, 2):
        wire.publication.take(packet(number))
    assert wire.numbers() == [65533, 65534, 1, 2]
    assert rtcp.lost(wire.asked(rtcp.TRANSPORT, rtcp.NACK)[0]) == (21, [65535, 0])
    wire.publication.take(packet(65535))
    wire.publication.take(packet(65535))                              # the repair came twice
    assert wire.numbers() == [65533, 65534, 1, 2, 65535]
    await until(lambda: len(wire.asked(rtcp.TRANSPORT, rtcp.NACK)) > 1)
    assert rtcp.lost(wire.asked(rtcp.TRANSPORT, rtcp.NACK)[1]) == (21, [0])
    wire.publication.close()


async def test_only_ssrc_type_and_one_constant_differ_and_a_new_beginning_goes_on_where_the_old_one_was():
    wire = Wire()
    wire.publication.take(packet(500, timestamp=9000, body=b"picture"))
    first = rtp.parse(wire.sent[0])
    assert (first.sequence, first.timestamp, first.payload_type, first.ssrc, first.body) == (
        500, 9000, 100, wire.line.ssrc, b"picture")
    again = wire.publish("video", {96: "vp8"}, ssrc=99)
    wire.line.connect(again)
    for number, moment in ((7, 50), (9, 3050)):
        again.take(packet(number, timestamp=moment, ssrc=99))
    second, third = (rtp.parse(x) for x in wire.sent[1:])
    assert (second.sequence, third.sequence) == (501, 503)
    assert second.timestamp > 9000
    assert third.timestamp - second.timestamp == 3000
    again.clock(rtcp.Clock(99, 5 << 32, 3050, 2, 20))
    report = rtcp.clock(next(rtcp.parts(wire.sent[-1])))
    assert (report.ssrc, report.ntp, report.timestamp) == (wire.line.ssrc, 5 << 32, third.timestamp)
    wire.publication.close()
    again.close()


async def test_a_subscribers_nack_is_answered_from_the_history_and_never_beyond_its_share():
    wire = Wire()
    for number in range(400):
        wire.publication.take(packet(number, body=bytes([number & 255])))
    wire.line.missing([3, 399, 40000])
    assert [rtp.parse(x).sequence for x in wire.sent[400:]] == [3, 399]
    assert rtp.parse(wire.sent[400]).body == b"\x03"
    for _ in range(10):
        wire.line.missing(list(range(100)))
    assert len(wire.sent) - 400 <= 300
    wire.publication.close()


async def test_whole_pictures_are_asked_once_in_half_a_second():
    wire = Wire()
    for _ in range(50):
        wire.publication.want_keyframe()
    assert len(wire.asked(rtcp.PAYLOAD, rtcp.PLI)) == 1
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: len(wire.asked(rtcp.PAYLOAD, rtcp.PLI)) == 2)
    assert loop.time() - began > KEYFRAME_PAUSE / 2
    wire.publication.close()


async def test_redundant_speech_gets_the_receivers_types_or_is_reduced_to_the_newest_block():
    body = bytes([0x80 | 111, 0, 0, 3, 111]) + b"old" + b"new!"
    wire = Wire("audio", codecs={63: "red", 111: "opus"}, theirs={"red": 70, "opus": 71})
    wire.publication.take(packet(1, payload_type=63, body=body))
    sent = rtp.parse(wire.sent[0])
    assert (sent.payload_type, sent.body) == (70, bytes([0x80 | 71, 0, 0, 3, 71]) + b"old" + b"new!")
    plain = Wire("audio", codecs={63: "red", 111: "opus"}, theirs={"opus": 71})
    plain.publication.take(packet(1, payload_type=63, body=body))
    sent = rtp.parse(plain.sent[0])
    assert (sent.payload_type, sent.body) == (71, b"new!")


@pytest.mark.parametrize("broken", [b"", b"\xef", b"\xef\0\0\x03", b"\xef\0\0\xff\x6f1"])
def test_broken_redundancy_is_refused(broken):
    with pytest.raises(ValueError, match="redundancy"):
        red.primary(broken)


def test_a_retransmission_becomes_its_original_and_padding_nothing():
    repair = packet(9, payload_type=97, ssrc=22, body=(777).to_bytes(2) + b"lost")
    original = rtp.restored(repair, payload_type=96, ssrc=21)
    assert (original.sequence, original.payload_type, original.ssrc, original.body) == (777, 96, 21, b"lost")
    padding = rtp.parse(struct.pack("!BBHII", 0xA0, 97, 9, 0, 22) + bytes(5) + b"\x06")
    assert rtp.restored(padding, payload_type=96, ssrc=21) is None


def test_an_offer_is_read_and_answered_line_by_line():
    offered = read(OFFER)
    sound, picture, receive, data = offered.media
    assert (sound.codecs, sound.ssrcs, sound.sends) == ({"red": 63, "opus": 111}, (11,), True)
    assert (picture.codecs, picture.ssrcs, picture.repair, picture.retransmits) == ({"vp8": 96}, (21,), {22: 21}, {96: 97})
    assert receive.receives
    assert not receive.sends
    text = answer(
        [Line(media=sound, direction="recvonly", codecs=sound.codecs),
         Line(media=picture, direction="recvonly", codecs=picture.codecs),
         Line(media=receive, direction="sendonly", seat="seat-b", ssrc=77, codecs=receive.codecs),
         Line(media=data, direction="rejected")],
        number=1, user="u", password="p", fingerprints=[("sha-256", "CC")], candidates=["1 1 udp 1 192.0.2.1 9 typ host"],
    )
    assert "a=group:BUNDLE 0 1 2\r\n" in text
    assert "m=audio 9 UDP/TLS/RTP/SAVPF 63 111" in text
    assert "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1" in text
    assert "a=fmtp:97 apt=96" in text
    assert "a=msid:seat-b seat-b-audio" in text
    assert "a=ssrc:77 cname:seat-b" in text
    assert "m=application 0 " in text
    assert text.count("a=setup:passive") == 3


@pytest.mark.parametrize("wrong", [
    "", "v=0\r\n", OFFER.replace("a=fingerprint:sha-256 AA:BB\n", ""), OFFER.replace("a=mid:2", "a=mid:1"),
    OFFER.replace("a=mid:2", "a=mid:../../"), OFFER.replace("a=ssrc:11 ", "a=ssrc:x "), OFFER + OFFER[OFFER.index("m="):] * 9,
])
def test_an_offer_that_is_none_is_refused(wrong):
    with pytest.raises(BadOffer):
        read(wrong)


def test_arrivals_are_told_with_what_is_missing():
    arrivals = Arrivals()
    for number in (65534, 65535, 2):
        arrivals.add(number, 11)
    (part,) = rtcp.parts(arrivals.report(5))
    base, count, head = struct.unpack_from("!HHI", part.body, 8)
    assert (part.kind, part.count, base, count, head & 0xFF) == (rtcp.TRANSPORT, rtcp.FEEDBACK, 65534, 5, 0)
    (chunk,) = struct.unpack_from("!H", part.body, 16)
    symbols = [chunk >> 12 - 2 * x & 3 for x in range(7)]
    assert symbols[1:] == [1, 0, 0, 1, 0, 0]
    assert arrivals.report(5) is None
    arrivals.add(5, 11)
    (part,) = rtcp.parts(arrivals.report(5))
    assert struct.unpack_from("!HH", part.body, 8) == (3, 3)          # 3 and 4 did not come


async def test_nobody_is_answered_without_the_password_and_a_browser_is_followed_to_another_address():
    from aioice import stun

    class Socket:
        def __init__(self) -> None:
            self.sent: list[tuple[bytes, tuple[str, int]]] = []

        def sendto(self, data, address) -> None:
            self.sent.append((data, address))

    lite, wire = IceLite(), Socket()
    path = lite.path()

    def check(password: str, source, *, nominate: bool = True) -> None:
        asked = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        asked.attributes["USERNAME"] = f"{path.user}:theirs"
        if nominate:
            asked.attributes["USE-CANDIDATE"] = None
        asked.add_message_integrity(password.encode())
        lite.check(bytes(asked), source, wire)

    check("guess", ("192.0.2.9", 9))
    assert wire.sent == []
    assert path.address is None
    check(path.password, ("192.0.2.1", 1))
    path.send(b"\x80media")
    check(path.password, ("192.0.2.2", 2), nominate=False)
    path.send(b"\x80media")
    check(path.password, ("192.0.2.2", 2))
    path.send(b"\x80media")
    assert [to for data, to in wire.sent if data == b"\x80media"] == [("192.0.2.1", 1), ("192.0.2.1", 1), ("192.0.2.2", 2)]
    path.close()
    check(path.password, ("192.0.2.1", 1))
    assert len([to for data, to in wire.sent if data != b"\x80media"]) == 3
    assert lite.paths == {}
