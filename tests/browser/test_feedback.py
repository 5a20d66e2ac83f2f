"""The feedback dialog: on one screen, by keyboard, refused in its place, shown to the other side at once."""

from __future__ import annotations

import pytest

from consult import model as m
from server import keys
from tests.browser.conftest import SIZES
from tests.browser.seeds import put_consultation
from tests.browser.test_case import in_english
from tests.browser.touring import AXE, RUN_AXE, WCAG

pytestmark = pytest.mark.browser
INSIDE = """() => {
  const box = document.querySelector('dialog').getBoundingClientRect();
  const form = document.querySelector('dialog form');
  return box.top >= 0 && box.bottom <= innerHeight && form.scrollWidth <= form.clientWidth && form.scrollHeight - form.clientHeight;
}"""


@pytest.fixture
async def path(app, city):
    made = await app[keys.WORK].run(
        put_consultation, city, state=m.State.ACKNOWLEDGED, expert=True, minutes_ago=10 * 24 * 60
    )
    return f"/consultations/{made.id}"


async def test_the_clinic_answers_by_keyboard_and_the_expert_sees_it_and_rates_the_request(site, city, path, shots):
    expert = await site.enter("expert", city.expert, path, lang="en")
    page = await site.enter("clinic", city.doctor, path)
    await page.locator("[data-doing=ask_feedback]").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("dialog[open]")
    assert await page.evaluate(INSIDE) == 0
    site.expected.append("422")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#f-outcome .error-text:has-text('请填写此项')")
    assert await page.locator("dialog .error-text:visible").count() == 4
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    assert await page.evaluate(RUN_AXE, WCAG) == []
    await page.locator("#f-adoption input").first.focus()
    await page.keyboard.press("ArrowRight")
    assert await page.is_checked("[name=adoption][value=partly]")
    await page.fill("#f-reason", "患者不愿住院")
    await page.locator("#f-plan_changed input").first.focus()
    await page.keyboard.press("Space")
    await page.locator("#f-outcome input").first.focus()
    await page.keyboard.press("Space")
    await page.locator("#f-rating input").last.focus()
    await page.keyboard.press("Space")
    await shots(page, "feedback")
    await page.set_viewport_size(dict(zip(("width", "height"), SIZES["phone"], strict=True)))
    assert await page.evaluate(INSIDE) is not False
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#feedback >> text=患者不愿住院")
    await page.wait_for_selector("#feedback >> text=30 天结局待填写")

    await expert.wait_for_selector("#feedback >> text=患者不愿住院")
    await in_english(expert)
    await expert.click("[data-kind=rate]")
    await in_english(expert)
    await expert.check("#f-rating [value='4']")
    await shots(expert, "rating")
    await expert.click("dialog .button-primary")
    await expert.wait_for_selector(".case-said >> nth=1")
    await expert.wait_for_selector("[data-kind=rate]", state="detached")
    await page.wait_for_selector("text=对申请的评价")
    await shots(page, "said")
