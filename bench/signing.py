"""From the expert's signature to the clinic's inbox: POST sign → the event in the clinic's open page."""

import asyncio
import time
from pathlib import Path

import aiohttp
from aiohttp.test_utils import TestServer

from bench.common import Row, median, p
from consult import model as m
from server import keys
from server.app import create_app
from server.auth.passwords import Passwords
from server.settings import Settings
from tests.browser.seeds import put_consultation
from tests.city import PASSWORD, build_city


class Person:
    """A signed-in browser without the browser."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.csrf = ""

    async def sign_in(self, login: str) -> "Person":
        headers = {"Origin": self.url}
        async with self.session.post(
            f"{self.url}/api/login", json={"login": login, "password": PASSWORD}, headers=headers
        ) as answer:
            assert answer.status == 200, await answer.text()
        async with self.session.get(f"{self.url}/api/session") as answer:
            self.csrf = (await answer.json())["csrf"]
        return self

    async def send(self, method: str, path: str, value: object) -> dict:
        headers = {"Origin": self.url, "X-CSRF-Token": self.csrf}
        async with self.session.request(method, self.url + path, json=value, headers=headers) as answer:
            assert answer.status < 300, (path, answer.status, await answer.text())
            return await answer.json()

    async def inbox_events(self, organisation: str, arrived: asyncio.Queue) -> None:
        """Puts the moment of each note of the inbox into `arrived`."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.session.get(
            f"{self.url}/events", params={"topics": f"inbox:{organisation}"}, timeout=timeout
        ) as stream:
            assert stream.status == 200
            await arrived.put(0.0)
            async for line in stream.content:
                if b"inbox:" in line:
                    await arrived.put(time.perf_counter())


async def rows(folder: Path, *, quick: bool) -> list[Row]:
    passwords = Passwords()
    app = create_app(Settings(data=folder, host="127.0.0.1", port=0), passwords=passwords)
    times = []
    async with TestServer(app) as server:
        url = str(server.make_url("/")).rstrip("/")
        city = await app[keys.WORK].run(build_city, passwords.hash_now(PASSWORD))
        expert, doctor = await Person(url).sign_in(city.expert.login), await Person(url).sign_in(city.doctor.login)
        arrived: asyncio.Queue[float] = asyncio.Queue()
        listening = asyncio.create_task(doctor.inbox_events(city.clinic, arrived))
        await arrived.get()
        for _ in range(4 if quick else 23):
            case = await app[keys.WORK].run(put_consultation, city, state=m.State.REPORTING, expert=True)
            # The password once; then the signature stays unlocked, as in a morning of signing.
            times.append(await sign_one(expert, case.id, arrived, password=None if times else PASSWORD))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await expert.session.close()
        await doctor.session.close()
    times = times[2:]  # the first certificate and the first page are made once
    return [
        Row(name=f"sign to inbox, median (P95 {p(times, 0.95):.0f})", unit="ms", ours=median(times), goal=150),
    ]


async def sign_one(expert: Person, consultation: str, arrived: asyncio.Queue, *, password: str | None) -> float:
    draft = await expert.send("POST", f"/api/consultations/{consultation}/report", {})
    content = {
        "findings": "双肺纹理清晰，右上肺见一枚约 9 mm 实性结节，边缘光整。" * 6,
        "answers": [{"n": 1, "text": "暂不需要上转，三个月后复查胸部 CT。"}],
        "advice": "低剂量 CT 随访；如有咳血、消瘦及时就诊。",
    }
    saved = await expert.send("PUT", f"/api/reports/{draft['id']}", {"version": draft["version"], "content": content})
    while not arrived.empty():
        arrived.get_nowait()
    begun = time.perf_counter()
    await expert.send(
        "POST", f"/api/reports/{draft['id']}/sign", {"version": saved["version"], "password": password}
    )
    async with asyncio.timeout(10):
        return (await arrived.get() - begun) * 1000
