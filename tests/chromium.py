"""One Chromium for the whole test run: starting it costs more than most tests that use it. Each test has its own
contexts (cookies, storage, permissions) and closes them; a browser that died is started anew for the next test.
"""

from __future__ import annotations

from playwright.async_api import Browser, Playwright, async_playwright

from tests.needs import need_chromium

CAMERA = "--use-fake-device-for-media-stream=fps={}"
KEEP_PICTURE = """try { localStorage.setItem('huizhen:line', '{"mode": "clear", "kbps": 0}'); } catch { /* no page yet */ }"""
"""In every page of a room, before its scripts: a machine too busy to code pictures must not look like a bad line."""
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--allow-loopback-in-peer-connection",
    # Ten pictures a second prove what thirty do; coding them in software is most of a room test's work.
    CAMERA.format(10), "--use-fake-ui-for-media-stream",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    # WebGL as above; pages are put together without it, which costs a third less where there is no graphics card.
    "--disable-gpu-compositing", "--disable-accelerated-2d-canvas",
)


class Chromium:
    """Debian's Chromium with the flags of all browser tests and `more`; started when first asked for."""

    def __init__(self, *more: str) -> None:
        self.flags = [*FLAGS, *more]
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    async def browser(self) -> Browser:
        """The running browser without any context left open in it."""
        path = need_chromium()
        if self._playwright is None:
            self._playwright = await async_playwright().start()
        if self._browser is None or not self._browser.is_connected():
            self._browser = await self._playwright.chromium.launch(executable_path=path, args=self.flags)
        for context in self._browser.contexts:
            await context.close()
        return self._browser

    async def close(self) -> None:
        """At the end of the run."""
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()
