"""One case through the pages: the patient registered, the request written and sent, accepted, and met again by both."""

from __future__ import annotations

import asyncio
import io
import re

import pytest
from PIL import Image

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


async def test_an_emergency_with_an_unknown_patient_rings_and_its_form_is_finished_meanwhile(site, city, shots):
    page = await site.enter("clinic", city.doctor, "/")
    script_may_come = asyncio.Event()

    async def slow_link(route):
        await script_may_come.wait()
        await route.continue_()

    await page.route("**/js/request-stat.js*", slow_link)
    await page.click(".button-stat", no_wait_after=True)
    await page.click("text=身份不明")   # chosen before the page's script has come
    assert await page.is_hidden("input[name=sex][value=M]")
    script_may_come.set()
    await page.check("input[name=sex][value=M]")
    await page.keyboard.press("Tab")
    await page.keyboard.type("60")
    assert await page.input_value("#f-witness-0") == city.doctor.name
    await page.click("#stat-form .actions .button-stat")
    await page.wait_for_selector(".error-summary li")
    await shots(page, "stat")
    await page.fill("#f-witness-1", "李小红")
    await page.click("#stat-form .actions .button-stat")
    await page.wait_for_selector(".ring-card")
    await shots(page, "ringing")
    expert = await site.enter("expert", city.expert, page.url.split(str(site.port))[1])
    await expert.click("[data-kind=accept]")
    await expert.wait_for_selector(".banner >> text=约 60 岁")
    await page.wait_for_selector("text=已接诊")
    await page.click("text=会诊申请 >> .. >> text=修改")
    await page.wait_for_url(re.compile("/edit$"))
    await page.fill("#questions textarea", "是否立即溶栓？")
    await until(page, "document.querySelector('#saved').textContent.includes('已自动保存')")
    await page.click("#request-form .actions .button-primary")
    await page.wait_for_selector(".case-questions >> text=是否立即溶栓？")


async def test_patients_are_found_by_pinyin_warned_of_twice_and_merged(site, city, shots):
    site.expected.append("status of 422")
    page = await site.enter("clinic", city.doctor, "/patients")
    await page.click("#register")
    await page.fill("#f-name", "周小雨")
    await page.fill("#f-number", "110105194912310021")
    await page.wait_for_selector("text=校验码不符")
    await page.click("dialog .button-primary")
    await page.wait_for_selector(".error-summary li")
    assert await page.get_by_label("证件号码").get_attribute("aria-invalid") == "true"
    await page.get_by_label("证件号码").fill(NUMBER)
    await page.wait_for_selector("text=号码正确")
    await page.click("dialog .button-primary")
    await page.wait_for_selector("text=基本资料")
    await shots(page, "patient")
    await page.goto(site.url("clinic", "/patients"))
    await page.click("#register")
    await page.fill("#f-name", "周小雨")
    await page.fill("#f-birth_date", "1949-12-31")
    await page.wait_for_selector("text=可能已经登记过")
    await shots(page, "duplicate")
    await page.click("dialog .button-primary")
    await page.wait_for_selector("text=基本资料")
    await page.goto(site.url("clinic", "/patients"))
    await page.fill("#finder input", "zxy")
    await page.wait_for_selector("text=找到 2 位")
    for box in await page.locator("#finder input[type=checkbox]").all():
        await box.check()
    await shots(page, "patients")
    await page.click("#merge")
    await page.click("dialog >> text=继续")
    await page.click("dialog >> text=重复登记")
    await page.click("dialog .button-primary")
    await page.wait_for_selector("text=找到 1 位")


ENGLISH = """() => {
  const found = [];
  const han = /[\\u3400-\\u9fff]/;
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) { if (han.test(node.textContent)) found.push(node.textContent.trim()); return; }
    if (node.nodeType !== Node.ELEMENT_NODE || ['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.tagName)) return;
    if (node.matches('[data-user], .topbar, .banner')) return;
    for (const name of ['title', 'aria-label', 'placeholder', 'alt']) {
      if (han.test(node.getAttribute(name) ?? '')) found.push(node.getAttribute(name));
    }
    node.childNodes.forEach(walk);
  };
  walk(document.body);
  return found;
}"""


async def in_english(page):
    """No Han character but what people wrote (`data-user`) and the shell's names."""
    assert await page.evaluate(ENGLISH) == [], page.url


async def test_in_english_a_case_with_a_photograph_shows_no_chinese_but_what_people_wrote(site, city, shots):
    page = await site.enter("clinic", city.doctor, "/patients", lang="en")
    await in_english(page)
    await page.click("#register")
    await in_english(page)
    await page.fill("#f-name", "周小雨")
    await page.fill("#f-number", NUMBER)
    script_may_come = asyncio.Event()

    async def slow_link(route):
        await script_may_come.wait()
        await route.continue_()

    await page.route("**/js/patients-one.js*", slow_link)
    await page.click("dialog .button-primary")
    await page.click("#start", no_wait_after=True)   # drawn, but its script has not come yet: the press is kept
    await page.wait_for_selector("#start[aria-busy=true]")
    script_may_come.set()
    await page.wait_for_url(re.compile("/edit$"))
    for part in await page.locator("details.part:not([open]) > summary").all():
        await part.click()
    photo = io.BytesIO()
    Image.new("RGB", (300, 200), "white").save(photo, "JPEG")
    await page.set_input_files("#f-document input[type=file]", {"name": "心电图.jpg", "mimeType": "image/jpeg", "buffer": photo.getvalue()})
    await page.wait_for_selector("#f-document .thumb")
    await in_english(page)
    await shots(page, "en-request")
    await page.click("#f-document .thumb")
    await until(page, "document.querySelector('.document-page').naturalWidth === 300")
    await page.press(".document-stage", "r")
    await until(page, "document.querySelector('.document-page').style.transform === 'rotate(90deg)'")
    await page.keyboard.press("Escape")
    await page.fill("#questions textarea", "Refer?")
    await page.locator("input[name=consent-mode][value=witnesses]").check()
    await page.fill("#f-consent-witness-0", "A")
    await page.fill("#f-consent-witness-1", "B")
    await page.click("text=Record consent")
    await page.wait_for_selector("#checks li:nth-child(5).done")
    await page.click("#request-form .actions .button-primary")
    await page.wait_for_url(re.compile("sent=1"))
    await in_english(page)
    await shots(page, "en-consultation")
    await page.click("summary >> text=More")
    await page.click("[data-doing=withdraw]")
    await in_english(page)
    await page.keyboard.press("Escape")
    await page.goto(site.url("clinic", "/consultations/new?urgency=stat"))
    await in_english(page)
