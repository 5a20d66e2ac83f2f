"""The worklist page with 10,000 consultations, and the weight of each page before viewer or room is opened."""

import gzip
import re
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import async_playwright

from bench.asking import ask
from bench.common import Row, p
from consult import model as m
from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.serving import rest_memory
from server.settings import Settings
from tests.browser.seeds import put_consultation
from tests.city import PASSWORD, build_city
from tests.needs import CHROMIUM

CONSULTATIONS = 10_000
STATES = (m.State.OFFERED, m.State.ACCEPTED, m.State.ASYNC_REVIEW, m.State.REPORTING, m.State.DELIVERED,
          m.State.ACKNOWLEDGED, m.State.ARCHIVED, m.State.CANCELLED)  # fmt: skip
PAGES = ("/login", "/", "/patients", "/consultations/new", "/consultations/{id}", "/orders", "/inbox")


def fill(uow, city, start: int, count: int) -> str:
    """`count` consultations over all states, most of them ended, as after months of work."""
    made = None
    for n in range(start, start + count):
        state = STATES[n % len(STATES)] if n % 20 < 8 else m.State.ARCHIVED
        urgency = (m.Urgency.ROUTINE, m.Urgency.URGENT, m.Urgency.STAT)[n % 3]
        made = put_consultation(
            uow, city, state=state, urgency=urgency, minutes_ago=n * 3, expert=state is not m.State.OFFERED
        )
    return made.id


async def rows(folder: Path, *, quick: bool) -> list[Row]:
    passwords = Passwords()
    app = create_app(Settings(data=folder, host="127.0.0.1", port=0), passwords=passwords, background=False)
    found: list[Row] = []
    async with TestClient(TestServer(app)) as client:
        work = app[keys.WORK]
        city = await work.run(build_city, passwords.hash_now(PASSWORD))
        one = ""
        for start in range(0, CONSULTATIONS, 500):
            one = await work.run(fill, city, start, 500)
        rest_memory()                                   # as `huizhen serve` does
        for who in ("expert", "doctor", "dispatcher"):
            times = await page_times(client, getattr(city, who).login, runs=60 if quick else 300)
            found.append(
                Row(
                    name=f"worklist of the {who}, 10,000 consultations, P99 (median {p(times, 0.5):.1f})",
                    unit="ms", ours=p(times, 0.99), goal=30,
                )
            )  # fmt: skip
        found += await weights(client, city, one)
    return found


async def sign_in(client: TestClient, login: str) -> None:
    client.session.cookie_jar.clear()
    origin = str(client.make_url("/")).rstrip("/")
    answer = await client.post("/api/login", json={"login": login, "password": PASSWORD}, headers={"Origin": origin})
    assert answer.status == 200, await answer.text()


async def page_times(client: TestClient, login: str, *, runs: int) -> list[float]:
    """Milliseconds of whole page answers over loopback, after a warm-up; every second asks another tab."""
    await sign_in(client, login)
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in client.session.cookie_jar)
    return await ask(
        url=str(client.make_url("/")), headers={"Cookie": cookies, "Accept": "text/html", "Accept-Encoding": "gzip"},
        paths=["/", "/", "/", "/?tab=active", "/?sort=waiting", "/?tab=done"], runs=runs, skip=12,
    )  # fmt: skip


async def weights(client: TestClient, city, one: str) -> list[Row]:
    """Everything a page loads by itself, gzipped, in kB: document, styles, scripts, icons."""
    origin = str(client.make_url("/")).rstrip("/")
    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in PAGES:
            context = await browser.new_context()
            if path != "/login":
                who = city.doctor
                answer = await context.request.post(
                    f"{origin}/api/login", data={"login": who.login, "password": PASSWORD}, headers={"Origin": origin}
                )
                assert answer.ok
            page = await context.new_page()
            sizes: list[int] = []

            async def weigh(response, sizes=sizes) -> None:
                if re.search(r"/events", response.url) or response.status != 200:
                    return
                sizes.append(len(gzip.compress(await response.body(), 6)))

            waiting = []
            page.on("response", lambda response, waiting=waiting, weigh=weigh: waiting.append(weigh(response)))
            shown = await page.goto(origin + path.replace("{id}", one))
            await page.wait_for_timeout(1500)
            for each in waiting:
                await each
            if shown.status == 200:
                found.append(Row(name=f"weight of {path}", unit="kB", ours=sum(sizes) / 1000, goal=100))
            await context.close()
        await browser.close()
    return found
