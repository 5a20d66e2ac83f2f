"""Feedback by HTTP and on the page: what each side sends, sees and is told of."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from consult import model as m
from consult.feedback import ask_for_feedback
from server import keys
from server.i18n import translate
from server.jobs import plan
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in

ENTRY = {
    "day": 7, "adoption": "partly", "reason": "患者不愿住院", "plan_changed": True, "done": "加用美托洛尔",
    "outcome": "improved", "rating": 4, "comment": "很有帮助",
}  # fmt: skip


@pytest.fixture
async def case(app, city):
    """A consultation whose report was acknowledged ten days ago."""
    made = await app[keys.WORK].run(
        put_consultation, city, state=m.State.ACKNOWLEDGED, expert=True, minutes_ago=10 * 24 * 60
    )
    return made.id


@pytest.fixture
async def people(open_browser, city):
    found = {}
    for who in ("expert", "doctor", "colleague"):
        found[who] = await open_browser()
        await sign_in(found[who], getattr(city, who).login)
    return SimpleNamespace(**found)


async def call(browser, method, path, body=None):
    async with getattr(browser, method)(path, **({} if body is None else {"json": body})) as answer:
        return answer.status, await answer.json()


async def page_of(browser, case):
    async with browser.get(f"/consultations/{case}") as answer:
        assert answer.status == 200
        return await answer.text()


async def bell(browser):
    return [x["href"] for x in (await call(browser, "get", "/api/shell"))[1]["alerts"]]


async def test_what_the_clinic_says_stands_on_the_page_of_both_sides_and_under_the_experts_bell(people, case):
    url = f"/api/consultations/{case}"
    assert 'data-doing="ask_feedback"' in await page_of(people.doctor, case)
    await page_of(people.expert, case)
    assert await bell(people.expert) == []
    status, after = await call(people.doctor, "post", f"{url}/feedback", ENTRY)
    assert (status, after["state"]) == (200, "feedback")
    assert await bell(people.expert) == [f"/consultations/{case}"]
    for browser in (people.doctor, people.expert):
        page = await page_of(browser, case)
        for words in ("7 天结局", "部分采纳", "患者不愿住院", "加用美托洛尔", "很有帮助", "30 天结局待填写"):
            assert words in page, words
    assert await bell(people.expert) == []
    assert "患者不愿住院" not in await page_of(people.colleague, case)
    status, said = await call(people.expert, "get", f"{url}/feedback")
    assert [(x["side"], x["day"], x["rating"]) for x in said["entries"]] == [("clinic", 7, 4)]


async def test_the_experts_rating_is_given_once_and_is_news_to_the_clinic(people, case):
    url = f"/api/consultations/{case}"
    assert 'data-kind="rate"' in await page_of(people.expert, case)
    assert 'data-kind="rate"' not in await page_of(people.doctor, case)
    status, _ = await call(people.expert, "post", f"{url}/rating", {"rating": 5, "comment": "资料齐全"})
    assert status == 200
    status, refused = await call(people.expert, "post", f"{url}/rating", {"rating": 1})
    assert (status, refused["code"], refused["detail"]) == (409, "conflict", "您已经评价过这份申请，不能再改。")
    assert 'data-kind="rate"' not in await page_of(people.expert, case)
    status, listed = await call(people.doctor, "post", "/api/worklist", {"tab": "done"})
    assert "wl-unread" in listed["rows"][0]["html"]
    page = await page_of(people.doctor, case)
    assert "资料齐全" in page
    assert "5 分（满分 5 分）" in page


async def test_refusals_name_every_field_in_a_sentence(people, case):
    status, refused = await call(people.doctor, "post", f"/api/consultations/{case}/feedback", {})
    assert status == 422
    assert {x["path"] for x in refused["fields"]} == {"day", "adoption", "plan_changed", "outcome", "rating"}
    status, refused = await call(people.doctor, "post", f"/api/consultations/{case}/feedback", ENTRY | {"day": 30})
    (field,) = refused["fields"]
    assert field["code"] == "outcome_too_early"
    assert field["message"].startswith("30 天结局最早可在 20")
    status, refused = await call(people.doctor, "post", f"/api/consultations/{case}/feedback", ENTRY | {"version": 99})
    assert (status, refused["code"]) == (409, "stale")


async def test_the_thirty_day_outcome_archives_and_the_worklist_shows_until_when(people, case, clock):
    url = f"/api/consultations/{case}"
    await call(people.doctor, "post", f"{url}/feedback", ENTRY)
    status, listed = await call(people.doctor, "post", "/api/worklist", {"tab": "done"})
    (row,) = listed["rows"]
    due = (clock() - timedelta(days=10) + timedelta(days=37)).date().isoformat()
    assert f'data-due="{due}' in row["html"]
    assert "去反馈" in row["html"]
    clock.advance(days=21)
    await sign_in(people.doctor, "doctor")
    status, after = await call(people.doctor, "post", f"{url}/feedback", ENTRY | {"day": 30, "rating": None})
    assert (status, after["state"], after["due_at"]) == (200, "archived", None)
    page = await page_of(people.doctor, case)
    assert "30 天结局" in page
    assert 'data-kind="feedback"' not in page


def test_refusals_have_their_english():
    for text in ("这一天的反馈已经填写，不能再改。", "您已经评价过这份申请，不能再改。"):
        assert translate(text, "en") != text


async def test_the_clock_asks_the_clinic_and_archives(app, open_browser, case):
    work = app[keys.WORK]
    plan(app)
    assert {"ask_for_feedback", "archive_unanswered"} <= set(app[keys.TASKS].names)
    assert await work.run(ask_for_feedback) == 1
    asked = await work.read(lambda uow: uow.consultations.get(case))
    assert asked.state is m.State.FEEDBACK
