"""The administrator registers a device, is told at the field what is missing, tests the connection and retires it."""

from __future__ import annotations

import pytest

from server import keys
from tests.browser.touring import AXE, RUN_AXE

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
    assert await page.evaluate(RUN_AXE) == []
    await row.get_by_role("link", name="修改").click()
    assert await page.input_value("#f-modalities") == "CT MR"
    await page.fill("#f-name", "放射科 CT 2")
    await page.get_by_role("button", name="保存").click()
    await page.locator("td", has_text="放射科 CT 2").wait_for()
    await page.get_by_role("button", name="停用").click()
    await page.locator("dialog").get_by_role("button", name="停用").click()
    await page.get_by_text("还没有登记设备").wait_for()
    assert await app[keys.WORK].read(lambda uow: uow.devices.of(city.clinic)) == []
