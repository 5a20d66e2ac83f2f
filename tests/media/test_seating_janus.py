"""Where Janus stands in the relay's place a browser is offered what it receives, and its answers go back there."""

import pytest

from server.media.backend import MediaError
from tests.media.test_seating import Backend, on_relay, three
from tests.realtime.world import SDP, Hall, make_world, turn_settings


class Offering(Backend):
    """Remembers answers, restarts and the heights of tiles."""

    topology = "janus"

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.restarts, self.heights = [], [], []

    async def answered(self, room, seat, *, pc, sdp):
        if pc != "down":
            raise MediaError("nothing was offered")
        self.answers.append((room, seat, pc, sdp))

    async def restart(self, room, seat):
        self.restarts.append((room, seat))

    def tiles(self, room, seat, heights):
        self.heights.append((room, seat, heights))


@pytest.fixture
async def hall():
    hall = await Hall(make_world(), turn_settings()).start()
    hall.backend, hall.tasks = Offering(), set()
    on_relay(hall)
    seating = hall.rooms.handler.relay.__self__
    hall.rooms.handler.reply, hall.rooms.handler.renew = seating.reply, seating.restart
    yield hall
    for browser in hall.browsers:
        if browser.ws is not None and not browser.ws.closed:
            await browser.ws.close()
    await hall.stop()


async def test_a_seat_is_offered_what_it_receives_and_answers_restarts_and_tells_its_tiles(hall):
    doctor, expert, third = await three(hall)
    room = next(iter(hall.rooms.rooms.values()))
    assert (room.media.topology, room.media.generation) == ("janus", "one")
    await doctor.call("offer", to="relay", pc="up", sdp=SDP)
    hall.backend.on_offer(hall.session, doctor.seat, "down", "v=0 of Janus")
    offered = await doctor.expect("relay_offer")
    assert (offered["pc"], offered["sdp"]) == ("down", "v=0 of Janus")
    assert not [x for x in await expert.quiet() if x["type"] == "relay_offer"]

    assert "code" not in await doctor.call("answer", to="relay", pc="down", sdp=SDP)
    assert [(x[1], x[2]) for x in hall.backend.answers] == [(doctor.seat, "down")]
    assert "a=candidate" not in hall.backend.answers[0][3]
    assert (await doctor.call("answer", to="relay", pc="another", sdp=SDP))["code"] == "unavailable"
    assert (await doctor.call("answer", to="relay", pc="down", sdp="v=0"))["code"] == "bad_description"
    await doctor.call("restart", to="relay", pc="down", attempt=1)
    assert hall.backend.restarts == [(hall.session, doctor.seat)]
    await doctor.raw({"type": "quality", "of": "relay", "tiles": {expert.seat: 240, third.seat: 96}})
    await doctor.call("hand", up=True)
    assert hall.backend.heights == [(hall.session, doctor.seat, {expert.seat: 240, third.seat: 96})]
