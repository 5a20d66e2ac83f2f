"""One harness server per test, and no silent trouble in the console."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.browser.conftest import Site as House
from tests.browser.viewer.harness import STATIC, Archive


@pytest.fixture(scope="session", autouse=True)
def built_front_end():
    if not (STATIC / "dist" / "viewer" / "viewer.js").is_file():
        pytest.fail("the viewer is not built: run `make front`")


@pytest.fixture
async def browser(chromium):
    """The one Chromium of the run."""
    return chromium


class Site:
    def __init__(self, browser, archive, port):
        self.browser, self.archive, self.port = browser, archive, port
        self.trouble: list[str] = []
        self.expected: tuple[str, ...] = ()

    async def open(self, query="", *, width=1366, height=768, scale=1, touch=False):
        context = await self.browser.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale, has_touch=touch
        )
        page = await context.new_page()
        origin = f"http://127.0.0.1:{self.port}"
        page.on("console", lambda m: m.type in ("error", "warning") and self.note(m.text))
        page.on("pageerror", lambda error: self.note(f"page error: {error}"))
        page.on("request", lambda r: r.url.startswith((origin, "blob:", "data:")) or self.note(f"off site: {r.url}"))
        await page.goto(f"{origin}/?{query}")
        return page

    def note(self, text):
        if not any(known in text for known in self.expected):
            self.trouble.append(text)


@pytest.fixture
async def site(browser):
    """Serves the harness; the test fails on any console warning, page error, CSP report or foreign request."""
    archive = Archive()
    runner = web.AppRunner(archive.app(), access_log=None)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    site = Site(browser, archive, runner.addresses[0][1])
    yield site
    for context in browser.contexts:
        await context.close()
    await runner.cleanup()
    assert site.trouble == []


@pytest.fixture
async def house(browser, app, city):
    """The whole application with its real archive, as `tests/browser` serves it; the same silence is demanded."""
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    house = House(browser, app, runner.addresses[0][1])
    yield house
    for context in house.contexts.values():
        await context.close()
    await runner.cleanup()
    assert house.trouble == []
