"""Signing in, staying in, and the end of a login."""

from __future__ import annotations

from tests.city import PASSWORD
from tests.conftest import sign_in


async def test_the_right_password_opens_a_session_with_place_and_token(client, city):
    answer = await sign_in(client, city.doctor.login)
    assert answer["membership"] == city.doctor.membership
    async with client.get("/api/session") as response:
        value = await response.json()
    assert value["me"]["name"] == city.doctor.name
    assert value["csrf"] == answer["csrf"]


async def test_wrong_password_and_unknown_login_answer_alike(client, city):
    answers = []
    for login in (city.doctor.login, "nobody"):
        async with client.post("/api/login", json={"login": login, "password": "wrong wrong"}) as response:
            value = await response.json()
            value.pop("request_id")
            answers.append((response.status, response.headers["Content-Type"], value))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401
    assert answers[0][2]["code"] == "wrong_login"


async def test_five_wrong_passwords_lock_the_door_and_waiting_doubles(client, city, clock):
    async def attempt(login, password):
        async with client.post("/api/login", json={"login": login, "password": password}) as response:
            return response.status, (await response.json())["code"], response.headers.get("Retry-After")

    for login in (city.doctor.login, "nobody"):
        for _ in range(4):
            assert (await attempt(login, "wrong"))[:2] == (401, "wrong_login")
        assert await attempt(login, "wrong") == (429, "locked_out", "30")
        # Even the right password waits now.
        assert await attempt(login, PASSWORD) == (429, "locked_out", "30")
        clock.advance(seconds=31)
        assert await attempt(login, "wrong") == (429, "locked_out", "60")
        clock.advance(seconds=61)
    assert (await sign_in(client, city.doctor.login))["staff"] == city.doctor.staff
