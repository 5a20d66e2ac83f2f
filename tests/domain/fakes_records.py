"""Meetings, reports, studies, events and audit in memory."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.errors import Conflict, NotFound
from consult.feedback_entry import FeedbackEntry, Side
from consult.line_sums import SeatLine
from tests.domain.fakes_store import Shelf


class FakeMeetings:
    def __init__(self) -> None:
        self._sessions: Shelf[m.Session] = Shelf()
        self._seats: Shelf[m.Seat] = Shelf()
        self._attendances: list[m.Attendance] = []
        self._messages: dict[tuple[str, str, str], m.Message] = {}
        self._lines: dict[m.SeatId, SeatLine] = {}

    def session(self, id: m.SessionId) -> m.Session:
        return self._sessions.get(id)

    def sessions(self, consultation: m.ConsultationId) -> Sequence[m.Session]:
        return [x for x in self._sessions.all() if x.consultation == consultation]

    def running(self, consultation: m.ConsultationId) -> m.Session | None:
        return next((x for x in self.sessions(consultation) if x.ended_at is None), None)

    def running_for(self, membership: o.MembershipId) -> Sequence[m.Session]:
        return [
            x
            for x in self._sessions.all()
            if x.ended_at is None and self.seat_of(x.id, membership) is not None
        ]

    def add_session(self, session: m.Session) -> None:
        if self.running(session.consultation) is not None and session.ended_at is None:
            raise Conflict(field="session")
        self._sessions.add(session.id, session)

    def save_session(self, session: m.Session) -> m.Session:
        return self._sessions.save(session.id, session)

    def seat(self, id: m.SeatId) -> m.Seat:
        return self._seats.get(id)

    def seats(self, session: m.SessionId) -> Sequence[m.Seat]:
        return [x for x in self._seats.all() if x.session == session]

    def seat_of(self, session: m.SessionId, membership: o.MembershipId) -> m.Seat | None:
        return next((x for x in self.seats(session) if x.membership == membership), None)

    def add_seat(self, seat: m.Seat) -> None:
        if self.seat_of(seat.session, seat.membership) is not None:
            raise Conflict(field="seat")
        self._seats.add(seat.id, seat)

    def save_seat(self, seat: m.Seat) -> m.Seat:
        return self._seats.save(seat.id, seat)

    def attendances(self, session: m.SessionId) -> Sequence[m.Attendance]:
        seats = {x.id for x in self.seats(session)}
        return [x for x in self._attendances if x.seat in seats]

    def enter(self, attendance: m.Attendance) -> None:
        self._attendances.append(attendance)

    def leave(self, seat: m.SeatId, *, at: datetime, reason: str) -> None:
        for n, x in enumerate(self._attendances):
            if x.seat == seat and x.left_at is None:
                self._attendances[n] = replace(x, left_at=at, reason=reason)

    def line(self, seat: m.SeatId) -> SeatLine | None:
        return self._lines.get(seat)

    def lines(self, session: m.SessionId) -> Sequence[SeatLine]:
        return [x for _, x in sorted(self._lines.items()) if x.session == session]

    def put_line(self, line: SeatLine) -> None:
        self._lines[line.seat] = line

    def add_message(self, message: m.Message) -> m.Message:
        key = (message.consultation, message.membership, message.client_id)
        return self._messages.setdefault(key, message)

    def messages(
        self, consultation: m.ConsultationId, *, after: datetime | None = None
    ) -> Sequence[m.Message]:
        return [
            x
            for x in self._messages.values()
            if x.consultation == consultation and (after is None or x.at > after)
        ]


class FakeReports:
    def __init__(self) -> None:
        self._reports: Shelf[m.Report] = Shelf()
        self._versions: Shelf[m.ReportVersion] = Shelf()
        self._pdfs: dict[m.ReportVersionId, bytes] = {}
        self._signatures: list[m.Signature] = []
        self._filings: Shelf[m.Filing] = Shelf()

    def get(self, id: m.ReportId) -> m.Report:
        return self._reports.get(id)

    def of(self, consultation: m.ConsultationId) -> Sequence[m.Report]:
        return [x for x in self._reports.all() if x.consultation == consultation]

    def add(self, report: m.Report) -> None:
        self._reports.add(report.id, report)

    def save(self, report: m.Report) -> m.Report:
        return self._reports.save(report.id, report)

    def version(self, id: m.ReportVersionId) -> m.ReportVersion:
        return self._versions.get(id)

    def versions(self, consultation: m.ConsultationId) -> Sequence[m.ReportVersion]:
        return [x for x in self._versions.all() if x.consultation == consultation]

    def by_code(self, code: str) -> m.ReportVersion | None:
        return next((x for x in self._versions.all() if x.code == code), None)

    def add_version(
        self, version: m.ReportVersion, pdf: bytes, signatures: Sequence[m.Signature]
    ) -> None:
        if any(x.n == version.n for x in self.versions(version.consultation)) or self.by_code(version.code):
            raise Conflict(field="version")
        self._versions.add(version.id, version)
        self._pdfs[version.id] = pdf
        self._signatures.extend(signatures)

    def pdf(self, id: m.ReportVersionId) -> bytes:
        if id not in self._pdfs:
            raise NotFound
        return self._pdfs[id]

    def signatures(self, id: m.ReportVersionId) -> Sequence[m.Signature]:
        return [x for x in self._signatures if x.report_version == id]

    def filing(self, id: str) -> m.Filing:
        return self._filings.get(id)

    def filings(self, consultation: m.ConsultationId) -> Sequence[m.Filing]:
        return [x for x in self._filings.all() if x.consultation == consultation]

    def pending_filings(self, channel: str, *, limit: int = 100) -> Sequence[m.Filing]:
        return [x for x in self._filings.all() if x.channel == channel and x.state == "pending"][:limit]

    def add_filing(self, filing: m.Filing) -> None:
        for x in self._filings.all():
            if (x.report_version, x.organisation, x.channel) == (
                filing.report_version,
                filing.organisation,
                filing.channel,
            ):
                raise Conflict(field="filing")
        self._filings.add(filing.id, filing)

    def save_filing(self, filing: m.Filing) -> m.Filing:
        return self._filings.save(filing.id, filing)

    def inbox(
        self, organisation: o.OrganisationId, *, open_only: bool = True, limit: int = 100
    ) -> Sequence[m.Filing]:
        return [
            x
            for x in self._filings.all()
            if x.organisation == organisation
            and x.channel == "inbox"
            and not (open_only and x.acknowledged_at is not None)
        ][:limit]


class FakeStudies:
    def __init__(self) -> None:
        self._orders: Shelf[m.ExamOrder] = Shelf()
        self._matches: Shelf[m.StudyMatch] = Shelf()
        self._accessions: Counter[tuple[o.OrganisationId, date]] = Counter()

    def order(self, id: m.OrderId) -> m.ExamOrder:
        return self._orders.get(id)

    def orders(
        self,
        *,
        organisation: o.OrganisationId | None = None,
        patient: p.PatientId | None = None,
        consultation: m.ConsultationId | None = None,
        limit: int = 100,
    ) -> Sequence[m.ExamOrder]:
        return [
            x
            for x in self._orders.all()
            if (organisation is None or organisation in {x.ordering, x.performing})
            and (patient is None or x.patient == patient)
            and (consultation is None or x.consultation == consultation)
        ][:limit]

    def order_by_accession(self, issuer: o.OrganisationId, accession: str) -> m.ExamOrder | None:
        return next((x for x in self._orders.all() if (x.issuer, x.accession) == (issuer, accession)), None)

    def next_accession(self, issuer: o.OrganisationId, day: date) -> int:
        self._accessions[issuer, day] += 1
        return self._accessions[issuer, day]

    def add_order(self, order: m.ExamOrder) -> None:
        if self.order_by_accession(order.issuer, order.accession) is not None:
            raise Conflict(field="accession")
        self._orders.add(order.id, order)

    def save_order(self, order: m.ExamOrder) -> m.ExamOrder:
        return self._orders.save(order.id, order)

    def match(self, study_uid: str, organisation: o.OrganisationId) -> m.StudyMatch | None:
        return next(iter(self.matches(study_uid=study_uid, organisation=organisation)), None)

    def matches(
        self,
        *,
        organisation: o.OrganisationId | None = None,
        patient: p.PatientId | None = None,
        study_uid: str | None = None,
    ) -> Sequence[m.StudyMatch]:
        return [
            x
            for x in self._matches.all()
            if x.voided_at is None
            and (organisation is None or x.organisation == organisation)
            and (patient is None or x.patient == patient)
            and (study_uid is None or x.study_uid == study_uid)
        ]

    def add_match(self, match: m.StudyMatch) -> None:
        if self.match(match.study_uid, match.organisation) is not None:
            raise Conflict(field="study")
        self._matches.add(match.id, match)

    def void_match(self, id: str, *, by: o.MembershipId | None, at: datetime, reason: str) -> None:
        match = self._matches.get(id)
        self._matches.put(id, replace(match, voided_at=at, voided_by=by, voided_reason=reason))


class FakeFeedback:
    def __init__(self) -> None:
        self._entries: list[FeedbackEntry] = []

    def of(self, consultation: m.ConsultationId) -> Sequence[FeedbackEntry]:
        return [x for x in self._entries if x.consultation == consultation]

    def add(self, entry: FeedbackEntry) -> None:
        for x in self.of(entry.consultation):
            same_day = entry.side is Side.CLINIC and x.day == entry.day
            same_expert = entry.side is Side.EXPERT and x.by == entry.by
            if x.side is entry.side and (same_day or same_expert):
                raise Conflict(field="feedback")
        self._entries.append(entry)


class FakeEvents:
    def __init__(self) -> None:
        self.all: list[m.Event] = []

    def append(self, event: m.Event) -> None:
        if event.n != self.next_n(event.aggregate):
            raise Conflict(field="n")
        self.all.append(event)

    def of(self, aggregate: str) -> Sequence[m.Event]:
        return [x for x in self.all if x.aggregate == aggregate]

    def next_n(self, aggregate: str) -> int:
        return len(self.of(aggregate)) + 1


class FakeAudit:
    def __init__(self) -> None:
        self._rows: list[m.AuditRow] = []

    def append(self, row: m.AuditRow) -> m.AuditRow:
        before = self._rows[-1].hash if self._rows else ""
        text = f"{before}{row.at.isoformat()}{row.membership}{row.action}{row.object}{row.outcome}"
        stored = replace(row, n=len(self._rows) + 1, hash=hashlib.sha256(text.encode()).hexdigest())
        self._rows.append(stored)
        return stored

    def rows(
        self,
        *,
        object: str | None = None,
        staff: o.StaffId | None = None,
        organisation: o.OrganisationId | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = 200,
    ) -> Sequence[m.AuditRow]:
        return [
            x
            for x in (self._rows if before is None else reversed(self._rows))
            if x.n > after
            and (before is None or x.n < before)
            and (object is None or x.object == object)
            and (staff is None or x.staff == staff)
            and (organisation is None or x.organisation == organisation)
        ][:limit]
