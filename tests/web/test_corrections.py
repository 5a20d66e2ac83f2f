"""Corrections by the technician: what queries and files show, whose the study is, who still sees it, what is written down."""

from __future__ import annotations

import io

import pydicom
import pytest

from consult import model as m
from consult.errors import NotFound
from server import correcting, keys
from server.dicomweb.ports import ARCHIVE
from tests.archive.files import make
from tests.browser.seeds import put_consultation, put_patient
from tests.web.test_tech_studies import actions, enter, get, page, post  # noqa: F401 fixtures
from tests.web.test_tech_uploads import technician, whole  # noqa: F401 fixtures

A, B = "1.2.3", "1.2.4"


async def two_studies(browser) -> None:
    await whole(browser, make())
    await whole(browser, make("1.2.3.2.1", series="1.2.3.2"))
    await whole(browser, make("1.2.4.1.1", study=B, series="1.2.4.1", StudyDescription="Head"))


async def shown(browser) -> dict[str, dict]:
    async with browser.get("/dicom-web/studies", headers={"Accept": "application/dicom+json"}) as answer:
        return {x["0020000D"]["Value"][0]: x for x in await answer.json(content_type=None)}


async def correct(browser, kind: str, study: str, **more) -> tuple[int, dict]:
    return await post(browser, "/api/corrections", {"kind": kind, "study": study, "reason": "登记错误", **more})


@pytest.fixture
async def people(app, city):
    """Two patients, and a consultation about the first which may be given studies."""

    def make_them(uow):
        case = put_consultation(uow, city, state=m.State.ASYNC_REVIEW, service=m.Service.IMAGING, expert=True)
        other = put_patient(uow, city, name="李四")
        for one in (case.patient, other.id):
            uow.patients.link_organisation(one, city.clinic)
        return case.patient, other.id, case.id

    return await app[keys.WORK].run(make_them)


def share(case, study):
    def inner(uow):
        uow.consultations.add_share(m.StudyShare(consultation=case, study_uid=study, by=None, since=uow.now))

    return inner


async def shares(app, case) -> set[str]:
    return {x.study_uid for x in await app[keys.WORK].read(lambda uow: uow.consultations.shares(case))}


async def test_a_wrong_patient_is_put_right_everywhere_and_the_former_ones_consultations_lose_the_study(
    technician, app, city, people, enter  # noqa: F811 fixtures
):
    first, second, case = people
    await two_studies(technician)
    assert (await post(technician, f"/api/studies/{A}/match", {"patient": first}))[0] == 200
    await app[keys.WORK].run(share(case, A))
    path = f"/dicom-web/studies/{A}/series/1.2.3.1/instances/1.2.3.1.1"
    async with technician.get(path, headers={"Accept": "application/dicom"}) as answer:
        before = answer.headers["ETag"]
    assert (await correct(technician, "patient", A))[0] == 422
    status, made = await correct(technician, "patient", A, patient=second)
    assert status == 201
    assert (await shown(technician))[A]["00100010"]["Value"][0]["Alphabetic"] == "李四"
    async with technician.get(path, headers={"Accept": "application/dicom", "If-None-Match": before}) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] != before
        file = pydicom.dcmread(io.BytesIO(await answer.read()))
    assert str(file.PatientName) == "李四"
    assert file.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientID == "P1"
    assert await shares(app, case) == set()
    assert (await get(technician, f"/api/studies/{A}"))[1]["patient"]["id"] == second
    assert "李四" in (await page(technician, f"/studies/corrections?study={A}"))[1]
    doctor = await enter("doctor")
    assert (await post(doctor, f"/api/corrections/{made['id']}/undo", {}))[0] == 403
    assert (await post(technician, f"/api/corrections/{made['id']}/undo", {}))[0] == 200
    assert (await shown(technician))[A]["00100020"]["Value"] == ["P1"]
    assert (await get(technician, f"/api/studies/{A}"))[1]["patient"]["id"] == first
    assert await shares(app, case) == set()  # nobody is shown again what the correction took away
    assert (await post(technician, f"/api/corrections/{made['id']}/undo", {}))[0] == 409
    noted = {action for action, _ in await actions(app)}
    assert {"study.correct", "study.correct_done", "study.undo_correction", "study.undo_correction_done"} <= noted


async def test_nothing_moves_under_a_share_that_does_not_cover_it_and_what_is_split_off_keeps_its_share(
    technician, app, people  # noqa: F811 fixtures
):
    _, _, case = people
    await two_studies(technician)
    await app[keys.WORK].run(share(case, B))
    for kind, more in (("merge", {}), ("move", {"series": ["1.2.3.1"]})):
        status, problem = await correct(technician, kind, A, target=B, **more)
        assert (status, problem["code"]) == (409, "conflict")
    status, problem = await correct(technician, "merge", B, target=A)
    assert (status, problem["code"]) == (409, "conflict")
    assert set(await shown(technician)) == {A, B}
    await app[keys.WORK].run(share(case, A))
    status, split = await correct(technician, "split", A, series=["1.2.3.2"])
    assert status == 201
    assert await shares(app, case) == {A, B, split["study"]}
    status, merged = await correct(technician, "merge", A, target=B)
    assert (status, merged["study"]) == (201, B)
    found = await shown(technician)
    assert set(found) == {B, split["study"]}
    assert found[B]["00201208"]["Value"] == [2]
    assert (await post(technician, f"/api/corrections/{split['id']}/undo", {}))[0] == 200
    assert (await shown(technician))[B]["00201208"]["Value"] == [3]
    status, problem = await correct(technician, "split", B, series=["1.2.3.1", "1.2.3.2", "1.2.4.1"])
    assert (status, problem["code"]) == (409, "correction_refused")
    assert (await correct(technician, "merge", "9.9", target=B))[0] == 404


async def test_a_correction_that_was_cut_off_is_finished_as_the_archive_says(
    technician, app, people, monkeypatch  # noqa: F811 fixtures
):
    first, second, _ = people
    await two_studies(technician)
    assert (await post(technician, f"/api/studies/{A}/match", {"patient": first}))[0] == 200

    def died(*_args, **_more):
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(correcting, "_follow", died)
        assert (await correct(technician, "patient", A, patient=second))[0] == 500
    with monkeypatch.context() as patch:
        patch.setattr(app[ARCHIVE].settling, "correct", died)
        assert (await correct(technician, "merge", B, target=A))[0] == 500
    rows = (await get(technician, "/api/corrections"))[1]["corrections"]
    assert {row["kind"]: row["state"] for row in rows} == {"patient": "done", "merge": "refused"}
    assert (await get(technician, f"/api/studies/{A}"))[1]["patient"]["id"] == second


async def test_a_correction_that_cannot_be_finished_holds_up_no_other(
    technician, app, people, monkeypatch  # noqa: F811 fixtures
):
    _, second, _ = people
    await two_studies(technician)
    follow = correcting._follow

    def half(uow, *, actor, row):
        if row.kind == "patient":
            raise NotFound(kind="patient")
        return follow(uow, actor=actor, row=row)

    with monkeypatch.context() as patch:
        patch.setattr(correcting, "_follow", half)
        assert (await correct(technician, "patient", A, patient=second))[0] == 404
        assert (await correct(technician, "merge", B, target=A))[0] == 201
    rows = (await get(technician, "/api/corrections"))[1]["corrections"]
    assert {row["kind"]: row["state"] for row in rows} == {"patient": "done", "merge": "done"}


async def test_a_merge_that_is_taken_back_gives_the_study_its_order_again(technician, app, city, people):  # noqa: F811 fixtures
    """The clinic that had ordered the exam no longer saw it, and the worklist offered the exam once more."""
    first, _, _ = people
    await two_studies(technician)
    work = app[keys.WORK]

    def ordered(uow):
        order = m.ExamOrder(
            id=m.OrderId(uow.new_id()), issuer=city.clinic, accession="A9", patient=first, ordering=city.county,
            performing=city.clinic, ordered_by=city.doctor.membership, procedure="CT", modality="CT", at=uow.now,
        )  # fmt: skip
        uow.studies.add_order(order)
        uow.studies.add_match(m.StudyMatch(
            id=uow.new_id(), study_uid=B, organisation=city.clinic, patient=first, order=order.id,
            method=m.MatchMethod.MANUAL, by=city.technician.membership, at=uow.now,
        ))  # fmt: skip
        return order.id

    order = await work.run(ordered)
    status, merged = await correct(technician, "merge", B, target=A)
    assert status == 201
    assert await work.read(lambda uow: uow.studies.match(B, city.clinic)) is None
    assert (await post(technician, f"/api/corrections/{merged['id']}/undo", {}))[0] == 200
    match = await work.read(lambda uow: uow.studies.match(B, city.clinic))
    assert (match.patient, match.order) == (first, order)
