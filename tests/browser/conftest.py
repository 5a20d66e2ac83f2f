"""The real application on a real port, and real browsers in front of it. Any trouble in a console fails the test.

`site` serves the city of tests/city.py. `await site.open("expert")` is a browser of its own under expert.localhost
(a secure context with camera and cookies of its own); `await site.sign_in(page, city.expert)` signs in through the page.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import BrowserContext, Page

from tests.city import PASSWORD

DESKTOP = (1366, 768)
SIZES = {"desk": DESKTOP, "large": (1920, 1080), "tablet": (820, 1180), "phone": (390, 844)}
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
WATCH_CSP = """addEventListener('securitypolicyviolation', (e) =>
  console.error(`CSP ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`))"""
WORDS = """() => {
  // Everything a person or a screen reader is told, but not what people of the city have written.
  const skip = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT']);
  const words = [document.title];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) { words.push(node.textContent); return; }
    if (node.nodeType !== Node.ELEMENT_NODE || skip.has(node.tagName)) return;
    for (const name of ['title', 'aria-label', 'placeholder', 'alt']) if (node.hasAttribute(name)) words.push(node.getAttribute(name));
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return words.map((text) => text.trim()).filter(Boolean);
}"""


class MovableClock:
    """Real time, plus what a test has moved it forward."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def advance(self, **step: float) -> None:
        self.shift += timedelta(**step)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


class Site:
    """Where the city is served, and every browser that looks at it."""

    def __init__(self, chromium, app: web.Application, port: int) -> None:
        self.chromium, self.app, self.port = chromium, app, port
        self.trouble: list[str] = []
        self.expected: list[str] = []
        """Parts of console messages a test means to provoke."""
        self.contexts: dict[str, BrowserContext] = {}

    def url(self, who: str, path: str = "/") -> str:
        return f"http://{who}.localhost:{self.port}{path}"

    async def context(self, who: str, *, lang: str = "zh", size: tuple[int, int] = DESKTOP, **options) -> BrowserContext:
        """The browser under `<who>.localhost`; asked again, the same one."""
        if who not in self.contexts:
            context = await self.chromium.new_context(
                viewport={"width": size[0], "height": size[1]},
                locale="en-GB" if lang == "en" else "zh-CN",
                **options,
            )
            await context.add_init_script(WATCH_CSP)
            context.on("page", self.watch)
            self.contexts[who] = context
        return self.contexts[who]

    async def open(self, who: str = "clinic", path: str = "/", **options) -> Page:
        """A page of that browser, at `path`."""
        context = await self.context(who, **options)
        page = await context.new_page()
        await page.goto(self.url(who, path))
        return page

    def watch(self, page: Page) -> None:
        page.on("console", lambda said: said.type in {"error", "warning"} and self.note(f"{said.text} ({page.url})"))
        page.on("pageerror", lambda error: self.note(f"page error: {error} ({page.url})"))
        page.on(
            "request",
            lambda asked: re.match(rf"http://\w+\.localhost:{self.port}/|blob:|data:|about:", asked.url)
            or self.note(f"off site: {asked.url}"),
        )

    def note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.trouble.append(text)

    async def sign_in(self, page: Page, person, *, password: str = PASSWORD, path: str = "/") -> Page:
        """Through the sign-in page, as a person would; ends on `path`."""
        if "/login" not in page.url:
            await page.goto(re.sub(r"(//[^/]+).*", r"\1/login", page.url))
        await page.fill("#f-login", person.login)
        await page.fill("#f-password", password)
        await page.click("#login-form [type=submit]")
        await page.wait_for_selector(".topbar")
        if path != "/":
            await page.goto(re.sub(r"(//[^/]+).*", rf"\1{path}", page.url))
        await page.wait_for_selector("html[data-ready]", state="attached")
        return page

    async def enter(self, who: str, person, path: str = "/", **options) -> Page:
        """Open a browser in which that person is signed in already. (Signing in on the page is what `sign_in` does.)"""
        context = await self.context(who, **options)
        given, origin = {"login": person.login, "password": PASSWORD}, self.url(who, "")
        url, headers = f"http://127.0.0.1:{self.port}/api/login", {"Host": origin.partition("//")[2], "Origin": origin}
        async with ClientSession() as session, session.post(url, json=given, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await context.add_cookies([
                {"name": name, "value": x.value, "url": origin, "httpOnly": True, "sameSite": "Lax"}
                for name, x in answer.cookies.items()
            ])
        page = await self.open(who, path)
        await page.wait_for_selector("html[data-ready]", state="attached")
        return page


@pytest.fixture
async def chromium(one_chromium):
    return await one_chromium.browser()


@pytest.fixture
async def site(chromium, app, city) -> Site:
    """The application on a free port. After the test: no console error, no CSP violation, no request elsewhere."""
    del city
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site = Site(chromium, app, runner.addresses[0][1])
    yield site
    for context in site.contexts.values():
        await context.close()
    await runner.cleanup()
    assert site.trouble == []


async def until(page: Page, expression: str, *, seconds: float = 45) -> None:
    """Until the expression holds. (wait_for_function evaluates inside the page, where our CSP forbids it.)"""
    async with asyncio.timeout(seconds):
        while not await page.evaluate(expression):
            await page.wait_for_timeout(50)


async def words(page: Page) -> list[str]:
    """Every text of the page that a person or a screen reader meets."""
    return await page.evaluate(WORDS)


async def han_words(page: Page, *, own: tuple[str, ...] = ()) -> list[str]:
    """Texts with a Chinese character left, after taking out what the city's people wrote (`own`)."""
    left = []
    for text in await words(page):
        rest = text
        for part in sorted(own, key=len, reverse=True):
            rest = rest.replace(part, "")
        if HAN.search(rest):
            left.append(text)
    return left


@pytest.fixture
def shots(tmp_path: Path):
    """`await shots(page, "name")`: the page at every size of UX.md, into a folder for people to look at."""

    async def take(page: Page, name: str) -> list[Path]:
        paths = []
        before = page.viewport_size
        for size, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            paths.append(tmp_path / f"{name}-{size}.png")
            await page.screenshot(path=paths[-1])
        await page.set_viewport_size(before)
        return paths

    return take
