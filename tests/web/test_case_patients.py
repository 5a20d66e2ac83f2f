"""Patients by HTTP: who may find, read, correct and merge whom; what a search tells; numbers are checked and masked."""

from __future__ import annotations

import pytest

from server import keys
from tests.conftest import sign_in

NUMBER = "11010519491231002X"


@pytest.fixture
async def people(open_browser, city):
    """`await people("doctor", "post", path, **json)` → (status, value), each person in a browser of their own."""
    browsers = {}

    async def call(who, method, path, **body):
        if who not in browsers:
            browsers[who] = await open_browser()
            await sign_in(browsers[who], getattr(city, who).login)
        async with getattr(browsers[who], method)(path, **({"json": body} if method != "get" else {})) as answer:
            kind = answer.headers.get("Content-Type", "")
            return answer.status, await (answer.json() if "json" in kind else answer.text())

    return call


async def register(people, who="doctor", **extra):
    body = {"name": "周小雨", "identifiers": [{"system": "resident_id", "value": NUMBER}], "phone": "13800001234"}
    status, patient = await people(who, "post", "/api/patients", **(body | extra))
    assert status == 201, patient
    return patient


async def test_sex_and_birth_date_are_read_from_the_number_which_is_never_shown_whole(people):
    patient = await register(people)
    assert (patient["sex"], patient["birth_date"]) == ("F", "1949-12-31")
    status, page = await people("doctor", "get", f"/patients/{patient['id']}")
    assert status == 200
    assert "002X" in page
    assert NUMBER not in page


async def test_a_wrong_check_digit_is_told_beside_its_field(people):
    status, refused = await people(
        "doctor", "post", "/api/patients", name="周小雨", identifiers=[{"system": "resident_id", "value": "110105194912310021"}]
    )
    assert (status, refused["fields"][0]["path"]) == (422, "identifiers.0.value")
    assert "校验码" in refused["fields"][0]["message"]


@pytest.mark.parametrize("typed", ["周小", "zhouxiaoyu", "zxy", NUMBER, "13800001234", f";{NUMBER}=0000?"])
async def test_a_patient_is_found_by_name_pinyin_number_phone_and_card_reader(people, typed):
    patient = await register(people)
    status, found = await people("doctor", "post", "/api/patients/search", text=typed)
    assert status == 200
    assert [x["id"] for x in found["patients"]] == [patient["id"]]


async def test_a_colleague_finds_the_row_without_phone_and_cannot_open_the_patient(people, app):
    patient = await register(people, allergies="青霉素")
    _, found = await people("colleague", "post", "/api/patients/search", text="zxy")
    (row,) = found["patients"]
    assert row["readable"] is False
    assert row["allergies"] == ""
    assert "13800001234" not in str(row)
    assert (await people("colleague", "get", f"/patients/{patient['id']}"))[0] == 404
    assert (await people("stranger", "get", f"/api/patients/{patient['id']}"))[0] == 404
    assert (await people("stranger", "post", "/api/patients/search", text="zxy"))[1] == {"patients": []}
    assert (await people("expert", "post", "/api/patients/search", text="zxy"))[0] in {403, 404}
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(limit=1000))
    searches = [x for x in rows if x.action == "patient.search"]
    assert len(searches) == 2
    assert all("zxy" not in str(x.detail) for x in searches)


async def test_a_second_registration_is_warned_of_and_the_same_number_refused(people):
    patient = await register(people)
    details = {"name": "周小雨", "sex": "F", "birth_date": "1949-12-31"}
    _, found = await people("doctor", "post", "/api/patients/duplicates", **details)
    (twin,) = found["duplicates"]
    assert twin["patient"]["id"] == patient["id"]
    assert {"name", "birth_date"} <= set(twin["reasons"])
    status, refused = await people(
        "doctor", "post", "/api/patients", name="周大雨", identifiers=[{"system": "resident_id", "value": NUMBER}]
    )
    assert (status, refused["code"]) == (409, "conflict")


async def test_merged_records_are_one_patient_until_they_are_taken_apart(people):
    kept = await register(people)
    other = await register(people, identifiers=[{"system": "card", "value": "K20260001"}])
    assert (await people("doctor", "post", f"/api/patients/{other['id']}/merge", target=kept["id"], reason=""))[0] == 422
    status, merged = await people("doctor", "post", f"/api/patients/{other['id']}/merge", target=kept["id"], reason="重复登记")
    assert status == 200
    assert {x["system"] for x in merged["identifiers"]} == {"resident_id", "card"}
    _, found = await people("doctor", "post", "/api/patients/search", text="K20260001")
    assert [x["id"] for x in found["patients"]] == [kept["id"]]
    status, page = await people("doctor", "get", f"/patients/{other['id']}")
    assert status == 200
    assert f'data-unmerge="{other["id"]}"' in page
    status, apart = await people("doctor", "post", f"/api/patients/{other['id']}/unmerge", reason="不是一个人")
    assert (status, apart["identifiers"][0]["system"]) == (200, "card")
    assert (await people("stranger", "post", f"/api/patients/{other['id']}/merge", target=kept["id"], reason="？"))[0] == 404


async def test_a_newborn_is_named_after_the_mother_and_an_unknown_needs_nothing(people):
    mother = await register(people)
    status, born = await people("doctor", "post", "/api/patients", mother=mother["id"], sex="M")
    assert (status, born["name"], born["guardian"], born["birth_date"]) == (201, "周小雨之婴", "周小雨", "2026-11-22")
    status, unknown = await people("technician", "post", "/api/patients", unknown=True)
    assert (status, unknown["unknown"]) == (201, True)
    assert unknown["name"].startswith("无名氏")


async def test_a_correction_made_on_an_older_version_is_refused(people):
    patient = await register(people)
    path = f"/api/patients/{patient['id']}"
    status, saved = await people("doctor", "patch", path, version=patient["version"], allergies="青霉素")
    assert (status, saved["allergies"]) == (200, "青霉素")
    status, refused = await people("doctor", "patch", path, version=patient["version"], allergies="")
    assert (status, refused["code"]) == (409, "stale")


async def test_only_who_registers_patients_has_the_page(people):
    expected = {"doctor": 200, "technician": 200, "expert": 403, "dispatcher": 403, "clinic_admin": 403, "auditor": 403}
    assert {who: (await people(who, "get", "/patients"))[0] for who in expected} == expected
