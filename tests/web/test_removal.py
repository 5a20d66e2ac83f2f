"""Removal after the retention: what is due, that it takes two people, what forbids it, and what is left to see."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from consult import model as m
from consult.people import Membership, Role
from consult.words import REMOVALS
from dicom.archive import Archive
from dicom.model import Scope
from server import keys, removing
from server.dicomweb.ports import ARCHIVE
from server.jobs import plan
from tests.archive.files import make
from tests.browser.seeds import put_consultation
from tests.conftest import sign_in
from tests.web.test_tech_studies import actions, enter, page, post  # noqa: F401 fixtures
from tests.web.test_tech_uploads import whole

A, B = "1.2.3", "1.2.4"
YEARS = 31


@pytest.fixture
async def old(app, city, clock, enter):  # noqa: F811
    """Two studies, A of two images, that lie in the archive for thirty-one years; the technician of today."""
    technician = await enter("technician")
    for file in (make(), make("1.2.3.1.2"), make("1.2.4.1.1", study=B, series="1.2.4.1", StudyDescription="Head")):
        assert (await whole(technician, file))[0] == 200
    clock.advance(days=366 * YEARS)
    await sign_in(technician, city.technician.login)
    return technician


async def propose(browser, *studies: str) -> tuple[int, dict]:
    return await post(browser, "/api/removals", {"studies": list(studies), "reason": "保存期满"})


async def reason_of(answer) -> str:
    """The reason's code of a refusal, found by its sentence."""
    status, problem = answer
    assert (status, problem["code"]) == (409, "removal_refused")
    return next(code for code, text in REMOVALS.items() if text == problem["detail"])


async def found(browser) -> set[str]:
    async with browser.get("/dicom-web/studies", headers={"Accept": "application/dicom+json"}) as answer:
        rows = await answer.json(content_type=None) if answer.status == 200 else []
        return {x["0020000D"]["Value"][0] for x in rows}


async def test_one_proposes_another_approves_and_the_images_are_gone_for_good(
    technician_of_two, old, app, city, settings, tmp_path, enter  # noqa: F811
):
    status, text = await page(old, "/studies/removals")
    assert status == 200
    assert text.count('name="studies"') == 2
    status, made = await propose(old, A)
    assert status == 201
    approve = f"/api/removals/{made['id']}/approve"
    assert await reason_of(await post(old, approve, {})) == "same_person"
    assert await reason_of(await post(technician_of_two, approve, {})) == "same_person"
    far, admin = await enter("hospital_technician"), await enter("clinic_admin")
    assert (await post(far, approve, {}))[0] == 404
    status, text = await page(admin, "/admin/removals")
    assert "保存期满" in text
    assert "1 项检查，2 幅影像" in text
    assert not any(x in text for x in (A, "张三", "Chest"))
    assert await found(old) == {A, B}
    assert await post(admin, approve, {}) == (200, {"removed": 1, "kept": 0})
    assert await reason_of(await post(admin, approve, {})) == "decided_already"

    assert await found(old) == {B}
    for path in (f"/dicom-web/studies/{A}", f"/dicom-web/studies/{A}/metadata", f"/studies/{A}"):
        async with old.get(path) as answer:
            assert answer.status == 404, path
    assert A not in (await page(old, "/studies"))[1]
    assert "已移除 1 项检查" in (await page(old, "/studies/removals"))[1]
    noted = {action for action, _ in await actions(app)}
    assert {"removal.propose", "study.removal_propose", "removal.approve", "study.removed"} <= noted
    copy = shutil.copytree(settings.data / "archive", tmp_path / "copy")
    Archive.rescan(copy)
    again = Archive.open(copy, clock=app[keys.CLOCK])
    assert [x.study_uid for x in again.studies(Scope(organisations=frozenset({city.clinic})))] == [B]
    await again.close()


@pytest.fixture
async def technician_of_two(app, city, old, open_browser):
    """The technician's own second membership: administrator of the same clinic."""

    def appoint(uow):
        second = Membership(
            id=uow.new_id(), staff=city.technician.staff, organisation=city.clinic, role=Role.ORG_ADMIN, since=uow.now
        )
        uow.people.add_membership(second)
        return second.id

    second = await app[keys.WORK].run(appoint)
    browser = await open_browser()
    await sign_in(browser, city.technician.login, membership=second)
    return browser


async def test_nothing_is_removed_before_its_time(app, city, clock, enter):  # noqa: F811
    technician = await enter("technician")
    for n, day in enumerate(("20260102", "", "20990101")):
        assert (await whole(technician, make(f"1.2.{n}.1.1", study=f"1.2.{n}", series=f"1.2.{n}.1", StudyDate=day)))[0] == 200
    assert await reason_of(await propose(technician, "1.2.0")) == "retention"
    clock.advance(days=365 * 30)  # eight 29 Februaries short of thirty years
    await sign_in(technician, city.technician.login)
    assert await reason_of(await propose(technician, "1.2.0")) == "retention"
    assert "没有到期的检查" in (await page(technician, "/studies/removals"))[1]
    clock.advance(days=9)
    await sign_in(technician, city.technician.login)
    assert await reason_of(await propose(technician, "1.2.2")) == "retention"
    assert await reason_of(await propose(technician, "1.2.0", "9.9")) == "no_such_study"
    assert (await propose(technician))[0] == 422
    assert (await post(technician, "/api/removals", {"studies": ["1.2.0"], "reason": " "}))[0] == 422
    assert (await propose(technician, "1.2.0", "1.2.1"))[0] == 201  # without a date the arrival alone counts
    assert await reason_of(await propose(technician, "1.2.0")) == "proposed_already"


async def test_a_hold_a_consultation_a_doubt_and_quarantine_each_forbid_it_until_they_end(old, app, city):
    status, hold = await post(old, "/api/holds", {"study": A, "reason": "法院调取"})
    assert status == 201
    assert await reason_of(await post(old, "/api/holds", {"study": A, "reason": "x"})) == "on_hold"
    assert await reason_of(await propose(old, A)) == "on_hold"
    assert "法院调取" in (await page(old, "/studies/removals"))[1]
    assert (await post(old, f"/api/holds/{hold['id']}/lift", {"reason": "案件已结"}))[0] == 204
    assert (await post(old, f"/api/holds/{hold['id']}/lift", {"reason": "again"}))[0] == 404

    def put(uow):
        case = put_consultation(uow, city, state=m.State.REPORTING, expert=True)
        uow.consultations.add_share(m.StudyShare(consultation=case.id, study_uid=A, by=None, since=uow.now))
        match(uow, B, city.clinic, case.patient)
        return case

    case = await app[keys.WORK].run(put)
    assert await reason_of(await propose(old, A)) == "open_consultation"
    assert await reason_of(await propose(old, B)) == "open_consultation"
    assert (await page(old, "/studies/removals"))[1].count("disabled") == 2
    await app[keys.WORK].run(change, case.id, state=m.State.ARCHIVED, hidden_studies=(A,))
    assert await reason_of(await propose(old, A)) == "doubted_study"
    await app[keys.WORK].run(change, case.id, hidden_studies=())
    await whole(old, make(pixels=b"\x09\x09\x09\x09"))  # other bytes: they wait in quarantine
    assert await reason_of(await propose(old, A)) == "quarantine_waits"
    assert (await propose(old, B))[0] == 201


def match(uow, study, organisation, patient) -> None:
    uow.studies.add_match(m.StudyMatch(
        id=uow.new_id(), study_uid=study, organisation=organisation, patient=patient, order=None,
        method=m.MatchMethod.MANUAL, by=None, at=uow.now,
    ))


def change(uow, id, **values) -> None:
    uow.consultations.save(replace(uow.consultations.get(id), **values))


async def test_a_hold_set_after_the_proposal_keeps_it_from_being_approved(old, enter):  # noqa: F811
    admin = await enter("clinic_admin")
    _, one = await propose(old, A)
    await post(old, "/api/holds", {"study": A, "reason": "法院调取"})
    assert await reason_of(await post(admin, f"/api/removals/{one['id']}/approve", {})) == "on_hold"
    assert (await post(admin, f"/api/removals/{one['id']}/refuse", {"reason": ""}))[0] == 422
    assert (await post(admin, f"/api/removals/{one['id']}/refuse", {"reason": "有保留令"}))[0] == 204
    assert await found(old) == {A, B}


async def test_a_new_arrival_keeps_a_study_and_the_rest_of_the_proposal_goes(old, enter):  # noqa: F811
    admin = await enter("clinic_admin")
    _, one = await propose(old, A, B)
    assert (await whole(old, make("1.2.3.1.3")))[0] == 200
    assert await post(admin, f"/api/removals/{one['id']}/approve", {}) == (200, {"removed": 1, "kept": 1})
    assert await found(old) == {A}
    assert "最近又收到了影像" in (await page(old, "/studies/removals"))[1]


async def test_what_a_correction_moved_in_since_the_proposal_is_not_removed_with_it(old, enter):  # noqa: F811
    admin = await enter("clinic_admin")
    _, one = await propose(old, B)
    merge = {"kind": "merge", "study": A, "target": B, "reason": "同一次检查"}
    assert (await post(old, "/api/corrections", merge))[0] == 201
    assert await reason_of(await post(admin, f"/api/removals/{one['id']}/approve", {})) == "changed_meanwhile"
    assert await found(old) == {B}


async def test_a_removal_that_was_cut_off_is_finished_once(old, app, enter, monkeypatch):  # noqa: F811
    admin = await enter("clinic_admin")
    proposals = [(await propose(old, uid))[1]["id"] for uid in (A, B)]

    def died(*_args, **_more):
        raise RuntimeError("the power went")

    for name, where in zip(proposals, ("remove_study", "_ended"), strict=True):
        with monkeypatch.context() as patch:  # before the archive was asked, and after it has answered
            patch.setattr(removing, where, died)
            assert (await post(admin, f"/api/removals/{name}/approve", {}))[0] == 500
        if where == "remove_study":
            assert await found(old) == {A, B}
            assert await removing.finish(app) == 1
            assert await found(old) == {B}
    assert await found(old) == set()
    assert (await post(old, "/api/holds", {"study": B, "reason": "too late"}))[0] == 404
    assert (await whole(old, make("1.2.4.1.1", study=B, series="1.2.4.1")))[0] == 200  # brought again, on a disc
    plan(app)  # what the server does when it starts
    async with asyncio.timeout(45):
        while await app[keys.WORK].read(lambda uow: uow.removals.approved()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await removing.finish(app) == 0
    assert await found(old) == {B}
    rows = await app[keys.WORK].read(lambda uow: [x for one in uow.removals.studies(*proposals).values() for x in one])
    assert {x.state for x in rows} == {"removed"}


async def test_a_proposal_that_nobody_decides_lapses(old, app, city, clock, enter):  # noqa: F811
    _, one = await propose(old, A)
    clock.advance(days=30)
    admin = await enter("clinic_admin")
    assert await reason_of(await post(admin, f"/api/removals/{one['id']}/approve", {})) == "expired"
    assert "已失效" in (await page(admin, "/admin/removals"))[1]
    assert await app[keys.WORK].run(removing.expire_removals) == 1
    assert await app[keys.WORK].run(removing.expire_removals) == 0
    await sign_in(old, city.technician.login)
    assert (await propose(old, A))[0] == 201


async def test_pages_that_listed_the_study_say_that_its_images_were_removed(old, app, city, clock, enter):  # noqa: F811
    def put(uow):
        case = put_consultation(uow, city, state=m.State.ARCHIVED, expert=True)
        uow.patients.link_organisation(case.patient, city.clinic)
        uow.consultations.add_share(m.StudyShare(consultation=case.id, study_uid=A, by=None, since=uow.now))
        match(uow, A, city.clinic, case.patient)
        return case

    case = await app[keys.WORK].run(put)
    doctor, admin = await enter("doctor"), await enter("clinic_admin")
    paths = (f"/consultations/{case.id}", f"/patients/{case.patient}")
    for path in paths:
        assert "移除。" not in (await page(doctor, path))[1]
    _, one = await propose(old, A)
    assert (await post(admin, f"/api/removals/{one['id']}/approve", {}))[0] == 200
    on = (clock() + timedelta(hours=8)).date().isoformat()
    for path in paths:
        status, text = await page(doctor, path)
        assert status == 200
        assert f"影像已于 {on}" in text, path
    assert [x.study_uid for x in await app[keys.WORK].read(lambda uow: uow.consultations.shares(case.id))] == [A]
    assert app[ARCHIVE].study(Scope(studies=frozenset({A})), A) is None
