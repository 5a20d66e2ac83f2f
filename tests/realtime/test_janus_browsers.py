"""Chromium pages in one room whose media pass through Debian's Janus, configured as we ship it; and their recording."""

import asyncio
import socket

import pytest

from bench.impair import bad_network
from server import keys
from server.auth.passwords import Passwords
from server.settings import Ice, Media, Recorder
from server.signalling.setup import ROOMS
from tests.media.janus_server import running_janus
from tests.needs import need_program
from tests.realtime.stage import flows, open_stage, until
from tests.realtime.test_recording_browsers import played, recorded
from tests.realtime.test_relay_browsers import invite

SECRET = "not-a-secret"
pytestmark = [pytest.mark.browser, pytest.mark.slow]

RECEIVED = """async () => {
  const { relay } = window.room.group;
  const found = {};
  if (!relay?.down) return found;
  for (const row of (await relay.down.getStats()).values()) {
    const seat = row.type === 'inbound-rtp' && relay.down.seats.get(row.mid);
    if (!seat) continue;
    found[seat] ??= { frames: 0, energy: 0, lines: 0 };
    if (row.kind === 'video') Object.assign(found[seat], { frames: row.framesDecoded ?? 0, lines: row.frameHeight ?? 0 });
    else found[seat].energy = row.totalAudioEnergy ?? 0;
  }
  return found;
}"""

WATCH = """() => {
  const { relay } = window.room.group;
  const [pc, down] = [relay.pc, relay.down];
  window.same = () => relay.pc === pc && relay.down === down;
}"""


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    async with running_janus(tmp_path / "janus") as janus:
        media = Media(backend="janus", janus_url=janus.url, janus_secret_file=str(janus.secret_file))
        async with open_stage(
            tmp_path, passwords, await speaking.browser(), media=media, recording=Recorder(enabled=True)
        ) as (stage, browser):
            yield stage, browser, janus


async def hears_all(page, others: int) -> None:
    """Decoded frames and audio energy of every other seat rise from now on."""
    await until(page, f"""async () => {{
        const now = await ({RECEIVED})();
        window.before = {{ ...now, ...window.before }};
        return Object.keys(now).filter((seat) => now[seat].frames > window.before[seat].frames + 3
            && now[seat].energy > window.before[seat].energy).length === {others};
    }}""", seconds=90)      # three pages that code three sizes each leave a busy machine little
    await page.evaluate("window.before = undefined")


async def test_three_seats_meet_over_janus_which_outlives_the_server_and_is_left_at_once(room):
    stage, browser, janus = room
    await invite(stage, "expert2")
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    await flows(doctor)
    third = await stage.enter(await stage.open(browser, "expert2"))
    pages = (doctor, expert, third)
    for page in pages:
        await hears_all(page, 2)
    await doctor.get_by_text("途中对服务器可见").wait_for()
    await until(doctor, "window.room.call === null")                 # the call of the two has ended after the move

    # the small picture of several is a smaller layer, the pinned one the largest
    session = next(iter(stage.app[ROOMS].rooms))
    seating = stage.app[ROOMS].handler.relay.__self__
    await doctor.locator(".room-tile").first.hover()
    await doctor.locator(".room-tile .button").first.click()
    await until(doctor, f"""async () => new Set(Object.values(await ({RECEIVED})()).map((seat) => seat.lines)).size === 2""")

    # the web server begins anew: the same connections go on, and everybody is seen and heard while it is away
    await doctor.evaluate(WATCH)
    generation = seating.backend.generation
    await stage.stop()
    for page in pages:
        await hears_all(page, 2)
    await stage.start()
    for page in pages:
        await until(page, "window.room.signalling.up")
    seating = stage.app[ROOMS].handler.relay.__self__
    assert seating.backend.generation == generation
    assert await doctor.evaluate("window.same()")
    await hears_all(doctor, 2)
    assert len(seating.backend.seats(session)) == 3

    # Janus dies: everybody begins anew without a click
    await janus.kill()
    await janus.start()
    await until(doctor, f"window.room.group.generation !== {generation!r}")
    for page in pages:
        await hears_all(page, 2)
    assert stage.app[keys.METRICS].media_relay_deaths._value.get() == 1

    # who leaves is gone at once, and the two go on
    await third.evaluate("window.room.signalling.send('leave')")
    await until(doctor, "document.querySelectorAll('.room-tile').length === 1")
    for page in (doctor, expert):
        await hears_all(page, 1)
    assert len(seating.backend.seats(session)) == 2
    assert [x for x in stage.problems if "ERR_CONNECTION_REFUSED" not in x] == []    # while the server was away


def own_address() -> str:
    """This machine's address as others see it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))
        return str(one.getsockname()[0])


async def test_a_line_that_is_cut_for_twelve_seconds_comes_back_by_itself(tmp_path, passwords: Passwords, speaking):
    async with running_janus(tmp_path / "janus") as janus, bad_network(
        need_program("turnserver", "coturn"), SECRET, relay_ip=own_address()      # Janus has no candidate on loopback
    ) as line:
        ice = Ice(turn_urls=(f"turn:127.0.0.1:{line.port}?transport=udp",), turn_secret=SECRET, relay_only=True)
        media = Media(backend="janus", janus_url=janus.url, janus_secret_file=str(janus.secret_file))
        async with open_stage(tmp_path, passwords, await speaking.browser(), ice=ice, media=media) as (stage, browser):
            await invite(stage, "expert2")
            pages = [await stage.enter(await stage.open(browser, who)) for who in ("doctor", "expert", "expert2")]
            for page in pages:
                await hears_all(page, 2)
            line.set("cut12")
            for page in pages:
                await until(page, "window.room.group.relay.silent > 0")
            for page in pages:
                await hears_all(page, 2)
            assert stage.problems == []


async def test_two_who_agree_are_recorded_beside_janus_and_the_film_shows_both(room):
    stage, browser, _ = room
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    await flows(doctor)
    await recorded(doctor, expert)
    for page in (doctor, expert):
        await hears_all(page, 1)
    taps = stage.app[ROOMS].handler.relay.__self__.backend.taps
    async with asyncio.timeout(60):
        while not [x for x in (await taps.relay.look()).recordings if x.packets > 300]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await played(stage, doctor, expert)
    assert await doctor.evaluate("(({ videoWidth, videoHeight }) => videoWidth / videoHeight)(document.getElementById('film'))") > 2
    assert stage.problems == []
