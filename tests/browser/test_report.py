"""The editor in a real browser: nothing typed is lost, the next report follows, the clinic reads pictures of the PDF."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from consult import model as m
from server import keys
from tests.browser.conftest import until
from tests.browser.seeds import put_consultation
from tests.city import PASSWORD

pytestmark = pytest.mark.browser

ANSWER = "#f-answers-1"
SAVED = "document.querySelector('.saved')?.textContent.includes('已自动保存')"


async def put_case(app, city, **more):
    more.setdefault("state", m.State.REPORTING)
    return await app[keys.WORK].run(put_consultation, city, expert=True, **more)


async def stored(app, case) -> dict:
    drafts = await app[keys.WORK].read(lambda uow: uow.reports.of(case.id))
    return dict(drafts[0].content) if drafts else {}


async def open_editor(site, city, case, who="expert", **options):
    page = await site.enter(who, city.expert, f"/consultations/{case.id}/report", **options)
    await page.wait_for_selector(ANSWER)
    return page


async def sign(page, button="#sign"):
    await page.click(button)
    await page.fill("#f-sign-password", PASSWORD)
    await page.click("dialog [value=yes]")


async def test_the_cursor_is_in_the_first_answer_and_what_is_written_is_saved(site, city, app):
    case = await put_case(app, city)
    page = await open_editor(site, city, case)
    assert await page.evaluate("document.activeElement.id") == "f-answers-1"
    await page.keyboard.type("急性前壁心肌梗死")
    await until(page, SAVED)
    assert (await stored(app, case))["answers"] == [{"n": 1, "text": "急性前壁心肌梗死"}]
    await page.click("text=添加诊断")
    await page.keyboard.type("急性心肌梗死")
    await page.fill(".report-code", "I21.0")
    await page.select_option(".report-diagnosis select", "confirmed")
    await page.check("#f-critical")
    await page.fill("#f-follow_up", "2026-12-01")
    await until(page, "!document.querySelector('.saved').textContent.includes('正在')")
    for _ in range(100):
        content = await stored(app, case)
        if content.get("follow_up"):
            break
        await page.wait_for_timeout(50)
    assert content["diagnosis"] == [{"code": "I21.0", "name": "急性心肌梗死", "certainty": "confirmed"}]
    assert content["critical"] is True
    await page.reload()
    await page.wait_for_selector(ANSWER)
    assert await page.input_value(ANSWER) == "急性前壁心肌梗死"
    assert await page.input_value(".report-code") == "I21.0"


async def test_a_slash_offers_phrases_and_a_blood_pressure_does_not(site, city, app):
    page = await open_editor(site, city, await put_case(app, city))
    await page.click("#f-findings")
    await page.keyboard.type("血压 120/80。/窦性心律，正")
    await page.wait_for_selector("#f-findings-phrases [role=option]")
    assert await page.locator("#f-findings-phrases [role=option]").count() == 1
    await page.keyboard.press("Enter")
    assert await page.input_value("#f-findings") == "血压 120/80。窦性心律，正常心电图。"
    assert await page.locator("#f-findings-phrases").is_hidden()


async def test_a_session_that_ends_in_the_middle_loses_nothing(site, city, app):
    case = await put_case(app, city)
    page = await open_editor(site, city, case)
    await page.fill(ANSWER, "第一句。")
    await until(page, SAVED)
    site.expected.append("401")
    await page.context.clear_cookies()
    await page.fill(ANSWER, "第一句。第二句。")
    await page.wait_for_selector("#signin[open]")
    await page.fill("#signin-login", city.expert.login)
    await page.fill("#signin-password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#signin", state="detached")
    assert await page.input_value(ANSWER) == "第一句。第二句。"
    for _ in range(100):
        if (await stored(app, case))["answers"][0]["text"] == "第一句。第二句。":
            break
        await page.wait_for_timeout(50)
    else:
        pytest.fail("the text did not reach the server after signing in again")


async def test_a_colleague_who_is_asked_finds_the_report_in_the_list_and_the_author_sees_the_approval_at_once(site, city, app):
    case = await put_case(app, city)
    page = await open_editor(site, city, case)
    await page.fill(ANSWER, "急性前壁心肌梗死")
    await until(page, SAVED)
    await page.click("#ask-reviewer")
    assert await page.inner_text("#f-membership option") == "林主任 · 主任医师"
    await page.click("dialog [value=yes]")
    await page.wait_for_selector("#review li:has-text('林主任'):has-text('等待复核')")
    second = await site.enter("second", city.expert2, "/?tab=sign")
    await second.click(".wl-row a.button:has-text('去复核')")
    await second.wait_for_selector("#approve")
    assert await second.is_disabled(ANSWER)
    await second.click("#approve")
    await second.click("dialog [value=yes]")
    await second.fill("#f-sign-password", PASSWORD)
    await second.click("dialog:has(#f-sign-password) [value=yes]")
    await second.wait_for_selector(".note-good")
    await page.wait_for_selector("#review li:has-text('已通过当前这一版')")
    await sign(page)
    await page.wait_for_selector("#sheets img")
    assert "林主任" in await page.inner_text("#report-fate")


@pytest.mark.parametrize(("choice", "kept"), [("保存我的内容", "这边的"), ("看最新的版本", "那边的")])
async def test_two_tabs_that_write_the_same_report_ask_which_text_to_keep(site, city, app, choice, kept):
    case = await put_case(app, city)
    here = await open_editor(site, city, case)
    there = await here.context.new_page()
    await there.goto(here.url)
    await there.wait_for_selector(ANSWER)
    await there.fill(ANSWER, "那边的")
    await until(there, SAVED)
    site.expected.append("409")
    await here.fill(ANSWER, "这边的")
    await here.click(f"dialog >> text={choice}")
    await here.wait_for_selector("dialog", state="detached")
    await until(here, "document.querySelector('.saved').textContent.includes('第')")
    assert await here.input_value(ANSWER) == kept
    for _ in range(100):
        if (await stored(app, case))["answers"][0]["text"] == kept:
            break
        await here.wait_for_timeout(50)
    else:
        pytest.fail("the chosen text is not the stored one")


async def test_signing_asks_once_and_the_next_report_follows_until_the_list_is_empty(site, city, app):
    first = await put_case(app, city, urgency=m.Urgency.STAT, name="甲")
    second = await put_case(app, city, urgency=m.Urgency.ROUTINE, name="乙")
    page = await open_editor(site, city, first)
    site.expected += ["status of 422"]
    await page.click("#sign-next")
    await page.wait_for_selector(".error-summary a")       # the question has no answer yet
    assert await page.locator("#f-sign-password").count() == 0
    await page.click(".error-summary a")
    assert await page.evaluate("document.activeElement.id") == "f-answers-1"
    await page.keyboard.type("需要上转。")
    await page.click("#sign-next")
    await page.evaluate("window.stayed = true")
    await page.fill("#f-sign-password", "wrong wrong wrong")
    site.expected.append("status of 403")                  # the wrong password
    await page.click("dialog [value=yes]")
    await page.wait_for_selector("#f-sign-password[aria-invalid]")
    site.expected.remove("status of 403")
    assert await page.input_value(ANSWER) == "需要上转。"
    await page.fill("#f-sign-password", PASSWORD)
    await page.click("dialog [value=yes]")
    await page.wait_for_url(f"**/consultations/{second.id}/report")
    await page.wait_for_selector(ANSWER)
    assert "乙" in await page.inner_text(".banner-name")
    assert await page.evaluate("window.stayed")            # it was fetched while the first was being signed
    await page.fill(ANSWER, "不需要。")
    await page.click("#sign")                              # unlocked: no password asked
    await page.wait_for_selector(".report-sheet[src]")
    states = [await app[keys.WORK].read(lambda uow, x=x: uow.consultations.get(x.id).state) for x in (first, second)]
    assert states == [m.State.DELIVERED, m.State.DELIVERED]


async def test_minutes_that_run_out_between_asking_and_signing_bring_the_password_dialog(site, city, app):
    case = await put_case(app, city)
    page = await open_editor(site, city, case)
    await page.fill(ANSWER, "需要上转。")

    async def still_unlocked(route):
        if route.request.post_data_json.get("check"):
            await route.fulfill(json={"unlocked_until": "2999-01-01T00:00:00Z"})
        else:
            await route.continue_()

    await page.route("**/api/reports/*/sign", still_unlocked)
    site.expected.append("status of 403")                  # what the page could not know
    await sign(page)
    await page.wait_for_selector("#report-fate")
    assert len(await app[keys.WORK].read(lambda uow: uow.reports.versions(case.id))) == 1


async def test_a_key_image_drops_in_is_captioned_and_printed(site, city, app):
    case = await put_case(app, city)
    await app[keys.WORK].run(
        lambda uow: uow.consultations.add_share(
            m.StudyShare(consultation=case.id, study_uid="1.2.3", by=city.doctor.membership, since=uow.now)
        )
    )
    page = await open_editor(site, city, case)
    out = io.BytesIO()
    Image.new("RGB", (320, 240), (40, 90, 160)).save(out, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    await page.evaluate(
        """(dataUrl) => document.dispatchEvent(new CustomEvent('huizhen:key-image', {detail:
          {studyUid: '1.2.3', seriesUid: '1.2.3.1', sopUid: '1.2.3.1.1', frame: 1, window: null, dataUrl}}))""",
        picture,
    )
    await page.wait_for_selector(".report-images li")
    await page.fill(".report-images input", "V3 导联")
    await page.fill(ANSWER, "见关键图像。")
    await until(page, SAVED)
    await page.reload()
    await page.wait_for_selector(".report-images img")
    await until(page, "document.querySelector('.report-images img').naturalWidth === 320")
    await page.click("#preview")
    await page.wait_for_selector("dialog .report-sheet")
    await until(page, "document.querySelector('dialog .report-sheet').naturalWidth > 1000")
    await page.click("dialog [value='']")
    await sign(page)
    await page.wait_for_selector(".report-sheet[src]")
    version = (await app[keys.WORK].read(lambda uow: uow.reports.versions(case.id)))[0]
    assert version.content["key_images"][0]["caption"] == "V3 导联"


async def test_the_clinic_reads_copies_and_acknowledges_and_the_expert_sees_it_live(site, city, app):
    case = await put_case(app, city)
    expert = await open_editor(site, city, case)
    await expert.fill(ANSWER, "需要上转。")
    await sign(expert)
    await expert.wait_for_selector("#report-fate")
    clinic = await site.enter("clinic", city.doctor, "/inbox")
    await clinic.click(f"[data-id='{case.id}'] .button")
    await clinic.wait_for_selector(".report-sheet[src]")
    await until(clinic, "document.querySelector('.report-sheet').naturalWidth > 1000")
    await until(expert, "document.querySelector('#report-fate').textContent.includes('已阅')")
    await clinic.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await clinic.click("[data-kind=copy]")
    await clinic.wait_for_selector(".toast-good")
    assert "需要上转。" in await clinic.evaluate("navigator.clipboard.readText()")
    await clinic.click("[data-kind=acknowledge]")
    await clinic.wait_for_selector("[data-kind=acknowledge]", state="detached")
    await clinic.wait_for_selector("#report-fate >> text=已签收")
    await until(expert, "document.querySelector('#report-fate').textContent.includes('已签收')")


async def test_a_dropped_pdf_is_told_genuine_and_with_one_byte_changed_it_is_not(site, city, app, tmp_path):
    case = await put_case(app, city)
    page = await open_editor(site, city, case)
    await page.fill(ANSWER, "需要上转。")
    site.expected.append("status of 404")
    await sign(page)
    await page.wait_for_selector("#report-fate")

    def look(uow):
        version = uow.reports.versions(case.id)[0]
        return version.code, uow.reports.pdf(version.id)

    code, pdf = await app[keys.WORK].read(look)
    (tmp_path / "r.pdf").write_bytes(pdf)
    (tmp_path / "x.pdf").write_bytes(pdf[:500] + bytes([pdf[500] ^ 1]) + pdf[501:])
    paper = await site.open("paper", f"/verify/{code}")
    assert await paper.get_attribute("#verdict", "data-verdict") == "genuine"
    assert "周小雨" not in await paper.content()
    await paper.set_input_files("#file", tmp_path / "r.pdf")
    await paper.wait_for_selector("[data-verdict=good]")
    await paper.set_input_files("#file", tmp_path / "x.pdf")
    await paper.wait_for_selector("[data-verdict=bad]")
    await paper.goto(site.url("paper", "/verify/AAAA-BBBB-CCCC-DDDD"))
    assert await paper.get_attribute("#verdict", "data-verdict") == "unknown"
