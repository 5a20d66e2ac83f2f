"""An organisation's administrator keeps the staff list (specialties, who is on call, who serves here too) and the tokens."""

from __future__ import annotations

import pytest

from consult.people import Role
from server import keys
from tests.browser.touring import AXE, RUN_AXE, WCAG
from tests.city import PASSWORD

pytestmark = pytest.mark.browser
ASK = "async (token) => (await fetch('/api/changes', { headers: { Authorization: `Bearer ${token}` } })).status"


async def test_specialties_are_given_and_somebody_with_an_account_serves_here_too(site, city, app):
    page = await site.enter("clinic", city.clinic_admin, "/admin/staff")
    site.expected.append("422")     # the login name that nobody has
    row = page.locator(f"[data-staff='{city.technician.staff}']")
    await row.get_by_role("button", name="修改").click()
    await page.locator("dialog").get_by_label("姓名").fill("孙强强")
    await page.locator("dialog").get_by_label("专业").fill("影像诊断, 心电图")
    await page.locator("dialog").get_by_label("值班").check()
    await page.get_by_role("button", name="保存").click()
    await page.wait_for_selector("text=孙强强")
    text = await row.inner_text()
    assert "影像诊断 心电图" in text
    assert "值班" in text

    await page.fill("#f-there-login", city.expert.login)
    await page.get_by_role("button", name="添加任职").click()
    there = page.locator(f"[data-staff='{city.expert.staff}']")
    await there.wait_for()
    held = await app[keys.WORK].read(lambda uow: uow.people.memberships(staff=city.expert.staff))
    assert {(x.organisation, x.role) for x in held} >= {(city.hospital, Role.EXPERT), (city.clinic, Role.CLINIC_DOCTOR)}

    await page.fill("#f-there-login", "nobody-here")
    await page.get_by_role("button", name="添加任职").click()
    await page.wait_for_selector("#f-there-login[aria-invalid=true]")
    assert await page.inner_text("#f-there-login-error")


async def test_a_token_is_made_shown_once_copied_used_and_ended(site, city):
    page = await site.enter("clinic", city.clinic_admin, "/admin/tokens")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    site.expected += ["403", "422", "401"]     # a wrong password, the form half filled, the token when it has ended
    await page.get_by_text("还没有接口令牌").wait_for()
    make = page.get_by_role("button", name="新建令牌")
    await page.fill("#f-password", "wrong")
    await make.click()
    await page.wait_for_selector("#f-password[aria-invalid=true]")
    await page.fill("#f-password", PASSWORD)
    await make.click()
    await page.wait_for_selector("#f-rights[aria-invalid=true]")
    await page.fill("#f-name", "放射科 PACS")
    await page.get_by_label("检索影像，查看变更").check()
    await page.get_by_label("读取影像").check()
    await page.select_option("#f-days", "90")
    await make.click()
    token = await page.inner_text("#new-token")
    await page.locator("dialog").get_by_role("button", name="复制").click()
    await page.get_by_text("已复制").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == token
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    assert await page.evaluate(RUN_AXE, WCAG) == []
    assert await page.evaluate(ASK, token) == 200
    await page.locator("dialog").get_by_role("button", name="已保存").click()
    row = page.locator("[data-token]", has_text="放射科 PACS")
    text = await row.inner_text()
    assert token[:8] in text and "刚刚" in text
    assert token not in await page.content()
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    assert await page.evaluate(RUN_AXE, WCAG) == []
    await row.get_by_role("button", name="停用").click()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await row.get_by_text("已停用").wait_for()
    assert await page.evaluate(ASK, token) == 401
