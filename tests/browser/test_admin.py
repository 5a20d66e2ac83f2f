"""An organisation's administrator keeps the staff list: specialties, who is on call, who serves here too."""

from __future__ import annotations

import pytest

from consult.people import Role
from server import keys

pytestmark = pytest.mark.browser


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
