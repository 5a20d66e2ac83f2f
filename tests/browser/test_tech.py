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


async def groups_text(page) -> str:
    return await page.inner_text("#groups")


async def test_a_folder_over_a_line_that_breaks_arrives_whole_and_finds_its_patient(site, city, order, tmp_path, app, shots):
    folder = tmp_path / "CD"
    study = write_ct(folder, 6, identity(order.accession), pad=5 << 20)
    (folder / "readme.dcm").write_text("a letter, not an image\n" * 30, encoding="utf-8")
    site.expected += ["Failed to load resource", "ERR_INTERNET_DISCONNECTED"]
    page = await site.enter("tech", city.technician, "/upload")
    await until(page, "document.documentElement.dataset.ready === 'upload'")
    await look(page, shots, "upload-empty")
    context = site.contexts["tech"]
    await context.set_offline(True)
    await page.set_input_files("#folder", folder)
    await page.wait_for_selector("#why:not([hidden])")
    assert "自动重试" in await page.inner_text("#why")
    await look(page, shots, "upload-offline")
    await context.set_offline(False)
    await until(page, "document.querySelector('#total-line').textContent.startsWith('全部传完')", seconds=60)
    await page.wait_for_selector(".upload-whose .badge-good")
    text = await groups_text(page)
    assert "存入 6" in text
    assert "已按检查号匹配" in text
    assert "周小雨" in text
    assert "不是 DICOM 文件" in await page.inner_text("#problems")
    await look(page, shots, "upload-done")
    match = await app[keys.WORK].read(lambda uow: uow.studies.match(study, city.clinic))
    assert match.method is m.MatchMethod.ACCESSION
    rows = app[ARCHIVE].instances(Scope(organisations=frozenset({city.clinic})), study)
    assert len(rows) == 6
    stored = {app[ARCHIVE].read_file(row) for row in rows}
    assert stored == {path.read_bytes() for path in folder.glob("IM*.dcm")}
