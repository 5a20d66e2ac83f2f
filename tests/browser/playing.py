"""The stage of the story: the whole server on a free port, and three Chromium profiles, each with a voice of its own.

`async with perform(tmp_path, passwords) as cast:` then `await cast.enter("clinic", cast.city.doctor)`. When the stage is
left, any console error, CSP violation or request off the machine fails the test.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from playwright.async_api import BrowserContext, Error, Page, Playwright, async_playwright

from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.i18n import translate
from server.serving import runner_of
from server.settings import Settings
from tests.browser.conftest import DESKTOP, HAN, WATCH_CSP
from tests.chromium import FLAGS, KEEP_PICTURE
from tests.city import PASSWORD, City, build_city
from tests.needs import need_chromium, need_program

VOICES = {
    "clinic": "陈主任您好，患者三天前开始胸痛，活动以后加重，休息能缓解，请您看看是不是需要转上级医院。",
    "expert": "您好，我先看一下心电图和胸部的影像，请问现在血压多少，有没有出汗，以前有没有过敏？",
}
WORDS = """() => {
  // What a person or a screen reader is told, without what people of the city have written (data-user, lang=zh);
  // data-word brings back our own labels inside such a part.
  const skip = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT']);
  // The title of a study is what somebody called it.
  const words = document.body.dataset.page === 'viewer' ? [] : [document.title];
  const walk = (node, own) => {
    if (node.nodeType === Node.TEXT_NODE) { if (own) words.push(node.textContent); return; }
    if (node.nodeType !== Node.ELEMENT_NODE || skip.has(node.tagName)) return;
    if (node.hasAttribute('data-user') || /^zh/.test(node.getAttribute('lang') ?? '')) own = false;
    if (node.hasAttribute('data-word')) own = true;
    if (own) for (const name of ['title', 'aria-label', 'placeholder', 'alt']) if (node.hasAttribute(name)) words.push(node.getAttribute(name));
    node.childNodes.forEach((child) => walk(child, own));
  };
  walk(document.body, true);
  return words.map((text) => text.trim()).filter(Boolean);
}"""
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE localhost, EXCLUDE 127.0.0.1"


def speak(text: str, path: Path) -> Path:
    """A spoken sentence as a WAV file."""
    program = need_program("espeak-ng", "espeak-ng")
    subprocess.run([program, "-v", "cmn", "-s", "170", "-w", str(path), text], check=True, capture_output=True)
    return path


@dataclass
class Cast:
    """The server, the city of tests/city.py, and a browser profile for every name that was asked for."""

    playwright: Playwright
    folder: Path
    app: web.Application
    city: City
    port: int
    lang: str = "zh"
    profiles: dict[str, BrowserContext] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of console messages that a test means to provoke."""

    def url(self, who: str, path: str = "/") -> str:
        return f"http://{who}.localhost:{self.port}{path}"

    def say(self, text: str, /, **values) -> str:
        """The words of the page in the language of this performance."""
        return translate(text, self.lang, **values)

    async def look(self, page: Page) -> None:
        """What a person sees now; in an English performance a Chinese word that nobody of the city wrote is trouble."""
        if self.lang == "en":
            self.trouble += [f"not English: {text} ({page.url})" for text in await chinese(page)]

    async def profile(self, who: str, *, size: tuple[int, int] = DESKTOP) -> BrowserContext:
        """The Chromium profile of `<who>.localhost`, started when first asked for."""
        if who not in self.profiles:
            flags = [*FLAGS, NOWHERE]
            if who in VOICES:
                flags.append(f"--use-file-for-fake-audio-capture={speak(VOICES[who], self.folder / f'{who}.wav')}")
            context = await self.playwright.chromium.launch_persistent_context(
                str(self.folder / f"profile-{who}"), executable_path=need_chromium(), args=flags,
                viewport={"width": size[0], "height": size[1]}, accept_downloads=True,
                locale="en-GB" if self.lang == "en" else "zh-CN",
            )
            context.set_default_timeout(45_000)
            await context.add_init_script(WATCH_CSP)
            await context.add_init_script(KEEP_PICTURE)
            context.on("page", self.watch)
            self.watch(context.pages[0])
            self.profiles[who] = context
        return self.profiles[who]

    def watch(self, page: Page) -> None:
        ours = re.compile(rf"(http|ws)://\w+\.localhost:{self.port}/|blob:|data:|about:")
        page.on("console", lambda said: said.type in {"error", "warning"} and self.note(f"{said.text} ({page.url})"))
        page.on("pageerror", lambda error: self.note(f"page error: {error} ({page.url})"))
        page.on("request", lambda asked: ours.match(asked.url) or self.note(f"off the machine: {asked.url}"))
        page.on("websocket", lambda socket: ours.match(socket.url) or self.note(f"off the machine: {socket.url}"))

    def note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.trouble.append(text)

    async def enter(self, who: str, person, path: str = "/", **options) -> Page:
        """Signs in through the sign-in page, as a person would."""
        page = (await self.profile(who, **options)).pages[0]
        await page.goto(self.url(who, "/login"))
        await page.fill("#f-login", person.login)
        await page.fill("#f-password", PASSWORD)
        await page.press("#f-password", "Enter")
        await page.wait_for_selector(".topbar")
        if path != "/":
            await page.goto(self.url(who, path))
        return page

    async def photograph(self) -> None:
        """Every open page into the folder, for whoever has to find out what went wrong."""
        for who, context in self.profiles.items():
            for n, page in enumerate(context.pages):
                with suppress(Error):
                    await page.screenshot(path=self.folder / f"{who}-{n}.png", timeout=5000)

    async def read(self, fn, *args, **kwargs):
        return await self.app[keys.WORK].read(fn, *args, **kwargs)

    async def state(self, consultation: str) -> str:
        return str((await self.read(lambda uow: uow.consultations.get(consultation))).state)


@asynccontextmanager
async def perform(folder: Path, passwords: Passwords, *, lang: str = "zh") -> AsyncIterator[Cast]:
    app = create_app(Settings(data=folder / "data", port=0), passwords=passwords)
    city = await app[keys.WORK].run(build_city, passwords.hash_now(PASSWORD))
    runner = runner_of(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        playwright = await stack.enter_async_context(async_playwright())
        cast = Cast(
            playwright=playwright, folder=folder, app=app, city=city, port=runner.addresses[0][1], lang=lang
        )
        try:
            yield cast
        finally:
            await cast.photograph()
            for context in cast.profiles.values():
                await context.close()
    if cast.trouble:
        raise AssertionError("\n".join(cast.trouble))


async def chinese(page: Page) -> list[str]:
    """The texts of the page with a Chinese character, without what people of the city have written."""
    return [text for text in await page.evaluate(WORDS) if HAN.search(text)]


async def holds(page: Page, expression: str, arg=None) -> bool:
    """Whether it holds now; no while the page gives way to another."""
    try:
        return bool(await page.evaluate(expression, arg))
    except Error as error:
        if "Execution context was destroyed" in error.message:
            return False
        raise


async def until(page: Page, expression: str, *, arg=None, seconds: float = 45) -> None:
    """Until the expression holds. (Playwright's own waiting evaluates strings in the page, which our CSP forbids.)"""
    try:
        async with asyncio.timeout(seconds):
            while not await holds(page, expression, arg):  # noqa: ASYNC110 - the page has no event to wait for
                await asyncio.sleep(0.05)
    except TimeoutError:
        shown = (await page.inner_text("body"))[:1500]
        raise AssertionError(f"not within {seconds} s: {expression}\n{page.url}\n{shown}") from None
