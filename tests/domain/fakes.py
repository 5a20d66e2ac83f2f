"""The whole of ports.UnitOfWork in memory, with a settable clock and deterministic ids.

Nothing is rolled back: a test that needs a failed unit to leave no trace belongs to the storage contract.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.errors import Conflict, NotFound
from consult.ports import UnitOfWork
from consult.rules import Rules
from tests.domain.fakes_consultations import FakeConsultations
from tests.domain.fakes_recordings import FakeRecordings
from tests.domain.fakes_records import FakeAudit, FakeEvents, FakeFeedback, FakeMeetings, FakeReports, FakeStudies
from tests.domain.fakes_store import Shelf

NOON = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)      # Monday, noon in China


class FakePeople:
    def __init__(self) -> None:
        self._organisations: Shelf[o.Organisation] = Shelf()
        self._staff: Shelf[o.Staff] = Shelf()
        self._memberships: Shelf[o.Membership] = Shelf()
        self._links: list[o.OrgLink] = []

    def organisation(self, id: o.OrganisationId) -> o.Organisation:
        return self._organisations.get(id)

    def organisations(self) -> Sequence[o.Organisation]:
        return self._organisations.all()

    def add_organisation(self, organisation: o.Organisation) -> None:
        self._organisations.add(organisation.id, organisation)

    def save_organisation(self, organisation: o.Organisation) -> o.Organisation:
        return self._organisations.save(organisation.id, organisation)

    def add_link(self, link: o.OrgLink) -> None:
        self._links.append(link)

    def links(self, organisation: o.OrganisationId | None = None) -> Sequence[o.OrgLink]:
        return [x for x in self._links if organisation is None or organisation in {x.a, x.b}]

    def staff(self, id: o.StaffId) -> o.Staff:
        return self._staff.get(id)

    def staff_by_login(self, login: str) -> o.Staff | None:
        return next((x for x in self._staff.all() if x.login == login), None)

    def staff_of(self, organisation: o.OrganisationId) -> Sequence[o.Staff]:
        ids = dict.fromkeys(x.staff for x in self._memberships.all() if x.organisation == organisation)
        return [self._staff.get(x) for x in ids]

    def add_staff(self, staff: o.Staff) -> None:
        if self.staff_by_login(staff.login) is not None:
            raise Conflict(field="login")
        self._staff.add(staff.id, staff)

    def save_staff(self, staff: o.Staff) -> o.Staff:
        return self._staff.save(staff.id, staff)

    def membership(self, id: o.MembershipId) -> o.Membership:
        return self._memberships.get(id)

    def memberships(
        self,
        *,
        staff: o.StaffId | None = None,
        organisation: o.OrganisationId | None = None,
        role: o.Role | None = None,
    ) -> Sequence[o.Membership]:
        return [
            x
            for x in self._memberships.all()
            if (staff is None or x.staff == staff)
            and (organisation is None or x.organisation == organisation)
            and (role is None or x.role is role)
        ]

    def add_membership(self, membership: o.Membership) -> None:
        self._memberships.add(membership.id, membership)

    def save_membership(self, membership: o.Membership) -> o.Membership:
        return self._memberships.save(membership.id, membership)


class FakePatients:
    def __init__(self, uow: "FakeUnitOfWork") -> None:
        self._uow = uow
        self._patients: Shelf[p.Patient] = Shelf()
        self._identifiers: dict[tuple[p.IdentifierSystem, str, str], p.PatientIdentifier] = {}
        self._links: set[tuple[p.PatientId, o.OrganisationId]] = set()

    def get(self, id: p.PatientId) -> p.Patient:
        return self._patients.get(id)

    def add(self, patient: p.Patient) -> None:
        self._patients.add(patient.id, patient)
        self._links.add((patient.id, patient.registered_by))

    def save(self, patient: p.Patient) -> p.Patient:
        return self._patients.save(patient.id, patient)

    def identifiers(self, patient: p.PatientId) -> Sequence[p.PatientIdentifier]:
        return [x for x in self._identifiers.values() if x.patient == patient]

    def add_identifier(self, identifier: p.PatientIdentifier) -> None:
        key = (identifier.system, identifier.issuer, identifier.value)
        if key in self._identifiers:
            raise Conflict(field="identifier")
        self._identifiers[key] = identifier

    def remove_identifier(self, identifier: p.PatientIdentifier) -> None:
        key = (identifier.system, identifier.issuer, identifier.value)
        if self._identifiers.get(key) != identifier:
            raise NotFound
        del self._identifiers[key]

    def move_identifiers(self, source: p.PatientId, target: p.PatientId) -> int:
        moved = [(key, x) for key, x in self._identifiers.items() if x.patient == source]
        for key, identifier in moved:
            self._identifiers[key] = replace(identifier, patient=target)
        return len(moved)

    def by_identifier(self, system: p.IdentifierSystem, issuer: str, value: str) -> p.Patient | None:
        found = self._identifiers.get((system, issuer, value))
        return self._patients.get(found.patient) if found else None

    def known_to(self, patient: p.PatientId, organisation: o.OrganisationId) -> bool:
        if (patient, organisation) in self._links:
            return True
        if any(x.organisation == organisation for x in self._uow.consultations.of_patient(patient)):
            return True
        return any(
            organisation in {x.ordering, x.performing} for x in self._uow.studies.orders(patient=patient)
        )

    def link_organisation(self, patient: p.PatientId, organisation: o.OrganisationId) -> None:
        self._links.add((patient, organisation))

    def find(self, text: str, organisation: o.OrganisationId, *, limit: int = 20) -> Sequence[p.Patient]:
        wanted = text.strip().casefold()
        found = []
        for patient in self._patients.all():
            if patient.merged_into is not None or not self.known_to(patient.id, organisation):
                continue
            numbers = [x.value.casefold() for x in self.identifiers(patient.id)]
            readings = patient.pinyin.casefold().split("|")
            if (
                wanted in patient.name.casefold()
                or any(x.startswith(wanted) or x.replace(" ", "").startswith(wanted) for x in readings if x)
                or wanted in numbers
                or (patient.phone and patient.phone == wanted)
            ):
                found.append(patient)
        return found[:limit]

    def merged_from(self, patient: p.PatientId) -> Sequence[p.Patient]:
        return [x for x in self._patients.all() if x.merged_into == patient]


class FakeOffers:
    def __init__(self) -> None:
        self._offers: Shelf[m.Offer] = Shelf()

    def get(self, id: m.OfferId) -> m.Offer:
        return self._offers.get(id)

    def add(self, offer: m.Offer) -> None:
        self._offers.add(offer.id, offer)

    def save(self, offer: m.Offer) -> m.Offer:
        return self._offers.save(offer.id, offer)

    def of(self, consultation: m.ConsultationId) -> Sequence[m.Offer]:
        return [x for x in self._offers.all() if x.consultation == consultation]

    def expired(self, moment: datetime, *, limit: int = 100) -> Sequence[m.Offer]:
        late = [x for x in self._offers.all() if x.outcome is m.OfferOutcome.OPEN and x.expires_at <= moment]
        return sorted(late, key=lambda x: x.expires_at)[:limit]


class FakeUnitOfWork:
    """`published` and `revoked` keep what the server would have been told after the commit."""

    def __init__(self, *, now: datetime = NOON, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._now = now
        self._ids = 0
        self.people = FakePeople()
        self.patients = FakePatients(self)
        self.offers = FakeOffers()
        self.meetings = FakeMeetings()
        self.recordings = FakeRecordings()
        self.reports = FakeReports()
        self.studies = FakeStudies()
        self.feedback = FakeFeedback()
        self.events = FakeEvents()
        self.audit = FakeAudit()
        self.consultations = FakeConsultations(self)
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.revoked: list[tuple[frozenset[o.MembershipId], m.ConsultationId]] = []

    @property
    def now(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> None:
        self._now += step

    def new_id(self) -> str:
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012d}"

    def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        self.published.append((topic, payload))

    def revoke(self, *, memberships: Iterable[o.MembershipId], consultation: m.ConsultationId) -> None:
        self.revoked.append((frozenset(memberships), consultation))


def whole(uow: FakeUnitOfWork) -> UnitOfWork:
    """mypy's proof that the fake is a whole UnitOfWork."""
    return uow
