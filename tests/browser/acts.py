"""What the people of the story do, each as on the screen: with mouse and keyboard, in the words that stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from playwright.async_api import Error, Page

from tests.browser.material import hounsfield, shown
from tests.browser.playing import Cast, until
from tests.browser.viewer.test_ecg import ink, lead_of, top_of
from tests.browser.viewer.test_images import crop

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
    await cast.look(page)
    await page.fill("#finder input", PERSON["name"])
    await page.get_by_text(cast.say("没有找到。请核对后登记。")).wait_for()
    await page.click("#register")
    box = page.get_by_role("dialog")
    assert await box.get_by_label(cast.say("姓名"), exact=True).input_value() == PERSON["name"]
    await box.get_by_label(cast.say("证件号码")).fill(resident_number("33019919680312002"))
    await box.get_by_text(cast.say("号码正确：{sex}，{birth} 出生", sex=cast.say("女"), birth=PERSON["born"])).wait_for()
    await box.get_by_label(cast.say("电话")).fill("13800000000")
    await box.get_by_label(cast.say("过敏史")).fill("青霉素")
    await cast.look(page)
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
    await until(page, "Boolean(document.querySelector('#f-consent > .list li'))")
    await cast.look(page)


async def submit(cast: Cast, page: Page) -> None:
    await page.get_by_role("button", name=cast.say("提交申请")).click()
    await page.wait_for_url(re.compile(r"/consultations/[^/]+\?sent=1$"))
    await page.get_by_text(cast.say("待接诊")).first.wait_for()
    await until(page, "document.readyState === 'complete'")
    await cast.look(page)


# ---- the technician ----------------------------------------------------------------------------------------------------


async def order_exam(cast: Cast, page: Page, modality: str) -> str:
    """A new order for the patient, found by the initials of the name; the accession number that was issued."""
    await page.click("[data-tab=upload]")
    await page.click(".page-head a[href='/orders']")
    await page.click(".page-head a[href='/orders/new']")
    await page.locator("#suggestions button").first.wait_for()
    await page.locator("#f-patient").press_sequentially("zxy", delay=20)
    await page.locator("#found button").get_by_text(PERSON["name"]).click()
    await page.check(f"input[name=modality][value={modality}]")
    await page.locator("#suggestions button").first.click()
    await page.locator("#order-form .button-primary").click()
    await page.wait_for_url(re.compile(r"/orders/(?!new)[^/]+$"))
    await page.locator("#accession").wait_for()
    await cast.look(page)
    return (await page.inner_text("#accession")).strip()


async def upload(cast: Cast, page: Page, files: list[Path], *, studies: int) -> None:
    """Chosen on the upload page; done when every study says that it was matched by its accession number."""
    await page.click("[data-tab=upload]")
    await until(page, "document.documentElement.dataset.ready === 'upload'")
    await page.set_input_files("#files", files)
    matched = page.locator(".upload-whose .badge-good").get_by_text(cast.say("已按检查号匹配"))
    await matched.nth(studies - 1).wait_for(timeout=40_000)
    assert await matched.count() == studies
    assert await page.locator("#problems").is_hidden()
    await cast.look(page)


async def include_studies(page: Page, count: int) -> None:
    """The doctor puts every study of the patient into the request."""
    await page.reload()
    boxes = page.locator("[data-share]")
    await boxes.nth(count - 1).wait_for(state="attached")
    await until(page, "[...document.querySelectorAll('details.part')].every((x) => (x.open = true))")
    for n in range(await boxes.count()):
        if not await boxes.nth(n).is_checked():
            async with page.expect_response(re.compile(r"/studies$")):
                await boxes.nth(n).check()


# ---- the expert -----------------------------------------------------------------------------------------------------------


async def accept(cast: Cast, page: Page, case: Case) -> None:
    """From the worklist, where the row has no name yet; ends on the consultation."""
    row = page.locator(f".wl-row[data-id='{case.id}']")
    await row.wait_for()
    assert PERSON["name"] not in await row.inner_text()
    await cast.look(page)
    await row.locator("[data-do=accept]").click()
    await page.wait_for_url(re.compile(rf"/consultations/{case.id}$"))
    await page.locator(".banner-name", has_text=PERSON["name"]).wait_for()
    await cast.look(page)


async def start_reading(cast: Cast, page: Page) -> None:
    """Without a meeting: the consultation's first button, from where the expert reads."""
    await page.click("#case-state [data-doing=start_review].button-primary")
    await cast.look(page)
    await page.click("dialog[open] button[value=yes]")
    await page.locator("#case-state [data-doing=start_report].button-primary").wait_for()
    await cast.look(page)


async def keep_image(cast: Cast, page: Page) -> None:
    """In the reading room: the image that is shown, into the report."""
    async with page.expect_response(re.compile(r"/key-images$")) as kept:
        await page.click(".vw-key-image")
    assert (await kept.value).status == 201
    await cast.look(page)


async def back_to_consultation(cast: Cast, page: Page) -> None:
    await page.click(".reading-bar a[href^='/consultations/']")
    await page.wait_for_selector("#case-state")


async def open_study(cast: Cast, page: Page, modality: str) -> None:
    """A card of the consultation page, into the reading room."""
    await page.locator(".case-study .case-open", has_text=modality).first.click()
    await until(page, "Boolean(window.viewer)")


async def go(page: Page, address: str) -> None:
    """There, even if the page is drawing itself anew at this very moment, which cuts a navigation short."""
    try:
        await page.goto(address)
    except Error as error:
        if "interrupted by another navigation" not in error.message:
            raise
        await page.goto(address)


async def enter_room(cast: Cast, page: Page, who: str, case: Case) -> None:
    """The consultation's own button, the precheck, in."""
    await go(page, cast.url(who, f"/consultations/{case.id}"))
    here = page.locator("#case-state [data-doing=check_in].button-primary")
    if await here.count():
        await here.click()
        await page.locator("dialog[open] button[value=yes]").click()
        await here.wait_for(state="detached")       # the page that comes after it is checked in
    await page.locator(f"a[href='/consultations/{case.id}/room']").first.click()
    await page.locator("#enter").click()
    await until(page, "window.room?.stage === 'in'")
    await cast.look(page)


async def put_into_report(page: Page) -> None:
    """In the room: the report pane beside the video, and the shown image into it with one button."""
    await page.locator("#tab-report").click()
    await page.locator("#f-answers-1").wait_for()
    await page.locator("#picker [role=tab]", has_text="CT").click(no_wait_after=True)
    before = await page.locator(".report-images li").count()
    await page.locator("#stage .vw-key-image").click()
    await page.locator(".report-images li img").nth(before).wait_for()


async def finish(cast: Cast, page: Page) -> None:
    await page.locator("#finish").click()
    await page.get_by_role("dialog").get_by_role("button", name=cast.say("结束会诊"), exact=True).click()
    await until(page, "window.room.stage === 'ended'")


async def write_report(cast: Cast, page: Page, case: Case) -> None:
    """From the consultation, or over its address: an answer to every question, findings, advice."""
    if page.url == cast.url("expert", f"/consultations/{case.id}"):
        await page.click("#case-state a.button-primary[href$='/report']")
    else:
        await go(page, cast.url("expert", f"/consultations/{case.id}/report"))
    await page.locator("#f-answers-1").wait_for()
    for n, answer in enumerate(ANSWERS, 1):
        await page.fill(f"#f-answers-{n}", answer)
    await page.fill("#f-findings", "双肺未见明显异常，心电图示窦性心律。")
    await page.fill("#f-advice", "三日后复查心电图；如胸痛加重立即就诊。")


async def sign(cast: Cast, page: Page, password: str) -> None:
    """Signs with the password; ends on the signed pages."""
    await cast.look(page)
    await page.click("#sign")
    await page.fill("#f-sign-password", password)
    await cast.look(page)
    await page.get_by_role("dialog").get_by_role("button", name=cast.say("确认签名")).click()
    await page.locator("#sheets img").first.wait_for()
    await cast.look(page)


# ---- back in the clinic --------------------------------------------------------------------------------------------------


async def read_and_acknowledge(cast: Cast, page: Page, case: Case) -> bytes:
    """From the inbox: the pages as pictures, the PDF as a download, acknowledged. The downloaded bytes."""
    await page.click("[data-tab=inbox]")
    row = page.locator(f"#inbox li[data-id='{case.id}']")
    await row.wait_for()
    await cast.look(page)
    await row.locator("a.button").click()
    await page.locator("#sheets img").first.wait_for()
    await until(page, "[...document.querySelectorAll('#sheets img')].every((x) => x.complete && x.naturalWidth > 400)")
    async with page.expect_download() as download:
        await page.locator("a[download]").click()
    path = await (await download.value).path()
    await page.locator("[data-kind=acknowledge]").click()
    await until(page, "!document.querySelector('[data-kind=acknowledge]') && document.readyState === 'complete'")
    await cast.look(page)
    return path.read_bytes()


# ---- what is on the screen is what is in the file ------------------------------------------------------------------------


async def ct_as_in_the_file(page: Page, files: list[Path]) -> None:
    """Each series' first image at one to one: every pixel equals the file's under the window that is shown."""
    for path in (files[0], files[1]):
        ds = pydicom.dcmread(path)
        await until(page, f"Boolean(document.querySelector('[data-series=\"{ds.SeriesInstanceUID}\"]'))")
        await page.click(f'[data-series="{ds.SeriesInstanceUID}"]')
        await until(page, f"window.viewer.currentImage()?.seriesUid === '{ds.SeriesInstanceUID}'")
        await page.evaluate("viewer.settled()")
        await page.evaluate("viewer.setOneToOne()")
        await page.evaluate("viewer.settled()")
        now = await page.evaluate("viewer.currentImage()")
        assert now["sopUid"] == ds.SOPInstanceUID
        wanted = shown(hounsfield(ds), now["window"]["center"], now["window"]["width"])
        if "WindowCenter" in ds:
            assert now["window"] == {"center": float(ds.WindowCenter[0]), "width": float(ds.WindowWidth[0])}
        seen = await crop(page, ds.Rows, ds.Columns)
        assert seen.shape[0] > 100 and seen.std() > 5
        rows, columns = seen.shape[:2]
        assert np.abs(seen - wanted[:rows, :columns, None]).max() <= 1.01


async def ecg_as_in_the_file(page: Page, path: Path) -> None:
    """Lead II: the height of two peaks in millivolts and the time between them in milliseconds, read off the canvas."""
    await page.wait_for_selector(".ecg-sheet canvas")
    await until(page, "Boolean((window.ecg = viewer.ecg())?.geometry())")
    group = pydicom.dcmread(path).WaveformSequence[0]
    names = [x.ChannelSourceSequence[0].CodeMeaning.removeprefix("Lead ").split(" (")[0] for x in group.ChannelDefinitionSequence]
    unit = {"uV": 1000, "mV": 1}[group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue]
    hz = float(group.SamplingFrequency)
    values = pydicom.dcmread(path).waveform_array(0)[:, names.index("II")] / unit
    geometry, lead = await lead_of(page, "II")
    first = int(lead["from"] / 1000 * hz)
    part = values[first : min(int(lead["to"] / 1000 * hz), first + int(3 * hz))]
    peaks = [n for n in range(50, len(part) - 50) if part[n] == part[n - 50 : n + 51].max() and part[n] > 0.6 * part.max()][:2]
    top = max(0, lead["baseline"] - 2 * geometry["pxPerMv"])
    alpha = await ink(page, top=top, bottom=lead["baseline"] + 4, right=lead["x0"] + 3000 * geometry["pxPerMs"])
    seen = []
    for at in peaks:
        middle = lead["x0"] + at / hz * 1000 * geometry["pxPerMs"]
        ceiling = lead["baseline"] - 1.5 * part[at] * geometry["pxPerMv"]
        found = {x: top_of(alpha, x, ceiling, lead["baseline"] + 2) for x in range(round(middle) - 3, round(middle) + 4)}
        found = {x: y for x, y in found.items() if y is not None}
        height = lead["baseline"] - min(found.values())
        assert height / geometry["pxPerMv"] == pytest.approx(part[at], abs=1.5 / geometry["pxPerMv"])
        highest = [x for x, y in found.items() if y == min(found.values())]
        seen.append(sum(highest) / len(highest))
    assert len(seen) == 2
    assert (seen[1] - seen[0]) / geometry["pxPerMs"] == pytest.approx(
        (peaks[1] - peaks[0]) / hz * 1000, abs=1 / geometry["pxPerMs"]
    )
