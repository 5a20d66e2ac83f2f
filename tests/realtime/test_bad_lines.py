"""Two Chromiums over a relay behind a bad line: speech goes on, both are told, and the picture comes back."""

import asyncio
import random

import pytest

from bench.impair import HEADERS, PROFILES, Link, Profile, bad_network, turn_user
from server import keys
from server.auth.passwords import Passwords
from server.call_words import PRECHECK
from server.settings import Ice
from tests.needs import need_program
from tests.realtime.stage import choose, flows, open_stage, until

SECRET = "not-a-secret"
# Three seconds of sound of which less than a tenth was made up, and which could be heard.
CALM = """async () => {
  const now = {samples: 0, made: 0, energy: 0};
  for (const row of (await room.call.peer.stats()).values()) if (row.type === 'inbound-rtp' && row.kind === 'audio') {
    now.samples += row.totalSamplesReceived; now.energy += row.totalAudioEnergy;
    now.made += row.concealedSamples - (row.silentConcealedSamples ?? 0); }
  const before = window.calmSince;
  if (before && now.samples >= before.samples && now.samples - before.samples < 3 * 48000) return false;
  window.calmSince = now;
  return Boolean(before) && now.made - before.made < (now.samples - before.samples) / 10 && now.energy > before.energy;
}"""
FRAMES = """async () => [...(await room.call.peer.stats()).values()]
  .filter((row) => row.type === 'inbound-rtp' && row.kind === 'video').reduce((sum, row) => sum + row.framesDecoded, 0)"""


# What was measured → why it is no better.
WELL = {
    "camera": True, "mic": True, "socket": {"ok": True, "rtt": 20}, "kinds": {"host": True, "relay": True},
    "wantsRelay": True, "relayOnly": False, "path": {"ok": True, "kbps": 400, "lost": 0, "ms": 30},
}
VERDICTS = [
    ({}, "fine", "good"), ({"socket": {"ok": False, "rtt": None}}, "server", "poor"), ({"kinds": {}}, "blocked", "poor"),
    ({"relayOnly": True, "path": {"ok": False}}, "blocked", "poor"), ({"path": {"ok": False}}, "no_relay", "fair"),
    ({"mic": False}, "no_mic", "poor"), ({"camera": False}, "no_camera", "fair"),
    ({"socket": {"ok": True, "rtt": 900}}, "slow", "fair"), ({"path": WELL["path"] | {"ms": 900}}, "slow", "fair"),
    ({"path": WELL["path"] | {"kbps": 90}}, "thin", "fair"), ({"path": WELL["path"] | {"lost": 0.2}}, "thin", "fair"),
    ({"wantsRelay": False, "kinds": {"host": True}, "path": None}, "untried", "unmeasured"),
]


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    """A room whose browsers reach each other only through coturn behind a line that can be worsened."""
    async with bad_network(need_program("turnserver", "coturn"), SECRET) as line:
        ice = Ice(turn_urls=(f"turn:127.0.0.1:{line.port}?transport=udp",), turn_secret=SECRET, relay_only=True)
        async with open_stage(tmp_path, passwords, await speaking.browser(), ice=ice) as (stage, browser):
            yield stage, browser, line


async def called(room) -> list:
    """The pages of doctor and expert, in a call through the relay; the expert's check of the line is done."""
    stage, browser, _ = room
    doctor, expert = pages = [await stage.open(browser, who) for who in ("doctor", "expert")]
    # one of them waits for the check, which has tried the relay that the call will take
    await until(expert, "document.querySelector('.room-verdict')?.textContent.includes('设备和网络都正常')")
    for page in pages:
        await stage.enter(page)
    for page in pages:
        await flows(page)
        await until(page, "room.call.told === 'relay'")
    await choose(expert, "auto")    # from now on the line decides, on both sides
    await choose(doctor, "auto")
    return pages


async def pictures_come(page, *, seconds: float = 150) -> None:
    """It climbs by trial, each longer awaited than the one before."""
    before = await page.evaluate(FRAMES)
    await until(page, f"async (before) => await ({FRAMES})() > before + 3", arg=before, seconds=seconds)


@pytest.mark.browser
@pytest.mark.slow
async def test_over_lines_that_carry_pictures_speech_goes_on_with_them(room):
    stage, _, line = room
    pages = doctor, expert = await called(room)
    for measured, why, grade in VERDICTS:
        found = await doctor.evaluate("async (x) => (await import('/static/js/room/precheck.js')).verdict(x)", WELL | measured)
        assert found == {"grade": grade, "why": why, "text": PRECHECK[why].format(ms=900)}, measured

    # one of them chooses speech alone for a while: both do without pictures, and are told whose choice it is
    await choose(doctor, "speech")
    await until(doctor, "document.getElementById('line').textContent === '按您的选择，只用语音'")
    await until(expert, "document.getElementById('line').textContent === '按对方的选择，只用语音'")
    await until(expert, "room.call.peer.pc.getSenders().every((x) => x.track?.kind !== 'video' || !x.getParameters().encodings[0].active)")
    await choose(doctor, "auto")

    for profile in ("loss5", "far", "satellite", "thin250"):
        line.set(profile)
        for page in pages:
            await page.evaluate("() => { window.calmSince = undefined; }")
        for page in pages:
            await until(page, CALM, seconds=90)
        for page in pages:
            await pictures_come(page)
    assert stage.problems == []


@pytest.mark.browser
@pytest.mark.slow
async def test_over_the_worst_lines_and_a_cut_speech_goes_on_and_the_picture_comes_back(room):
    stage, _, line = room
    pages = _, expert = await called(room)

    line.set("thin64")
    for page in pages:
        await until(page, "['stills', 'audio'].includes(room.call.rung)")
        await until(page, "/^网络差，/.test(document.getElementById('line').textContent)")
    for page in pages:
        await until(page, CALM, seconds=90)
    seats = [await page.evaluate("room.signalling.seat") for page in pages]
    sent = [x for user, x in line.traffic().items() if user in seats]    # not the prechecks'
    assert len(sent) == 2
    assert all(x.packets > 100 for x in sent)   # both sides' media took it

    line.set("loss20")
    for page in pages:
        await until(page, "room.call.ladder.sending.speech.red")
        await until(page, CALM, seconds=90)

    line.set("clean")
    for page in pages:
        await pictures_come(page)

    # twelve seconds of nothing: both are told, and come back without a click
    line.set("cut12")
    for page in pages:
        await until(page, "/^通话中断，正在重新连接/.test(document.getElementById('line').textContent)")
        await page.evaluate("() => { window.calmSince = undefined; }")
    for page in pages:
        await until(page, CALM, seconds=90)
        await pictures_come(page)
    assert b'huizhen_room_rungs_total{rung="audio"}' in stage.app[keys.METRICS].text()

    # what it was like stands on the consultation afterwards
    await expert.evaluate("room.signalling.send('finish')")
    await until(expert, "room.stage === 'ended'")
    seats = (await quality(expert, lambda found: all(x["line"] and x["line"]["setup_ms"] for x in found["seats"])))["seats"]
    for seat in seats:
        rungs = seat["line"]["rungs_ms"]
        assert rungs["video"] > 0
        assert rungs["stills"] + rungs["audio"] > 0
        assert seat["line"]["ways_ms"]["turn"] > 0
        assert seat["line"]["ways_ms"]["direct"] == 0
        assert seat["line"]["concealed"] is not None
        assert seat["line"]["received"] > 10_000
        assert seat["line"]["falls"] >= 1
        assert seat["gaps"] == 0
    assert seats[1]["precheck"] == {"grade": "good", "text": "设备和网络都正常，可以进入会诊室。"}
    await expert.goto(f"{stage.url}/consultations/{stage.consultation}")
    card = expert.locator("#calls")
    assert "画面降级" in await card.locator(".call-said").inner_text()
    await card.get_by_text("详细").click()
    assert "经中继服务器" in await card.get_by_role("row", name="线路").inner_text()
    assert stage.problems == []


async def quality(page, enough) -> dict:
    """The session's quality report, as soon as it holds what is waited for."""
    url = await page.evaluate("location.pathname.replace('/room', '/quality')")
    async with asyncio.timeout(45):
        while True:
            answer = await page.request.get(page.url.partition("/consultations")[0] + f"/api{url}")
            (found,) = (await answer.json())["sessions"]
            if enough(found):
                return found
            await asyncio.sleep(0.25)


def test_a_limited_line_queues_then_drops_and_every_profile_repeats_from_its_seed():
    thin = Link(PROFILES["thin64"], dice=random.Random(1), now=0.0)
    size = 1000 - HEADERS                                               # an eighth of a second of the line each
    arrivals = [thin.send(size, now=0.0) for _ in range(10)]
    assert arrivals[:3] == pytest.approx([0.175, 0.3, 0.425])
    assert [x is None for x in arrivals] == [False] * 3 + [True] * 7    # 0.3 s may wait
    assert (thin.traffic.packets, thin.traffic.bytes, thin.traffic.dropped) == (10, 10_000, 7)
    assert thin.send(size, now=1.0) == pytest.approx(1.175)             # empty again

    for profile in PROFILES.values():
        one, two = (Link(profile, dice=random.Random(7), now=0.0) for _ in range(2))
        times = [one.send(200, now=n / 50) for n in range(1000)]
        assert times == [two.send(200, now=n / 50) for n in range(1000)]
        came = [x for x in times if x is not None]
        assert came == sorted(came)                                     # order is kept
        assert all(x >= n / 50 + profile.delay for n, x in enumerate(times) if x is not None)

    lossy = Link(PROFILES["loss20"], dice=random.Random(3), now=0.0)
    assert 0.17 < sum(lossy.send(200, now=n / 50) is None for n in range(5000)) / 5000 < 0.23
    cut = Link(PROFILES["cut12"], dice=random.Random(3), now=5.0)
    assert [cut.send(200, now=x) is None for x in (5.0, 16.9, 17.1)] == [True, True, False]


def test_a_changed_profile_counts_from_the_change():
    link = Link(PROFILES["clean"], dice=random.Random(1), now=0.0)
    assert link.send(200, now=1.0) == 1.0
    link.set(Profile(name="late", delay=2.0), now=2.0)
    assert link.send(200, now=2.0) == 4.0


def test_the_ends_are_known_by_their_turn_user():
    name = b"1900000000:seat-1"
    attribute = b"\x00\x06" + len(name).to_bytes(2, "big") + name + b"\x00" * (-len(name) % 4)
    head = b"\x00\x03" + (len(attribute) + 8).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + b"x" * 12
    assert turn_user(head + b"\x00\x19\x00\x04\x11\x00\x00\x00" + attribute) == name.decode()
    assert turn_user(b"\x40\x00\x00\x04data") == ""
    assert turn_user(head[:19]) == ""
