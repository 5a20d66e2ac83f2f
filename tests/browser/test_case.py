"""One case through the pages: the patient registered, the request written and sent, accepted, and met again by both."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import until

pytestmark = pytest.mark.browser

NUMBER = "11010519491231002X"


async def sign(page):
    """Draw something on the signature pad."""
    await page.locator(".sign-pad").scroll_into_view_if_needed()
    box = await page.locator(".sign-pad").bounding_box()
    await page.mouse.move(box["x"] + 30, box["y"] + 80)
    await page.mouse.down()
    for step in range(12):
        await page.mouse.move(box["x"] + 30 + step * 15, box["y"] + 80 + (20 if step % 2 else -20))
    await page.mouse.up()


async def register(page, name="周小雨"):
    await page.fill("input[type=search].input", name)
    await page.wait_for_selector("text=没有找到")
    await page.click(".found-list >> text=登记患者")
    await page.fill("#f-number", NUMBER)
    await until(page, "document.querySelector('#f-birth_date').value === '1949-12-31'")
    assert await page.is_checked("dialog input[name=sex][value=F]")
    await page.click("dialog .button-primary")


async def test_from_registration_to_the_accepted_consultation(site, city, shots):
    page = await site.enter("clinic", city.doctor, "/consultations/new")
    page.set_default_timeout(10000)
    await register(page)
    await page.wait_for_url(re.compile("/edit$"))
    await page.wait_for_selector("#checks .done")
    await shots(page, "request-empty")
    site.expected.append("422")
    await page.click("#request-form .button-primary")
    await page.wait_for_selector("#error-summary li")
    assert await page.locator("#error-summary li").count() == 2
    await page.fill("#questions textarea", "是否需要上转？")
    await page.press("#questions textarea", "Enter")
    await page.keyboard.type("是否需要抗凝？")
    await page.press("#questions li:nth-child(2) textarea", "Alt+ArrowUp")
    await page.click(".paste summary")
    await page.fill("#his-text", "主诉：胸痛 2 小时\n现病史：活动后加重\n既往史：高血压 10 年")
    await page.click("#his-read")
    await until(page, "document.querySelector('#f-content-complaint').value === '胸痛 2 小时'")
    await sign(page)
    await page.click("text=记录同意")
    await page.wait_for_selector("#checks li:nth-child(5).done")
    await until(page, "document.querySelector('#saved').textContent.includes('已自动保存')")
    await shots(page, "request-full")
    await page.reload()
    assert await page.input_value("#questions li:nth-child(1) textarea") == "是否需要抗凝？"
    await page.check("input[name=addressing][value=expert]")
    await page.select_option("#f-target-membership", city.expert.membership)
    await page.click("#request-form .actions .button-primary")
    await page.wait_for_url(re.compile(r"sent=1"))
    await page.wait_for_selector("text=待接诊")
    await shots(page, "consultation-clinic")
    address = re.sub(r"\?.*", "", page.url).split(str(site.port))[1]

    expert = await site.enter("expert", city.expert, address)
    assert "周小雨" not in await expert.content()
    await shots(expert, "consultation-queue")
    await expert.click("[data-kind=accept]")
    await expert.wait_for_selector(".banner")
    assert "周小雨" in await expert.inner_text(".banner")
    assert await expert.locator(".case-questions li").all_inner_texts() == ["是否需要抗凝？", "是否需要上转？"]
    await shots(expert, "consultation-expert")
    await page.wait_for_selector("text=已接诊")
    await expert.fill("#chat-text", "请补做一份心电图")
    await expert.press("#chat-text", "Enter")
    await page.wait_for_selector("#chat >> text=请补做一份心电图")
