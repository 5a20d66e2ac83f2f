"""A sharp picture for a consultation: in pieces, cut, again; what is kept, who hears of it, and what is refused."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from dataclasses import replace

import pytest
from PIL import Image

from consult import model as m
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.pictures import MOST_OPEN
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in


def photo(fmt: str = "JPEG", *, size=(320, 240), note: bytes = b"") -> bytes:
    """A picture with something a camera writes beside the pixels."""
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, fmt, quality=92)
    return out.getvalue() + note


@pytest.fixture
async def case(app, city):
    return (await app[keys.WORK].run(put_consultation, city, state=m.State.ACCEPTED, expert=True)).id


@pytest.fixture
async def doctor(client, city):
    await sign_in(client, city.doctor.login)
    return client


@pytest.fixture
async def expert(open_browser, city):
    browser = await open_browser()
    await sign_in(browser, city.expert.login)
    return browser


async def begin(browser, case, size: int, **given) -> tuple[int, dict]:
    body = {"size": size, "kind": "film", "title": "胸片", **given}
    async with browser.post(f"/api/consultations/{case}/pictures", json=body) as answer:
        return answer.status, await answer.json()


async def put(browser, picture: str, offset: int, data: bytes) -> tuple[int, dict]:
    async with browser.put(f"/api/pictures/{picture}?offset={offset}", data=data) as answer:
        return answer.status, await answer.json()


async def finish(browser, picture: str) -> tuple[int, dict]:
    async with browser.post(f"/api/pictures/{picture}/finish", json={}) as answer:
        return answer.status, await answer.json()


async def send(browser, case, data: bytes, **given) -> tuple[int, dict]:
    status, made = await begin(browser, case, len(data), **given)
    assert status == 201, made
    assert (await put(browser, made["id"], 0, data))[0] == 200
    return await finish(browser, made["id"])


async def listed(browser, case) -> list[dict]:
    async with browser.get(f"/api/consultations/{case}/documents") as answer:
        assert answer.status == 200
        return (await answer.json())["documents"]


async def test_a_picture_in_pieces_is_shown_afresh_and_kept_byte_for_byte(app, case, city, doctor, expert):
    data = photo(note=b"GPS of the camera")
    status, made = await begin(doctor, case, len(data))
    assert (status, made["received"]) == (201, 0)
    with app[keys.HUB].subscribe({f"pictures:{case}", f"consultation:{case}"}) as heard:
        third = len(data) // 3
        assert (await put(doctor, made["id"], 0, data[:third]))[1] == {"received": third}
        assert (await put(doctor, made["id"], 0, data[:third]))[0] == 409            # the answer was lost: once is enough
        async with doctor.get(f"/api/pictures/{made['id']}") as answer:
            assert (await answer.json())["received"] == third
        assert (await finish(doctor, made["id"]))[0] == 409
        await put(doctor, made["id"], third, data[third:])
        status, done = await finish(doctor, made["id"])
        assert status == 200
        assert (await finish(doctor, made["id"]))[1]["result"] == done["result"]     # asked again: told again
        notes = [await heard.get() for _ in range(4)]
    ways = [x.payload for x in notes if x.topic.startswith("pictures")]
    assert [x["received"] for x in ways] == [third, len(data), len(data)]
    assert {x["membership"] for x in ways} == {city.doctor.membership}
    [told] = [x.payload for x in notes if x.topic.startswith("consultation")]
    [document] = await listed(expert, case)
    assert told["document"] == ways[-1]["document"] == document["id"]
    assert (document["title"], document["kind"], document["by"]) == ("胸片", "film", city.doctor.name)

    async with expert.get(f"/api/documents/{document['id']}/pages/1") as answer:
        page = await answer.read()
    assert b"GPS" not in page
    assert Image.open(io.BytesIO(page)).size == (320, 240)
    async with expert.get(f"/api/documents/{document['id']}/original") as answer:
        assert await answer.read() == data
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not app[keys.UPLOADING].path(made["id"]).exists()


@pytest.mark.parametrize("data", [b"%PDF-1.7\n" + bytes(400), b"\0\0\0\x18ftypheic" + bytes(400), photo()[:300]])
async def test_what_is_no_whole_picture_is_refused_and_leaves_nothing(app, case, doctor, data):
    status, problem = await send(doctor, case, data)
    assert (status, problem["code"]) == (422, "document_refused")
    assert await listed(doctor, case) == []
    assert list(app[keys.UPLOADING].path("").iterdir()) == []


async def test_size_and_number_are_bounded_before_anything_is_sent(case, doctor):
    status, problem = await begin(doctor, case, 26 << 20)
    assert (status, problem["code"]) == (413, "too_large")
    assert "25 MB" in problem["detail"]
    for _ in range(MOST_OPEN):
        _, made = await begin(doctor, case, 10)
    status, problem = await begin(doctor, case, 10)
    assert (status, problem["code"]) == (409, "pictures_waiting")
    async with doctor.delete(f"/api/pictures/{made['id']}") as answer:
        assert answer.status == 204
    assert (await begin(doctor, case, 10))[0] == 201
    assert (await begin(doctor, case, 10, kind="consent"))[0] == 422


async def test_whoever_loses_the_consultation_half_way_sends_no_more_of_it(app, case, doctor):
    data = photo()
    _, made = await begin(doctor, case, len(data))
    await put(doctor, made["id"], 0, data[:100])

    def close(uow):
        found = uow.consultations.get(case)
        uow.consultations.save(replace(found, state=m.State.ARCHIVED, state_since=uow.now))

    await app[keys.WORK].run(close)
    await put(doctor, made["id"], 100, data[100:])
    status, problem = await finish(doctor, made["id"])
    assert (status, problem["code"]) == (409, "wrong_state")
    assert await listed(doctor, case) == []


class _Room:
    """A budget that lets nobody in until it is told to."""

    def __init__(self) -> None:
        self.asked, self.open, self.held = asyncio.Event(), asyncio.Event(), []

    async def acquire(self, size: int) -> int:
        self.held.append(size)
        self.asked.set()
        await self.open.wait()
        return size

    def release(self, size: int) -> None:
        if size:
            self.held.remove(size)


async def test_a_picture_waits_until_memory_has_room_for_what_is_made_of_it(app, case, doctor, monkeypatch):
    room = _Room()
    monkeypatch.setattr(app[keys.UPLOADING]._pictures, "_budget", room)
    sending = asyncio.create_task(send(doctor, case, photo()))
    await asyncio.wait_for(room.asked.wait(), 20)
    assert room.held[0] > 10_000
    assert await listed(doctor, case) == []
    room.open.set()
    assert (await sending)[0] == 200
    assert room.held == []
    assert len(await listed(doctor, case)) == 1


async def test_the_pictures_share_what_uploads_may_take_of_memory(app):
    assert app[keys.UPLOADING]._pictures._budget is app[ARCHIVE]._ingestor.budget


async def test_the_file_of_a_camera_never_stands_in_memory_as_a_whole(app, case, doctor):
    data = photo(note=bytes(20 << 20))
    _, made = await begin(doctor, case, len(data))
    for offset in range(0, len(data), 1 << 20):
        assert (await put(doctor, made["id"], offset, data[offset : offset + (1 << 20)]))[0] == 200
    tracemalloc.start()
    try:
        assert (await finish(doctor, made["id"]))[0] == 200
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20
    [document] = await listed(doctor, case)
    async with doctor.get(f"/api/documents/{document['id']}/original") as answer:
        assert await answer.read() == data


async def test_a_picture_that_is_refused_gives_its_room_back(app, case, doctor, monkeypatch):
    room = _Room()
    room.open.set()
    monkeypatch.setattr(app[keys.UPLOADING]._pictures, "_budget", room)
    assert (await send(doctor, case, photo()[:300]))[0] == 422
    assert room.held == []
