"""What passes from seat to seat, and what is refused: over real WebSockets, no browser, no storage."""

import pytest
from aiohttp import WSMsgType

from server.settings import Room as RoomSettings
from server.settings import Settings
from server.signalling import schema
from tests.realtime.world import SDP, Hall, closed_with


class TestRelay:
    async def test_descriptions_travel_without_candidates_and_name_their_sender(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.call("offer", to=expert.seat, pc="p1", sdp=SDP)
        offer = await expert.expect("offer")
        assert (offer["from"], offer["tab"], offer["pc"]) == (doctor.seat, doctor.tab, "p1")
        assert "candidate" not in offer["sdp"]
        assert "a=rtpmap:111 opus/48000/2" in offer["sdp"]
        assert "n" not in offer

    async def test_private_candidates_follow_the_sites_rule(self, hall: Hall):
        doctor, expert = await hall.both()
        text = "candidate:1 1 udp 2113937151 192.168.3.4 50000 typ host"
        await doctor.call("candidate", to=expert.seat, pc="p1", candidate=text)
        assert (await expert.expect("candidate"))["candidate"] == text
        hall.rooms.handler.settings = Settings(room=RoomSettings(private_candidates="none"))
        assert (await doctor.call("candidate", to=expert.seat, pc="p1", candidate=text))["type"] == "ack"
        assert not [x for x in await expert.quiet() if x["type"] == "candidate"]

    @pytest.mark.parametrize("sdp", ["x", "v=0\r\n", SDP.replace("a=fingerprint:sha-256 AA:BB\r\n", ""),
                                     SDP + "m=audio 9 X 0\r\n" * 9, SDP + "a=" + "x" * 2000 + "\r\n"])
    async def test_implausible_descriptions_go_nowhere(self, hall: Hall, sdp: str):
        doctor, expert = await hall.both()
        assert (await doctor.call("offer", to=expert.seat, pc="p", sdp=sdp))["code"] == "bad_description"
        assert not [x for x in await expert.quiet() if x["type"] == "offer"]

    async def test_nothing_is_relayed_to_a_seat_that_is_not_there(self, hall: Hall):
        doctor, _ = await hall.both()
        assert (await doctor.call("offer", to="nobody", pc="p", sdp=SDP))["code"] == "not_found"
        assert (await doctor.call("offer", to=doctor.seat, pc="p", sdp=SDP))["code"] == "not_found"

    async def test_the_newest_view_is_in_a_newcomers_snapshot(self, hall: Hall):
        doctor, expert = await hall.both()
        for at in range(5):
            await expert.raw({"type": "view", "body": {"image": at}})
        await expert.quiet()
        views = [x for x in await doctor.quiet() if x["type"] == "view"]
        assert views[-1]["body"] == {"image": 4}
        assert all("seq" not in x for x in views)
        new = await hall.browser("doctor").connect()
        assert (await new.hello())["snapshot"]["views"] == {expert.seat: {"image": 4}}

    async def test_quality_reaches_the_sender_of_the_media(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.raw({"type": "quality", "of": expert.seat, "concealed": 0.25})
        told = await expert.expect("quality")
        assert (told["from"], told["concealed"], told["loss"]) == (doctor.seat, 0.25, None)

    async def test_device_switches_are_part_of_presence(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.call("state", mic=False, camera=True, rung="audio")
        seen = (await expert.expect("presence"))["seat"]
        assert (seen["mic"], seen["camera"], seen["rung"]) == (False, True, "audio")


class TestRefusals:
    @pytest.mark.parametrize(("frame", "code"), [
        ("", "malformed"), ("{", "malformed"), ("[]", "malformed"), ("null", "malformed"), ("1e999", "malformed"),
        ('"text"', "malformed"), ("[" * 5000, "malformed"), ('{"type":1}', "malformed"), ("{}", "unknown_type"),
        ('{"type":"nonsense","n":1}', "unknown_type"), ('{"type":"chat"}', "malformed"),
        ('{"type":"chat","n":0,"client_id":"a","text":"x"}', "malformed"),
        ('{"type":"chat","n":1,"client_id":"a","text":"x","extra":1}', "malformed"),
        ('{"type":"chat","n":99999999999999999999,"client_id":"a","text":"x"}', "malformed"),
        ('{"type":"state","n":1,"mic":"yes","camera":true}', "malformed"),
        ('{"type":"quality","of":"x","concealed":7}', "malformed"),
        ('{"type":"hello","v":1}', "malformed"), ("\ud83d" * 3, "malformed"),
    ])
    async def test_a_malformed_frame_is_refused_with_a_code_and_the_room_goes_on(self, hall: Hall, frame, code):
        doctor, expert = await hall.both()
        await doctor.raw(frame.encode("utf-8", "replace").decode())
        assert (await doctor.expect("refused"))["code"] == code
        doctor.n = 5
        assert (await doctor.call("chat", client_id="after", text="还在"))["type"] == "ack"
        await expert.expect("chat")

    async def test_binary_frames_are_refused(self, hall: Hall):
        doctor, _ = await hall.both()
        await doctor.ws.send_bytes(b"\x00\xff")
        assert (await doctor.expect("refused"))["code"] == "malformed"

    async def test_a_message_over_its_size_is_refused_by_code(self, hall: Hall):
        doctor, expert = await hall.both()
        big = await doctor.call("annotation", body={"x": "y" * 17_000})
        assert (big["type"], big["code"]) == ("refused", "too_large")
        await doctor.raw({"type": "chat", "n": doctor.n + 1, "client_id": "x", "text": "长" * 40_000})
        assert (await doctor.expect("refused"))["code"] == "too_large"
        doctor.n += 1
        assert (await doctor.call("hand", up=True))["type"] == "ack"
        await expert.expect("presence")

    async def test_a_frame_over_the_sockets_limit_ends_that_socket_only(self, hall: Hall):
        doctor, expert = await hall.both()
        await doctor.raw("x" * (schema.SOCKET_LIMIT + 1000))
        while (await doctor.ws.receive(timeout=45)).type is WSMsgType.TEXT:
            pass
        assert doctor.ws.close_code == 1009
        assert (await expert.call("hand", up=True))["type"] == "ack"

    async def test_too_many_in_a_second_are_refused_with_a_waiting_time(self, hall: Hall):
        doctor, _ = await hall.both()
        answers = [await doctor.call("chat", client_id=f"c{at}", text="x") for at in range(14)]
        refused = [x for x in answers if x["type"] == "refused"]
        assert {x["code"] for x in refused} == {"rate"}
        assert all(0 < x["retry_ms"] <= 1000 for x in refused)
        assert 1 <= len(refused) <= 5

    async def test_a_flood_ends_its_own_socket_and_nobody_elses(self, hall: Hall):
        doctor, expert = await hall.both()
        for at in range(800):
            await doctor.raw({"type": "cursor", "body": {"x": at}})
        await closed_with(doctor, schema.Close.FLOOD)
        assert (await expert.call("hand", up=True))["type"] == "ack"

    async def test_whoever_flooded_a_room_waits_before_it_sits_down_again(self, hall: Hall):
        doctor, expert = await hall.both()
        for at in range(800):
            await doctor.raw({"type": "cursor", "body": {"x": at}})
        await closed_with(doctor, schema.Close.FLOOD)
        hasty = await hall.browser("doctor").connect()
        assert (await hasty.hello())["code"] == schema.Close.FLOOD
        hall.rooms._flooded.clear()                             # three seconds later
        assert (await (await hall.browser("doctor").connect()).hello())["type"] == "welcome"
        assert (await expert.call("hand", up=True))["type"] == "ack"

    async def test_nothing_but_pings_before_hello(self, hall: Hall):
        doctor = await hall.browser("doctor").connect()
        await doctor.raw({"type": "ping", "at": 4})
        assert (await doctor.read()) == {"type": "pong", "at": 4.0}
        refused = await doctor.call("chat", client_id="x", text="x")
        assert (refused["code"], refused["n"]) == ("hello_first", 1)

    async def test_hello_is_said_once(self, hall: Hall):
        doctor, _ = await hall.both()
        assert (await doctor.hello())["code"] == "hello_twice"
        assert (await doctor.call("hand", up=True))["type"] == "ack"
