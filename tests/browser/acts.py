"""What the people of the story do, each as on the screen: with mouse and keyboard, in the words that stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.async_api import Page

from tests.browser.playing import Cast, until

PERSON = {"name": "周小雨", "number": "330199196803120027", "born": "1968-03-12"}
QUESTIONS = ("是否需要转上级医院？", "心电图 ST 段改变应如何解释？")
ANSWERS = ("暂不需要转院，复查肌钙蛋白后再定。", "ST 段改变为非特异性，建议动态观察。")


@dataclass
class Case:
    """What the story has come to know on the way."""

    id: str = ""
    patient: str = ""
    orders: dict[str, str] = None
    """modality → accession number"""


def resident_number(first: str) -> str:
    """GB 11643: the 17 digits with their check character."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return first + "10X98765432"[sum(int(a) * b for a, b in zip(first, weights, strict=True)) % 11]


def photographed_paper(path: Path) -> Path:
    """A page as a camera would give it."""
    picture = Image.new("RGB", (1200, 900), "#f4efe6")
    pen = ImageDraw.Draw(picture)
    for row in range(8):
        pen.text((80, 80 + 90 * row), f"LAB REPORT LINE {row + 1}   troponin I   0.01 ng/mL", fill="#202020", font_size=34)
    picture.save(path, quality=80)
    return path


async def register_and_begin(cast: Cast, page: Page) -> Case:
    """From the worklist: a new consultation, the patient registered on the way; ends on the request form."""
    await page.get_by_role("link", name=cast.say("新建会诊")).click()
    await page.wait_for_selector("#finder input")
    await page.fill("#finder input", PERSON["name"])
    await page.get_by_text(cast.say("没有找到。请核对后登记。")).wait_for()
    await page.click("#register")
    box = page.get_by_role("dialog")
    assert await box.get_by_label(cast.say("姓名"), exact=True).input_value() == PERSON["name"]
    await box.get_by_label(cast.say("证件号码")).fill(resident_number("33019919680312002"))
    await box.get_by_text(cast.say("号码正确：{sex}，{birth} 出生", sex=cast.say("女"), birth=PERSON["born"])).wait_for()
    await box.get_by_label(cast.say("电话")).fill("13800000000")
    await box.get_by_label(cast.say("过敏史")).fill("青霉素")
    await box.get_by_role("button", name=cast.say("登记"), exact=True).click()
    await page.wait_for_url(re.compile(r"/consultations/[^/]+/edit$"))
    case = Case(id=page.url.split("/")[-2], orders={})
    found = await cast.read(lambda uow: uow.consultations.get(case.id))
    case.patient = found.patient
    return case


async def write_request(cast: Cast, page: Page, *, live: bool) -> None:
    """Two numbered questions, the condition, the expert by name, a paper, a drawn signature."""
    await page.locator("#questions textarea").first.fill(QUESTIONS[0])
    await page.locator("#questions textarea").first.press("Enter")
    await page.locator("#questions textarea").nth(1).fill(QUESTIONS[1])
    for name, value in (("urgency", "urgent"), ("mode", "live" if live else "stored"), ("addressing", "expert")):
        await page.check(f"input[name={name}][value={value}]")
    await page.select_option("#f-target-organisation", cast.city.hospital)
    await page.select_option("#f-target-membership", cast.city.expert.membership)
    await page.fill("#f-content-purpose", "胸痛待查，请协助判断是否转诊")
    await page.fill("#f-content-complaint", "反复胸痛 3 天")
    await page.fill("#f-content-history", "活动后加重，休息可缓解，无晕厥。")
    await page.set_input_files("#f-document input[type=file]", photographed_paper(cast.folder / "troponin.jpg"))
    await page.locator("#f-document .thumb img").wait_for()
    await sign_consent(cast, page)


async def sign_consent(cast: Cast, page: Page) -> None:
    """The patient draws a signature."""
    pad = page.locator(".sign-pad")
    await pad.scroll_into_view_if_needed()
    box = await pad.bounding_box()
    x, y = box["x"] + 40, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    for step in range(24):
        await page.mouse.move(x + 8 * step, y + (18 if step % 2 else -18))
    await page.mouse.up()
    await page.get_by_role("button", name=cast.say("记录同意")).click()
    await page.get_by_text(cast.say("已记录知情同意")).wait_for()


async def submit(cast: Cast, page: Page) -> None:
    await page.get_by_role("button", name=cast.say("提交申请")).click()
    await page.wait_for_url(re.compile(r"/consultations/[^/]+\?sent=1$"))
    await page.get_by_text(cast.say("待接诊")).first.wait_for()
    await until(page, "document.readyState === 'complete'")
