"""What was recorded: who plays it, in which parts, what the audit says; holds, and the end of its days."""

import base64
import os
import shutil

import pytest

from consult import attending
from consult import recording as rules
from consult.recording_moments import keep_moments
from consult.recording_state import WORDS, Kind, RecordingId, Stage
from server import keys
from server.recording import shelf as shelving
from server.recording import vault
from server.recording.conducting import owner
from server.recording.moments import Shown, seal_moment
from server.recording.muxing import Muxed, MuxError, Span
from server.sealing import seal
from tests.conftest import sign_in
from tests.realtime.stage import build_case

FILM = os.urandom(300_000)


@pytest.fixture
async def recorded(app, city, clock, monkeypatch):
    """A session that was recorded for a minute, ended, and has become a film. Its id."""
    shelf, work = app[keys.SHELF], app[keys.WORK]
    folder = app[keys.SETTINGS].key_folder
    identity = RecordingId("11111111-2222-4333-8444-555555555555")
    began = clock().timestamp()

    async def mux(place, key, target, progress):
        assert (place / "0000.log").exists()
        progress(0.5)
        assert shelf.progress == {identity: 0.5}
        with vault.Writer(target, key) as file:
            file.write(FILM)
        return Muxed(duration=60, size=len(FILM), width=640, height=360, seats=(), whole=True,
                     spans=(Span(at=0, began=began, seconds=60),))

    monkeypatch.setattr(shelving, "mux", mux)

    def begin(uow):
        case = build_case(uow, city)
        session = attending.open_session(uow, actor=city.doctor, consultation=case).id
        seat = attending.take_seat(uow, actor=city.doctor, session=session)
        attending.admit(uow, actor=city.doctor, seat=seat.id)
        key = seal(folder, base64.b64encode(b"k" * 32).decode(), owner=owner(identity))
        rules.ask_recording(uow, actor=city.doctor, session=session, key=key, sign=shelf.sign, id=identity)
        rules.declare_present(uow, actor=city.doctor, session=session, people=[], sign=shelf.sign)
        rules.answer_recording(
            uow, actor=city.doctor, session=session, person="self", answer=Kind.GIVEN, words=WORDS, sign=shelf.sign
        )
        rules.mark_recording(uow, session=session, running=True, sign=shelf.sign)
        return case, session

    case, session = await work.run(begin)
    clock.advance(seconds=30)
    await work.run(
        attending.send_message, actor=city.expert, consultation=case, client_id="c", text="请看第三张", session=session
    )
    row = await work.read(lambda uow: uow.meetings.seat_of(session, city.doctor.membership))

    def show(uow):
        moments = [
            (clock(), seal_moment(b"k" * 32, identity, Shown(at=clock(), seat=row.id, kind=kind, body=body)))
            for kind, body in (("view", {"frame": 3}), ("hand_up", None))
        ]
        assert keep_moments(uow, session=session, recording=identity, moments=moments, sign=shelf.sign) == 2

    await work.run(show)
    clock.advance(seconds=31)
    await work.run(
        attending.send_message, actor=city.expert, consultation=case, client_id="d", text="录完了再说", session=session
    )
    await work.run(attending.finish_session, actor=city.doctor, session=session)
    place = shelf.path(identity).parent
    place.mkdir(parents=True)
    (place / "0000.log").write_bytes(b"log")
    await shelf.step()
    assert sorted(x.name for x in place.iterdir()) == ["recording.webm"]
    assert FILM[:64] not in shelf.path(identity).read_bytes()
    return identity, case


async def stage_of(app, identity) -> Stage:
    return (await app[keys.WORK].read(lambda uow: uow.recordings.get(identity))).stage


async def actions(app, identity) -> list[tuple[str, dict]]:
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(object=f"recording:{identity}"))
    return [(x.action, dict(x.detail)) for x in rows]


async def test_it_is_played_after_saying_what_for_with_chat_where_it_was_said(client, app, city, recorded):
    identity, case = recorded
    await sign_in(client, city.expert.login)
    async with client.get(f"/consultations/{case}") as answer:
        assert f"/consultations/{case}/recordings/{identity}" in await answer.text()
    async with client.get(f"/consultations/{case}/recordings/{identity}") as answer:
        assert answer.status == 200
    async with client.get(f"/api/recordings/{identity}/video") as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "recording_purpose")
    async with client.post(f"/api/recordings/{identity}/play", json={"purpose": "fun"}) as answer:
        assert answer.status == 422
    async with client.post(f"/api/recordings/{identity}/play", json={"purpose": "report"}) as answer:
        told = await answer.json()
    assert told["chat"] == [{"at": 30.0, "name": city.expert.name, "text": "请看第三张"}]
    assert "running" in [x["kind"] for x in told["events"]]
    assert [x for x in told["events"] if x["at"] == 30.0] == [
        {"at": 30.0, "kind": "view", "name": city.doctor.name, "body": {"frame": 3}},
        {"at": 30.0, "kind": "hand_up", "name": city.doctor.name},
    ]
    assert await actions(app, identity) == [("recording.open", {}), ("recording.play", {"purpose": "report"})]


@pytest.mark.parametrize(("asked", "status", "part"), [
    ("", 200, slice(None)), ("bytes=0-99", 206, slice(0, 100)), ("bytes=70000-70001", 206, slice(70000, 70002)),
    ("bytes=-10", 206, slice(-10, None)), ("bytes=299990-", 206, slice(299990, None)), ("bytes=300000-", 416, None),
])
async def test_any_part_of_the_film_is_given_as_it_was(client, city, recorded, asked, status, part):
    identity, _ = recorded
    await sign_in(client, city.doctor.login)
    await client.post(f"/api/recordings/{identity}/play", json={"purpose": "care"})
    headers = {"Range": asked} if asked else {}
    async with client.get(f"/api/recordings/{identity}/video", headers=headers) as answer:
        assert answer.status == status
        if part is not None:
            assert await answer.read() == FILM[part]
            assert answer.headers["Accept-Ranges"] == "bytes"


async def test_a_purpose_is_for_the_one_who_gave_it_and_ends(open_browser, app, city, clock, recorded):
    identity, _ = recorded
    doctor, expert = await open_browser(), await open_browser()
    await sign_in(doctor, city.doctor.login)
    await sign_in(expert, city.expert.login)
    await doctor.post(f"/api/recordings/{identity}/play", json={"purpose": "care"})
    async with expert.get(f"/api/recordings/{identity}/video") as answer:
        assert answer.status == 409
    clock.advance(minutes=50)
    await doctor.get("/api/session")
    clock.advance(hours=rules.PLAYED_FOR.total_seconds() / 3600)
    await sign_in(doctor, city.doctor.login)
    async with doctor.get(f"/api/recordings/{identity}/video") as answer:
        assert answer.status == 409


async def test_a_hold_keeps_it_and_without_one_its_days_end_with_its_key(client, app, city, clock, recorded):
    identity, _ = recorded
    shelf = app[keys.SHELF]
    await sign_in(client, city.auditor.login)
    async with client.get("/recordings") as answer:
        page = await answer.text()
    assert "HZ20261122-0001" in page
    assert "测试患者" not in page
    async with client.post(f"/api/recordings/{identity}/hold", json={"held": True, "reason": " "}) as answer:
        assert answer.status == 422
    async with client.post(f"/api/recordings/{identity}/hold", json={"held": True, "reason": "诉讼"}) as answer:
        assert answer.status == 204
    clock.advance(days=91)
    await shelf.step()
    assert await stage_of(app, identity) is Stage.READY
    assert len(await app[keys.WORK].read(lambda uow: uow.recordings.moments(identity))) == 2
    await sign_in(client, city.auditor.login)
    async with client.post(f"/api/recordings/{identity}/hold", json={"held": False, "reason": "结案"}) as answer:
        assert answer.status == 204
    await shelf.step()
    gone = await app[keys.WORK].read(lambda uow: uow.recordings.get(identity))
    assert (gone.stage, gone.key) == (Stage.REMOVED, "")
    assert await app[keys.WORK].read(lambda uow: uow.recordings.moments(identity)) == []
    assert not shelf.path(identity).parent.exists()
    assert [x for x, _ in await actions(app, identity)] == [
        "recording.hold", "recording.hold_lift", "recording.removed"
    ]
    await sign_in(client, city.doctor.login)
    async with client.post(f"/api/recordings/{identity}/play", json={"purpose": "care"}) as answer:
        assert answer.status == 404


async def test_a_film_that_is_damaged_is_not_given(client, app, city, recorded):
    identity, _ = recorded
    await sign_in(client, city.doctor.login)
    await client.post(f"/api/recordings/{identity}/play", json={"purpose": "care"})
    shutil.rmtree(app[keys.SHELF].path(identity).parent)
    async with client.get(f"/api/recordings/{identity}/video") as answer:
        assert (answer.status, (await answer.json())["code"]) == (500, "integrity")


@pytest.mark.parametrize(("why", "stage"), [("empty", Stage.EMPTY), ("failed", Stage.FAILED)])
async def test_where_no_film_can_be_made_the_list_says_so(app, recorded, monkeypatch, why, stage):
    identity, _ = recorded

    async def mux(*_):
        raise MuxError(why)

    def again(uow):
        from dataclasses import replace

        uow.recordings.save(replace(uow.recordings.get(identity), stage=Stage.WAITING))

    monkeypatch.setattr(shelving, "mux", mux)
    await app[keys.WORK].run(again)
    await app[keys.SHELF].step()
    assert await stage_of(app, identity) is stage
