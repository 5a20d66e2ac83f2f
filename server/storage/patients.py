"""Patients, their identifiers, and the organisations that know them (ports.Patients)."""

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, select, update

from consult import patient as p
from consult import people as o
from consult.errors import NotFound
from server.storage import rows
from server.storage.repository import Link, Repository, escape
from server.storage.tables import patient, patient_identifier, patient_organisation


def know(link: Link, patient: str, *organisations: str | None) -> None:
    """These organisations find the patient from now on."""
    for organisation in organisations:
        if organisation is not None:
            link.insert_new(patient_organisation, {"patient": patient, "organisation": organisation})


class Patients(Repository):
    def get(self, id: p.PatientId) -> p.Patient:
        return self._get(rows.patient, id)

    def add(self, patient: p.Patient) -> None:
        self._add(rows.patient, patient)
        know(self.link, patient.id, patient.registered_by)

    def save(self, patient: p.Patient) -> p.Patient:
        return self._save(rows.patient, patient)

    def identifiers(self, patient: p.PatientId) -> Sequence[p.PatientIdentifier]:
        return self._list_by(rows.identifier, ("system", "issuer", "value"), patient=patient)

    def add_identifier(self, identifier: p.PatientIdentifier) -> None:
        self._add(rows.identifier, identifier)

    def remove_identifier(self, identifier: p.PatientIdentifier) -> None:
        c = patient_identifier.c
        gone = self.link.execute(
            delete(patient_identifier).where(
                c.patient == identifier.patient,
                c.system == identifier.system,
                c.issuer == identifier.issuer,
                c.value == identifier.value,
            )
        ).rowcount
        if gone == 0:
            raise NotFound(kind="patient_identifier")

    def move_identifiers(self, source: p.PatientId, target: p.PatientId) -> int:
        """All identifiers of `source` become the target's; returns how many."""
        c = patient_identifier.c
        return self.link.execute(
            update(patient_identifier).where(c.patient == source).values(patient=target)
        ).rowcount

    def by_identifier(self, system: p.IdentifierSystem, issuer: str, value: str) -> p.Patient | None:
        c = patient_identifier.c
        holder = select(c.patient).where(c.system == system, c.issuer == issuer, c.value == value)
        return self._find(rows.patient, patient.c.id == holder.scalar_subquery())

    def known_to(self, patient: p.PatientId, organisation: o.OrganisationId) -> bool:
        c = patient_organisation.c
        query = select(c.patient).where(c.organisation == organisation, c.patient == patient)
        return self.link.execute(query).first() is not None

    def link_organisation(self, patient: p.PatientId, organisation: o.OrganisationId) -> None:
        """Harmless when already linked."""
        know(self.link, patient, organisation)

    def find(self, text: str, organisation: o.OrganisationId, *, limit: int = 20) -> Sequence[p.Patient]:
        """By name; merged records are left out. An empty text finds nobody."""
        wanted = text.strip()
        if not wanted:
            return []
        c = patient.c
        known = select(patient_organisation.c.patient).where(
            patient_organisation.c.organisation == organisation
        )
        held = select(patient_identifier.c.patient).where(
            patient_identifier.c.value.in_({wanted, wanted.upper(), wanted.lower()})
        )
        letters = "".join(wanted.lower().split())
        return self._list(
            rows.patient,
            c.merged_into.is_(None),
            c.id.in_(known),
            or_(
                func.lower(c.name).like(f"%{escape(wanted.lower())}%", escape="\\"),
                c.pinyin_key.like(f"%|{escape(letters)}%", escape="\\"),
                c.phone == wanted,
                c.id.in_(held),
            ),
            order=(c.name, c.id),
            limit=limit,
        )

    def merged_from(self, patient: p.PatientId) -> Sequence[p.Patient]:
        """Records merged into this one, oldest first."""
        return self._list_by(rows.patient, ("created_at", "id"), merged_into=patient)
