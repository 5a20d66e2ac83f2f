"""Request, consent, report and receipt by the keyboard alone, store-and-forward: no mouse, no touch, no pen."""

from __future__ import annotations

import re

import pytest

from tests.browser.acts import PERSON, QUESTIONS, resident_number
from tests.browser.playing import holds, perform, until
from tests.city import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MOST_STEPS = 160
FOCUS_SHOWN = """() => {
  // The element itself, or the label or row that stands for it.
  const shown = (node) => { const s = getComputedStyle(node); return s.outlineStyle !== 'none' || s.boxShadow !== 'none'; };
  const now = document.activeElement;
  return [now, now.closest('label'), now.closest('li')].some((node) => node && shown(node));
}"""


async def tab_to(page, selector):
    """Tab until the focus is there, and seen: an element that cannot be reached or shows no focus fails."""
    for _ in range(MOST_STEPS):
        if await holds(page, "(s) => Boolean(document.activeElement?.matches(s))", selector):
            assert await page.evaluate(FOCUS_SHOWN), f"no visible focus on {selector}"
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {selector}")


async def go(page, selector):
    await tab_to(page, selector)
    await page.keyboard.press("Enter")


async def write(page, selector, text):
    await tab_to(page, selector)
    await page.keyboard.type(text)


async def sign_in(cast, who, person):
    page = (await cast.profile(who)).pages[0]
    await page.goto(cast.url(who, "/login"))
    await write(page, "#f-login", person.login)
    await write(page, "#f-password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".topbar")
    return page


async def test_from_request_to_receipt_without_a_mouse(tmp_path, passwords):
    async with perform(tmp_path, passwords) as cast:
        doctor = await sign_in(cast, "clinic", cast.city.doctor)
        await go(doctor, "a[href='/consultations/new']")
        await doctor.wait_for_selector("#finder input")
        await write(doctor, "#finder input", PERSON["name"])
        await go(doctor, "#register")
        await doctor.wait_for_selector("dialog[open] #f-number")
        await write(doctor, "#f-number", resident_number("33019919680312002"))
        await doctor.keyboard.press("Enter")
        await doctor.wait_for_url(re.compile(r"/consultations/[^/]+/edit$"))
        identity = doctor.url.split("/")[-2]
        await doctor.wait_for_selector("#questions textarea")
        await write(doctor, "#questions textarea", QUESTIONS[0])
        await tab_to(doctor, "input[name=addressing]")
        for _ in range(2):  # pool, specialty, a named expert
            await doctor.keyboard.press("ArrowDown")
        await tab_to(doctor, "#f-target-membership")
        wanted = cast.city.expert.membership
        for _ in range(4):
            if await doctor.input_value("#f-target-membership") == wanted:
                break
            await doctor.keyboard.press("ArrowDown")
        assert await doctor.input_value("#f-target-membership") == wanted
        await tab_to(doctor, "input[name=consent-mode]")
        for _ in range(2):  # drawn, scanned, two witnesses
            await doctor.keyboard.press("ArrowDown")
        await write(doctor, "#f-consent-witness-0", "李护士")
        await write(doctor, "#f-consent-witness-1", "赵护士")
        await go(doctor, ".consent-form > div:last-child button")
        await until(doctor, "Boolean(document.querySelector('#f-consent > .list li'))")
        await go(doctor, "#request-form .actions .button-primary")
        await doctor.wait_for_url(re.compile(r"\?sent=1$"))

        expert = await sign_in(cast, "expert", cast.city.expert)
        await expert.wait_for_selector(f".wl-row[data-id='{identity}']")
        await until(expert, "document.getElementById('live').dataset.live !== '' && document.documentElement.dataset.ready === ''")
        await expert.keyboard.press("j")
        await expert.keyboard.press("a")
        await expert.wait_for_url(re.compile(rf"/consultations/{identity}$"))
        await expert.wait_for_selector("#case-state .button-primary")
        while "/report" not in expert.url:
            await go(expert, "#case-state .button-primary")
            await until(expert, "location.pathname.endsWith('/report') || Boolean(document.querySelector('dialog[open] button[value=yes]'))")
            if await expert.locator("dialog[open] button[value=yes]").count():
                await expert.evaluate("window.before = true")   # the step's own answer and the live note may both load the page
                await go(expert, "dialog[open] button[value=yes]")
                await until(expert, "!window.before && document.documentElement.dataset.ready === '' "
                                    "&& Boolean(document.querySelector('#case-state .button-primary'))")
        await expert.wait_for_selector("#f-answers-1")
        await write(expert, "#f-answers-1", "暂不需要转院。")
        await go(expert, "#sign")
        await expert.wait_for_selector("#f-sign-password")
        await write(expert, "#f-sign-password", PASSWORD)
        await expert.keyboard.press("Enter")
        await expert.wait_for_selector("#sheets img")

        await go(doctor, "a[data-tab=inbox]")
        await doctor.wait_for_selector(f"#inbox li[data-id='{identity}']")
        await go(doctor, f"#inbox li[data-id='{identity}'] a.inbox-who")
        await doctor.wait_for_selector("#case-state, .report-state")
        if "/report" not in doctor.url:
            await go(doctor, "#case-state .button-primary")
        await doctor.wait_for_selector("#sheets img")
        await go(doctor, "[data-kind=acknowledge]")
        await until(doctor, "!document.querySelector('[data-kind=acknowledge]')")
        assert await cast.state(identity) == "acknowledged"
