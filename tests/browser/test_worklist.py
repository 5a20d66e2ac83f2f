"""The worklist: what a row tells whom, how it moves, and how an expert works down it without a mouse."""

from __future__ import annotations

import asyncio
import re

import pytest

from consult import model as m
from consult.triage import expire_offers
from server import keys
from tests.browser.conftest import until
from tests.browser.seeds import put_consultation

pytestmark = pytest.mark.browser


async def put(site, city, **kwargs):
    return await site.app[keys.WORK].run(put_consultation, city, **kwargs)


async def live(page):
    """The page once its stream is open. What a row leads to is another page's test."""
    await page.route(
        re.compile(r"/consultations/[^/]+$"),
        lambda route: route.fulfill(content_type="text/html", body='<link rel="icon" href="data:,">')
        if route.request.resource_type == "document" else route.continue_(),
    )
    await page.wait_for_selector("#live[data-live=on]")
    return page


async def test_a_queue_row_hides_the_name_until_the_expert_has_accepted(site, city):
    offered = await put(site, city, name="欧阳明月")
    mine = await put(site, city, name="钱多多", state=m.State.ACCEPTED, expert=True)
    page = await site.enter("expert", city.expert)
    html = await page.content()
    assert "欧阳明月" not in html
    hidden = page.locator(f'[data-id="{offered.id}"] .wl-who')
    assert await hidden.inner_text() == "女 50–59"
    shown = page.locator(f'[data-id="{mine.id}"] .wl-who')
    assert "钱多多" in await shown.inner_text()


async def test_the_clinic_sees_its_own_patients_by_name_and_colleagues_do_not(site, city):
    row = await put(site, city, name="欧阳明月", state=m.State.RETURNED)
    page = await site.enter("clinic", city.doctor)
    assert "欧阳明月" in await page.inner_text(f'[data-id="{row.id}"]')
    other = await site.enter("tech", city.colleague)
    assert await other.locator(f'[data-id="{row.id}"]').count() == 1
    assert "欧阳明月" not in await other.content()


async def test_the_most_urgent_stands_first_and_a_missed_deadline_is_filled(site, city):
    late = await put(site, city, urgency=m.Urgency.URGENT, minutes_ago=40)
    near = await put(site, city, urgency=m.Urgency.URGENT, minutes_ago=25)
    stat = await put(site, city, urgency=m.Urgency.STAT, minutes_ago=0.2)
    routine = await put(site, city, urgency=m.Urgency.ROUTINE)
    page = await site.enter("expert", city.expert)
    ids = await page.locator("#rows > li").evaluate_all("rows => rows.map(r => r.dataset.id)")
    assert ids == [stat.id, late.id, near.id, routine.id]
    await page.wait_for_selector(f'[data-id="{late.id}"] .due-late')
    await page.wait_for_selector(f'[data-id="{near.id}"] .due-near')
    assert await page.locator(f'[data-id="{routine.id}"] :is(.due-near, .due-late)').count() == 0
    assert "超时" in await page.inner_text(f'[data-id="{late.id}"] .wl-due')


async def test_a_new_row_waits_behind_its_bar_and_moves_nothing(site, city):
    first = await put(site, city)
    page = await live(await site.enter("expert", city.expert))
    before = await page.locator(f'[data-id="{first.id}"]').bounding_box()
    second = await put(site, city, name="新来的")
    await page.wait_for_selector("#new-rows button")
    assert "1 条新会诊" in await page.inner_text("#new-rows")
    assert await page.locator(f'[data-id="{second.id}"]').count() == 0
    assert await page.locator(f'[data-id="{first.id}"]').bounding_box() == before
    assert await page.inner_text('[data-count="todo"]') == "2"
    await page.keyboard.press("n")
    await page.wait_for_selector(f'[data-id="{second.id}"]')
    assert await page.is_hidden("#new-rows")


async def test_a_row_a_colleague_took_goes_grey_in_its_place(site, city):
    row = await put(site, city)
    other = await put(site, city)
    page = await live(await site.enter("expert", city.expert))
    colleague = await live(await site.enter("tech", city.expert2))
    await colleague.click(f'[data-id="{row.id}"] [data-do="accept"]')
    await page.wait_for_selector(f'[data-id="{row.id}"].wl-gone')
    assert await page.locator("#rows > li").nth(0).get_attribute("data-id") == row.id
    assert await page.is_visible(f'[data-id="{other.id}"] [data-do="accept"]')


async def test_j_k_and_a_work_down_the_list_by_keyboard_alone(site, city):
    rows = [await put(site, city, minutes_ago=20 - n) for n in range(3)]
    page = await live(await site.enter("expert", city.expert))
    for key in "jjjk":
        await page.keyboard.press(key)
    assert await page.get_attribute(".wl-at", "data-id") == rows[1].id
    assert await page.evaluate("document.activeElement.closest('.wl-row').dataset.id") == rows[1].id
    async with page.expect_navigation(url=f"**/consultations/{rows[1].id}"):
        await page.keyboard.press("a")
    stored = await site.app[keys.WORK].read(lambda uow: uow.consultations.get(rows[1].id))
    assert stored.state is m.State.ACCEPTED


async def test_r_declines_with_a_reason_that_must_be_given(site, city):
    row = await put(site, city)
    page = await live(await site.enter("expert", city.expert))
    await page.keyboard.press("j")
    await page.keyboard.press("r")
    await page.wait_for_selector("dialog[open]")
    await page.click("dialog button[type=submit]")
    assert await page.inner_text("#why-error") == "请写明原因"
    await page.click("dialog >> text=不属于我的专业")
    async with page.expect_response(f"**/api/consultations/{row.id}/decline") as told:
        await page.click("dialog button[type=submit]")
    assert (await told.value).ok


async def test_a_dispatcher_returns_a_request_with_a_list_of_what_is_missing(site, city):
    row = await put(site, city, state=m.State.TRIAGE)
    page = await live(await site.enter("expert", city.dispatcher))
    await page.keyboard.press("j")
    await page.keyboard.press("r")
    await page.click("dialog button[type=submit]")
    assert await page.inner_text("dialog .error-text") == "请至少写一项缺少的内容"
    await page.fill("dialog input[name=item-0]", "18 导联心电图")
    async with page.expect_response(f"**/api/consultations/{row.id}/return") as told:
        await page.click("dialog button[type=submit]")
    assert (await told.value).ok
    stored = await site.app[keys.WORK].read(lambda uow: uow.consultations.get(row.id))
    assert stored.state is m.State.RETURNED
    assert stored.missing[0]["item"] == "18 导联心电图"


async def test_filters_stand_in_the_address_and_open_again_from_it(site, city):
    ecg = await put(site, city, service=m.Service.ECG)
    imaging = await put(site, city, service=m.Service.IMAGING, urgency=m.Urgency.ROUTINE)
    page = await live(await site.enter("expert", city.expert))
    async with page.expect_response("**/api/worklist"):
        await page.select_option("select[name=service]", "ecg")
    await until(page, "document.querySelectorAll('#rows > li').length === 1")
    assert await page.get_attribute("#rows > li", "data-id") == ecg.id
    assert page.url.endswith("/?tab=todo&service=ecg")
    await page.reload()
    assert await page.locator("#rows > li").count() == 1
    await page.click("#clear-filters")
    await page.wait_for_selector(f'[data-id="{imaging.id}"]')


async def test_a_stat_offer_rings_on_every_page_and_can_be_accepted_from_there(site, city):
    page = await live(await site.enter("expert", city.expert, "/?tab=done"))
    row = await put(site, city, urgency=m.Urgency.STAT, name="欧阳明月")
    await page.wait_for_selector(".ringing")
    card = await page.inner_text(".ringing")
    assert "急会诊" in card
    assert "女 50–59" in card
    assert "欧阳明月" not in card
    await page.click(".ringing >> text=接诊")
    await page.wait_for_url(f"**/consultations/{row.id}")


async def test_an_emergency_that_was_silenced_rings_once_more_and_the_clinic_sees_the_numbers_by_itself(site, city, app, clock):
    page = await live(await site.enter("expert", city.expert, "/?tab=done"))
    row = await put(site, city, urgency=m.Urgency.STAT, minutes_ago=0)
    clinic = await site.enter("clinic", city.doctor, f"/consultations/{row.id}")
    await clinic.wait_for_selector(".ring-card")
    await page.click(".ringing >> text=静音")
    assert await page.locator(".ringing").count() == 0
    clock.advance(minutes=1)
    await app[keys.WORK].run(expire_offers)
    await page.wait_for_selector(".ringing")
    clock.advance(minutes=4)
    await app[keys.WORK].run(expire_offers)
    await page.wait_for_selector(".ringing", state="detached")
    await clinic.wait_for_selector("#phones a[href^='tel:']")


async def test_what_happens_before_a_page_listens_is_told_once_it_does(site, city, app, clock):
    row = await put(site, city, urgency=m.Urgency.STAT, minutes_ago=0)
    page = await live(await site.enter("clinic", city.doctor))
    await page.unroute_all()
    here = asyncio.Event()

    async def late(route):
        await here.wait()
        await route.continue_()

    await page.route(re.compile(r"/js/consultation\.js"), late)
    async with page.expect_response("**/events*"), page.expect_response("**/api/shell"):
        await page.goto(site.url("clinic", f"/consultations/{row.id}"), wait_until="commit")
    async with page.expect_response("**/api/shell"):        # the page's frame hears that something happened
        clock.advance(minutes=5)
        await app[keys.WORK].run(expire_offers)
    assert await page.locator("#phones").count() == 0
    here.set()
    await page.wait_for_selector("#phones a[href^='tel:']")


async def test_accepting_works_on_a_phone(site, city):
    row = await put(site, city)
    page = await live(await site.enter("expert", city.expert, size=(390, 844)))
    button = page.locator(f'[data-id="{row.id}"] [data-do="accept"]')
    box = await button.bounding_box()
    assert box["height"] >= 40
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await button.click()
    await page.wait_for_url(f"**/consultations/{row.id}")


async def test_a_broken_answer_offers_to_try_again(site, city):
    site.expected.append("503")
    await put(site, city)
    page = await live(await site.enter("expert", city.expert))
    await page.route("**/api/worklist", lambda route: route.fulfill(status=503, json={"code": "busy", "title": "系统繁忙", "detail": "系统正忙，请稍后再试。"}))
    await page.select_option("select[name=sort]", "waiting")
    await page.wait_for_selector("text=再试一次")
    assert "系统正忙" in await page.inner_text(".wl-again")
    await page.unroute("**/api/worklist")
    await page.click("text=再试一次")
    await page.wait_for_selector(".wl-row")


async def test_the_worklist_weighs_less_than_100_kb_over_the_wire(site, city):
    for n in range(20):
        await put(site, city, minutes_ago=n)
    page = await site.open("expert", "/login")
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    sizes: list[float] = []
    await site.sign_in(page, city.expert)
    await session.send("Network.clearBrowserCache")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    await page.reload()
    await live(page)
    await page.wait_for_load_state("load")
    assert 10_000 < sum(sizes) <= 100_000, sum(sizes)
