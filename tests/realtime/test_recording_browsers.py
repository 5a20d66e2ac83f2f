"""Two Chromium pages: asked, consented, recorded, paused by a newcomer, and what was recorded is played."""

import asyncio

import pytest

from consult.recording_state import Recording, Stage
from server import keys
from server.auth.passwords import Passwords
from server.settings import Recorder
from tests.realtime.stage import flows, open_stage, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def answer(page, *more: str) -> None:
    """The dialog of consent: everyone says yes."""
    await page.locator("dialog [data-answer=given]").first.wait_for()
    for who in more:
        await page.locator(f"dialog [data-add={who}]").click()
    buttons = page.locator("dialog [data-answer=given]")
    for n in range(await buttons.count()):
        await buttons.nth(n).click()
    await page.locator("dialog button.button-primary").click()


async def recorded(doctor, expert, *more: str) -> None:
    """The expert asks; everyone agrees, whoever is declared beside the doctor too; it runs for both."""
    await expert.locator("#more summary").click()
    await expert.locator("#record").click()
    await expert.locator("dialog button.button-primary").click()
    await answer(doctor, *more)
    await answer(expert)
    for page in (doctor, expert):
        await phase(page, "running")


async def played(stage, doctor, expert) -> None:
    """The expert ends it; the doctor plays the film."""
    await expert.locator("#more summary").click()
    await expert.locator("#record-stop").dispatch_event("click")
    await until(doctor, "document.getElementById('recording').hidden")
    async with asyncio.timeout(45):
        while (recording := await newest(stage)).stage is not Stage.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await doctor.goto(f"{stage.url}/consultations/{stage.consultation}/recordings/{recording.id}")
    await doctor.locator("#purpose button").click()
    await until(doctor, "document.getElementById('film').currentTime > 0.2")


async def newest(stage) -> Recording:
    def read(uow):
        return uow.recordings.of_consultation(stage.consultation)[-1]

    return await stage.app[keys.WORK].read(read)


async def phase(page, wanted: str) -> None:
    await until(page, f"document.getElementById('recording').dataset.phase === '{wanted}'")


async def test_everyone_is_asked_sees_that_it_runs_and_a_newcomer_pauses_it(tmp_path, passwords: Passwords, speaking):
    on = Recorder(enabled=True)
    async with open_stage(tmp_path, passwords, await speaking.browser(), recording=on) as (stage, browser):
        doctor = await stage.enter(await stage.open(browser, "doctor"))
        expert = await stage.enter(await stage.open(browser, "expert"))
        await flows(doctor)
        await recorded(doctor, expert, "patient")
        for page in (doctor, expert):
            assert await page.locator("#recording p").inner_text() == "正在录制"

        await doctor.locator("#more summary").click()
        await doctor.locator("#record-people").click()
        await doctor.locator("dialog [data-add=family]").click()           # before anybody has said anything
        await phase(expert, "paused")
        assert "等待同意" in await expert.locator("#recording p").inner_text()
        await doctor.locator("dialog [data-who=family][data-answer=given]").click()
        await doctor.locator("dialog button.button-primary").click()
        await phase(expert, "running")

        await expert.evaluate("window.room.signalling.send('hand', { up: true })")
        await expert.evaluate("window.room.signalling.loose('view', { body: { frame: 3 } })")
        first = (await newest(stage)).id
        async with asyncio.timeout(45):
            while len(await stage.app[keys.WORK].read(lambda uow: uow.recordings.moments(first))) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await played(stage, doctor, expert)
        await doctor.locator("#events button").last.wait_for()
        hand = doctor.locator("#events button", has_text="举起了手")
        assert await doctor.locator("#events button", has_text="更换了共享视图").count() == 1
        await doctor.evaluate("document.getElementById('film').pause()")
        await doctor.evaluate("document.getElementById('film').currentTime = 0")
        await hand.press("Enter")
        await until(doctor, "document.getElementById('film').currentTime > 0.2")
        assert stage.problems == []
