"""Debian's Firefox under test, by its own WebDriver BiDi socket: no driver program stands between.

Only what the tests ask: open a page, evaluate, click, type, take a picture; errors of the console are kept.
Source: https://w3c.github.io/webdriver-bidi/
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "intl.accept_languages": "zh-CN,zh",
    "network.dns.localDomains": "clinic.localhost,expert.localhost,tech.localhost",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "extensions.update.enabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
}


class Failed(Exception):
    """The browser refused a command, or the page threw."""


class Tab:
    """One top-level browsing context."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self.firefox, self.context = firefox, context

    async def goto(self, url: str) -> None:
        await self.firefox.command("browsingContext.navigate", context=self.context, url=url, wait="complete")

    async def evaluate(self, script: str) -> Any:
        """The value of an expression (awaited), as JSON carries it."""
        answer = await self.firefox.command(
            "script.evaluate", expression=f"(async () => JSON.stringify(await ({script})) ?? 'null')()",
            target={"context": self.context}, awaitPromise=True, userActivation=True,
        )  # fmt: skip
        if answer["type"] != "success":
            raise Failed(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    async def until(self, condition: str, *, seconds: float = 30) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await self.evaluate(condition):  # noqa: ASYNC110 - the page has no event to wait for
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s in Firefox: {condition}") from None

    async def click(self, selector: str) -> None:
        """A real press of the pointer in the middle of the element."""
        await self.until(f"Boolean(document.querySelector({json.dumps(selector)}))")
        at = await self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = (round(part) for part in at)
        await self.actions("pointer", [
            {"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0},
        ])  # fmt: skip

    async def type(self, selector: str, text: str) -> None:
        await self.click(selector)
        await self.actions("key", [
            {"type": kind, "value": letter} for letter in text for kind in ("keyDown", "keyUp")
        ])  # fmt: skip

    async def actions(self, kind: str, steps: list[dict[str, Any]]) -> None:
        source: dict[str, Any] = {"type": kind, "id": kind, "actions": steps}
        if kind == "pointer":
            source["parameters"] = {"pointerType": "mouse"}
        await self.firefox.command("input.performActions", context=self.context, actions=[source])

    async def screenshot(self) -> bytes:
        answer = await self.firefox.command("browsingContext.captureScreenshot", context=self.context)
        return base64.b64decode(answer["data"])


class Firefox:
    """The browser's one BiDi session. `trouble`: errors and CSP reports of all pages."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.trouble: list[str] = []

    async def read(self) -> None:
        async for frame in self.socket:
            message = json.loads(frame.data)
            if message.get("type") == "event":
                entry = message["params"]
                if entry.get("level") in {"error", "warn"}:
                    self.trouble.append(str(entry.get("text")))
            elif (future := self.waiting.pop(message.get("id"), None)) is not None and not future.done():
                future.set_result(message)

    async def command(self, method: str, **params: Any) -> Any:
        self.number += 1
        future = self.waiting[self.number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        async with asyncio.timeout(60):
            answer = await future
        if answer["type"] == "error":
            raise Failed(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]

    async def tab(self, width: int = 1366, height: int = 768) -> Tab:
        """A page with cookies of its own (a user context)."""
        user = (await self.command("browser.createUserContext"))["userContext"]
        context = (await self.command("browsingContext.create", type="tab", userContext=user))["context"]
        await self.command("browsingContext.setViewport", context=context, viewport={"width": width, "height": height})
        return Tab(self, context)


@asynccontextmanager
async def open_firefox(program: str, folder: Path):
    """A headless Firefox with a new profile, closed with the block."""
    profile = folder / "firefox-profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    drain: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(rb"BiDi listening on (ws://\S+)", await process.stderr.readline())):
                assert process.returncode is None, "Firefox ended before it listened"
        drain = asyncio.create_task(swallow(process.stderr))
        async with aiohttp.ClientSession() as http, http.ws_connect(
            found[1].decode() + "/session", max_msg_size=64 * 1024 * 1024
        ) as socket:
            firefox = Firefox(socket)
            reading = asyncio.create_task(firefox.read())
            try:
                await firefox.command("session.new", capabilities={})
                await firefox.command("session.subscribe", events=["log.entryAdded"])
                yield firefox
                with suppress(Failed, TimeoutError):
                    await firefox.command("browser.close")
            finally:
                reading.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if drain is not None:
            drain.cancel()


async def swallow(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass
