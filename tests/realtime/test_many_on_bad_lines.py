"""Three and five Chromium pages on the packet relay behind a bad line: everybody goes on hearing and seeing the others."""

import pytest

from bench.impair import UdpProxy, bad_network
from server.auth.passwords import Passwords
from server.settings import Ice
from tests.needs import need_program
from tests.realtime.stage import Stage, open_stage, until
from tests.realtime.test_relay_browsers import hears_all, invite

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECRET = "not-a-secret"
FIVE = ("doctor", "expert", "expert2", "colleague", "hospital_technician")
# How many seats have been heard for three seconds from now on, of which less than a tenth was made up.
CALM = """async () => {
  const { pc } = window.room.group.relay;
  const now = {};
  for (const row of (await pc.getStats()).values()) {
    const seat = row.type === 'inbound-rtp' && row.kind === 'audio' && pc.seats.get(row.mid);
    if (seat) now[seat] = { samples: row.totalSamplesReceived ?? 0, energy: row.totalAudioEnergy ?? 0,
      made: (row.concealedSamples ?? 0) - (row.silentConcealedSamples ?? 0) };
  }
  if (window.calmOn !== pc) Object.assign(window, { calmOn: pc, calmSince: {}, calm: new Set() });
  for (const [seat, x] of Object.entries(now)) {
    const before = window.calmSince[seat] ??= x;
    if (x.samples - before.samples < 3 * 48000) continue;
    if (x.made - before.made < (x.samples - before.samples) / 10 && x.energy > before.energy) window.calm.add(seat);
    window.calmSince[seat] = x;
  }
  return window.calm.size;
}"""


# From here on: how often credentials were asked for, and the connection that carries media now.
WATCH = """() => {
  const { signalling, group } = window.room;
  Object.assign(window, { asked: 0, former: group.relay.pc });
  const send = signalling.send.bind(signalling);
  signalling.send = (type, fields) => { window.asked += type === 'ice'; return send(type, fields); };
}"""


@pytest.fixture
async def room(tmp_path, passwords: Passwords, speaking):
    """A room whose browsers reach the packet relay only through coturn, each behind a line that can be worsened."""
    async with bad_network(need_program("turnserver", "coturn"), SECRET) as line:
        ice = Ice(turn_urls=(f"turn:127.0.0.1:{line.port}?transport=udp",), turn_secret=SECRET, relay_only=True)
        async with open_stage(tmp_path, passwords, await speaking.browser(), ice=ice) as (stage, browser):
            yield stage, browser, line


async def worsened(pages, line: UdpProxy, profile: str) -> None:
    """Everybody hears every other one under this profile."""
    line.set(profile)
    for page in pages:
        await page.evaluate("() => { window.calmOn = null; }")
    for page in pages:
        await until(page, f"async () => await ({CALM})() === {len(pages) - 1}", seconds=90)


async def gathered(stage: Stage, browser, people) -> list:
    """Their pages, all on the relay, each decoding the pictures and the sound of all others."""
    for who in people[2:]:
        await invite(stage, who)
    pages = [await stage.enter(await stage.open(browser, who, size=(800, 600))) for who in people]
    for page in pages:
        await hears_all(page, len(pages) - 1)
    return pages


async def test_three_hear_each_other_over_250_kbit_and_under_loss_and_see_each_other_again(room):
    stage, browser, line = room
    pages = await gathered(stage, browser, FIVE[:3])
    await worsened(pages, line, "thin250")
    await worsened(pages, line, "loss5")
    line.set("clean")
    for page in pages:
        await hears_all(page, 2)

    # twelve seconds of nothing: each makes its path to the relay anew, with fresh credentials, and without a click
    for page in pages:
        await page.evaluate(WATCH)
    line.set("cut12")
    for page in pages:
        await until(page, "window.room.group.relay.silent > 0")
    for page in pages:
        await until(page, "window.asked > 0 && window.room.group.relay.pc !== window.former")
        await hears_all(page, 2)
    sent = [x for x in line.traffic().values() if x.packets > 100]
    assert len(sent) >= 3
    assert all(x.dropped for x in sent)
    assert stage.problems == []


async def test_five_hear_each_other_over_250_kbit_and_under_loss(room):
    stage, browser, line = room
    pages = await gathered(stage, browser, FIVE)
    await worsened(pages, line, "loss5")
    await worsened(pages, line, "thin250")
    assert stage.problems == []
