"""The consultation and its parts (ports.Consultations); the lists stand in worklist.py."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, select, text, update

from consult import model as m
from consult import patient as p
from consult import people as o
from consult import ports
from consult.errors import Conflict, NotFound, WrongState
from server.storage import rows, tables
from server.storage.counters import next_value
from server.storage.patients import know
from server.storage.repository import Repository
from server.storage.tables_more import study_share
from server.storage.worklist import count_states, read_worklist

_T = tables
_GUEST = select(_T.participant.c.consultation).where(
    _T.participant.c.membership == bindparam("membership"),
    _T.participant.c.part == m.Part.GUEST,
    _T.participant.c.until.is_(None),
)
# Every search of a technician asks it: made once, SQLAlchemy finds its SQL without looking through it again.
_AS_GUEST = (
    select(*rows.consultation.columns)
    .where(_T.consultation.c.id.in_(_GUEST))
    .order_by(_T.consultation.c.created_at.desc(), _T.consultation.c.id)
)
_SHARED = select(study_share.c.consultation).where(
    study_share.c.study_uid == bindparam("study_uid"), study_share.c.until.is_(None)
)
_SHARING = (
    select(*rows.consultation.columns)
    .where(_T.consultation.c.id.in_(_SHARED))
    .order_by(_T.consultation.c.created_at.desc(), _T.consultation.c.id)
)


class Consultations(Repository):
    def get(self, id: m.ConsultationId) -> m.Consultation:
        return self._get(rows.consultation, id)

    def by_number(self, number: str) -> m.Consultation | None:
        return self._find_by(rows.consultation, number=number)

    def add(self, consultation: m.Consultation) -> None:
        self._add(rows.consultation, consultation)
        self.link.relist.add(consultation.id)
        know(self.link, consultation.patient, consultation.organisation)

    def save(self, consultation: m.Consultation) -> m.Consultation:
        stored = self._save(rows.consultation, consultation)
        self.link.relist.add(consultation.id)
        know(self.link, consultation.patient, consultation.organisation)
        return stored

    def delete_draft(self, id: m.ConsultationId) -> None:
        """The only thing that may be deleted, with everything that hangs on it (its events stay)."""
        if self.get(id).state is not m.State.DRAFT:
            raise WrongState(state=str(self.get(id).state), trigger="delete")
        for table in (
            _T.consent,
            _T.document,
            _T.question,
            _T.request_version,
            _T.participant,
            _T.offer,
            study_share,
            _T.read_mark,
            _T.listing,
        ):
            self.link.execute(delete(table).where(table.c.consultation == id))
        self.link.execute(delete(_T.consultation).where(_T.consultation.c.id == id))

    def of_patient(self, patient: p.PatientId) -> Sequence[m.Consultation]:
        """Newest first."""
        c = _T.consultation.c
        return self._list(rows.consultation, c.patient == patient, order=(c.created_at.desc(), c.id))

    def next_number(self, day: date) -> int:
        """1, 2, 3 … per day, without gaps."""
        return next_value(self.link, f"consultation:{day.isoformat()}")

    def worklist(self, query: ports.WorklistQuery, *, viewer: o.Actor) -> Sequence[ports.WorklistRow]:
        return read_worklist(self.link, query, viewer)

    def counts(self, query: ports.WorklistQuery) -> Mapping[m.State, int]:
        """Per state, over scope and filters (`limit`, `offset`, `sort` aside); states without any are absent."""
        return count_states(self.link, query)

    def due_before(self, moment: datetime, *, limit: int = 100) -> Sequence[m.Consultation]:
        """Deadline at or before the moment, the oldest deadline first; feedback aside."""
        c = _T.consultation.c
        return self._list(
            rows.consultation,
            c.due_at.is_not(None),
            c.due_at <= moment,
            c.state != m.State.FEEDBACK,
            order=(c.due_at, c.id),
            limit=limit,
        )

    def resting(self, state: m.State, since: datetime, *, limit: int = 100) -> Sequence[m.Consultation]:
        """In the state since the moment or longer, the longest first."""
        c = _T.consultation.c
        return self._list(
            rows.consultation,
            c.state == state,
            text("state IN ('acknowledged', 'feedback')"),  # the partial index's own words, so that it is used
            c.state_since <= since,
            order=(c.state_since, c.id),
            limit=limit,
        )

    def request(self, id: m.ConsultationId) -> m.RequestVersion | None:
        c = _T.request_version.c
        found = self._list(rows.request, c.consultation == id, order=(c.n.desc(),), limit=1)
        return found[0] if found else None

    def requests(self, id: m.ConsultationId) -> Sequence[m.RequestVersion]:
        """Oldest first."""
        return self._list_by(rows.request, ("n",), consultation=id)

    def put_request(self, request: m.RequestVersion) -> None:
        values = rows.request.values(request)
        if self.link.insert_new(_T.request_version, values):
            return
        if self.get(request.consultation).state is not m.State.DRAFT:
            raise Conflict(kind="request_version")
        c = _T.request_version.c
        self.link.execute(
            update(_T.request_version)
            .where(c.consultation == request.consultation, c.n == request.n)
            .values(values)
        )

    def questions(self, id: m.ConsultationId) -> Sequence[m.Question]:
        """By number."""
        return self._list_by(rows.question, ("n",), consultation=id)

    def put_questions(self, id: m.ConsultationId, questions: Sequence[m.Question]) -> None:
        """Replaces all questions of the consultation."""
        self.link.execute(delete(_T.question).where(_T.question.c.consultation == id))
        self.link.insert_many(_T.question, [rows.question.values(q) for q in questions])

    def consents(self, id: m.ConsultationId) -> Sequence[m.Consent]:
        """Oldest first, withdrawn ones too."""
        return self._list_by(rows.consent, ("given_at", "id"), consultation=id)

    def add_consent(self, consent: m.Consent) -> None:
        self._add(rows.consent, consent)

    def withdraw_consent(self, id: str, *, at: datetime, reason: str) -> None:
        """Keeps the first withdrawal when there is one."""
        c = _T.consent.c
        self._close(
            update(_T.consent)
            .where(c.id == id, c.withdrawn_at.is_(None))
            .values(withdrawn_at=at, withdrawn_reason=reason),
            select(c.id).where(c.id == id),
        )

    def documents(self, id: m.ConsultationId) -> Sequence[m.Document]:
        """Oldest first, voided ones too."""
        return self._list_by(rows.document, ("added_at", "id"), consultation=id)

    def document(self, id: m.DocumentId) -> m.Document:
        return self._get(rows.document, id)

    def add_document(self, document: m.Document) -> None:
        self._add(rows.document, document)

    def void_document(self, id: m.DocumentId, *, at: datetime, reason: str) -> None:
        """Keeps the first voiding when there is one."""
        c = _T.document.c
        self._close(
            update(_T.document)
            .where(c.id == id, c.voided_at.is_(None))
            .values(voided_at=at, voided_reason=reason),
            select(c.id).where(c.id == id),
        )

    def participants(self, id: m.ConsultationId, *, past: bool = False) -> Sequence[m.Participant]:
        """The earliest first; with `past` also those who have left."""
        ended = {} if past else {"until": None}
        return self._list_by(rows.participant, ("since", "part", "membership"), consultation=id, **ended)

    def add_participant(self, participant: m.Participant) -> None:
        """Conflict when the membership already takes this part now."""
        self._add(rows.participant, participant)
        self.link.relist.add(participant.consultation)

    def end_participant(
        self, id: m.ConsultationId, membership: o.MembershipId, part: m.Part, *, at: datetime
    ) -> None:
        """Nothing happens when the membership does not take this part now."""
        c = _T.participant.c
        self.link.execute(
            update(_T.participant)
            .where(c.consultation == id, c.membership == membership, c.part == part, c.until.is_(None))
            .values(until=at)
        )
        self.link.relist.add(id)

    def invitations(
        self, *, membership: o.MembershipId | None = None, before: datetime | None = None
    ) -> Sequence[m.Participant]:
        """Unused ones, those that end first first."""
        c = _T.participant.c
        where: list[ColumnElement[bool]] = [c.until.is_(None), c.expires_at.is_not(None)]
        if membership is not None:
            where.append(c.membership == membership)
        if before is not None:
            where.append(c.expires_at <= before)
        return self._list(rows.participant, *where, order=(c.expires_at, c.consultation, c.membership))

    def shares(self, id: m.ConsultationId, *, past: bool = False) -> Sequence[m.StudyShare]:
        """The earliest first; with `past` also ended ones."""
        ended = {} if past else {"until": None}
        return self._list_by(rows.share, ("since", "study_uid"), consultation=id, **ended)

    def add_share(self, share: m.StudyShare) -> None:
        """Conflict when the study is already part of the material."""
        self._add(rows.share, share)

    def end_share(self, id: m.ConsultationId, study_uid: str, *, at: datetime) -> None:
        """Nothing happens when the study is not part of the material now."""
        c = study_share.c
        self.link.execute(
            update(study_share)
            .where(c.consultation == id, c.study_uid == study_uid, c.until.is_(None))
            .values(until=at)
        )

    def sharing(self, study_uid: str) -> Sequence[m.Consultation]:
        """Newest first."""
        found = self.link.execute(_SHARING, {"study_uid": study_uid})
        return [rows.consultation.one(row) for row in found]

    def as_guest(self, membership: o.MembershipId) -> Sequence[m.Consultation]:
        """Newest first."""
        found = self.link.execute(_AS_GUEST, {"membership": membership})
        return [rows.consultation.one(row) for row in found]

    def mark_read(self, id: m.ConsultationId, membership: o.MembershipId, *, at: datetime) -> None:
        c = _T.read_mark.c
        values = {"consultation": id, "membership": membership, "at": at}
        if not self.link.insert_new(_T.read_mark, values):
            self.link.execute(
                update(_T.read_mark)
                .where(c.consultation == id, c.membership == membership, c.at < at)
                .values(at=at)
            )

    def mark_unread(self, id: m.ConsultationId, membership: o.MembershipId) -> None:
        """As if it had never been opened."""
        c = _T.read_mark.c
        self.link.execute(delete(_T.read_mark).where(c.consultation == id, c.membership == membership))

    def _close(self, statement: Any, exists: Any) -> None:
        if self.link.execute(statement).rowcount == 0 and self.link.execute(exists).first() is None:
            raise NotFound
