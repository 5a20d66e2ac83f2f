"""Images are for those who may see them: one audit row and a grant when a study is opened, the end of access at once."""

from __future__ import annotations

from pathlib import Path

import pydicom.data
import pytest
from aiohttp import MultipartWriter

from consult import model as m
from consult import people as o
from consult.patient import Patient, PatientId, Sex
from server import keys
from tests.conftest import sign_in

CT = Path(pydicom.data.DATA_ROOT) / "test_files" / "CT_small.dcm"
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


@pytest.fixture
async def consultation(app, city):
    """A consultation between the clinic's doctor and the expert, whose material includes the CT."""

    def build(uow):
        patient = Patient(id=PatientId(uow.new_id()), name="沈某", sex=Sex.FEMALE, birth_date=None,
                          registered_by=city.clinic, created_at=uow.now)
        uow.patients.add(patient)
        opened = m.ConsultationId(uow.new_id())
        uow.consultations.add(
            m.Consultation(
                id=opened, number="HZ20261122-0001", patient=patient.id, organisation=city.clinic,
                requested_by=city.doctor.membership, service=m.Service.IMAGING, mode=m.Mode.STORED,
                target_organisation=city.hospital, state=m.State.ASYNC_REVIEW, state_since=uow.now,
                created_at=uow.now, submitted_at=uow.now,
            )
        )
        for person, part in ((city.doctor, m.Part.REFERRING), (city.expert, m.Part.EXPERT)):
            uow.consultations.add_participant(
                m.Participant(consultation=opened, membership=person.membership, part=part, since=uow.now)
            )
        uow.consultations.add_share(
            m.StudyShare(consultation=opened, study_uid=STUDY, by=city.doctor.membership, since=uow.now)
        )
        return opened

    return await app[keys.WORK].run(build)


async def store(browser) -> int:
    with MultipartWriter("related") as writer:
        writer.append(CT.read_bytes(), {"Content-Type": "application/dicom"})
        kind = f'multipart/related; type="application/dicom"; boundary={writer.boundary}'
        async with browser.post("/dicom-web/studies", data=writer, headers={"Content-Type": kind}) as answer:
            return answer.status


async def rows_about(app, action):
    rows = await app[keys.WORK].read(lambda uow: uow.audit.rows(limit=1000))
    return [row for row in rows if row.action == action]


async def rendered(browser) -> int:
    async with browser.get(f"/dicom-web/studies/{STUDY}/rendered", headers={"Accept": "image/jpeg"}) as answer:
        await answer.read()
        return answer.status


async def test_pixels_go_to_the_parts_of_the_consultation_and_to_the_holder_alone(open_browser, city, app, consultation):
    browsers = {}
    for who in ("technician", "doctor", "expert", "expert2", "colleague", "stranger", "dispatcher", "clinic_admin",
                "platform_admin", "auditor", "hospital_technician"):
        browsers[who] = await open_browser()
        await sign_in(browsers[who], getattr(city, who).login)
    assert await store(browsers["doctor"]) == 403
    assert await store(browsers["technician"]) == 200
    expected = {"technician": 200, "doctor": 200, "expert": 200, "expert2": 404, "colleague": 404, "stranger": 404, "dispatcher": 404,
                    "hospital_technician": 404, "clinic_admin": 403, "platform_admin": 403, "auditor": 403}
    assert {who: await rendered(browser) for who, browser in browsers.items()} == expected
    opened = await rows_about(app, "study.open")
    by_outcome = {"ok": set(), "denied": set()}
    for row in opened:
        by_outcome[row.outcome].add(row.staff)
    assert by_outcome["ok"] >= {city.doctor.staff, city.expert.staff}
    assert by_outcome["denied"] >= {city.expert2.staff, city.stranger.staff}


async def test_frames_under_a_grant_are_counted_not_audited_and_a_grant_lasts_fifteen_minutes(
    open_browser, city, app, clock, consultation
):
    technician, expert = await open_browser(), await open_browser()
    await sign_in(technician, city.technician.login)
    await sign_in(expert, city.expert.login)
    assert await store(technician) == 200
    async with expert.post(f"/api/studies/{STUDY}/open", json={"consultation": consultation}) as answer:
        assert answer.status == 200
    for _ in range(3):
        assert await rendered(expert) == 200
    assert len(await rows_about(app, "study.open")) == 1
    await app[keys.GRANTS].flush()
    grants = await app[keys.WORK].read(lambda uow: uow.grants.of(city.expert.membership, now=uow.now))
    assert [grant.frames for grant in grants] == [3]
    clock.advance(minutes=16)
    assert await rendered(expert) == 200
    assert len(await rows_about(app, "study.open")) == 2


async def test_instances_fetched_one_by_one_are_one_download_a_minute_and_whole_series_one_each(
    open_browser, city, app, clock, consultation
):
    technician, expert = await open_browser(), await open_browser()
    await sign_in(technician, city.technician.login)
    await sign_in(expert, city.expert.login)
    assert await store(technician) == 200
    made = pydicom.dcmread(CT, stop_before_pixels=True)
    series = f"/dicom-web/studies/{STUDY}/series/{made.SeriesInstanceUID}"
    one = f"{series}/instances/{made.SOPInstanceUID}"

    async def fetch(path):
        async with expert.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"}) as answer:
            await answer.read()
            return answer.status

    async def downloads():
        return [(row.outcome, row.detail) for row in await rows_about(app, "study.download")]

    assert [await fetch(one) for _ in range(3)] == [200] * 3
    assert await downloads() == [("ok", {})]
    begun = clock().isoformat(timespec="seconds")
    clock.advance(minutes=1)
    assert await fetch(one) == 200
    await app[keys.GRANTS].flush()
    assert await downloads() == [("ok", {}), ("ok", {}), ("ok", {"instances": 3, "since": begun})]
    # What looks like one instance and is none is audited each time.
    sly = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    for _ in range(2):
        async with expert.get(f"{series}?objectUID={made.SOPInstanceUID}", headers=sly) as answer:
            assert answer.status == 200
            await answer.read()
    assert len(await downloads()) == 5

    def release(uow):
        uow.consultations.end_participant(consultation, city.expert.membership, m.Part.EXPERT, at=uow.now)
        uow.revoke(memberships=[o.MembershipId(city.expert.membership)], consultation=consultation)

    await app[keys.WORK].run(release)
    assert await fetch(one) == 404
    assert (await downloads())[-1] == ("denied", {})


async def test_access_taken_from_the_expert_ends_with_the_next_frame(open_browser, city, app, consultation):
    technician, expert = await open_browser(), await open_browser()
    await sign_in(technician, city.technician.login)
    await sign_in(expert, city.expert.login)
    assert await store(technician) == 200
    assert await rendered(expert) == 200

    def release(uow):
        uow.consultations.end_participant(consultation, city.expert.membership, m.Part.EXPERT, at=uow.now)
        uow.revoke(memberships=[o.MembershipId(city.expert.membership)], consultation=consultation)

    await app[keys.WORK].run(release)
    assert await rendered(expert) == 404


async def test_a_study_that_shows_another_patient_is_dead_at_once_under_every_grant_but_the_holders(
    open_browser, city, app, consultation
):
    browsers = {who: await open_browser() for who in ("technician", "expert", "doctor")}
    for who, browser in browsers.items():
        await sign_in(browser, getattr(city, who).login)
    assert await store(browsers["technician"]) == 200

    def match(uow):
        uow.studies.add_match(
            m.StudyMatch(
                id=uow.new_id(), study_uid=STUDY, organisation=city.clinic, patient=uow.consultations.get(consultation).patient,
                order=None, method=m.MatchMethod.MANUAL, by=city.technician.membership, at=uow.now,
            )
        )

    await app[keys.WORK].run(match)
    assert {who: await rendered(browser) for who, browser in browsers.items()} == dict.fromkeys(browsers, 200)
    # The clock of these tests stands still: whatever the server remembers of the grants is as fresh as can be.
    doubt = {"consultation": consultation, "reason": "姓名与腕带不符"}
    async with browsers["expert"].post(f"/api/studies/{STUDY}/wrong-patient", json=doubt) as answer:
        assert answer.status == 204
    assert {who: await rendered(browser) for who, browser in browsers.items()} == {
        "technician": 200, "expert": 404, "doctor": 404,
    }
    for who in ("expert", "doctor"):
        grants = await app[keys.WORK].read(lambda uow, who=who: uow.grants.of(getattr(city, who).membership, now=uow.now))
        assert grants == []
    async with browsers["expert"].post(f"/api/studies/{STUDY}/open", json={}) as answer:
        assert answer.status == 404
    settled = {"right": True, "reason": "已核对"}
    async with browsers["technician"].post(f"/api/studies/{STUDY}/settle", json=settled) as answer:
        assert answer.status == 204
    assert await rendered(browsers["expert"]) == 200


async def test_opening_for_a_consultation_that_is_not_ones_own_is_refused_and_audited(open_browser, city, app, consultation):
    stranger = await open_browser()
    await sign_in(stranger, city.stranger.login)
    for body in ({"consultation": consultation}, {}):
        async with stranger.post(f"/api/studies/{STUDY}/open", json=body) as answer:
            assert answer.status == 404
    assert [row.outcome for row in await rows_about(app, "study.open")] == ["denied", "denied"]


async def test_a_technician_opens_nothing_that_another_organisation_holds(open_browser, city, app, consultation):
    holder, other = await open_browser(), await open_browser()
    await sign_in(holder, city.technician.login)
    await sign_in(other, city.hospital_technician.login)
    assert await store(holder) == 200
    answers = {}
    for uid, key in ((STUDY, "elsewhere"), ("1.2.3.4", "nowhere")):
        async with other.post(f"/api/studies/{uid}/open", json={}) as answer:
            answers[key] = (answer.status, {k: v for k, v in (await answer.json()).items() if k != "request_id"})
    assert answers["elsewhere"] == answers["nowhere"]
    assert answers["elsewhere"][0] == 404
    assert await rendered(other) == 404
    opened = await rows_about(app, "study.open")
    assert {(row.staff, row.outcome) for row in opened} == {(city.hospital_technician.staff, "denied")}
    assert not await app[keys.WORK].read(lambda uow: uow.grants.of(city.hospital_technician.membership, now=uow.now))


async def test_each_listens_only_to_what_they_see(city, app, consultation):
    from server.api.events import allowed_topics

    topics = ("worklist", f"consultation:{consultation}", f"inbox:{city.clinic}", f"study:{city.clinic}", "consultation:x",
              f"inbox:{city.hospital}", "worklist:all", "nonsense")
    both = {"worklist", f"consultation:{consultation}"}
    expected = {
        "doctor": both | {f"inbox:{city.clinic}", f"study:{city.clinic}"},
        "technician": both | {f"study:{city.clinic}"},
        "expert": both,
        "stranger": {"worklist"},
        "clinic_admin": {"worklist"},
        "platform_admin": {"worklist"},
    }
    for who, wanted in expected.items():
        person = getattr(city, who)
        actor = o.Actor(membership=person.membership, staff=person.staff, organisation=person.organisation,
                        role=person.role, name=person.name)
        assert set(await app[keys.WORK].read(allowed_topics, actor, topics)) == wanted, who
