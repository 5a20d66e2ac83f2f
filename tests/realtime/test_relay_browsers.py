"""Three Chromium pages in one room: the third moves everyone to the relay, and whoever goes is gone at once."""

import os
import signal

import pytest

from consult import model as m
from server import keys
from server.auth.passwords import Passwords
from server.signalling.setup import ROOMS
from tests.realtime.stage import Stage, flows, open_stage, until
from tests.realtime.test_screen import share

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RELAYED = """async () => {
  const { relay } = window.room.group;
  const rows = [...(await relay.pc.getStats()).values()].filter((row) => row.type === 'inbound-rtp');
  const found = {};
  for (const row of rows) {
    const seat = relay.pc.seats.get(row.mid);
    if (!seat) continue;
    found[seat] ??= { frames: 0, energy: 0 };
    if (row.kind === 'video') found[seat].frames = row.framesDecoded ?? 0;
    else found[seat].energy = row.totalAudioEnergy ?? 0;
  }
  return found;
}"""

# What the page tells of its line from here on: that speech suffers until less is sent, then as good as `made` says. (A
# busy machine's own estimate may take it further down than to small pictures; then it says that all is well.)
POOR = """() => {
  const { relay } = window.room.group;
  window.made = { video: 0.3, small: 0.015, stills: 0.015, audio: 0 };
  relay.passing.tell = (rows, levels) => {
    const heard = Object.fromEntries([...levels.keys()].map((seat) => [seat, window.made[relay.passed.rung]]));
    relay.signalling.loose('quality', { of: 'relay', heard, loss: 0, kbps: 600, wants: window.wanted ?? '' });
  };
}"""

# Pictures decoded so far, and how high they are, by seat.
PICTURES = """async () => {
  const { pc } = window.room.group.relay;
  return Object.fromEntries([...(await pc.getStats()).values()]
    .filter((row) => row.type === 'inbound-rtp' && row.kind === 'video' && pc.seats.get(row.mid))
    .map((row) => [pc.seats.get(row.mid), { frames: row.framesDecoded ?? 0, lines: row.frameHeight ?? 0 }]));
}"""

# Whether the wanted seat's picture is small and comes, and nobody else's does.
SMALL = f"""async () => {{
  const {{ sees, rung }} = window.room.group.relay.passed;
  if (sees !== window.wanted || !['small', 'stills'].includes(rung)) return false;
  const before = await ({PICTURES})();
  if (window.small?.sees !== sees) window.small = {{ sees, frames: before[sees].frames }};
  await new Promise((resolve) => setTimeout(resolve, 500));
  const now = await ({PICTURES})();
  return Object.keys(now).every((seat) => seat === sees
    ? now[seat].frames > window.small.frames && now[seat].lines <= 120 : now[seat].frames === before[seat].frames);
}}"""

STEREO = """async () => {
  const rows = await window.room.group.relay.pc.getStats();
  return [...rows.values()].some((row) => row.type === 'outbound-rtp' && row.kind === 'audio'
      && rows.get(row.codecId)?.sdpFmtpLine?.includes('stereo=1'));
}"""


# Whether our sound has gone without redundancy in packets of 60 ms for two seconds: at most 17 a second, and it is heard.
LONG_PACKETS = """async () => {
  const rows = await window.room.group.relay.pc.getStats();
  const row = [...rows.values()].find((x) => x.type === 'outbound-rtp' && x.kind === 'audio');
  const codec = rows.get(row.codecId)?.mimeType;
  const before = window.packets;
  if (before && performance.now() - before.at < 2000) return false;
  window.packets = { at: performance.now(), sent: row.packetsSent };
  return Boolean(before) && codec === 'audio/opus' && (row.packetsSent - before.sent) * 1000 < 20 * (performance.now() - before.at);
}"""
LINE = "document.getElementById('line').textContent"


async def choose(page, label: str, value: str) -> None:
    """In the menu, as a person does."""
    await page.locator("#line-menu").click()
    await page.get_by_label(label).select_option(value)
    await page.get_by_role("button", name="完成").click()


async def sees_nobody(page) -> None:
    """No picture of anybody is decoded for a second, from some moment on."""
    await until(page, f"""async () => {{
        const before = await ({PICTURES})();
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const now = await ({PICTURES})();
        return Object.keys(now).every((seat) => now[seat].frames === before[seat].frames);
    }}""")


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    async with open_stage(tmp_path, passwords, await speaking.browser()) as (stage, browser):
        yield stage, browser


async def invite(stage: Stage, who: str) -> None:
    """One more expert of the consultation, who lets themselves in."""
    person = getattr(stage.city, who)
    await stage.app[keys.WORK].run(lambda uow: uow.consultations.add_participant(m.Participant(
        consultation=stage.consultation, membership=person.membership, part=m.Part.REVIEWER, since=uow.now
    )))


async def hears_all(page, others: int) -> None:
    """Decoded frames and audio energy of every other seat rise from now on."""
    await until(page, "window.room.group?.showing && window.room.group.relay.pc")
    await until(page, f"""async () => {{
        const {{ pc }} = window.room.group.relay;
        const now = await ({RELAYED})();
        if (window.counted !== pc) window.before = now;             // another connection counts from nothing
        window.counted = pc;
        window.before = {{ ...now, ...window.before }};
        return Object.keys(now).filter((seat) => now[seat].frames > window.before[seat].frames + 3
            && now[seat].energy > window.before[seat].energy).length === {others};
    }}""")
    await page.evaluate("() => { window.before = window.counted = undefined; }")


async def shows(page, seat: str, wanted: str) -> None:
    """Pictures of a seat are decoded from now on, `wanted` holds for their `lines`."""
    await until(page, f"""async (seat) => {{
        const {{ frames, lines }} = (await ({PICTURES})())[seat];
        if (!({wanted})) window.since = undefined;
        else window.since ??= frames;
        return frames > (window.since ?? frames);
    }}""", arg=seat)
    await page.evaluate("window.since = undefined")


async def test_the_third_seat_moves_everyone_to_the_relay_and_a_dead_relay_comes_back(room):
    stage, browser = room
    await invite(stage, "expert2")
    doctor = await stage.enter(await stage.open(browser, "doctor"))
    expert = await stage.enter(await stage.open(browser, "expert"))
    await flows(doctor)
    await doctor.get_by_text("会诊服务器看不到").wait_for()

    third = await stage.enter(await stage.open(browser, "expert2"))
    pages = (doctor, expert, third)
    for page in pages:
        await hears_all(page, 2)
    await doctor.get_by_text("途中对服务器可见").wait_for()
    await until(doctor, "window.room.call === null")                 # the call of the two has ended after the move
    await until(doctor, "document.getElementById('line').textContent === '网络良好'")
    assert await doctor.locator(".room-tile").count() == 2

    # whoever wants speech alone is sent nothing else, sends nothing else, and is told that it is their choice
    await choose(doctor, "画面与语音", "speech")
    await until(doctor, f"{LINE} === '按您的选择，只用语音'")
    await sees_nobody(doctor)
    seat = await doctor.evaluate("window.room.signalling.seat")
    for page in (expert, third):
        await until(page, "(seat) => document.querySelector(`[data-seat='${seat}']`).dataset.video === 'false'", arg=seat)
        await page.locator(f"[data-seat='{seat}'] [aria-label=只用语音]").wait_for()
    await choose(doctor, "画面与语音", "auto")
    await hears_all(doctor, 2)
    await hears_all(expert, 2)

    # under a limit the relay sends no more than it allows, and speech goes in long packets
    await choose(doctor, "流量上限", "100")
    await until(doctor, f"{LINE}.startsWith('按流量上限，')")
    await until(doctor, "window.room.group.relay.passed.chosen && ['stills', 'audio'].includes(window.room.group.relay.passed.rung)")
    await until(doctor, f"({LONG_PACKETS})()")
    await until(expert, f"""async (seat) => {{
        const {{ energy }} = (await ({RELAYED})())[seat];
        window.quiet ??= energy;
        return energy > window.quiet;
    }}""", arg=seat)
    await choose(doctor, "流量上限", "0")
    await hears_all(doctor, 2)
    await until(doctor, f"{LINE} === '网络良好'")

    # one picture is pinned large
    await doctor.locator(".room-tile").first.hover()
    await doctor.locator(".room-tile .button").first.click()
    await until(doctor, "document.querySelector('.room-tile').classList.contains('large')")

    # original sound and the curtain go this way too
    await third.evaluate("() => { window.room.devices.hearOriginal(true); window.room.devices.cover(true); }")
    await until(third, f"({STEREO})()")
    await doctor.get_by_text(f"{stage.city.expert2.name}正在传送原声").wait_for()
    await until(doctor, "document.querySelectorAll('.room-tile[data-video=false]').length === 1")
    await hears_all(doctor, 2)
    await third.evaluate("() => { window.room.devices.hearOriginal(false); window.room.devices.cover(false); }")
    await until(doctor, "!document.querySelector('.room-tile[data-video=false]')")

    # a screen goes to both others, large and sharp, and the camera is back after it
    await share(third)
    seat = await third.evaluate("window.room.signalling.seat")
    for page in (doctor, expert):
        await page.get_by_text(f"{stage.city.expert2.name}正在共享屏幕").wait_for()
        await shows(page, seat, "lines > 400")
    await until(expert, "(seat) => document.querySelector('.room-tile.large')?.dataset.seat === seat", arg=seat)
    await third.get_by_role("button", name="停止共享", exact=True).press("Enter")
    for page in (doctor, expert):
        await shows(page, seat, "lines <= 360")

    # on a thin line the doctor is sent one small picture, of whoever is wanted; nobody else is given less
    await doctor.evaluate(POOR)
    await until(doctor, "['small', 'stills'].includes(window.room.group.relay.passed.rung)")
    for at in (0, 1):
        await doctor.evaluate("(at) => { window.wanted = window.room.group.relay.others()[at]; }", at)
        await until(doctor, f"({SMALL})()")
    await doctor.get_by_text("只接收发言者的").first.wait_for()
    await until(doctor, "document.querySelectorAll('.room-tile[data-video=false]').length === 1")
    await hears_all(expert, 2)
    await doctor.evaluate("window.made.video = 0")

    # the relay dies: a new one takes over without a click, with all pictures, and the gap is counted
    seating = stage.app[ROOMS].handler.relay.__self__
    os.kill(seating.backend.pid, signal.SIGKILL)
    await until(doctor, f"window.room.group.generation !== {seating.backend.generation!r}")
    for page in pages:
        await hears_all(page, 2)
    assert stage.app[keys.METRICS].media_relay_deaths._value.get() == 1

    # the third leaves: two go on where they are; who was removed has no media
    session = next(iter(stage.app[ROOMS].rooms))
    await third.evaluate("window.room.signalling.send('leave')")
    await until(doctor, "document.querySelectorAll('.room-tile').length === 1")
    for page in (doctor, expert):
        await hears_all(page, 1)
    assert len(seating.backend.seats(session)) == 2
    assert stage.problems == []
