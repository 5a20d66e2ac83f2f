"""Exam orders and study matches (ports.Studies)."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import exists, or_, select, update

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.errors import NotFound
from server.storage import rows
from server.storage.counters import next_value
from server.storage.patients import know
from server.storage.repository import Repository
from server.storage.tables_devices import performed_step
from server.storage.tables_more import exam_order, study_match


class Studies(Repository):
    def order(self, id: m.OrderId) -> m.ExamOrder:
        return self._get(rows.order, id)

    def orders(
        self,
        *,
        organisation: o.OrganisationId | None = None,
        patient: p.PatientId | None = None,
        consultation: m.ConsultationId | None = None,
        limit: int = 100,
    ) -> Sequence[m.ExamOrder]:
        """Newest first; `organisation` orders or performs. Voided ones are included."""
        c = exam_order.c
        where: list[Any] = []
        if organisation is not None:
            where.append(or_(c.ordering == organisation, c.performing == organisation))
        if patient is not None:
            where.append(c.patient == patient)
        if consultation is not None:
            where.append(c.consultation == consultation)
        return self._list(rows.order, *where, order=(c.at.desc(), c.id), limit=limit)

    def open_orders(
        self, *, performing: o.OrganisationId, since: datetime, modalities: frozenset[str], limit: int
    ) -> Sequence[m.ExamOrder]:
        """Orders to be performed there: not voided, no study matched, no step completed. Newest first; no
        `modalities`: all.
        """
        c, s, x = exam_order.c, performed_step.c, study_match.c
        where: list[Any] = [c.performing == performing, c.at >= since, c.voided_at.is_(None)]
        if modalities:
            where.append(c.modality.in_(sorted(modalities)))
        done = (s.organisation == performing) & (s.accession == c.accession) & (s.status == "COMPLETED")
        where.append(~exists().where(done))
        where.append(~exists().where((x.order == c.id) & x.voided_at.is_(None)))
        return self._list(rows.order, *where, order=(c.at.desc(), c.id), limit=limit)

    def order_by_accession(self, issuer: o.OrganisationId, accession: str) -> m.ExamOrder | None:
        return self._find_by(rows.order, issuer=issuer, accession=accession)

    def next_accession(self, issuer: o.OrganisationId, day: date) -> int:
        """1, 2, 3 … per issuer and day, without gaps."""
        return next_value(self.link, f"accession:{issuer}:{day.isoformat()}")

    def add_order(self, order: m.ExamOrder) -> None:
        self._add(rows.order, order)
        know(self.link, order.patient, order.ordering, order.performing)

    def save_order(self, order: m.ExamOrder) -> m.ExamOrder:
        return self._save(rows.order, order)

    def match(self, study_uid: str, organisation: o.OrganisationId) -> m.StudyMatch | None:
        return self._find_by(rows.match, study_uid=study_uid, organisation=organisation, voided_at=None)

    def matches(
        self,
        *,
        organisation: o.OrganisationId | None = None,
        patient: p.PatientId | None = None,
        study_uid: str | None = None,
    ) -> Sequence[m.StudyMatch]:
        given = {"organisation": organisation, "patient": patient, "study_uid": study_uid}
        equal = {name: value for name, value in given.items() if value is not None}
        return self._list_by(rows.match, ("at", "id"), voided_at=None, **equal)

    def add_match(self, match: m.StudyMatch) -> None:
        """Conflict when the study already has a match in force at that organisation."""
        self._add(rows.match, match)

    def void_match(
        self, id: str, *, by: o.MembershipId | None, at: datetime, reason: str
    ) -> None:
        """Keeps the first voiding when there is one."""
        c = study_match.c
        changed = self.link.execute(
            update(study_match)
            .where(c.id == id, c.voided_at.is_(None))
            .values(voided_at=at, voided_by=by, voided_reason=reason)
        ).rowcount
        if changed == 0 and self.link.execute(select(c.id).where(c.id == id)).first() is None:
            raise NotFound(kind="study_match")
