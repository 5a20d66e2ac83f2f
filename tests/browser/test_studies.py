"""What a technician does to studies with the mouse: corrected, settled, fetched from elsewhere, and removed by two."""

from __future__ import annotations

import asyncio

import pytest

from consult import model as m
from dicom.archive import Archive
from dicom.model import Scope
from dicom.network.ports import Device
from dicom.network.scp import Listener
from dicom.network.services import SERVICES
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.storage.devices import DeviceRow
from tests.archive.files import make
from tests.browser.conftest import han_words
from tests.browser.seeds import put_consultation, put_patient
from tests.browser.touring import AXE, RUN_AXE, WCAG
from tests.network.conftest import House

pytestmark = pytest.mark.browser
A, B = "1.2.3", "1.2.4"


@pytest.fixture
async def stored(app, city):
    """Two studies of the clinic."""
    await app[keys.ARCHIVE_STARTED].wait()
    for file in (make(), make("1.2.4.1.1", study=B, series="1.2.4.1", StudyDescription="Head", PatientName="Li^Si=李^四")):
        assert (await app[ARCHIVE].ingest(file, organisation=city.clinic, source="test")).outcome == "stored"


def shown(app, city) -> dict[str, str]:
    rows = app[ARCHIVE].studies(Scope(organisations=frozenset({city.clinic})))
    return {row.study_uid: row.patient_name for row in rows}


async def test_a_study_is_corrected_and_a_quarantined_file_settled_with_the_mouse(site, app, city, stored):
    patient = await app[keys.WORK].run(put_patient, city)
    await app[keys.WORK].run(lambda uow: uow.patients.link_organisation(patient.id, city.clinic))
    other = make(pixels=b"\x09\x09\x09\x09")
    assert (await app[ARCHIVE].ingest(other, organisation=city.clinic, source="test")).outcome == "conflict"
    page = await site.enter("tech", city.technician, f"/studies/corrections?study={A}")
    await page.fill("#patient", "zxy")
    await page.click("#find")
    await page.locator("[name=patient]").check()
    await page.fill("#reason", "登记错误")
    await page.get_by_role("button", name="更正", exact=True).click()
    await page.locator("[data-undo]").wait_for()
    assert shown(app, city)[A] == "周小雨"
    await page.locator("[data-undo]").click()
    await page.get_by_text("已撤销").wait_for()
    assert shown(app, city)[A] == "Zhang^San=张^三"
    await page.get_by_role("radio", name="合并检查").check()
    await page.select_option("#target", B)
    await page.fill("#reason", "同一次检查")
    await page.get_by_role("button", name="更正", exact=True).click()
    await page.locator("[data-undo]").wait_for()
    assert set(shown(app, city)) == {B}

    await page.goto(site.url("tech", "/studies/quarantine"))
    for button, state in (("保留原影像", "已保留原影像"), ("撤销处理", "待处理"), ("作为新影像收下", "已作为新影像收下")):
        await page.get_by_role("button", name="比对并处理").click()
        await page.get_by_text("图像内容不同").wait_for()
        await page.locator("#compare").get_by_role("button", name=button).click()
        await page.locator("td", has_text=state).wait_for()
    assert len(app[ARCHIVE].instances(Scope(organisations=frozenset({city.clinic})), B)) == 3


class There(House):
    """Another archive, which answers a retrieval when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def admit(self, call):
        return Device(id="us", organisation="there", called="THERE", calling=call.calling)

    async def allow(self, device, use, studies=()):
        if studies:
            await self.go.wait()
        return await super().allow(device, use, studies)


@pytest.fixture
async def elsewhere(app, city, tmp_path):
    """That archive with one study, registered by the clinic."""
    archive = Archive.open(tmp_path / "there", worker_count=0)
    await archive.start()
    await archive.ingest(make(), organisation="there", source="test")
    there = There()
    listener = Listener(there, archive, services=SERVICES)
    port = await listener.listen("127.0.0.1", 0)
    await app[keys.WORK].run(lambda uow: uow.devices.add(DeviceRow(
        id="pacs", organisation=city.clinic, name="医院 PACS", called="HUIZHEN", calling="THERE", address="127.0.0.1",
        host="127.0.0.1", port=port, created_at=uow.now,
    )))
    yield there
    there.go.set()
    await listener.close()
    await archive.close()


async def test_a_study_is_found_elsewhere_its_fetching_cancelled_and_begun_anew(site, app, city, elsewhere):
    await app[keys.ARCHIVE_STARTED].wait()
    page = await site.enter("tech", city.technician, "/studies/fetch")
    await page.fill("#f-patient_id", "P1")
    await page.get_by_role("button", name="查找").click()
    row = page.locator("#found tr", has_text="张 三")
    await page.get_by_role("button", name="调取所选").click()
    await page.get_by_text("请先选择要调取的检查").wait_for()
    await row.get_by_role("checkbox").check()
    await page.get_by_role("button", name="调取所选").click()
    await page.get_by_role("button", name="取消调取").click()
    await row.get_by_text("调取已取消").wait_for()
    assert shown(app, city) == {}
    elsewhere.go.set()
    await page.get_by_role("button", name="调取所选").click()
    await row.get_by_text("已调取").wait_for()
    assert shown(app, city) == {A: "Zhang^San=张^三"}


async def test_a_technician_proposes_and_an_administrator_removes_what_is_old_enough(site, app, city, clock, stored):
    def put(uow):
        case = put_consultation(uow, city, state=m.State.ARCHIVED, expert=True)
        uow.consultations.add_share(m.StudyShare(consultation=case.id, study_uid=A, by=None, since=uow.now))
        return case.id

    case = await app[keys.WORK].run(put)
    clock.advance(days=366 * 31)
    tech = await site.enter("tech", city.technician, "/studies")
    await tech.locator(f"a[href='/studies/removals?study={B}']").click()
    row = tech.locator(f"#propose [data-study='{B}']")
    await tech.locator(f"section[data-study='{B}']").get_by_role("button", name="设保留令").click()
    await tech.fill("#why", "法院调取")
    await tech.locator("dialog").get_by_role("button", name="设保留令").click()
    await row.get_by_text("已设保留令").wait_for()
    assert await row.get_by_role("checkbox").is_disabled()
    await tech.get_by_role("button", name="解除保留令").click()
    await tech.fill("#why", "案件已结")
    await tech.locator("dialog").get_by_role("button", name="解除保留令").click()
    await tech.locator("#holds").wait_for(state="detached")
    await tech.get_by_role("link", name="本机构的检查").click()
    await tech.get_by_role("link", name="到期移除").click()
    await tech.get_by_role("button", name="提出移除").click()
    await tech.get_by_text("请先选择要移除的检查").wait_for()
    for uid in (A, B):
        await tech.locator(f"#propose [data-study='{uid}']").get_by_role("checkbox").check()
        await tech.fill("#f-reason", "保存期满")
        await tech.get_by_role("button", name="提出移除").click()
        await tech.locator("dialog").get_by_role("button", name="提出移除").click()
        await tech.locator(f"#proposals a[href='/studies/{uid}']").wait_for(state="attached")
    await tech.evaluate(AXE.read_text(encoding="utf-8"))
    assert await tech.evaluate(RUN_AXE, WCAG) == []
    await tech.locator("[data-proposal]", has_text="李四").get_by_role("button", name="撤回").click()
    await tech.fill("#why", "再留一年")
    await tech.locator("dialog").get_by_role("button", name="撤回").click()
    await tech.locator("#history").get_by_text("再留一年").wait_for()

    admin = await site.enter("admin", city.clinic_admin, "/admin/removals", lang="en")
    assert await han_words(admin, own=("保存期满", "再留一年", "九堡街道", city.technician.name, city.clinic_admin.name)) == []
    await admin.get_by_role("button", name="Approve removal").click()
    await admin.locator("dialog").get_by_role("button", name="Approve removal").click()
    await admin.get_by_text("Studies removed: 1").wait_for()
    assert set(shown(app, city)) == {B}
    await tech.goto(site.url("tech", "/studies/removals"))
    await tech.get_by_text("已移除 1 项检查").wait_for()
    doctor = await site.enter("clinic", city.doctor, f"/consultations/{case}")
    await doctor.get_by_text("这项检查的影像已于").wait_for()
