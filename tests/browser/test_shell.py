"""The shell: signing in, language, keys, and that nothing typed is lost when a login ends."""

from __future__ import annotations

import pytest

from server import keys
from tests.browser.conftest import HAN, han_words, until
from tests.city import PASSWORD

pytestmark = pytest.mark.browser
CITY_WORDS = ("九堡街道", "建德乡镇", "桐庐县人", "市第一人")


async def test_a_wrong_password_says_what_to_do_and_keeps_the_login_name(site, city):
    site.expected.append("401")
    page = await site.open("clinic")
    assert page.url.endswith("/login?next=/")
    await page.fill("#f-login", city.doctor.login)
    await page.fill("#f-password", "not this one")
    await page.press("#f-password", "Enter")
    await until(page, "document.getElementById('login-error').textContent !== ''")
    assert await page.inner_text("#login-error") == "账号或密码不正确。请检查后再试。"
    assert await page.input_value("#f-login") == city.doctor.login
    assert await page.evaluate("document.activeElement.id") == "f-password"


async def test_an_empty_form_is_not_sent_and_the_cursor_goes_where_something_is_missing(site, city):
    page = await site.open("clinic", "/login")
    await page.click("#login-form [type=submit]")
    assert await page.inner_text("#login-error") == "请填写登录名和密码"
    assert await page.evaluate("document.activeElement.id") == "f-login"


async def test_a_wrong_code_of_the_first_set_up_is_told_at_its_field_and_nothing_typed_is_lost(site, app):
    site.expected.append("403")
    app[keys.SETUP_CODE].append("the-real-code")
    page = await site.open("admin", "/setup")
    given = {"code": "not-this", "organisation": "市卫健委", "name": "冯睿", "login": "root.admin", "password": PASSWORD}
    for name, value in given.items():
        await page.fill(f"#f-{name}", value)
    await page.press("#f-password", "Enter")
    await until(page, "document.getElementById('f-code-error').textContent !== ''")
    assert await page.inner_text("#f-code-error") == "初始化码不正确，请照服务器窗口里显示的填写"
    assert await page.evaluate("document.activeElement.id") == "f-code"
    assert await page.locator(".toast").count() == 0
    assert {name: await page.input_value(f"#f-{name}") for name in given} == given


async def test_who_serves_in_two_places_is_asked_where_they_are_and_goes_on_to_what_they_wanted(site, city, app):
    from consult.people import Role
    from server.auth.staff import new_membership

    second = await app[keys.WORK].run(
        lambda uow: new_membership(uow, city.doctor.staff, city.other_clinic, Role.CLINIC_DOCTOR, "内科", (), on_call=False).id
    )
    page = await site.open("clinic", "/login?next=/orders")
    await page.fill("#f-login", city.doctor.login)
    await page.fill("#f-password", PASSWORD)
    await page.press("#f-password", "Enter")
    await page.wait_for_selector("#places")
    await page.wait_for_selector("html[data-ready]", state="attached")
    await page.click(f"#places [data-place='{second}']")
    await page.wait_for_url("**/orders")
    assert await page.inner_text(".topbar .place b") == "建德乡镇"


async def test_signing_in_leads_to_the_empty_worklist_which_says_what_comes_next(site, city):
    page = await site.enter("clinic", city.doctor)
    assert await page.inner_text("#empty h2") == "没有等您处理的会诊"
    assert await page.inner_text(".tabs [aria-current=page]") == "待处理"
    assert await page.is_visible("text=急会诊")
    assert await page.is_visible("text=新建会诊")


@pytest.mark.parametrize("who", ["doctor", "expert", "technician", "dispatcher"])
async def test_no_chinese_character_is_left_on_an_english_page(site, city, who):
    page = await site.open("clinic", "/login?lang=en")
    assert await han_words(page) == []
    person = city.people[who]
    await site.sign_in(page, person)
    await page.wait_for_selector("#live[data-live=on]")
    own = (*CITY_WORDS, person.name, "主任医师")
    assert await han_words(page, own=own) == []
    await page.keyboard.press("?")
    await page.wait_for_selector("dialog[open]")
    assert await han_words(page, own=own) == []
    await page.keyboard.press("Escape")
    await page.click("#alerts > summary")
    assert await han_words(page, own=own) == []
    if who != "technician":
        await page.goto(page.url.split("?")[0] + "?tab=done&service=ecg")
        assert await han_words(page, own=own) == []


async def test_the_language_changes_with_one_click_and_stays(site, city):
    page = await site.enter("clinic", city.doctor)
    async with page.expect_navigation():
        await page.click(".lang-bar")
    assert await page.get_attribute("html", "lang") == "en"
    assert await page.inner_text("#empty h2") == "Nothing waits for you"
    await page.reload()
    assert await page.get_attribute("html", "lang") == "en"


async def test_an_error_page_speaks_to_people_and_names_the_code_beneath(site, city):
    site.expected.append("404")
    page = await site.enter("clinic", city.doctor)
    await page.goto(site.url("clinic", "/no-such-place"))
    assert await page.inner_text("h1") == "没有找到"
    assert "not_found" in await page.inner_text(".code")
    await page.click(".gate .button-primary")
    await page.wait_for_selector("#worklist")


async def test_slash_searches_and_the_text_never_stands_in_the_address(site, city):
    page = await site.enter("expert", city.expert)
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.name") == "text"
    await page.keyboard.type("周小雨")
    async with page.expect_response("**/api/worklist"):
        await page.keyboard.press("Enter")
    await page.wait_for_selector("#searching:not([hidden])")
    assert await page.inner_text("#searching b") == "周小雨"
    assert "%" not in page.url and not HAN.search(page.url)
    assert await page.inner_text("#empty h2") == "没有符合条件的会诊"


async def test_the_menu_opens_and_closes_by_keyboard_and_gives_the_focus_back(site, city):
    page = await site.enter("clinic", city.doctor)
    await page.focus("details.menu:last-of-type > summary")
    await page.keyboard.press("Enter")
    assert await page.is_visible("#sign-out")
    await page.keyboard.press("Escape")
    assert not await page.is_visible("#sign-out")
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"


async def test_signing_out_leads_to_the_door_and_forgets_local_drafts(site, city):
    page = await site.enter("clinic", city.doctor)
    await page.evaluate("sessionStorage.setItem('huizhen:draft:x:y', '{}')")
    await page.click("details.menu:last-of-type > summary")
    await page.click("#sign-out")
    await page.wait_for_selector("#login-form")
    assert await page.evaluate("sessionStorage.getItem('huizhen:draft:x:y')") is None


async def test_a_login_that_ends_asks_over_the_page_and_the_call_goes_on(site, city):
    site.expected.append("401")
    page = await site.enter("clinic", city.doctor)
    await page.wait_for_selector("#live[data-live=on]")
    app = site.app
    await app[keys.WORK].run(lambda uow: uow.logins.revoke(now=uow.now, staff=city.doctor.staff))
    app[keys.SESSIONS].forget()
    app[keys.STREAMS].close(staff=city.doctor.staff)
    await page.wait_for_selector("#signin[open]")
    answer = page.evaluate("import('/static/js/api.js').then(({api}) => api('POST', '/api/worklist', {tab: 'todo'}))")
    await page.fill("#signin-login", city.doctor.login)
    await page.fill("#signin-password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#signin", state="detached")
    assert (await answer)["rows"] == []
    await page.wait_for_selector("#live[data-live=on]")


async def test_somebody_else_signing_in_there_gets_a_page_of_their_own(site, city):
    site.expected.append("401")
    page = await site.enter("clinic", city.doctor)
    await page.wait_for_selector("#live[data-live=on]")
    app = site.app
    await app[keys.WORK].run(lambda uow: uow.logins.revoke(now=uow.now, staff=city.doctor.staff))
    app[keys.SESSIONS].forget()
    app[keys.STREAMS].close(staff=city.doctor.staff)
    await page.wait_for_selector("#signin[open]")
    await page.fill("#signin-login", city.colleague.login)
    await page.fill("#signin-password", PASSWORD)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    assert await page.get_attribute("body", "data-me") == city.colleague.membership
