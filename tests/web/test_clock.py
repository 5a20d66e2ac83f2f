"""A server whose clock stands before its own records says so on every page and to whoever watches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from server import keys
from server.app import create_app
from server.auth.audit import audit
from tests.conftest import Browser, sign_in

SENTENCE = "服务器的时间早于已有的记录"


async def page_of(browser) -> str:
    async with browser.get("/", headers={"Accept": "text/html"}) as answer:
        assert answer.status == 200
        return await answer.text()


async def warnings_of(browser) -> list[str]:
    async with browser.get("/readyz") as answer:
        return (await answer.json())["warnings"]


@pytest.fixture
async def restarted(app, city, settings, clock, passwords):
    """`await restarted(hours=-1)`: the same data folder under a server whose clock has been moved meanwhile."""
    from aiohttp import CookieJar
    from aiohttp.test_utils import TestServer

    opened = []

    async def again(**step) -> Browser:
        person = city.doctor

        def record(uow):
            from consult.people import Actor

            actor = Actor(membership=person.membership, staff=person.staff, organisation=person.organisation,
                          role=person.role, name=person.name)
            audit(uow, actor, "test", "x")

        clock.advance(days=1)       # all have worked here for a while
        await app[keys.WORK].run(record)
        app[keys.WORK].close()
        clock.advance(**step)
        browser = Browser(
            TestServer(create_app(settings, clock=clock, passwords=passwords, background=False)),
            cookie_jar=CookieJar(unsafe=True),
        )
        await browser.start_server()
        opened.append(browser)
        await sign_in(browser, person.login)
        return browser

    yield again
    for browser in opened:
        await browser.close()


async def test_a_clock_set_back_is_told_on_every_page_and_to_the_watcher(restarted, clock):
    browser = await restarted(hours=-1)
    assert SENTENCE in await page_of(browser)
    assert await warnings_of(browser) == ["clock"]
    clock.advance(hours=1)
    assert SENTENCE not in await page_of(browser)
    assert await warnings_of(browser) == []


async def test_the_operators_page_tells_of_every_warning_and_of_the_banner(restarted):
    text = (Path(__file__).resolve().parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    assert SENTENCE in text
    for name in await warnings_of(await restarted(hours=-1)):
        assert f"lists `{name}` in `warnings`" in text


async def test_a_clock_that_goes_on_is_believed(restarted):
    browser = await restarted(minutes=5)
    assert SENTENCE not in await page_of(browser)
    assert await warnings_of(browser) == []
