"""Exam orders, matching, doubts, the reading room's address and the originals: who may, and what is written down."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import timedelta

import pydicom
import pytest

from consult import model as m
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.uploading import KEEP_UNTOUCHED
from tests.archive.files import make
from tests.browser.seeds import put_consultation, put_patient
from tests.conftest import sign_in
from tests.web.test_tech_uploads import ct, put, start, whole

STUDY = "2.25.4711"


@pytest.fixture
async def patient(app, city):
    """周小雨, known to the clinic."""

    def make(uow):
        found = put_patient(uow, city)
        uow.patients.link_organisation(found.id, city.clinic)
        return found

    return await app[keys.WORK].run(make)


@pytest.fixture
async def enter(open_browser, city):
    """`await enter("expert")`: a browser, signed in as one of the city's people."""

    async def one(who: str):
        browser = await open_browser()
        await sign_in(browser, getattr(city, who).login)
        return browser

    return one


def an_order(patient, city, **changes) -> dict:
    return {"patient": patient.id, "procedure": "胸部 CT 平扫", "modality": "CT", "performing": city.clinic} | changes


async def post(browser, path: str, body: dict) -> tuple[int, dict]:
    async with browser.post(path, json=body) as answer:
        return answer.status, (await answer.json() if answer.status != 204 else {})


async def get(browser, path: str) -> tuple[int, dict]:
    async with browser.get(path, headers={"Accept": "application/json"}) as answer:
        return answer.status, await answer.json()


async def page(browser, path: str) -> tuple[int, str]:
    async with browser.get(path, headers={"Accept": "text/html"}) as answer:
        return answer.status, await answer.text()


async def actions(app) -> list[tuple[str, str]]:
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(limit=1000))
    return [(row.action, row.outcome) for row in rows]


async def test_an_order_is_made_by_doctor_or_technician_and_shown_at_the_place_that_performs_it(enter, city, patient):
    doctor, technician, elsewhere = [await enter(x) for x in ("doctor", "technician", "hospital_technician")]
    status, order = await post(doctor, "/api/orders", an_order(patient, city))
    assert status == 201
    assert len(order["accession"]) <= 16
    status, second = await post(technician, "/api/orders", an_order(patient, city, performing=city.hospital))
    assert status == 201
    assert second["accession"] != order["accession"]
    assert {x["accession"] for x in (await get(technician, "/api/orders"))[1]["orders"]} == {
        order["accession"], second["accession"],
    }
    assert [x["accession"] for x in (await get(elsewhere, "/api/orders"))[1]["orders"]] == [second["accession"]]
    assert order["accession"] in (await page(technician, f"/orders/{order['id']}"))[1]
    assert (await page(elsewhere, f"/orders/{order['id']}"))[0] == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"procedure": ""}, "procedure"), ({"modality": "ct"}, "modality"), ({"performing": "nowhere"}, "performing")],
)
async def test_an_order_with_a_wrong_field_names_the_field(enter, city, patient, changes, field):
    doctor = await enter("doctor")
    status, problem = await post(doctor, "/api/orders", an_order(patient, city, **changes))
    assert (status, problem["code"]) == (422, "invalid")
    assert [x["path"] for x in problem["fields"]] == [field]


async def test_a_stranger_orders_nothing_for_a_patient_they_do_not_know(enter, city, patient):
    stranger = await enter("stranger")
    status, _ = await post(stranger, "/api/orders", an_order(patient, city, performing=city.other_clinic))
    assert status == 404
    expert = await enter("expert")
    assert (await post(expert, "/api/orders", an_order(patient, city)))[0] == 403


async def test_an_order_is_voided_with_a_reason_while_it_has_no_images(enter, city, patient):
    technician = await enter("technician")
    _, order = await post(technician, "/api/orders", an_order(patient, city))
    assert (await post(technician, f"/api/orders/{order['id']}/void", {"reason": ""}))[0] == 422
    status, voided = await post(technician, f"/api/orders/{order['id']}/void", {"reason": "开错项目"})
    assert status == 200
    assert voided["voided_at"]
    assert "已作废" in (await page(technician, "/orders?state=voided"))[1]
    _, value = await whole(technician, ct(accession=order["accession"]))
    assert value["result"]["studies"][0]["match"] == ""


async def test_the_list_of_orders_is_narrowed_by_its_address(enter, city, patient):
    technician = await enter("technician")
    await post(technician, "/api/orders", an_order(patient, city))
    await post(technician, "/api/orders", an_order(patient, city, modality="ECG", procedure="12 导联心电图"))
    _, html = await page(technician, "/orders?modality=ECG")
    assert "12 导联心电图" in html
    assert "胸部 CT 平扫" not in html
    assert "没有符合条件的检查单" in (await page(technician, "/orders?text=%3Cscript%3E"))[1]


async def test_a_technician_matches_undoes_and_the_patient_stands_beside_the_study(enter, app, city, patient):
    technician = await enter("technician")
    await whole(technician, ct(study=STUDY))
    _, found = await get(technician, f"/api/studies/{STUDY}/candidates")
    first = found["candidates"][0]
    assert first["patient"]["id"] == patient.id
    assert first["differences"] == []
    status, _ = await post(technician, f"/api/studies/{STUDY}/match", {"patient": patient.id})
    assert status == 200
    status, problem = await post(technician, f"/api/studies/{STUDY}/match", {"patient": patient.id})
    assert (status, problem["code"]) == (409, "conflict")
    assert (await get(technician, f"/api/studies/{STUDY}"))[1]["patient"]["name"] == "周小雨"
    assert (await get(technician, "/api/studies?waiting=1"))[1]["studies"] == []
    assert "周小雨" in (await page(technician, "/studies?state=matched"))[1]
    assert (await post(technician, f"/api/studies/{STUDY}/unmatch", {}))[0] == 204
    assert len((await get(technician, "/api/studies?waiting=1"))[1]["studies"]) == 1
    done = await actions(app)
    assert ("study.match", "ok") in done
    assert ("study.unmatch", "ok") in done


async def test_studies_of_another_site_do_not_exist(enter, city, patient):
    technician, elsewhere = await enter("technician"), await enter("hospital_technician")
    await whole(technician, ct(study=STUDY))
    for path in (f"/api/studies/{STUDY}", f"/api/studies/{STUDY}/candidates"):
        assert (await get(elsewhere, path))[0] == 404
    assert (await post(elsewhere, f"/api/studies/{STUDY}/match", {"patient": patient.id}))[0] == 404
    assert (await get(elsewhere, "/api/studies"))[1]["studies"] == []
    doctor = await enter("doctor")
    assert (await get(doctor, "/api/studies"))[0] == 403
    for path in ("/upload", "/studies", "/studies/unmatched", "/studies/quarantine"):
        assert (await page(doctor, path))[0] == 403
        assert (await page(technician, path))[0] == 200


async def shared(app, city, patient, technician) -> str:
    """STUDY matched to the patient and shared in a consultation that the expert reads."""
    await whole(technician, ct(study=STUDY))
    await post(technician, f"/api/studies/{STUDY}/match", {"patient": patient.id})

    def build(uow):
        found = put_consultation(uow, city, state=m.State.ASYNC_REVIEW, service=m.Service.IMAGING, expert=True)
        uow.consultations.save(replace(found, patient=patient.id))
        uow.consultations.add_share(
            m.StudyShare(consultation=found.id, study_uid=STUDY, by=city.doctor.membership, since=uow.now)
        )
        return found.id

    return await app[keys.WORK].run(build)


async def test_the_reading_room_opens_for_those_who_may_see_the_images_and_is_audited(enter, app, city, patient):
    technician = await enter("technician")
    consultation = await shared(app, city, patient, technician)
    expected = {"technician": 200, "doctor": 200, "expert": 200, "expert2": 404, "colleague": 404, "stranger": 404,
                "hospital_technician": 404, "dispatcher": 404, "auditor": 403}
    seen = {}
    for who in expected:
        browser = await enter(who)
        seen[who], html = await page(browser, f"/studies/{STUDY}")
        assert ("周小雨" in html) is (seen[who] == 200)
    assert seen == expected
    done = await actions(app)
    assert done.count(("study.open", "ok")) == 3
    assert ("study.open", "denied") in done
    expert = await enter("expert")
    assert (await page(expert, f"/studies/{STUDY}?consultation={consultation}"))[0] == 200
    assert (await page(expert, "/studies/2.25.1"))[0] == 404
    assert (await page(expert, "/studies/..%2f"))[0] == 404


async def test_a_study_is_never_shown_under_the_banner_of_a_consultation_it_is_not_part_of(enter, app, city, patient):
    technician = await enter("technician")
    await shared(app, city, patient, technician)
    other = await app[keys.WORK].run(
        put_consultation, city, state=m.State.ASYNC_REVIEW, name="冯别人", expert=True
    )
    expert = await enter("expert")
    status, html = await page(expert, f"/studies/{STUDY}?consultation={other.id}")
    assert status == 404
    assert "冯别人" not in html


async def test_an_unmatched_study_opens_for_its_technician_with_a_warning(enter, city):
    technician = await enter("technician")
    await whole(technician, ct(study=STUDY))
    status, html = await page(technician, f"/studies/{STUDY}")
    assert status == 200
    assert "还没有匹配到患者" in html


async def test_wrong_patient_hides_the_study_until_the_technician_settles_it(enter, app, city, patient):
    technician, expert, doctor = [await enter(x) for x in ("technician", "expert", "doctor")]
    consultation = await shared(app, city, patient, technician)
    doubt = {"consultation": consultation, "reason": "图像标识是另一个人"}
    assert (await post(doctor, f"/api/studies/{STUDY}/wrong-patient", doubt))[0] == 403
    assert (await post(expert, f"/api/studies/{STUDY}/wrong-patient", doubt))[0] == 204
    for browser in (expert, doctor):
        assert (await page(browser, f"/studies/{STUDY}"))[0] == 404
    (row,) = (await get(technician, "/api/studies?waiting=1"))[1]["studies"]
    assert row["doubted"]
    assert "图像标识是另一个人" in (await page(technician, "/studies/unmatched"))[1]
    status, problem = await post(technician, f"/api/studies/{STUDY}/settle", {"right": True, "reason": ""})
    assert (status, problem["code"]) == (422, "invalid")
    assert (await post(technician, f"/api/studies/{STUDY}/settle", {"right": True, "reason": "已核对"}))[0] == 204
    assert (await page(expert, f"/studies/{STUDY}"))[0] == 200
    assert (await post(expert, f"/api/studies/{STUDY}/wrong-patient", doubt))[0] == 204
    assert (await post(technician, f"/api/studies/{STUDY}/settle", {"right": False, "reason": "选错了"}))[0] == 204
    assert (await page(expert, f"/studies/{STUDY}"))[0] == 404
    (row,) = (await get(technician, "/api/studies?waiting=1"))[1]["studies"]
    assert (row["doubted"], row["match"]) == (False, None)


async def test_the_originals_come_as_one_zip_of_the_same_bytes_and_every_download_is_audited(enter, app, city, patient):
    technician = await enter("technician")
    await shared(app, city, patient, technician)
    second = ct(study=STUDY)
    await whole(technician, second)
    expected = {"technician": 200, "doctor": 200, "expert": 200, "colleague": 404, "hospital_technician": 404, "auditor": 403}
    seen = {}
    for who in expected:
        browser = await enter(who)
        async with browser.get(f"/api/studies/{STUDY}/original") as answer:
            seen[who], body = answer.status, await answer.read()
        if answer.status == 200:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                assert archive.testzip() is None
                files = [archive.read(x) for x in archive.namelist()]
            assert len(files) == 2
            assert second in files
            assert {str(pydicom.dcmread(io.BytesIO(x)).StudyInstanceUID) for x in files} == {STUDY}
    assert seen == expected
    done = await actions(app)
    assert done.count(("study.download", "ok")) >= 3
    assert ("study.download", "denied") in done


async def test_an_upload_nobody_comes_back_for_is_swept_and_one_in_use_is_not(enter, app, clock):
    technician = await enter("technician")
    left, used = (await start(technician, 10))["id"], (await start(technician, 10))["id"]
    clock.advance(days=1.5)
    await sign_in(technician, "technician")
    assert (await put(technician, used, 0, b"01234"))[0] == 200
    clock.advance(days=0.6)
    assert timedelta(days=2.1) > KEEP_UNTOUCHED
    assert await app[keys.UPLOADING].sweep() == 1
    assert not app[keys.UPLOADING].path(left).exists()
    assert app[keys.UPLOADING].path(used).exists()


async def test_a_study_whose_text_had_a_wrong_label_is_shown_right_and_says_so(enter, app, city):
    technician = await enter("technician")
    await app[keys.ARCHIVE_STARTED].wait()
    said = "王^小东".encode("gbk")
    wrong = make(PatientName="X" * len(said), SpecificCharacterSet="ISO_IR 100").replace(b"X" * len(said), said)
    await app[ARCHIVE].ingest(make("1.2.9.1.1", study="1.2.9", series="1.2.9.1"), organisation=city.clinic, source="test")
    assert "文字已修正" not in (await page(technician, "/studies"))[1]
    found = await app[ARCHIVE].ingest(wrong, organisation=city.clinic, source="test")
    assert (found.outcome, found.repaired) == ("stored", "GB18030")
    _, html = await page(technician, "/studies")
    assert "王小东" in html
    assert html.count('title="影像里的文字编码标错了') == 1


async def test_who_reads_a_case_sees_that_the_text_of_a_study_was_mended(enter, app, city, patient):
    technician, expert, doctor = [await enter(x) for x in ("technician", "expert", "doctor")]
    case = await shared(app, city, patient, technician)
    assert "文字已修正" not in (await page(expert, f"/consultations/{case}"))[1]
    said = "胸部平扫".encode("gbk")
    wrong = make(
        "2.25.4711.9.1", study="2.25.4712", series="2.25.4711.9", PatientName="Li^Si",
        StudyDescription="X" * len(said), SpecificCharacterSet="ISO_IR 100",
    ).replace(b"X" * len(said), said)  # fmt: skip
    await app[ARCHIVE].ingest(wrong, organisation=city.clinic, source="test")
    await app[keys.WORK].run(
        lambda uow: uow.consultations.add_share(
            m.StudyShare(consultation=case, study_uid="2.25.4712", by=city.doctor.membership, since=uow.now)
        )
    )
    for who in (expert, doctor):
        _, html = await page(who, f"/consultations/{case}")
        assert "胸部平扫" in html
        assert html.count('title="影像里的文字编码标错了') == 1

    def open_again(uow):
        uow.consultations.save(replace(uow.consultations.get(case), state=m.State.DRAFT))

    await app[keys.WORK].run(open_again)
    _, html = await page(doctor, f"/consultations/{case}/edit")
    assert 'data-share="2.25.4712"' in html
    assert html.count('title="影像里的文字编码标错了') == 1
