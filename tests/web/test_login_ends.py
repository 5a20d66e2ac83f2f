"""However a login ends, it ends everywhere at once: pages, streams, grants."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from server import keys
from server.jobs import sweep_logins
from tests.city import PASSWORD
from tests.conftest import sign_in


async def still_in(browser) -> int:
    async with browser.get("/api/session") as answer:
        return answer.status


async def read_until(stream, text: str) -> str:
    """Everything the stream sends up to `text`; fails when it ends or stays silent before."""
    seen = b""
    async with asyncio.timeout(5):
        while text.encode() not in seen:
            chunk = await stream.content.readany()
            assert chunk, seen
            seen += chunk
    return seen.decode()


@pytest.mark.parametrize("how", ["logout", "disable", "password", "membership", "everywhere"])
async def test_the_next_request_and_the_open_stream_end_at_once(open_browser, city, how):
    mine, admin, second = [await open_browser() for _ in range(3)]
    await sign_in(mine, city.doctor.login)
    await sign_in(second, city.doctor.login)
    await sign_in(admin, city.clinic_admin.login)
    assert await still_in(mine) == 200
    stream = await mine.get("/events?topics=session,worklist")
    await read_until(stream, "open")
    staff, membership = city.doctor.staff, city.doctor.membership
    call = {
        "logout": (mine, "/api/logout", None),
        "everywhere": (second, "/api/logout/everywhere", None),
        "disable": (admin, f"/api/staff/{staff}/disable", None),
        "password": (admin, f"/api/staff/{staff}/password", {}),
        "membership": (admin, f"/api/memberships/{membership}/end", None),
    }[how]
    async with call[0].post(call[1], json=call[2]) as answer:
        assert answer.status in {200, 204}, await answer.text()
    assert "event: session" in await read_until(stream, "ended")
    stream.close()
    assert await still_in(mine) == 401


async def test_a_login_ended_behind_the_servers_back_counts_at_most_one_second(client, city, app, clock):
    await sign_in(client, city.doctor.login)
    assert await still_in(client) == 200
    await app[keys.WORK].run(lambda uow: uow.logins.revoke(now=uow.now, staff=city.doctor.staff))
    clock.advance(seconds=1)
    assert await still_in(client) == 401


async def test_an_idle_login_ends_and_says_expired_and_the_same_person_goes_on(client, city, clock):
    await sign_in(client, city.doctor.login)
    clock.advance(minutes=59)
    assert await still_in(client) == 200
    clock.advance(minutes=59)
    assert await still_in(client) == 200
    clock.advance(minutes=61)
    async with client.get("/api/session") as answer:
        assert answer.status == 401
        value = await answer.json()
    assert value["code"] == "session_expired"
    old = client.csrf
    again = await sign_in(client, city.doctor.login, membership=city.doctor.membership)
    assert again["staff"] == city.doctor.staff
    assert again["csrf"] != old
    assert await still_in(client) == 200


async def test_twelve_hours_end_a_login_that_was_used_all_the_time(client, city, clock):
    await sign_in(client, city.doctor.login)
    for _ in range(23):
        clock.advance(minutes=30)
        assert await still_in(client) == 200
    clock.advance(minutes=31)
    assert await still_in(client) == 401


async def test_changing_the_password_keeps_this_login_and_ends_the_others(open_browser, city):
    here, there = await open_browser(), await open_browser()
    await sign_in(here, city.doctor.login)
    await sign_in(there, city.doctor.login)
    async with here.post("/api/password", json={"old": "wrong", "new": "a new long password"}) as answer:
        assert answer.status == 403
        assert (await answer.json())["fields"][0]["path"] == "old"
    async with here.post("/api/password", json={"old": PASSWORD, "new": "short"}) as answer:
        assert answer.status == 422
    async with here.post("/api/password", json={"old": PASSWORD, "new": "a new long password"}) as answer:
        assert answer.status == 204
    assert await still_in(here) == 200
    assert await still_in(there) == 401
    await sign_in(there, city.doctor.login, "a new long password")


async def test_a_temporary_password_opens_nothing_but_the_change(open_browser, city):
    admin, fresh = await open_browser(), await open_browser()
    await sign_in(admin, city.clinic_admin.login)
    new = {"login": "new-doctor", "name": "新医生", "role": "clinic_doctor"}
    async with admin.post(f"/api/organisations/{city.clinic}/staff", json=new) as answer:
        assert answer.status == 201
        password = (await answer.json())["password"]
    assert (await sign_in(fresh, "new-doctor", password))["must_change"] is True
    async with fresh.get("/api/organisations") as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "must_change_password"
    async with fresh.get("/", headers={"Accept": "text/html"}, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/password?next=/"
    async with fresh.post("/api/password", json={"old": password, "new": "a password of mine"}) as answer:
        assert answer.status == 204
    async with fresh.get("/api/organisations") as answer:
        assert answer.status == 200


async def test_another_place_is_another_login_with_another_token(open_browser, city, app):
    browser, old_tab = await open_browser(), await open_browser()
    from tests.city import Person  # noqa: F401 - documents what city.people holds

    def also_expert(uow):
        from consult.people import Role
        from server.auth.staff import new_membership

        return new_membership(uow, city.doctor.staff, city.hospital, Role.EXPERT, "", (), on_call=False).id

    second = await app[keys.WORK].run(also_expert)
    first = await sign_in(browser, city.doctor.login)
    assert len(first["places"]) == 2
    old_tab.session.cookie_jar.update_cookies(browser.session.cookie_jar.filter_cookies(browser.make_url("/")))
    async with browser.post("/api/place", json={"membership": second}) as answer:
        assert answer.status == 200
        value = await answer.json()
    assert value["csrf"] != first["csrf"]
    browser.csrf = value["csrf"]
    async with browser.get("/api/session") as answer:
        assert (await answer.json())["me"]["role"] == "expert"
    assert await still_in(old_tab) == 401
    async with browser.post("/api/place", json={"membership": city.expert.membership}) as answer:
        assert answer.status == 404


async def test_who_serves_in_several_places_is_asked_once_and_then_begins_where_they_were_last(open_browser, city, app):
    from consult.people import Role
    from server.auth.staff import new_membership

    second = await app[keys.WORK].run(
        lambda uow: new_membership(uow, city.doctor.staff, city.hospital, Role.EXPERT, "", (), on_call=False).id
    )
    browser = await open_browser()
    first = await sign_in(browser, city.doctor.login)
    assert first["choose"]
    async with browser.get("/place?next=/studies", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
    assert f'data-place="{second}"' in page
    assert f'data-place="{city.doctor.membership}"' in page
    assert 'data-next="/studies"' in page
    # Not having answered is no answer.
    assert (await sign_in(await open_browser(), city.doctor.login))["choose"]
    browser.csrf = first["csrf"]
    async with browser.post("/api/place", json={"membership": second}) as answer:
        assert answer.status == 200
    again = await sign_in(await open_browser(), city.doctor.login)
    assert (again["choose"], again["membership"]) == (False, second)
    # A place that has ended is not begun in; where one is left, nobody is asked.
    await app[keys.WORK].run(lambda uow: uow.people.save_membership(replace(uow.people.membership(second), until=uow.now)))
    left = await sign_in(await open_browser(), city.doctor.login)
    assert (left["choose"], left["membership"]) == (False, city.doctor.membership)


async def test_unlocking_the_signature_lasts_fifteen_minutes(client, city, clock, app):
    await sign_in(client, city.expert.login)
    async with client.post("/api/session/unlock", json={"password": "wrong"}) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "wrong_password"
    async with client.post("/api/session/unlock", json={"password": PASSWORD}) as answer:
        assert answer.status == 200

    async def unlocked():
        async with client.get("/api/session") as answer:
            return (await answer.json())["sign_unlocked_until"] is not None

    assert await unlocked()
    clock.advance(minutes=14, seconds=59)
    assert await unlocked()
    clock.advance(seconds=1)
    assert not await unlocked()


async def test_ended_logins_are_swept_after_a_day(client, city, app, clock):
    await sign_in(client, city.doctor.login)
    async with client.post("/api/logout") as answer:
        assert answer.status == 204
    clock.advance(hours=23)
    assert await app[keys.WORK].run(sweep_logins) == 0
    clock.advance(hours=2)
    assert await app[keys.WORK].run(sweep_logins) == 1
