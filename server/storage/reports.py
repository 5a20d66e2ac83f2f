"""Drafts, signed versions with their PDF and signatures, and filings (ports.Reports)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from consult import model as m
from consult import people as o
from consult.errors import NotFound
from server.storage import rows
from server.storage.repository import Repository
from server.storage.tables import filing, report_pdf


class Reports(Repository):
    def get(self, id: m.ReportId) -> m.Report:
        return self._get(rows.report, id)

    def of(self, consultation: m.ConsultationId) -> Sequence[m.Report]:
        """By part, then author."""
        return self._list_by(rows.report, ("part", "author", "id"), consultation=consultation)

    def add(self, report: m.Report) -> None:
        self._add(rows.report, report)

    def save(self, report: m.Report) -> m.Report:
        return self._save(rows.report, report)

    def version(self, id: m.ReportVersionId) -> m.ReportVersion:
        return self._get(rows.report_version, id)

    def versions(self, consultation: m.ConsultationId) -> Sequence[m.ReportVersion]:
        return self._list_by(rows.report_version, ("signed_at", "n", "id"), consultation=consultation)

    def by_code(self, code: str) -> m.ReportVersion | None:
        return self._find_by(rows.report_version, code=code)

    def add_version(
        self, version: m.ReportVersion, pdf: bytes, signatures: Sequence[m.Signature]
    ) -> None:
        """Version, PDF and signatures in the same commit; insert-only from then on."""
        self._add(rows.report_version, version)
        self.link.insert(report_pdf, {"report_version": version.id, "pdf": pdf})
        for one in signatures:
            self._add(rows.signature, one)

    def pdf(self, id: m.ReportVersionId) -> bytes:
        row = self.link.execute(select(report_pdf.c.pdf).where(report_pdf.c.report_version == id)).first()
        if row is None:
            raise NotFound(kind="report_pdf")
        return bytes(row[0])

    def signatures(self, id: m.ReportVersionId) -> Sequence[m.Signature]:
        """In the order they were given."""
        return self._list_by(rows.signature, ("at", "part", "staff"), report_version=id)

    def filing(self, id: str) -> m.Filing:
        return self._get(rows.filing, id)

    def filings(self, consultation: m.ConsultationId) -> Sequence[m.Filing]:
        """Oldest version first."""
        c = filing.c
        return self._list(
            rows.filing, c.consultation == consultation, order=(c.filed_at.nulls_last(), c.channel, c.id)
        )

    def pending_filings(self, channel: str, *, limit: int = 100) -> Sequence[m.Filing]:
        """Those still to be delivered through a channel, the fewest attempts first."""
        c = filing.c
        return self._list(
            rows.filing,
            c.channel == channel,
            c.state == "pending",
            order=(c.attempts, c.id),
            limit=limit,
        )

    def add_filing(self, filing: m.Filing) -> None:
        self._add(rows.filing, filing)

    def save_filing(self, filing: m.Filing) -> m.Filing:
        return self._save(rows.filing, filing)

    def inbox(
        self, organisation: o.OrganisationId, *, open_only: bool = True, limit: int = 100
    ) -> Sequence[m.Filing]:
        """In the organisation's inbox, the newest first; `open_only` leaves acknowledged ones out."""
        c = filing.c
        where: list[Any] = [c.organisation == organisation, c.channel == "inbox"]
        if open_only:
            where.append(c.acknowledged_at.is_(None))
        return self._list(rows.filing, *where, order=(c.filed_at.desc(), c.id), limit=limit)
