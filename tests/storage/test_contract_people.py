"""consult.ports.People and Patients on the fakes, SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import date

import pytest

from consult import patient as p
from consult import people as o
from consult.errors import Conflict, NotFound, Stale
from tests.storage import samples as s


def test_everything_added_is_read_back_equal(store):
    organisation = o.Organisation(
        id="o9", name="县医院", short_name="县", tier=o.Tier.COUNTY, kind=o.OrganisationKind.HOSPITAL,
        district="城北区", phone="010", active=False,
    )
    staff = o.Staff(id="s9", login="nine", name="钱", title="主任医师", licence="L1", phone="1", active=False)
    membership = o.Membership(
        id="m9", staff="s9", organisation="o9", role=o.Role.DISPATCHER, department="调度", specialties=("a", "乙"),
        on_call=True, since=s.T0, until=s.after(days=1),
    )

    def write(uow):
        uow.people.add_organisation(organisation)
        uow.people.add_staff(staff)
        uow.people.add_membership(membership)

    store.run(write)
    assert store.read(lambda u: u.people.organisation("o9")) == organisation
    assert store.read(lambda u: u.people.staff("s9")) == staff
    assert store.read(lambda u: u.people.staff_by_login("nine")) == staff
    assert store.read(lambda u: u.people.membership("m9")) == membership
    assert store.read(lambda u: u.people.staff_by_login("nobody")) is None
    assert organisation in store.read(lambda u: u.people.organisations())


@pytest.mark.parametrize("get", ["organisation", "staff", "membership"])
def test_what_is_not_there_is_not_found(store, get):
    with pytest.raises(NotFound):
        store.read(lambda u: getattr(u.people, get)("absent"))


def test_memberships_are_listed_by_person_place_and_role(store):
    def ids(**query):
        return {x.id for x in store.read(lambda u: u.people.memberships(**query))}

    assert ids(staff="s-doctor") == {s.DOCTOR}
    assert ids(organisation=s.HOSPITAL) == {s.EXPERT, s.SECOND}
    assert ids(organisation=s.CLINIC, role=o.Role.EXPERT) == set()
    assert ids(role=o.Role.CLINIC_DOCTOR) == {s.DOCTOR, s.COLLEAGUE}
    assert {x.id for x in store.read(lambda u: u.people.staff_of(s.CLINIC))} == {"s-doctor", "s-colleague"}


def test_links_are_found_from_both_ends(store):
    link = o.OrgLink(a=s.HOSPITAL, b=s.CLINIC, kind=o.LinkKind.ALLIANCE, since=date(2026, 1, 1))
    other = o.OrgLink(
        a=s.HOSPITAL, b=s.CENTRE, kind=o.LinkKind.PARENT, since=date(2026, 1, 1), until=date(2027, 1, 1)
    )
    store.run(lambda u: (u.people.add_link(link), u.people.add_link(other)))
    assert list(store.read(lambda u: u.people.links(s.CLINIC))) == [link]
    assert set(store.read(lambda u: u.people.links(s.HOSPITAL))) == {link, other}
    assert set(store.read(lambda u: u.people.links())) == {link, other}


@pytest.mark.parametrize(
    ("get", "save", "id", "change"),
    [
        ("organisation", "save_organisation", s.CLINIC, {"phone": "1"}),
        ("staff", "save_staff", "s-doctor", {"title": "主任"}),
        ("membership", "save_membership", s.DOCTOR, {"on_call": True}),
    ],
)
def test_saving_counts_the_version_and_refuses_a_stale_one(store, get, save, id, change):
    read = store.read(lambda u: getattr(u.people, get)(id))
    changed = replace(read, **change)
    stored = store.run(lambda u: getattr(u.people, save)(changed))
    assert stored == replace(changed, version=read.version + 1)
    assert store.read(lambda u: getattr(u.people, get)(id)) == stored
    with pytest.raises(Stale):
        store.run(lambda u: getattr(u.people, save)(changed))
    with pytest.raises(NotFound):
        store.run(lambda u: getattr(u.people, save)(replace(changed, id="absent")))


def test_an_existing_key_and_a_taken_login_are_conflicts(store):
    with pytest.raises(Conflict):
        store.run(lambda u: u.people.add_staff(o.Staff(id="s-doctor", login="new", name="x")))
    with pytest.raises(Conflict):
        store.run(lambda u: u.people.add_staff(o.Staff(id="new", login="doctor", name="x")))


def test_a_patient_is_read_back_equal_and_versioned(store):
    baby = s.patient(
        "baby", "张某之子", guardian="张", payer="医保", allergies="青霉素", mother=s.PATIENT, unknown=True
    )
    store.run(lambda u: u.patients.add(baby))
    assert store.read(lambda u: u.patients.get("baby")) == baby
    nameless = replace(baby, birth_date=None)
    stored = store.run(lambda u: u.patients.save(nameless))
    assert stored == replace(nameless, version=1)
    with pytest.raises(Stale):
        store.run(lambda u: u.patients.save(baby))
    with pytest.raises(Conflict):
        store.run(lambda u: u.patients.add(baby))
    with pytest.raises(NotFound):
        store.read(lambda u: u.patients.get("absent"))


def number(patient, value, system=p.IdentifierSystem.RESIDENT_ID, issuer=""):
    return p.PatientIdentifier(patient=patient, system=system, issuer=issuer, value=value)


def test_an_identifier_belongs_to_one_patient_per_system_and_issuer(store):
    card = number(s.PATIENT, "123")
    local = number(s.OTHER, "123", p.IdentifierSystem.LOCAL, s.CLINIC)
    store.run(lambda u: (u.patients.add_identifier(card), u.patients.add_identifier(local)))
    with pytest.raises(Conflict):
        store.run(lambda u: u.patients.add_identifier(replace(card, patient=s.OTHER)))
    found = store.read(lambda u: u.patients.by_identifier(p.IdentifierSystem.RESIDENT_ID, "", "123"))
    assert found.id == s.PATIENT
    assert store.read(lambda u: u.patients.by_identifier(p.IdentifierSystem.PASSPORT, "", "123")) is None
    assert store.run(lambda u: u.patients.move_identifiers(s.PATIENT, s.OTHER)) == 1
    assert set(store.read(lambda u: u.patients.identifiers(s.OTHER))) == {replace(card, patient=s.OTHER), local}
    assert list(store.read(lambda u: u.patients.identifiers(s.PATIENT))) == []


def test_an_identifier_is_removed_once(store):
    card = number(s.PATIENT, "123")
    store.run(lambda u: u.patients.add_identifier(card))
    with pytest.raises(NotFound):
        store.run(lambda u: u.patients.remove_identifier(replace(card, patient=s.OTHER)))
    store.run(lambda u: u.patients.remove_identifier(card))
    with pytest.raises(NotFound):
        store.run(lambda u: u.patients.remove_identifier(card))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("小明", {s.PATIENT}),
        ("明", {s.PATIENT}),
        ("zxm", {s.PATIENT}),
        ("ZhangX", {s.PATIENT}),
        ("zhang xiao", {s.PATIENT}),
        ("xm", set()),
        ("xiao", set()),
        ("11010119580309001X", {s.PATIENT}),
        ("11010119580309001x", {s.PATIENT}),
        ("1101011958", set()),
        ("13800000001", {s.PATIENT}),
        ("100%", {s.OTHER}),
        ("好_人", {s.OTHER}),
        ("好?人", set()),
        ("1%0", set()),
        ("小_", set()),
        ("\\", set()),
        ("|", set()),
        ("王", set()),
    ],
)
def test_a_patient_is_found_by_name_part_reading_number_or_phone(store, text, expected):
    store.run(lambda u: u.patients.add_identifier(number(s.PATIENT, "11010119580309001X")))
    assert {x.id for x in store.read(lambda u: u.patients.find(text, s.CLINIC))} == expected


def test_only_organisations_that_know_the_patient_find_him(store):
    def found(house):
        known = store.read(lambda u: u.patients.known_to(s.PATIENT, house))
        assert known == bool(store.read(lambda u: u.patients.find("张小明", house)))
        return known

    assert found(s.CLINIC)
    assert not found(s.HOSPITAL)
    store.run(lambda u: u.studies.add_order(s.order(performing=s.HOSPITAL, ordering=s.CLINIC)))
    assert found(s.HOSPITAL)
    assert not found(s.CENTRE)
    store.run(lambda u: u.patients.link_organisation(s.PATIENT, s.CENTRE))
    store.run(lambda u: u.patients.link_organisation(s.PATIENT, s.CENTRE))
    assert found(s.CENTRE)


def test_the_requesting_organisation_of_a_consultation_knows_its_patient(store):
    store.run(lambda u: u.consultations.add(s.consultation(organisation=s.HOSPITAL, requested_by=s.EXPERT)))
    assert store.read(lambda u: u.patients.known_to(s.PATIENT, s.HOSPITAL))


def test_a_merged_record_is_not_found_but_its_target_names_it(store):
    read = store.read(lambda u: u.patients.get(s.OTHER))
    merged = store.run(lambda u: u.patients.save(replace(read, merged_into=s.PATIENT)))
    assert list(store.read(lambda u: u.patients.find("lhr", s.CLINIC))) == []
    assert list(store.read(lambda u: u.patients.merged_from(s.PATIENT))) == [merged]


def test_find_stops_at_the_limit(store):
    def many(uow):
        for n in range(5):
            uow.patients.add(s.patient(f"many{n}", f"吴{n}"))

    store.run(many)
    assert len(store.read(lambda u: u.patients.find("吴", s.CLINIC, limit=3))) == 3
