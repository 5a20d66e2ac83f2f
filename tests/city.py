"""A small city for the web tests: four places, one person of every role and a few more."""

from __future__ import annotations

from dataclasses import dataclass, field

from consult.people import (
    LinkKind,
    Membership,
    MembershipId,
    Organisation,
    OrganisationId,
    OrganisationKind,
    OrgLink,
    Role,
    Staff,
    StaffId,
    Tier,
)
from server.storage.accounts import Account

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who can sign in: `sign_in(client, city.doctor.login)`."""

    staff: StaffId
    membership: MembershipId
    organisation: OrganisationId
    role: Role
    login: str
    name: str


@dataclass(slots=True)
class City:
    """`clinic` asks, `hospital` (city) serves; `other_clinic` and `county` are elsewhere. People by role name."""

    clinic: OrganisationId | str = ""
    other_clinic: OrganisationId | str = ""
    county: OrganisationId | str = ""
    hospital: OrganisationId | str = ""
    people: dict[str, Person] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Person:
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None


PEOPLE = (
    ("doctor", "clinic", Role.CLINIC_DOCTOR, "王建国", ()),
    ("colleague", "clinic", Role.CLINIC_DOCTOR, "李小红", ()),
    ("technician", "clinic", Role.TECHNICIAN, "赵师傅", ()),
    ("clinic_admin", "clinic", Role.ORG_ADMIN, "周管理", ()),
    ("stranger", "other_clinic", Role.CLINIC_DOCTOR, "孙医生", ()),
    ("county_doctor", "county", Role.CLINIC_DOCTOR, "吴医生", ()),
    ("expert", "hospital", Role.EXPERT, "陈主任", ("cardiology",)),
    ("expert2", "hospital", Role.EXPERT, "林主任", ("cardiology",)),
    ("dispatcher", "hospital", Role.DISPATCHER, "何调度", ()),
    ("hospital_technician", "hospital", Role.TECHNICIAN, "钱技师", ()),
    ("hospital_admin", "hospital", Role.ORG_ADMIN, "郑管理", ()),
    ("platform_admin", "hospital", Role.PLATFORM_ADMIN, "冯平台", ()),
    ("auditor", "hospital", Role.AUDITOR, "蒋审计", ()),
)


def build_city(uow, password_hash: str) -> City:
    """Write the city in one unit of work. All have the password PASSWORD."""
    city = City()
    places = (
        ("clinic", "九堡街道社区卫生服务中心", Tier.CLINIC, OrganisationKind.COMMUNITY_CENTRE),
        ("other_clinic", "建德乡镇卫生院", Tier.CLINIC, OrganisationKind.TOWNSHIP_HOSPITAL),
        ("county", "桐庐县人民医院", Tier.COUNTY, OrganisationKind.HOSPITAL),
        ("hospital", "市第一人民医院", Tier.CITY, OrganisationKind.HOSPITAL),
    )
    for key, name, tier, kind in places:
        place = OrganisationId(uow.new_id())
        setattr(city, key, place)
        uow.people.add_organisation(
            Organisation(id=place, name=name, short_name=name[:4], tier=tier, kind=kind, phone="0571-88880000")
        )
    for served in (city.clinic, city.other_clinic, city.county):
        uow.people.add_link(
            OrgLink(a=city.hospital, b=served, kind=LinkKind.ALLIANCE, since=uow.now.date())
        )
    for key, place, role, name, specialties in PEOPLE:
        add_person(uow, city, key, getattr(city, place), role, name, specialties, password_hash)
    return city


def add_person(uow, city, key, organisation, role, name, specialties, password_hash) -> Person:
    """One more person with an account, also put into `city.people`."""
    staff, membership = StaffId(uow.new_id()), MembershipId(uow.new_id())
    login = key.replace("_", "-")
    uow.people.add_staff(Staff(id=staff, login=login, name=name, title="主任医师" if role is Role.EXPERT else ""))
    uow.people.add_membership(
        Membership(
            id=membership, staff=staff, organisation=organisation, role=role, specialties=specialties,
            on_call=role is Role.EXPERT, since=uow.now,
        )
    )
    uow.accounts.put(Account(staff=staff, password_hash=password_hash, changed_at=uow.now))
    person = Person(
        staff=staff, membership=membership, organisation=organisation, role=role, login=login, name=name
    )
    city.people[key] = person
    return person
