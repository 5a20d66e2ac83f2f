"""What the organisation's administrator sets up for programs and devices, with the mouse: devices, destinations, tokens."""

from __future__ import annotations

import pytest

from server import keys
from tests.browser.touring import AXE, RUN_AXE, WCAG
from tests.city import PASSWORD

pytestmark = pytest.mark.browser


async def test_a_device_is_registered_tested_and_retired_with_the_mouse(site, city, app):
    page = await site.enter("clinic", city.clinic_admin, "/admin/devices")
    site.expected.append("422")     # the form sent without an address
    await page.fill("#f-name", "放射科 CT")
    await page.fill("#f-calling", "CT1")
    await page.get_by_role("button", name="登记").click()
    await page.wait_for_selector("#f-address[aria-invalid=true]")
    await page.fill("#f-address", "192.168.1.20")
    await page.fill("#f-modalities", "ct，mr")
    await page.fill("#f-host", "127.0.0.1")
    await page.fill("#f-port", "9")
    await page.get_by_role("button", name="登记").click()
    row = page.locator("[data-device]", has_text="放射科 CT")
    await row.get_by_role("button", name="测试连接").click()
    await row.get_by_text("连接不上").wait_for()
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    assert await page.evaluate(RUN_AXE, WCAG) == []
    await row.get_by_role("link", name="修改").click()
    assert await page.input_value("#f-modalities") == "CT MR"
    await page.fill("#f-name", "放射科 CT 2")
    await page.get_by_role("button", name="保存").click()
    await page.locator("td", has_text="放射科 CT 2").wait_for()
    await page.get_by_role("button", name="停用").click()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await page.get_by_text("还没有登记设备").wait_for()
    assert await app[keys.WORK].read(lambda uow: uow.devices.of(city.clinic)) == []


async def test_a_destination_a_rule_and_a_token_are_made_and_ended_with_the_mouse(site, city, app):
    page = await site.enter("clinic", city.clinic_admin, "/admin/forwards")
    await page.fill("#f-name", "市 PACS")
    await page.fill("#f-url", "https://pacs.example/dicom-web")
    await page.get_by_role("button", name="登记").click()
    await page.locator("#destinations td", has_text="市 PACS").first.wait_for()
    await page.fill("#f-modalities", "ct")
    await page.get_by_role("button", name="添加规则").click()
    await page.locator("#rules [data-end]").click()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await page.locator("#rules").wait_for(state="detached")
    await page.locator("#destinations [data-end]").click()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await page.get_by_text("还没有目的地").wait_for()

    await page.goto(site.url("clinic", "/admin/tokens"))
    await page.fill("#f-name", "医院 PACS")
    await page.locator("[name=right]").first.check()
    await page.fill("#f-password", PASSWORD)
    await page.get_by_role("button", name="新建令牌").click()
    secret = await page.locator("#new-token").inner_text()
    assert secret.startswith("hz_")
    await page.get_by_role("button", name="复制").click()
    await page.get_by_role("button", name="已保存").click()
    row = page.locator("#tokens tr", has_text="医院 PACS")
    await row.locator("[data-end]").click()
    assert secret not in await page.content()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await page.locator("#tokens [data-end]").wait_for(state="detached")
    assert await app[keys.WORK].read(lambda uow: uow.tokens.of(city.clinic, since=uow.now)) == []
