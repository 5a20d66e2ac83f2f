"""kill -9 of the server in the middle of a call: both browsers come back by themselves, and never stopped talking."""

from __future__ import annotations

import asyncio

import pytest

from consult import model as m
from tests.chromium import KEEP_PICTURE
from tests.city import PASSWORD
from tests.durability.house import House
from tests.realtime.stage import flows, speaking_chromium, until

BACK_SECONDS = 5


async def enter(browser, house: House, who: str, case: str):
    """A page of the room, past the precheck."""
    context = await browser.new_context(viewport={"width": 1366, "height": 768}, permissions=["camera", "microphone"])
    given = {"login": getattr(house.city, who).login, "password": PASSWORD}
    answer = await context.request.post(f"{house.url}/api/login", data=given, headers={"Origin": house.url})
    assert answer.ok, await answer.text()
    await context.add_init_script(KEEP_PICTURE)
    page = await context.new_page()
    await page.goto(f"{house.url}/consultations/{case}/room")
    await page.locator("#enter").click()
    await until(page, "window.room.stage === 'in'")
    return page


def seats(house: House, case: str) -> list[tuple]:
    def look(uow):
        sessions = uow.meetings.sessions(case)
        return [(x.id, [(y.id, y.membership) for y in uow.meetings.seats(x.id)]) for x in sessions]

    return house.read(look)


@pytest.mark.browser
async def test_after_a_kill_in_a_live_session_both_are_back_in_it_within_five_seconds_and_media_went_on(tmp_path, launcher):
    house = House(tmp_path, launcher)
    house.build(cases={m.State.CHECKED_IN: 1})
    (case,) = house.cases[m.State.CHECKED_IN]
    await asyncio.to_thread(house.start)
    chromium = speaking_chromium(tmp_path)
    try:
        browser = await chromium.browser()
        pages = [await enter(browser, house, who, case) for who in ("doctor", "expert")]
        for page in pages:
            await flows(page)
            await page.evaluate("() => { window.before = window.room.call.peer.pc; }")
        before = seats(house, case)
        await asyncio.to_thread(house.kill)
        for page in pages:
            await until(page, "window.room.signalling.up === false")
            await flows(page)
        await asyncio.to_thread(house.start)
        async with asyncio.timeout(BACK_SECONDS):
            for page in pages:
                await until(page, "window.room.signalling.up === true")
        for page in pages:
            await flows(page)
            assert await page.evaluate("() => window.before === window.room.call.peer.pc")
            assert await page.evaluate("() => window.room.stage") == "in"
        assert seats(house, case) == before
        house.read(house._inspect_records)
    finally:
        await chromium.close()
        await house.close()
