"""The technician in a real browser: a folder over a line that breaks, and whose study it is, by keyboard alone."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

import pytest

from consult import model as m
from dicom.model import Scope
from dicom.specimens import Identity, new_uid, rewrite, shipped
from server import keys
from server.dicomweb.ports import ARCHIVE
from tests.browser.conftest import until
from tests.browser.seeds import put_patient

LOOK = os.environ.get("LOOK_FOLDER", "")
"""A folder for people to look at the pages; empty: no pictures."""


def identity(accession: str = "", name: str = "Zhou^XiaoYu=周^小雨", born=date(1968, 3, 12), sex: str = "F") -> Identity:
    return Identity(
        name=name, patient_id="P77", birth_date=born, sex=sex, accession=accession,
        study_at=datetime(2026, 11, 22, 9, 0), study_description="胸部 CT 平扫", institution="九堡街道社区卫生服务中心",
    )


def write_ct(folder: Path, count: int, who: Identity, *, pad: int = 0) -> str:
    """`count` slices of one series, and a letter and an empty file among them. `pad` makes each slice that much longer."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = new_uid(), new_uid()
    for n in range(count):
        data = rewrite(shipped("CT_small.dcm"), who, study_uid=study, series_uid=series, instance_number=n + 1)
        (folder / f"IM{n + 1:04}.dcm").write_bytes(lengthen(data, pad) if pad else data)
    return study


def lengthen(data: bytes, pad: int) -> bytes:
    """The same instance with `pad` bytes of trailing padding (PS3.10 §7.2)."""
    import io

    import pydicom

    read = pydicom.dcmread(io.BytesIO(data))
    read.add_new(0xFFFCFFFC, "OB", bytes(pad))
    out = io.BytesIO()
    read.save_as(out, enforce_file_format=True)
    return out.getvalue()


@pytest.fixture
async def order(app, city):
    """An exam order of the clinic for a CT of 周小雨."""
    from consult.people import Actor, Role
    from consult.studying import create_order

    def make(uow):
        patient = put_patient(uow, city)
        person = city.technician
        who = Actor(membership=person.membership, staff=person.staff, organisation=person.organisation,
                    role=Role.TECHNICIAN, name=person.name, title="", department="", specialties=())
        uow.patients.link_organisation(patient.id, city.clinic)
        return create_order(
            uow, actor=who, patient=patient.id, procedure="胸部 CT 平扫", modality="CT", performing=city.clinic
        )

    return await app[keys.WORK].run(make)


async def look(page, shots, name):
    """Pictures for people, when asked for."""
    if LOOK:
        for path in await shots(page, name):
            target = Path(LOOK) / path.name
            target.write_bytes(path.read_bytes())



class Line:
    """The network as one page finds it: gone, or with so many bytes per second upwards."""

    def __init__(self, page) -> None:
        self.page, self.session = page, None

    async def set(self, *, down: bool = False, upload: int = -1) -> None:
        if self.session is None:
            self.session = await self.page.context.new_cdp_session(self.page)
            await self.session.send("Network.enable")
        await self.session.send(
            "Network.emulateNetworkConditions",
            {"offline": down, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload},
        )


async def ready(page) -> None:
    await until(page, "document.documentElement.dataset.ready === 'upload'")


async def all_through(page) -> None:
    await until(page, "document.querySelector('#total-line').textContent.startsWith('全部传完')", seconds=90)


def stored(app, city, study) -> set[bytes]:
    rows = app[ARCHIVE].instances(Scope(organisations=frozenset({city.clinic})), study)
    return {app[ARCHIVE].read_file(row) for row in rows}


async def test_a_folder_over_a_line_that_breaks_in_the_middle_arrives_whole_and_finds_its_patient(
    site, city, order, tmp_path, app, shots
):
    folder = tmp_path / "CD"
    study = write_ct(folder, 4, identity(order.accession), pad=6 << 20)
    (folder / "readme.dcm").write_text("a letter, not an image\n" * 30, encoding="utf-8")
    (folder / "empty.dcm").write_bytes(b"")
    site.expected += ["Failed to load resource", "ERR_INTERNET_DISCONNECTED"]
    page = await site.enter("tech", city.technician, f"/upload?order={order.id}")
    await ready(page)
    assert order.accession in await page.inner_text(".upload-order")
    await look(page, shots, "upload-empty")
    line = Line(page)
    await line.set(upload=6 << 20)
    await page.set_input_files("#folder", folder)
    await until(page, "document.querySelector('#total-bar').value > 0.2")
    await line.set(down=True)
    await page.wait_for_selector("#why:not([hidden])")
    assert "自动重试" in await page.inner_text("#why")
    await look(page, shots, "upload-offline")
    await line.set()
    await all_through(page)
    await page.wait_for_selector(".upload-whose b")
    text = await page.inner_text("#groups")
    assert "存入 4" in text
    assert "已按检查号匹配" in text
    assert "周小雨" in text
    problems = await page.inner_text("#problems")
    assert "不是 DICOM 文件" in problems
    assert "文件是空的" in problems
    await look(page, shots, "upload-done")
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study, city.clinic))
    assert match.method is m.MatchMethod.ACCESSION
    assert stored(app, city, study) == {path.read_bytes() for path in folder.glob("IM*.dcm")}


async def test_after_a_reload_the_same_folder_goes_on_where_it_ended(site, city, tmp_path, app, monkeypatch):
    folder = tmp_path / "CD"
    study = write_ct(folder, 3, identity(), pad=6 << 20)
    site.expected += ["Failed to load resource"]
    page = await site.enter("tech", city.technician, "/upload")
    await ready(page)
    page.on("dialog", lambda asked: asked.accept())
    line = Line(page)
    await line.set(upload=6 << 20)
    await page.set_input_files("#folder", folder)
    await until(page, "document.querySelector('#total-bar').value > 0.4")
    await page.click("#pause")
    await until(page, "document.querySelector('#total-line').textContent.startsWith('已暂停')")
    await page.reload()
    await ready(page)
    await page.wait_for_selector("#left-over:not([hidden])")
    assert "3 个文件没有传完" in await page.inner_text("#left-over")
    await line.set()
    sent: list[int] = []
    page.on("request", lambda asked: asked.method == "PUT" and sent.append(int(asked.url.rpartition("=")[2])))
    await page.set_input_files("#folder", folder)
    await all_through(page)
    assert any(offset > 0 for offset in sent)
    whole = sum(path.stat().st_size for path in folder.iterdir())
    assert len(sent) < whole / (4 << 20) + 3
    assert stored(app, city, study) == {path.read_bytes() for path in folder.iterdir()}
    await page.reload()
    await ready(page)
    assert await page.is_hidden("#left-over")


async def test_a_full_disk_pauses_the_upload_and_it_goes_on_when_there_is_room(site, city, tmp_path, app, monkeypatch):
    folder = tmp_path / "CD"
    study = write_ct(folder, 3, identity())
    site.expected += ["Failed to load resource"]
    page = await site.enter("tech", city.technician, "/upload")
    await ready(page)
    uploading = app[keys.UPLOADING]
    room, uploading.check_space = uploading.check_space, full_disk
    await page.set_input_files("#folder", folder)
    await page.wait_for_selector("#resume:not([hidden])")
    assert "存储空间不足" in await page.inner_text("#why")
    uploading.check_space = room
    await page.click("#resume")
    await all_through(page)
    assert len(stored(app, city, study)) == 3


def full_disk(size: int) -> None:
    from server.problems import Refused

    raise Refused("disk_full")


async def put_study(page, folder: Path) -> None:
    """Through the upload page, as everything comes in."""
    await page.set_input_files("#folder", folder)
    await all_through(page)


async def test_whose_study_it_is_by_keyboard_alone_and_taken_back(site, city, order, tmp_path, app, shots):
    wrong = write_ct(tmp_path / "a", 1, identity(name="Zhou^XiaoYu=周^小雨"))
    write_ct(tmp_path / "b", 1, identity(name="Wu^MingShi=无^名氏", born=date(1990, 1, 1), sex="M"))
    page = await site.enter("tech", city.technician, "/upload")
    await ready(page)
    for name in ("a", "b"):
        await put_study(page, tmp_path / name)
    await page.wait_for_selector("a[href^='/studies/unmatched#']")
    await page.goto(site.url("tech", f"/studies/unmatched#{wrong}"))
    await page.wait_for_selector(".candidate")
    await look(page, shots, "unmatched")
    assert await page.inner_text("#how-many") == "2"
    await page.keyboard.press("1")
    await page.wait_for_selector(".candidate[aria-checked=true]")
    await page.keyboard.press("Enter")
    await page.wait_for_selector(".toast-good")
    assert "周小雨" in await page.inner_text(".toast-good")
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(wrong, city.clinic))
    assert match.method is m.MatchMethod.MANUAL
    assert match.order == order.id
    await until(page, "document.querySelector('#how-many').textContent === '1'")
    await page.keyboard.press("u")
    await until(page, "document.querySelector('#how-many').textContent === '2'")
    assert await app[keys.WORK].read(lambda uow: uow.studies.match(wrong, city.clinic)) is None
    # The other one differs in sex and birth date from whoever is offered: it asks before it believes.
    await page.click("#list button:has-text('无名氏')")
    await page.wait_for_selector(".candidate .differs")
    await page.keyboard.press("1")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("dialog[open]")
    assert "不同" in await page.inner_text("dialog[open]")
    await look(page, shots, "unmatched-asks")
    await page.keyboard.press("Enter")
    await until(page, "!document.querySelector('dialog[open]')")
    assert await page.inner_text("#how-many") == "2"
    assert await app[keys.WORK].read(lambda uow: uow.studies.matches(organisation=city.clinic)) == []


async def test_an_expert_doubts_a_study_and_the_technician_settles_it(site, city, order, tmp_path, app, shots):
    study = write_ct(tmp_path / "a", 2, identity(order.accession))
    tech = await site.enter("tech", city.technician, "/upload")
    await ready(tech)
    await put_study(tech, tmp_path / "a")
    consultation = await app[keys.WORK].run(share_with_expert, city, study, order.patient)
    expert = await site.enter("expert", city.expert, f"/studies/{study}?consultation={consultation}")
    await until(expert, "Boolean(window.viewer?.currentImage())", seconds=40)
    # This Chromium has no graphics card: the page finds that out and draws without WebGL.
    assert await expert.evaluate("import('/static/js/graphics.js').then(({ slowGraphics }) => slowGraphics())") is True
    assert "周小雨" in await expert.inner_text(".banner-name")
    await look(expert, shots, "reading")
    await expert.click("#doubt")
    await expert.fill("#why", "图像标识是另一个人")
    await expert.click("dialog[open] button[type=submit]")
    await expert.wait_for_url("**/consultations/*")
    site.expected += ["Failed to load resource"]
    answer = await expert.goto(site.url("expert", f"/studies/{study}?consultation={consultation}"))
    assert answer.status == 404
    await tech.goto(site.url("tech", "/studies/unmatched"))
    await tech.wait_for_selector(".doubt-box")
    assert "图像标识是另一个人" in await tech.inner_text(".doubt-box")
    await look(tech, shots, "doubt")
    await tech.click("#side .button-primary")
    await tech.fill("#why", "已核对申请单和设备登记")
    await tech.click("dialog[open] button[type=submit]")
    await tech.wait_for_selector(".toast-good")
    answer = await expert.goto(site.url("expert", f"/studies/{study}?consultation={consultation}"))
    assert answer.status == 200


def share_with_expert(uow, city, study: str, patient: str) -> str:
    from dataclasses import replace

    from tests.browser.seeds import put_consultation

    consultation = put_consultation(uow, city, state=m.State.ASYNC_REVIEW, service=m.Service.IMAGING, expert=True)
    uow.consultations.save(replace(consultation, patient=patient))
    uow.consultations.add_share(
        m.StudyShare(consultation=consultation.id, study_uid=study, by=city.doctor.membership, since=uow.now)
    )
    return consultation.id


async def test_an_order_is_made_and_its_number_is_large_and_can_be_copied(site, city, app, shots):
    patient = await app[keys.WORK].run(put_patient, city)
    await app[keys.WORK].run(lambda uow: uow.patients.link_organisation(patient.id, city.clinic))
    page = await site.enter("clinic", city.doctor, "/orders/new")
    await page.keyboard.type("zxy")
    await page.wait_for_selector("#found button")
    await look(page, shots, "order-new")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await page.click("text=开单，取得检查号")
    assert "请写明检查项目" in await page.inner_text(".error-summary")
    await page.click("#suggestions button >> nth=0")
    await page.click("text=开单，取得检查号")
    await page.wait_for_selector("#accession")
    number = await page.inner_text("#accession")
    await look(page, shots, "order")
    (order,) = await app[keys.WORK].read(lambda uow: uow.studies.orders(organisation=city.clinic))
    assert (order.accession, order.procedure) == (number, "胸部 CT 平扫")
    await site.contexts["clinic"].grant_permissions(["clipboard-read", "clipboard-write"])
    await page.click("#copy")
    await page.wait_for_selector(".toast-good")
    assert await page.evaluate("navigator.clipboard.readText()") == number
    await page.goto(site.url("clinic", "/orders"))
    assert number in await page.inner_text("table")
    await look(page, shots, "orders")
    await page.goto(site.url("clinic", f"/orders/{order.id}"))
    await page.click("#void")
    await page.click("dialog[open] .field .button >> nth=0")
    await page.click("dialog[open] button[type=submit]")
    await page.wait_for_selector("text=已作废")


async def test_no_page_of_the_technician_shows_a_chinese_word_in_english(site, city, order, tmp_path, app, shots):
    write_ct(tmp_path / "a", 1, identity(order.accession))
    write_ct(tmp_path / "b", 1, identity())
    (tmp_path / "b" / "letter.dcm").write_text("a letter, not an image\n" * 30, encoding="utf-8")
    page = await site.enter("tech", city.technician, "/upload", lang="en")
    await ready(page)
    for name in ("a", "b"):
        await page.set_input_files("#folder", tmp_path / name)
        await until(page, "document.querySelector('#total-line').textContent.startsWith('Everything')", seconds=60)
    await page.wait_for_selector("a[href^='/studies/unmatched#']")
    await page.wait_for_selector(".upload-whose b")
    await english(page)
    await look(page, shots, "en-upload")
    (study,) = {x.study_uid for x in await app[keys.WORK].read(lambda uow: uow.studies.matches(organisation=city.clinic))}
    for path, name in (
        ("/orders", "orders"), ("/orders/new", "order-new"), (f"/orders/{order.id}", "order"), ("/studies", "studies"),
        ("/studies/unmatched", "unmatched"), ("/studies/quarantine", "quarantine"), (f"/upload?order={order.id}", "upload-order"),
    ):  # fmt: skip
        await page.goto(site.url("tech", path))
        if name == "unmatched":
            await page.wait_for_selector(".candidate")
            await page.keyboard.press("1")
        await english(page)
        await look(page, shots, f"en-{name}")
    await page.goto(site.url("tech", f"/studies/{study}"))
    await until(page, "Boolean(window.viewer?.currentImage())", seconds=40)
    await look(page, shots, "en-reading")


async def english(page) -> None:
    """No Han character outside what the city's people wrote (`data-user`) and the shell's own names."""
    left = await page.evaluate("""() => {
      const found = [];
      const walk = (node) => {
        if (node.nodeType === Node.TEXT_NODE) { if (/[\u3400-\u9fff]/.test(node.textContent)) found.push(node.textContent.trim()); return; }
        if (node.nodeType !== Node.ELEMENT_NODE || ['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.tagName)) return;
        if (node.matches('[data-user], .topbar, .banner')) return;
        for (const name of ['title', 'aria-label', 'placeholder', 'alt']) if (/[\u3400-\u9fff]/.test(node.getAttribute(name) ?? '')) found.push(node.getAttribute(name));
        node.childNodes.forEach(walk);
      };
      walk(document.body);
      return found;
    }""")
    assert left == [], page.url
