"""A consultation between two engines: the doctor in Debian's Firefox, the expert in Chromium."""

from __future__ import annotations

import json

import pytest

from tests.chromium import KEEP_PICTURE
from tests.city import PASSWORD
from tests.firefox import open_firefox
from tests.needs import need_program
from tests.realtime.stage import open_stage, until
from tests.realtime.test_relay_browsers import RELAYED, hears_all, invite

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HEARD = """(async () => { let sum = 0; for (const row of (await room.call.peer.stats()).values())
  if (row.type === 'inbound-rtp' && row.kind === 'audio') sum += row.totalAudioEnergy ?? 0; return sum; })()"""
SEEN = """(async () => { let sum = 0; for (const row of (await room.call.peer.stats()).values())
  if (row.type === 'inbound-rtp' && row.kind === 'video') sum += row.framesDecoded ?? 0; return sum; })()"""


async def test_firefox_and_chromium_see_and_hear_each_other_also_after_a_reload_and_as_three(passwords, speaking, tmp_path):
    async with open_stage(tmp_path, passwords, await speaking.browser()) as (stage, browser), open_firefox(
        need_program("firefox-esr", "firefox-esr"), tmp_path
    ) as firefox:
        doctor = await firefox.tab()
        await doctor.goto(f"{stage.url}/login")
        await doctor.type("#f-login", stage.city.doctor.login)
        await doctor.type("#f-password", PASSWORD)
        await doctor.click("#login-form [type=submit]")
        await doctor.until("Boolean(document.querySelector('.topbar'))")
        await doctor.evaluate(f"(() => {{ {KEEP_PICTURE} return true; }})()")
        await doctor.goto(f"{stage.url}/consultations/{stage.consultation}/room")
        expert = await stage.enter(await stage.open(browser, "expert"))
        await doctor.click("#enter")
        await doctor.until("window.room?.stage === 'in' && room.call?.peer.state === 'connected'")
        for number in range(2):
            frames = await doctor.evaluate(SEEN), await expert.evaluate(f"() => {SEEN}")
            await doctor.until(f"(async () => await {SEEN} > {frames[0]} + 10)()")
            await until(expert, f"async () => await {SEEN} > {frames[1]} + 10")
            await until(expert, f"async () => await {HEARD} > 0")
            await doctor.until(f"(async () => await {HEARD} > 0)()")
            if number == 0:
                await doctor.goto(f"{stage.url}/consultations/{stage.consultation}/room")   # the same seat goes on
                await doctor.until("window.room?.stage === 'in' && room.call?.peer.state === 'connected'")
        await expert.click("#tab-chat")
        await expert.fill("#panel-chat textarea", "您好，能听到吗？")
        await expert.press("#panel-chat textarea", "Enter")
        await doctor.until("document.querySelector('#panel-chat').textContent.includes('能听到吗')")

        # a third seat: over the relay Firefox sees and hears both, and both see and hear it
        await invite(stage, "expert2")
        third = await stage.enter(await stage.open(browser, "expert2"))
        for page in (expert, third):
            await hears_all(page, 2)
        await doctor.until("Boolean(room.group.showing && room.group.relay.pc)")
        before = await doctor.evaluate(f"({RELAYED})()")
        await doctor.until(f"""(async () => {{ const before = {json.dumps(before)}; const now = await ({RELAYED})();
            return Object.keys(now).filter((seat) => now[seat].frames > (before[seat]?.frames ?? 0)
                && now[seat].energy > (before[seat]?.energy ?? 0)).length === 2; }})()""")
        assert [text for text in firefox.trouble if "Content-Security-Policy" in text or "Error" in text] == []
