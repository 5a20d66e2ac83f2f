"""The room's page, its calls and the socket on the real application: who gets in, and what ends it."""

import json

import pytest
from aiohttp import ClientConnectionResetError, WSMsgType, WSServerHandshakeError

from consult import model as m
from server import keys
from server.signalling import schema
from server.signalling.setup import ROOMS
from tests.conftest import sign_in
from tests.realtime.stage import build_case

OUTSIDERS = ("colleague", "stranger", "expert2", "dispatcher", "technician", "hospital_technician")


@pytest.fixture
async def case(app, city):
    return await app[keys.WORK].run(build_case, city)


@pytest.fixture
async def people(open_browser, city, case):
    """`await people("doctor")`: somebody signed in, in a browser of their own."""

    async def one(who: str):
        browser = await open_browser()
        await sign_in(browser, getattr(city, who).login)
        return browser

    return one


async def ask(browser, method: str, path: str, *, status: int = 200, **body):
    call = browser.get(path) if method == "GET" else browser.post(path, json=body)
    async with call as answer:
        text = await answer.text()
        assert answer.status == status, text
        return json.loads(text) if answer.content_type.endswith("json") and text else text


async def enter(browser, case, *, tab="t1"):
    """A session opened over HTTP, a socket, hello and enter."""
    session = (await ask(browser, "POST", f"/api/consultations/{case}/session"))["session"]
    ws = await browser.ws_connect("/socket", headers={"Origin": browser.origin})
    await ws.send_json({"type": "hello", "v": 1, "token": browser.csrf, "session": session, "tab": tab})
    welcome = await ws.receive_json(timeout=45)
    await ws.send_json({"type": "enter", "n": 1})
    await hear(ws, "ack")
    return ws, welcome, session


async def hear(ws, type: str, **fields):
    while True:
        message = await ws.receive_json(timeout=45)
        if message["type"] == type and all(message.get(key) == value for key, value in fields.items()):
            return message


async def ended_by(ws) -> tuple[str, int]:
    """The reason of the last message and the close code."""
    last = {}
    while (message := await ws.receive(timeout=45)).type is WSMsgType.TEXT:
        last = message.json()
    return last.get("code", ""), ws.close_code


class TestWhoGetsIn:
    async def test_both_principals_open_the_page_and_one_session(self, people, case):
        doctor, expert = await people("doctor"), await people("expert")
        page = await ask(doctor, "GET", f"/consultations/{case}/room")
        assert "是否需要转上级医院？" in page
        assert "青霉素" in page
        first = await ask(doctor, "POST", f"/api/consultations/{case}/session")
        assert await ask(expert, "POST", f"/api/consultations/{case}/session") == first

    @pytest.mark.parametrize("who", OUTSIDERS)
    async def test_for_everybody_else_there_is_no_room(self, people, case, who):
        doctor = await people("doctor")
        session = (await ask(doctor, "POST", f"/api/consultations/{case}/session"))["session"]
        other = await people(who)
        await ask(other, "GET", f"/consultations/{case}/room", status=404)
        await ask(other, "POST", f"/api/consultations/{case}/session", status=404)
        await ask(other, "GET", f"/api/consultations/{case}/ice", status=404)
        await ask(other, "POST", f"/api/consultations/{case}/studies/1.2/view", status=404)
        for path in ("messages",):
            assert await self.code(other, "GET", f"/api/consultations/{case}/{path}") in {403, 404}
        assert await self.code(other, "POST", f"/api/sessions/{session}/finish") in {403, 404}
        assert await self.code(other, "POST", f"/api/sessions/{session}/undo-finish") in {403, 404}
        ws = await other.ws_connect("/socket", headers={"Origin": other.origin})
        await ws.send_json({"type": "hello", "v": 1, "token": other.csrf, "session": session, "tab": "t"})
        assert await ended_by(ws) == ("not_found", schema.CLOSE_CODES[schema.Close.NOT_FOUND])

    @staticmethod
    async def code(browser, method, path) -> int:
        async with browser.get(path) if method == "GET" else browser.post(path, json={}) as answer:
            return answer.status

    async def test_an_absent_consultation_looks_the_same(self, people):
        doctor = await people("doctor")
        await ask(doctor, "GET", "/consultations/nothing/room", status=404)
        await ask(doctor, "POST", "/api/consultations/nothing/session", status=404)
        await ask(doctor, "POST", "/api/sessions/nothing/finish", status=404)

    @pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
    async def test_a_socket_from_another_origin_is_refused(self, people, case, origin):
        doctor = await people("doctor")
        headers = {"Origin": origin} if origin else {}
        with pytest.raises(WSServerHandshakeError) as refused:
            await doctor.ws_connect("/socket", headers=headers)
        assert refused.value.status == 403

    async def test_a_socket_without_login_is_refused(self, open_browser, case):
        nobody = await open_browser()
        with pytest.raises(WSServerHandshakeError) as refused:
            await nobody.ws_connect("/socket", headers={"Origin": nobody.origin})
        assert refused.value.status == 401

    async def test_the_page_says_when_the_room_cannot_be_entered(self, app, people, case):
        doctor = await people("doctor")

        def withdraw(uow):
            from dataclasses import replace
            uow.consultations.save(replace(uow.consultations.get(case), state=m.State.TRIAGE))

        await app[keys.WORK].run(withdraw)
        page = await ask(doctor, "GET", f"/consultations/{case}/room")
        assert "现在不能进入会诊室" in page
        await ask(doctor, "POST", f"/api/consultations/{case}/session", status=409)


class TestOverStorage:
    async def test_chat_from_the_page_reaches_the_room_once(self, app, people, case):
        doctor, expert = await people("doctor"), await people("expert")
        ws, _, _ = await enter(expert, case)
        line = {"client_id": "c1", "text": "来自会诊页"}
        sent = await ask(doctor, "POST", f"/api/consultations/{case}/messages", **line)
        assert (await hear(ws, "chat"))["message"]["id"] == sent["id"]
        again = await ask(doctor, "POST", f"/api/consultations/{case}/messages", **line)
        assert again["id"] == sent["id"]
        listed = await ask(doctor, "GET", f"/api/consultations/{case}/messages")
        assert [x["text"] for x in listed["messages"]] == ["来自会诊页"]

    async def test_finish_and_undo_from_the_page_reach_the_room(self, people, case):
        doctor, expert = await people("doctor"), await people("expert")
        ws, _, session = await enter(expert, case)
        await ask(doctor, "POST", f"/api/sessions/{session}/finish")
        await hear(ws, "finished")
        await ask(doctor, "POST", f"/api/sessions/{session}/undo-finish")
        await hear(ws, "reopened")
        await ask(doctor, "POST", f"/api/sessions/{session}/undo-finish", status=409)

    async def test_the_precheck_is_kept_with_the_seat(self, app, people, case):
        doctor = await people("doctor")
        ws, welcome, _ = await enter(doctor, case)
        await ws.send_json({"type": "precheck", "n": 2, "result": {"rtt_ms": 12, "grade": "good"}})
        await hear(ws, "ack", n=2)
        seat = await app[keys.WORK].read(lambda uow: uow.meetings.seat(m.SeatId(welcome["seat"])))
        assert seat.precheck == {"rtt_ms": 12, "grade": "good"}

    async def test_entering_is_audited_before_the_answer(self, app, people, case, city):
        await ask(await people("doctor"), "POST", f"/api/consultations/{case}/session")
        rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(object=f"consultation:{case}"))
        assert [(x.action, x.staff) for x in rows if x.action == "room.enter"] == [("room.enter", city.doctor.staff)]


class TestEndings:
    async def test_signing_out_closes_the_socket_and_the_other_side_hangs_up(self, people, case):
        doctor, expert = await people("doctor"), await people("expert")
        doctors, _, _ = await enter(doctor, case)
        experts, welcome, _ = await enter(expert, case)
        await ask(expert, "POST", "/api/logout", status=204)
        assert (await ended_by(experts))[0] == "revoked"
        gone = await hear(doctors, "presence", gone=True)
        assert gone["seat"]["seat"] == welcome["seat"]

    async def test_an_ended_assignment_closes_the_socket(self, app, people, case, city):
        doctor, expert = await people("doctor"), await people("expert")
        doctors, _, session = await enter(doctor, case)
        experts, _, _ = await enter(expert, case)

        def reassign(uow):
            uow.consultations.end_participant(case, city.expert.membership, m.Part.EXPERT, at=uow.now)
            uow.revoke(memberships=(city.expert.membership,), consultation=case)

        await app[keys.WORK].run(reassign)
        assert (await ended_by(experts))[0] == "revoked"
        assert (await hear(doctors, "presence", gone=True))["reason"] == "revoked"
        seats = await app[keys.WORK].read(lambda uow: uow.meetings.seats(m.SessionId(session)))
        assert {x.membership: x.state for x in seats}[city.expert.membership] in {m.SeatState.LEFT, m.SeatState.IN}

    async def test_an_idle_login_ends_the_socket_at_its_next_message(self, people, case, clock, monkeypatch):
        monkeypatch.setattr("server.signalling.socket.LOGIN_CHECK", 0.0)   # else within half a minute of real time
        doctor = await people("doctor")
        ws, _, _ = await enter(doctor, case)
        clock.advance(hours=13)
        await ws.send_json({"type": "hand", "n": 2, "up": True})
        assert (await ended_by(ws))[0] == "revoked"

    async def test_a_half_open_socket_is_given_up_and_one_that_answers_stays(self, app, people, case, monkeypatch):
        monkeypatch.setattr("server.signalling.connection.QUIET", 0.0)
        monkeypatch.setattr("server.signalling.connection.ANSWER", 0.0)
        doctor, expert = await people("doctor"), await people("expert")
        doctors, _, _ = await enter(doctor, case)
        experts, welcome, _ = await enter(expert, case)      # reads nothing from now on, so it answers nothing
        await doctors.ping(b"are you there")                 # is answered, though no browser asks
        await app[ROOMS].beat()
        await doctors.send_json({"type": "hand", "n": 2, "up": True})
        await hear(doctors, "ack", n=2)
        await app[ROOMS].beat()
        while (seat := (await hear(doctors, "presence", gone=False))["seat"])["connected"]:
            pass
        assert seat["seat"] == welcome["seat"]
        assert not doctors.closed
        with pytest.raises(ClientConnectionResetError):
            await experts.ping()

    async def test_a_stopping_server_tells_browsers_to_come_back(self, app, people, case):
        doctor = await people("doctor")
        ws, _, _ = await enter(doctor, case)
        app[ROOMS].close()
        assert await ended_by(ws) == ("restart", 1012)
