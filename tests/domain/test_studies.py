"""Orders, matching, sharing, doubts; and which studies a person may ask the archive for."""

from dataclasses import replace
from datetime import date

import pytest

from consult import model as m
from consult import triage
from consult.access import scope_for
from consult.errors import Conflict, Invalid, NotAllowed, NotFound
from consult.matching import written_names
from consult.material import end_share, share_study
from consult.patient import IdentifierSystem, Sex
from consult.registering import GivenIdentifier, register_patient, update_patient
from consult.scoping import Purpose, worklist_query
from consult.studying import (
    StudyFacts,
    confirm_match,
    create_order,
    doubted_studies,
    match_automatically,
    rank_candidates,
    report_wrong_patient,
    settle_wrong_patient,
    undo_match,
    void_order,
)
from tests.domain.world import CENTRE, CLINIC, HOSPITAL, OTHER_CLINIC, VALID_ID, World, romanise

UID = "2.25.1"


def facts(**more) -> StudyFacts:
    more.setdefault("study_uid", UID)
    more.setdefault("organisation", CLINIC)
    return StudyFacts(**more)


def order(world: World, case=None, *, patient=None, performing=CLINIC, actor=None) -> m.ExamOrder:
    return create_order(
        world.uow, actor=actor or world.doctor, patient=patient.id if patient else case.patient,
        procedure="胸部CT平扫", modality="CT", performing=performing, consultation=case.id if case else None,
    )  # fmt: skip


def test_a_guessed_birth_date_neither_proves_nor_denies_anything(world: World) -> None:
    found = register_patient(
        world.uow, actor=world.doctor, name="", unknown=True, sex=Sex.MALE, estimated_months=60 * 12, romanise=romanise,
        identifiers=[GivenIdentifier(system=IdentifierSystem.LOCAL, value="P60")],
    )  # fmt: skip
    assert found.birth_estimated
    born = found.birth_date
    assert (born.month, born.day, world.uow.now.year - born.year) == (world.uow.now.month, world.uow.now.day, 60)
    seen = facts(patient_id="P60", birth_date=born, sex=Sex.MALE)
    assert match_automatically(world.uow, facts=seen) is None
    [ranked] = rank_candidates(world.uow, actor=world.technician, facts=replace(seen, birth_date=date(1950, 1, 1)),
                               romanise=romanise)
    assert "birth_date" not in ranked.differences
    named = update_patient(
        world.uow, actor=world.doctor, patient=found.id, version=found.version, changes={"name": "李四"}, romanise=romanise
    )
    assert named.birth_estimated
    known = update_patient(
        world.uow, actor=world.doctor, patient=found.id, version=named.version, changes={"birth_date": date(1966, 3, 1)},
        romanise=romanise,
    )  # fmt: skip
    assert not known.birth_estimated
    assert match_automatically(world.uow, facts=replace(seen, birth_date=date(1966, 3, 1))) is not None


def test_an_identity_number_ends_the_guessing(world: World) -> None:
    found = register_patient(
        world.uow, actor=world.doctor, name="无名", unknown=True, sex=Sex.FEMALE, estimated_months=7, romanise=romanise
    )
    known = update_patient(
        world.uow, actor=world.doctor, patient=found.id, version=found.version, changes={}, romanise=romanise,
        identifiers=[GivenIdentifier(system=IdentifierSystem.RESIDENT_ID, value=VALID_ID)],
    )  # fmt: skip
    assert (known.birth_date, known.birth_estimated) == (date(1949, 12, 31), False)


def shared(world: World, case, uid: str = UID) -> None:
    made = order(world, case)
    match_automatically(world.uow, facts=facts(study_uid=uid, accession=made.accession))


def sees(world: World, actor, purpose=Purpose.PIXELS, uid=UID) -> bool:
    return uid in scope_for(world.uow, actor, uid, purpose).studies


def test_an_accession_number_fits_dicom_and_is_never_given_twice(world: World) -> None:
    patient = world.patient()
    numbers = [order(world, patient=patient).accession for _ in range(3)]
    assert numbers == ["JB2611230001", "JB2611230002", "JB2611230003"]
    assert all(len(x) <= 16 for x in numbers)


def test_an_order_goes_only_where_the_clinic_has_ties(world: World) -> None:
    patient = world.patient()
    assert order(world, patient=patient, performing=HOSPITAL).issuer == HOSPITAL
    assert order(world, patient=patient, performing=CENTRE).issuer == CENTRE
    with pytest.raises(Invalid):
        order(world, patient=patient, performing=OTHER_CLINIC)


def test_a_study_with_the_accession_number_is_matched_and_shared_where_the_order_says(world: World) -> None:
    case = world.reporting()
    assert not sees(world, world.expert)
    shared(world, case)
    assert [x.study_uid for x in world.uow.consultations.shares(case.id)] == [UID]
    assert sees(world, world.expert)
    assert "share_study" in world.triggers(case)


def test_an_accession_number_of_another_organisation_matches_nothing(world: World) -> None:
    made = order(world, patient=world.patient(), performing=CENTRE)
    assert match_automatically(world.uow, facts=facts(accession=made.accession)) is None


@pytest.mark.parametrize("wrong", [{"birth_date": date(1971, 5, 1)}, {"sex": Sex.FEMALE}])
def test_an_accession_number_on_somebody_elses_study_is_left_to_the_technician(world: World, wrong) -> None:
    made = order(world, patient=world.patient(sex=Sex.MALE, birth_date=date(1970, 5, 1)))
    assert match_automatically(world.uow, facts=facts(accession=made.accession, **wrong)) is None


def test_a_device_number_matches_only_with_equal_birth_date_and_sex(world: World) -> None:
    local = GivenIdentifier(system=IdentifierSystem.LOCAL, value="P77")
    patient = world.patient(sex=Sex.MALE, birth_date=date(1970, 5, 1), identifiers=[local])
    for more in ({}, {"birth_date": date(1970, 5, 1)}, {"birth_date": date(1970, 5, 2), "sex": Sex.MALE}):
        assert match_automatically(world.uow, facts=facts(patient_id="P77", **more)) is None
    found = match_automatically(
        world.uow, facts=facts(patient_id="P77", birth_date=date(1970, 5, 1), sex=Sex.MALE)
    )
    assert (found.patient, found.method) == (patient.id, m.MatchMethod.PATIENT_ID)


def test_a_name_alone_never_matches(world: World) -> None:
    patient = world.patient(name="张小明", sex=Sex.MALE, birth_date=date(1970, 5, 1))
    same = facts(patient_name="Zhang^Xiao Ming=张^小明", birth_date=patient.birth_date, sex=patient.sex)
    assert match_automatically(world.uow, facts=same) is None


def test_candidates_are_ranked_and_their_differences_named(world: World) -> None:
    right = world.patient(name="张小明", sex=Sex.MALE, birth_date=date(1970, 5, 1))
    made = order(world, patient=right)
    order(world, patient=world.patient(name="李四", sex=Sex.FEMALE, birth_date=date(1980, 1, 1)))
    ranked = rank_candidates(
        world.uow, actor=world.technician, romanise=romanise,
        facts=facts(
            patient_name="ZHANG^XIAOMING", sex=Sex.MALE, birth_date=date(1970, 5, 11), modality="CT",
            study_date=date(2026, 11, 23),
        ),
    )  # fmt: skip
    assert ranked[0].order == made
    assert ranked[0].differences == ("birth_date",)
    assert {"name", "sex", "birth_date"} <= set(ranked[1].differences)
    assert ranked[0].score > ranked[1].score


def test_names_are_read_in_every_group_of_a_person_name() -> None:
    assert written_names("Zhang^XiaoMing=张^小明=") == ["ZhangXiaoMing", "张小明"]


def test_the_technicians_choice_teaches_the_number_and_undo_forgets_it(world: World) -> None:
    patient = world.patient(sex=Sex.MALE, birth_date=date(1970, 5, 1))
    seen = facts(patient_id="P9", birth_date=date(1970, 5, 1), sex=Sex.MALE)
    confirm_match(world.uow, actor=world.technician, facts=seen, patient=patient.id)
    again = replace(seen, study_uid="2.25.2")
    assert match_automatically(world.uow, facts=again).patient == patient.id
    undo_match(world.uow, actor=world.technician, study_uid=UID)
    assert world.uow.studies.match(UID, CLINIC) is None
    assert match_automatically(world.uow, facts=replace(seen, study_uid="2.25.3")) is None


def test_a_study_is_matched_once(world: World) -> None:
    patient = world.patient()
    confirm_match(world.uow, actor=world.technician, facts=facts(), patient=patient.id)
    with pytest.raises(Conflict):
        confirm_match(world.uow, actor=world.technician, facts=facts(), patient=patient.id)


def test_only_technicians_of_the_holder_match(world: World) -> None:
    patient = world.patient()
    with pytest.raises(NotAllowed):
        confirm_match(world.uow, actor=world.doctor, facts=facts(), patient=patient.id)
    with pytest.raises(NotFound):
        confirm_match(world.uow, actor=world.other_technician, facts=facts(), patient=patient.id)


def test_unmatched_studies_are_the_technicians_alone(world: World) -> None:
    world.reporting()
    assert scope_for(world.uow, world.technician, UID).organisations == {CLINIC}
    for actor in (world.doctor, world.expert, world.dispatcher, world.colleague, world.auditor):
        scope = scope_for(world.uow, actor, UID)
        assert (scope.organisations, scope.studies) == (frozenset(), frozenset())


def test_everyone_sees_the_studies_their_part_allows(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    assert sees(world, world.doctor)
    assert sees(world, world.doctor, Purpose.DOWNLOAD)
    assert sees(world, world.expert, Purpose.DOWNLOAD)
    for actor in (world.colleague, world.second, world.dispatcher, world.stranger, world.auditor, world.admin):
        for purpose in Purpose:
            assert not sees(world, actor, purpose), (actor.membership, purpose)
    assert scope_for(world.uow, world.doctor).studies == {UID}
    assert scope_for(world.uow, world.expert).studies == {UID}


def test_a_dispatcher_lists_studies_in_triage_and_never_sees_pixels(world: World) -> None:
    case = world.submitted()
    shared(world, case)
    assert sees(world, world.dispatcher, Purpose.LIST)
    assert scope_for(world.uow, world.dispatcher, None, Purpose.LIST).studies == {UID}
    assert not sees(world, world.dispatcher, Purpose.PIXELS)
    triage.offer_consultation(world.uow, actor=world.dispatcher, consultation=case.id)
    assert not sees(world, world.dispatcher, Purpose.LIST)


def test_the_referring_doctor_sees_the_patients_studies_before_sharing_them(world: World) -> None:
    patient = world.patient()
    confirm_match(world.uow, actor=world.technician, facts=facts(), patient=patient.id)
    assert not sees(world, world.colleague)
    case = world.draft(world.colleague, patient=patient)
    assert sees(world, world.colleague)
    share_study(world.uow, actor=world.colleague, consultation=case.id, study_uid=UID)
    assert len(world.uow.consultations.shares(case.id)) == 1


def test_a_study_of_another_patient_cannot_be_shared(world: World) -> None:
    theirs, case = world.patient(name="李四"), world.draft()
    confirm_match(world.uow, actor=world.technician, facts=facts(), patient=theirs.id)
    with pytest.raises(Conflict):
        share_study(world.uow, actor=world.technician, consultation=case.id, study_uid=UID)
    with pytest.raises(NotFound):
        share_study(world.uow, actor=world.technician, consultation=case.id, study_uid="2.25.404")


def test_a_doubted_study_is_hidden_everywhere_until_the_technician_has_settled_it(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    with pytest.raises(Invalid):
        report_wrong_patient(world.uow, actor=world.expert, consultation=case.id, study_uid=UID, reason="")
    report_wrong_patient(
        world.uow, actor=world.expert, consultation=case.id, study_uid=UID, reason="性别不符"
    )
    assert not sees(world, world.expert)
    assert not sees(world, world.doctor)
    assert scope_for(world.uow, world.technician, UID).organisations == {CLINIC}
    assert doubted_studies(world.uow, actor=world.technician) == [UID]
    with pytest.raises(NotFound):
        settle_wrong_patient(world.uow, actor=world.other_technician, study_uid=UID, right=True, reason="x")
    settle_wrong_patient(world.uow, actor=world.technician, study_uid=UID, right=True, reason="已核对")
    assert sees(world, world.expert)
    assert doubted_studies(world.uow, actor=world.technician) == []


def test_a_doubt_that_was_right_takes_the_study_out_of_the_consultation(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    report_wrong_patient(world.uow, actor=world.expert, consultation=case.id, study_uid=UID, reason="不是他")
    settle_wrong_patient(world.uow, actor=world.technician, study_uid=UID, right=False, reason="登记错误")
    assert world.uow.consultations.shares(case.id) == []
    assert world.get(case).hidden_studies == ()
    assert world.uow.studies.match(UID, CLINIC) is None
    assert doubted_studies(world.uow, actor=world.technician) == []


def test_a_doubted_study_cannot_be_shared_on(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    report_wrong_patient(world.uow, actor=world.expert, consultation=case.id, study_uid=UID, reason="不是他")
    other = world.draft(patient=world.uow.patients.get(case.patient))
    with pytest.raises(NotFound):
        share_study(world.uow, actor=world.doctor, consultation=other.id, study_uid=UID)


def test_undoing_a_match_takes_the_study_from_everyone(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    undo_match(world.uow, actor=world.technician, study_uid=UID, reason="按错了")
    assert not sees(world, world.expert)
    assert not sees(world, world.doctor)
    with pytest.raises(NotFound):
        undo_match(world.uow, actor=world.technician, study_uid=UID)


def test_an_ended_share_is_out_of_the_experts_sight(world: World) -> None:
    case = world.reporting()
    shared(world, case)
    with pytest.raises(Invalid):
        end_share(world.uow, actor=world.doctor, consultation=case.id, study_uid=UID, reason=" ")
    end_share(world.uow, actor=world.doctor, consultation=case.id, study_uid=UID, reason="与本次无关")
    assert not sees(world, world.expert)


def test_an_order_with_a_study_is_not_voided(world: World) -> None:
    case = world.draft()
    made = order(world, case)
    spare = order(world, case)
    match_automatically(world.uow, facts=facts(accession=made.accession))
    with pytest.raises(Conflict):
        void_order(world.uow, actor=world.doctor, order=made.id, reason="x")
    with pytest.raises(NotFound):
        void_order(world.uow, actor=world.other_doctor, order=spare.id, reason="x")
    assert void_order(world.uow, actor=world.technician, order=spare.id, reason="重复").voided_reason == "重复"


def test_a_voided_order_matches_nothing(world: World) -> None:
    made = order(world, patient=world.patient())
    void_order(world.uow, actor=world.doctor, order=made.id, reason="重复")
    assert match_automatically(world.uow, facts=facts(accession=made.accession)) is None


# worklists


def test_every_worklist_holds_what_its_owner_has_to_do(world: World) -> None:
    offered, mine = world.offered(), world.reporting()
    world.reporting(by=world.second)
    waiting = world.submitted()

    def ids(actor, tab):
        rows = world.uow.consultations.worklist(worklist_query(world.uow, actor, tab), viewer=actor)
        return {x.consultation.id for x in rows}

    assert ids(world.expert, "todo") == {offered.id}
    assert ids(world.expert, "sign") == {mine.id}
    assert ids(world.resting, "todo") == set()
    assert ids(world.dispatcher, "todo") == {offered.id, waiting.id}
    assert len(ids(world.doctor, "active")) == 4
    assert ids(world.other_doctor, "active") == set()
    assert ids(world.stranger, "todo") == set()


def test_roles_without_clinical_content_have_no_worklist(world: World) -> None:
    for actor in (world.admin, world.platform, world.auditor):
        with pytest.raises(NotAllowed):
            worklist_query(world.uow, actor, "todo")
    with pytest.raises(NotAllowed):
        worklist_query(world.uow, world.doctor, "everything")


def test_every_state_stands_on_exactly_one_tab_of_each_worklist() -> None:
    from collections import Counter

    from consult.people import Role
    from consult.scoping import TABS

    for role, tabs in TABS.items():
        counted = Counter(x for states in tabs.values() for x in states)
        assert max(counted.values()) == 1, role
        if role is Role.CLINIC_DOCTOR:
            assert set(counted) == set(m.State)
