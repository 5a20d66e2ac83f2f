"""The feed of changes: everything acknowledged stands in it, in order, for the own organisation alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from server import keys
from server.dicomweb.ports import ARCHIVE
from server.feeding import FEED, MARK
from tests.archive.files import make
from tests.conftest import sign_in


@pytest.fixture
async def store(app):
    """`await store(organisation, study, n)`: one instance more."""
    await app[keys.ARCHIVE_STARTED].wait()

    async def one(organisation, study, n):
        file = make(f"{study}.1.{n}", study=study, series=f"{study}.1")
        found = await app[ARCHIVE].ingest(file, organisation=organisation, source="test")
        assert found.outcome == "stored"

    return one


@pytest.fixture
async def follow(client, city):
    """`await follow(since=…)`: (status, answer) for the clinic's technician."""
    await sign_in(client, city.technician.login)

    async def ask(**query):
        async with client.get("/api/changes", params={k: str(v) for k, v in query.items()}) as answer:
            return answer.status, await answer.json()

    return ask


async def test_what_is_stored_stands_in_the_feed_at_once_and_study_by_study(app, city, store, follow):
    assert await follow() == (200, {"changes": [], "last": 0, "more": False})
    await store(city.clinic, "1.1", 1)
    await store(city.hospital, "1.9", 1)
    await store(city.clinic, "1.1", 2)
    await store(city.clinic, "1.2", 1)
    status, found = await follow()
    assert status == 200
    assert [(x["n"], x["study"], x["kind"]) for x in found["changes"]] == [(1, "1.1", "stored"), (2, "1.2", "stored")]
    assert set(found["changes"][0]) == {"n", "at", "study", "kind"}
    await store(city.clinic, "1.1", 3)
    assert [x["study"] for x in (await follow(since=2))[1]["changes"]] == ["1.1"]
    page = (await follow(since=0, limit=2))[1]
    assert ([x["n"] for x in page["changes"]], page["last"], page["more"]) == ([1, 2], 2, True)
    assert (await follow(since=3))[1] == {"changes": [], "last": 3, "more": False}
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(staff=city.technician.staff, limit=1000))
    assert [row.detail["rows"] for row in rows if row.action == "study.changes"] == [2, 1, 2]


async def test_a_number_that_never_was_is_refused_and_nonsense_too(store, city, follow):
    await store(city.clinic, "1.1", 1)
    assert (await follow(since=2))[1]["code"] == "range"
    assert (await follow(since="x"))[0] == 400
    assert (await follow(since=-5))[1]["last"] == 1


async def test_doubts_and_matches_of_the_own_organisation_are_told_in_order(app, city, store, follow):
    await store(city.clinic, "1.1", 1)
    await follow()

    def tell(uow):
        for payload in ({"matched": True}, {"corrected": True}, {"hidden": True}, {"hidden": False}, {"matched": False}):
            uow.publish(f"study:{city.clinic}", {"study": "1.1"} | payload)
        uow.publish(f"study:{city.hospital}", {"study": "1.1", "hidden": True})

    await app[keys.WORK].run(tell)
    await store(city.clinic, "1.1", 2)
    kinds = [x["kind"] for x in (await follow())[1]["changes"]]
    assert kinds == ["stored", "matched", "hidden", "shown", "voided", "stored"]


async def test_a_correction_is_told_once_of_each_study_it_touches(client, city, app, store, follow):
    await store(city.clinic, "1.1", 1)
    file = make("1.1.2.1", study="1.1", series="1.1.2")
    await app[ARCHIVE].ingest(file, organisation=city.clinic, source="test")
    given = {"kind": "split", "study": "1.1", "series": ["1.1.2"], "reason": "x"}
    async with client.post("/api/corrections", json=given) as answer:
        assert answer.status in {200, 201}, await answer.text()
    corrected = [x["study"] for x in (await follow())[1]["changes"] if x["kind"] == "corrected"]
    assert len(corrected) == len(set(corrected)) == 2 and "1.1" in corrected


async def test_others_do_not_follow(open_browser, city):
    for person in ("doctor", "expert", "clinic_admin", "auditor"):
        browser = await open_browser()
        await sign_in(browser, getattr(city, person).login)
        async with browser.get("/api/changes") as answer:
            assert answer.status == 403


async def test_while_many_store_whoever_follows_misses_nothing_and_sees_no_gap(city, store, follow):
    studies = [f"1.{n}" for n in range(1, 25)]
    seen, numbers, last = set(), [0], 0

    async def send(mine):
        for study in mine:
            await store(city.clinic, study, 1)

    sending = [asyncio.create_task(send(studies[n::4])) for n in range(4)]
    while True:
        ended = all(task.done() for task in sending)
        _status, found = await follow(since=last, limit=5)
        seen |= {x["study"] for x in found["changes"]}
        numbers += [x["n"] for x in found["changes"]]
        last = found["last"]
        if ended and not found["changes"]:
            break
    await asyncio.gather(*sending)
    assert seen == set(studies)
    assert all(b == a + 1 for a, b in pairwise(numbers))


async def test_an_index_made_anew_is_told_again_and_nothing_is_left_out(app, city, store, follow):
    await store(city.clinic, "1.1", 1)
    await follow()
    # What a rescan leaves behind: the same numbers, other rows.
    await app[keys.WORK].run(lambda uow: uow.settings.put(MARK, [1, "what stood there before"]))
    await store(city.clinic, "1.2", 1)
    await asyncio.gather(*(app[FEED].catch_up() for _ in range(3)))
    assert [x["study"] for x in (await follow())[1]["changes"]] == ["1.1", "1.1", "1.2"]
