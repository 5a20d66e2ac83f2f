"""Who hears that an emergency finds no answer: experts again, then the dispatcher, then the clinic gets numbers to call."""

from __future__ import annotations

from dataclasses import replace

from consult import model as m
from consult.triage import accept_offer, expire_offers
from server import keys
from server.auth.people import actor_of
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in

PAGE = {"Accept": "text/html"}


async def test_an_emergency_rings_again_reaches_the_dispatcher_and_shows_the_clinic_whom_to_telephone(
    app, city, open_browser, clock
):
    work = app[keys.WORK]
    people = {who: await open_browser() for who in ("expert", "dispatcher", "doctor", "colleague")}
    for who, browser in people.items():
        await sign_in(browser, getattr(city, who).login)

    def with_a_phone(uow):
        uow.people.save_staff(replace(uow.people.staff(city.expert2.staff), phone="13900000002"))

    await work.run(with_a_phone)
    made = await work.run(put_consultation, city, urgency=m.Urgency.STAT, minutes_ago=0)

    async def bar(who) -> dict:
        async with people[who].get("/api/shell") as answer:
            return await answer.json()

    async def shown(who) -> str:
        async with people[who].get(f"/consultations/{made.id}", headers=PAGE) as answer:
            return await answer.text()

    async def later(**step) -> None:
        clock.advance(**step)
        await work.run(expire_offers)

    assert [x["rings"] for x in (await bar("expert"))["offers"]] == [1]
    assert (await bar("dispatcher"))["alerts"] == []
    await later(minutes=1)
    assert [x["rings"] for x in (await bar("expert"))["offers"]] == [2]
    assert (await bar("dispatcher"))["alerts"] == []
    await later(minutes=2)
    [alert] = (await bar("dispatcher"))["alerts"]
    assert (alert["late"], alert["title"]) == (True, "急会诊无人接诊")
    assert "周小雨" not in alert["detail"]
    assert "13900000002" not in await shown("doctor")
    await later(minutes=2)
    page = await shown("doctor")
    assert 'href="tel:13900000002"' in page
    assert city.expert2.name in page
    for words in ("再次响铃", "无人接诊，已通知调度员和中心", "无人接诊，已列出值班电话"):
        assert words in page, "the timeline tells it"
    assert "13900000002" not in await shown("colleague")
    assert "13900000002" not in await shown("dispatcher")


async def test_who_accepts_in_time_silences_everything(app, city, open_browser, clock):
    work = app[keys.WORK]
    dispatcher = await open_browser()
    await sign_in(dispatcher, city.dispatcher.login)
    made = await work.run(put_consultation, city, urgency=m.Urgency.STAT, minutes_ago=0)
    expert = await work.read(
        lambda uow: actor_of(uow.people.staff(city.expert.staff), uow.people.membership(city.expert.membership))
    )
    clock.advance(minutes=2)
    await work.run(accept_offer, actor=expert, consultation=made.id)
    clock.advance(minutes=9)
    await work.run(expire_offers)
    async with dispatcher.get("/api/shell") as answer:
        assert (await answer.json())["alerts"] == []
    events = await work.read(lambda uow: uow.events.of(f"consultation:{made.id}"))
    assert "show_phones" not in {x.trigger for x in events}
