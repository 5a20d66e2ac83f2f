"""The administrators' pages, as a browser gets them."""

from __future__ import annotations

import json
import re

import pytest

from consult import model as m
from server import keys
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in

PAGE = {"Accept": "text/html"}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("clinic_admin", "/admin/staff", 200),
        ("platform_admin", "/admin/staff", 200),
        ("platform_admin", "/admin/organisations", 200),
        ("clinic_admin", "/admin/devices", 200),
        ("platform_admin", "/admin/devices", 403),
        ("auditor", "/audit", 200),
        ("doctor", "/audit", 200),
        ("doctor", "/admin/staff", 403),
        ("expert", "/admin/organisations", 403),
    ],
)
async def test_each_page_opens_for_those_it_is_for(client, city, who, path, status, lang):
    await sign_in(client, getattr(city, who).login)
    async with client.get(path, headers=PAGE, params={"lang": lang}) as answer:
        text = await answer.text()
    assert answer.status == status
    assert f'<html lang="{"en" if lang == "en" else "zh-CN"}"' in text


async def test_an_administrator_sees_only_the_own_organisation(client, city):
    await sign_in(client, city.clinic_admin.login)
    async with client.get("/admin/staff", headers=PAGE) as answer:
        text = await answer.text()
    assert city.doctor.name in text
    assert city.expert.name not in text
    async with client.get("/admin/staff", headers=PAGE, params={"organisation": city.hospital}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(("lang", "word"), [("zh", "登录"), ("en", "Sign in")])
async def test_the_audit_says_in_words_what_was_done_and_keeps_the_code_beneath(client, city, lang, word):
    await sign_in(client, city.auditor.login)
    async with client.get("/audit", headers=PAGE, params={"lang": lang}) as answer:
        text = await answer.text()
    assert f'<td>{word}<br><code class="small muted">login</code></td>' in text


async def test_the_audit_begins_with_the_newest_and_is_asked_by_login_name(open_browser, city):
    """A name that nobody has and one that is not yours to ask for look alike."""
    auditor, doctor = await open_browser(), await open_browser()
    await sign_in(doctor, city.doctor.login)
    await sign_in(auditor, city.auditor.login)

    async def numbers(client, **query):
        async with client.get("/audit", headers=PAGE, params=query) as answer:
            assert answer.status == 200
            return [int(n) for n in re.findall(r"<tr><td>(\d+)</td>", await answer.text())]

    every = await numbers(auditor)
    assert len(every) >= 2
    assert every == sorted(every, reverse=True)
    assert await numbers(auditor, before=every[0]) == every[1:]
    own = await numbers(auditor, login=city.doctor.login)
    assert own
    assert set(own) < set(every)
    assert await numbers(auditor, login="nobody") == []
    assert await numbers(doctor, login=city.expert.login) == await numbers(doctor, login="nobody") == []


async def limited(browser, place: str, kbps) -> tuple[int, dict]:
    async with browser.get("/api/organisations") as answer:
        version = next(x["version"] for x in await answer.json() if x["id"] == place)
    async with browser.patch(f"/api/organisations/{place}", json={"version": version, "room_kbps": kbps}) as answer:
        return answer.status, await answer.json()


async def test_a_place_limits_its_seats_and_the_smaller_of_two_limits_holds_in_its_rooms(open_browser, app, city):
    admin, doctor = await open_browser(), await open_browser()
    await sign_in(admin, city.clinic_admin.login)
    await sign_in(doctor, city.doctor.login)
    case = await app[keys.WORK].run(put_consultation, city, state=m.State.CHECKED_IN, expert=True)

    async def told() -> int:
        async with doctor.get(f"/consultations/{case.id}/room", headers=PAGE) as answer:
            page = await answer.text()
        return json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.S)[1])["kbps"]

    assert await told() == 0
    status, value = await limited(admin, city.clinic, 300)
    assert (status, value["room_kbps"], await told()) == (200, 300, 300)
    async with admin.get("/admin/organisations", headers=PAGE) as answer:
        page = await answer.text()
    assert page.count("data-kbps") == 1                              # its own
    assert re.findall(r'/admin/staff\?organisation=([^"]+)', page) == [city.clinic]
    assert 'href="/admin/organisations"' in page
    assert '<option value="300" selected>每秒 300 千比特</option>' in page
    assert (await limited(admin, city.hospital, 300))[0] in {403, 404}
    for wrong in (-1, 100_001, "300", None):
        assert (await limited(admin, city.clinic, wrong))[0] == 422
    assert await told() == 300
    assert (await limited(admin, city.clinic, 0))[0] == 200
    assert await told() == 0
