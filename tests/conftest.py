"""What every web test uses: an application on a fresh data folder, a clock one can turn, a small city, sign-in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.settings import Media, Settings
from tests import warm
from tests.city import PASSWORD, City, build_city
from tests.needs import chinese_fonts

os.environ.setdefault("FONTCONFIG_FILE", str(chinese_fonts()))


class TestClock:
    """UTC, stands still until somebody moves it."""

    __test__ = False

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **step: float) -> None:
        self.now += timedelta(**step)


@pytest.fixture(scope="session", autouse=True)
def warm_workers():
    """Archives of this process fork their workers from a warm one (tests/warm.py)."""
    with pytest.MonkeyPatch.context() as patch:
        warm.lend(patch)
        yield


@pytest.fixture
def fresh_interpreters(monkeypatch):
    """In this test workers start as the server starts them."""
    monkeypatch.setattr("dicom.workers.pool.subprocess", subprocess)


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", media=Media(relay=False))  # a process of its own: tests/media has it


@pytest.fixture(scope="session")
def passwords() -> Passwords:
    """argon2id with the smallest costs: the real ones are tested once."""
    return Passwords(memory_kib=64, passes=1)


@pytest.fixture(scope="session")
def password_hash(passwords: Passwords) -> str:
    return passwords.hash_now(PASSWORD)


@pytest.fixture(scope="session")
async def one_chromium():
    """The Chromium all browser tests share; tests/browser and tests/realtime take their contexts from it."""
    from tests.chromium import Chromium

    one = Chromium()
    yield one
    await one.close()


@pytest.fixture
def app(settings: Settings, clock: TestClock, passwords: Passwords) -> Iterator[web.Application]:
    """The real application; periodic jobs are called by the tests that mean them."""
    made = create_app(settings, clock=clock, passwords=passwords, background=False)
    yield made
    assert not made[keys.TASKS].names, "started without a server that ends it: ask for `client` or `open_browser`"


@pytest.fixture
async def city(app: web.Application, password_hash: str) -> City:
    """Two clinics, a county and a city hospital, and staff of every role (tests/city.py), stored before the start."""
    return await app[keys.WORK].run(build_city, password_hash)


class Browser(TestClient):
    """A test client that behaves like one of our pages: sends Origin, and the CSRF token once signed in."""

    __test__ = False
    csrf = ""

    @property
    def origin(self) -> str:
        return str(self.make_url("/")).rstrip("/")

    def headers(self, given: dict | None = None) -> dict:
        base = {"Origin": self.origin, "Accept": "application/json"}
        if self.csrf:
            base["X-CSRF-Token"] = self.csrf
        return base | (given or {})

    def post(self, path, **kwargs):
        kwargs["headers"] = self.headers(kwargs.get("headers"))
        return super().post(path, **kwargs)

    def put(self, path, **kwargs):
        kwargs["headers"] = self.headers(kwargs.get("headers"))
        return super().put(path, **kwargs)

    def patch(self, path, **kwargs):
        kwargs["headers"] = self.headers(kwargs.get("headers"))
        return super().patch(path, **kwargs)

    def delete(self, path, **kwargs):
        kwargs["headers"] = self.headers(kwargs.get("headers"))
        return super().delete(path, **kwargs)


@pytest.fixture
async def open_browser(app: web.Application, city: City) -> Callable[[], Awaitable[Browser]]:
    """`await open_browser()`: another browser on the same server, with cookies of its own."""
    from aiohttp import CookieJar

    server = TestServer(app, auto_decompress=False)
    await server.start_server()
    opened: list[Browser] = []

    async def open_one() -> Browser:
        browser = Browser(server, cookie_jar=CookieJar(unsafe=True), raise_for_status=False)
        opened.append(browser)
        return browser

    yield open_one
    for browser in opened:
        await browser.session.close()
    await server.close()


@pytest.fixture
async def client(open_browser) -> Browser:
    """One browser, not signed in."""
    return await open_browser()


async def sign_in(client: Browser, login: str, password: str = PASSWORD, *, membership: str | None = None) -> dict:
    """Sign in as one of the city's people (`city.doctor.login` …); the answer of POST /api/login."""
    given = {"login": login, "password": password} | ({"membership": membership} if membership else {})
    client.csrf = ""
    async with client.post("/api/login", json=given) as answer:
        value = await answer.json()
        assert answer.status == 200, value
    client.csrf = value["csrf"]
    return value
