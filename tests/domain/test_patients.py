"""Registering, finding, correcting and merging patients, as a clinic does it."""

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consult.access import Action, open_patient
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.identity import check_character, read_identifier, read_resident_id, read_scan
from consult.patient import IdentifierSystem, Sex
from consult.registering import (
    GivenIdentifier,
    find_patients,
    merge_patients,
    possible_duplicates,
    register_patient,
    unmerge_patients,
    update_patient,
)
from tests.domain.world import VALID_ID, World, romanise

RESIDENT = IdentifierSystem.RESIDENT_ID


def given_id(value: str) -> list[GivenIdentifier]:
    return [GivenIdentifier(system=RESIDENT, value=value)]


def register(world: World, actor=None, **more):
    more.setdefault("name", "张三")
    return register_patient(world.uow, actor=actor or world.doctor, romanise=romanise, **more)


def wrong(caught) -> list[tuple[str, str]]:
    return [(x[0], x[1]) for x in caught.value.fields]


def test_sex_and_birth_date_are_read_from_the_identity_number(world: World) -> None:
    patient = register(world, identifiers=given_id(" 11010519491231002x "))
    assert (patient.sex, patient.birth_date) == (Sex.FEMALE, date(1949, 12, 31))
    assert world.uow.patients.by_identifier(RESIDENT, "", VALID_ID) == patient


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("110105194912310021", "id_check_digit"),
        ("11010519491231002", "id_length"),
        ("11010519491231002A", "id_length"),
        ("110105194913310020", "id_birth_date"),
        ("", "required"),
    ],
)
def test_a_wrong_identity_number_says_where_and_why(world: World, number: str, code: str) -> None:
    if code == "id_birth_date":
        number = number[:17] + check_character(number[:17])
    with pytest.raises(Invalid) as caught:
        register(world, identifiers=given_id(number))
    assert wrong(caught) == [("identifiers.0.value", code)]


@given(
    st.from_regex(r"[1-9][0-9]{5}", fullmatch=True),
    st.dates(date(1900, 1, 1), date(2026, 1, 1)),
    st.integers(0, 999),
    st.integers(0, 16),
    st.integers(1, 9),
)
def test_every_single_mistyped_digit_is_found(district, born, serial, place, shift) -> None:
    first = f"{district}{born:%Y%m%d}{serial:03d}"
    number = first + check_character(first)
    stated = read_resident_id(number)
    assert stated.birth_date == born
    assert stated.sex is (Sex.MALE if serial % 2 else Sex.FEMALE)
    mistyped = number[:place] + str((int(number[place]) + shift) % 10) + number[place + 1 :]
    with pytest.raises(Invalid):
        read_resident_id(mistyped)


def test_everything_wrong_with_the_form_is_said_at_once(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        register(
            world, name=" ", sex=Sex.MALE, birth_date=date(2030, 1, 1), phone="call me", identifiers=given_id(VALID_ID),
        )  # fmt: skip
    assert set(wrong(caught)) == {
        ("name", "required"), ("phone", "phone_format"), ("sex", "id_mismatch"), ("birth_date", "id_mismatch"),
    }  # fmt: skip


def test_a_birth_date_in_the_future_is_refused(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        register(world, birth_date=date(2026, 11, 24))
    assert wrong(caught) == [("birth_date", "out_of_range")]


def test_passports_and_other_documents_are_kept_in_one_form() -> None:
    assert read_identifier(IdentifierSystem.PASSPORT, "ｅ1234 5678") == "E12345678"
    assert read_identifier(IdentifierSystem.OTHER_DOCUMENT, "军字第123号".replace("军字第", "J").replace("号", ""))
    with pytest.raises(Invalid):
        read_identifier(IdentifierSystem.PASSPORT, "E12!")


def test_an_unknown_patient_needs_nothing(world: World) -> None:
    patient = register(world, name="", unknown=True)
    assert patient.unknown
    assert patient.name.startswith("无名氏")


def test_a_newborn_is_named_after_the_mother(world: World) -> None:
    mother = world.patient(name="李四", sex=Sex.FEMALE)
    baby = register(world, name="", mother=mother.id)
    assert (baby.name, baby.guardian, baby.mother) == ("李四之婴", "李四", mother.id)
    assert baby.birth_date == date(2026, 11, 23)


def test_a_patient_is_found_by_name_pinyin_initials_card_and_phone(world: World) -> None:
    patient = world.patient(name="张小明", phone="13800000000")
    card = world.uow.patients.identifiers(patient.id)[0].value
    for text in ("小明", "zhangxiao", "zhang xiao", "zxm", "ZXM", card, f";{card}=99011?", "13800000000"):
        assert [x.id for x in find_patients(world.uow, actor=world.doctor, text=text)] == [patient.id], text
    assert find_patients(world.uow, actor=world.doctor, text="  ") == ()


def test_another_clinic_does_not_find_the_patient(world: World) -> None:
    world.patient(name="张小明")
    assert find_patients(world.uow, actor=world.other_doctor, text="张小明") == ()


def test_an_expert_searches_no_patients(world: World) -> None:
    with pytest.raises(NotAllowed):
        find_patients(world.uow, actor=world.expert, text="张")


@pytest.mark.parametrize(
    ("typed", "numbers", "name"),
    [
        (VALID_ID.lower(), (VALID_ID,), ""),
        ("张三|" + VALID_ID, (VALID_ID,), "张三"),
        ("姓名：张三 身份证号：" + VALID_ID, (VALID_ID,), "张三"),
        (";6212345678901234=99121010000?", ("6212345678901234",), ""),
        ("%B6212345678901234^ZHANG/SAN^9912?", ("6212345678901234",), ""),
        (json.dumps({"name": "张三", "idCard": VALID_ID}), (VALID_ID,), "张三"),
        (json.dumps({"姓名": "张三", "卡号": "K0001234"}), ("K0001234",), "张三"),
        ("王,K0001234", ("K0001234",), ""),
        ("zxm", (), ""),
    ],
)
def test_what_readers_and_scanners_type_is_taken_apart(typed, numbers, name) -> None:
    scan = read_scan(typed)
    assert (scan.numbers, scan.name) == (numbers, name)


@given(st.text(max_size=200))
def test_no_scan_is_refused_with_an_error(text: str) -> None:
    read_scan(text)


def test_the_same_number_twice_is_refused_and_shows_who_has_it(world: World) -> None:
    first = register(world, identifiers=given_id(VALID_ID))
    with pytest.raises(Conflict) as caught:
        register(world, name="李四", identifiers=given_id(VALID_ID))
    assert caught.value.params == {"field": "identifiers.0.value", "patient": first.id}


def test_a_person_known_elsewhere_is_the_same_person_here(world: World) -> None:
    there = register(world, actor=world.other_doctor, identifiers=given_id(VALID_ID))
    here = register(world, identifiers=given_id(VALID_ID))
    assert here.id == there.id
    assert [x.id for x in find_patients(world.uow, actor=world.doctor, text=VALID_ID)] == [here.id]


def test_somebody_elses_number_under_another_name_tells_nothing_of_them(world: World) -> None:
    register(world, actor=world.other_doctor, identifiers=given_id(VALID_ID))
    with pytest.raises(Conflict) as caught:
        register(world, name="李四", identifiers=given_id(VALID_ID))
    assert "patient" not in caught.value.params


def test_a_likely_duplicate_is_named_with_its_reasons(world: World) -> None:
    known = world.patient(name="张三", birth_date=date(1970, 5, 1))
    world.patient(name="李四", birth_date=date(1970, 5, 1))
    found = possible_duplicates(
        world.uow, actor=world.colleague, name="张三", sex=Sex.MALE, birth_date=date(1970, 5, 1), romanise=romanise
    )
    assert [(x.patient.id, x.reasons) for x in found] == [(known.id, ("name", "pinyin", "birth_date", "sex"))]


def test_a_correction_made_on_an_old_form_is_refused(world: World) -> None:
    patient = world.patient()
    changed = update_patient(
        world.uow, actor=world.doctor, patient=patient.id, version=patient.version,
        changes={"name": "张小明"}, romanise=romanise,
    )  # fmt: skip
    assert (changed.name, changed.pinyin) == ("张小明", "zhang xiao ming|zxm")
    with pytest.raises(Stale) as caught:
        update_patient(
            world.uow, actor=world.doctor, patient=patient.id, version=patient.version,
            changes={"name": "李四"}, romanise=romanise,
        )  # fmt: skip
    assert caught.value.params == {"version": changed.version}


def test_a_mistyped_number_is_replaced_and_set_free(world: World) -> None:
    patient = register(world, identifiers=[GivenIdentifier(system=IdentifierSystem.CARD, value="K111")])
    update_patient(
        world.uow, actor=world.doctor, patient=patient.id, version=0, changes={}, romanise=romanise,
        identifiers=[GivenIdentifier(system=IdentifierSystem.CARD, value="K112")],
    )  # fmt: skip
    assert world.uow.patients.by_identifier(IdentifierSystem.CARD, "", "K111") is None
    assert world.uow.patients.by_identifier(IdentifierSystem.CARD, "", "K112") is not None


def test_a_patient_record_is_not_corrected_by_whoever_finds_it(world: World) -> None:
    patient = world.patient()
    with pytest.raises(NotAllowed):
        update_patient(
            world.uow, actor=world.colleague, patient=patient.id, version=0, changes={"name": "x"}, romanise=romanise
        )
    with pytest.raises(NotFound):
        open_patient(world.uow, world.colleague, patient.id, Action.PATIENT_READ)


def test_a_colleague_who_begins_a_consultation_reads_the_patient(world: World) -> None:
    patient = world.patient()
    world.draft(world.colleague, patient=patient)
    assert open_patient(world.uow, world.colleague, patient.id, Action.PATIENT_READ) == patient


def test_merged_patients_are_one_and_unmerging_gives_every_number_back(world: World) -> None:
    keep = register(world, identifiers=given_id(VALID_ID))
    double = world.patient(name="张三 重复")
    card = world.uow.patients.identifiers(double.id)[0]
    case = world.draft(patient=double)
    merge_patients(world.uow, actor=world.technician, source=double.id, target=keep.id, reason="同一人")
    found = find_patients(world.uow, actor=world.doctor, text=card.value)
    assert [x.id for x in found] == [keep.id]
    assert open_patient(world.uow, world.doctor, case.patient, Action.PATIENT_READ).id == keep.id
    with pytest.raises(WrongState):
        merge_patients(world.uow, actor=world.technician, source=double.id, target=keep.id, reason="再次")

    restored = unmerge_patients(world.uow, actor=world.technician, source=double.id, reason="弄错")
    assert restored.merged_into is None
    assert list(world.uow.patients.identifiers(double.id)) == [card]
    assert [x.value for x in world.uow.patients.identifiers(keep.id)] == [VALID_ID]


def test_a_number_corrected_after_the_merge_does_not_go_back(world: World) -> None:
    keep, double = world.patient(), world.patient(name="张三 重复")
    card = world.uow.patients.identifiers(double.id)[0]
    merge_patients(world.uow, actor=world.doctor, source=double.id, target=keep.id, reason="同一人")
    world.uow.patients.remove_identifier(world.uow.patients.identifiers(keep.id)[-1])
    unmerge_patients(world.uow, actor=world.doctor, source=double.id, reason="弄错")
    assert world.uow.patients.by_identifier(card.system, card.issuer, card.value) is None


def test_a_stranger_cannot_merge_what_they_cannot_see(world: World) -> None:
    keep, double = world.patient(), world.patient()
    with pytest.raises(NotFound):
        merge_patients(world.uow, actor=world.other_doctor, source=double.id, target=keep.id, reason="x")


def test_a_merge_needs_a_reason_and_two_patients(world: World) -> None:
    patient = world.patient()
    with pytest.raises(Invalid):
        merge_patients(world.uow, actor=world.doctor, source=patient.id, target=patient.id, reason="x")
    with pytest.raises(Invalid):
        merge_patients(world.uow, actor=world.doctor, source=patient.id, target=patient.id, reason=" ")
