"""Consultations in memory, worklist included."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from consult import model as m
from consult import patient as p
from consult import people as o
from consult.errors import Conflict, NotFound, WrongState
from consult.ports import WorklistQuery, WorklistRow
from tests.domain.fakes_store import Shelf

if TYPE_CHECKING:
    from tests.domain.fakes import FakeUnitOfWork

_URGENCY = {m.Urgency.STAT: 0, m.Urgency.URGENT: 1, m.Urgency.ROUTINE: 2}
_EXPERTS = {m.Part.EXPERT, m.Part.REVIEWER, m.Part.CHAIR}


class FakeConsultations:
    def __init__(self, uow: "FakeUnitOfWork") -> None:
        self._uow = uow
        self._items: Shelf[m.Consultation] = Shelf()
        self._numbers: Counter[date] = Counter()
        self._requests: dict[tuple[m.ConsultationId, int], m.RequestVersion] = {}
        self._questions: dict[m.ConsultationId, tuple[m.Question, ...]] = {}
        self._consents: dict[str, m.Consent] = {}
        self._documents: Shelf[m.Document] = Shelf()
        self._participants: list[m.Participant] = []
        self._shares: list[m.StudyShare] = []
        self._read: dict[tuple[m.ConsultationId, o.MembershipId], datetime] = {}
        self.deleted: list[m.ConsultationId] = []

    def get(self, id: m.ConsultationId) -> m.Consultation:
        return self._items.get(id)

    def by_number(self, number: str) -> m.Consultation | None:
        return next((x for x in self._items.all() if x.number == number), None)

    def add(self, consultation: m.Consultation) -> None:
        if self.by_number(consultation.number) is not None:
            raise Conflict(field="number")
        self._items.add(consultation.id, consultation)

    def save(self, consultation: m.Consultation) -> m.Consultation:
        return self._items.save(consultation.id, consultation)

    def delete_draft(self, id: m.ConsultationId) -> None:
        if self._items.get(id).state is not m.State.DRAFT:
            raise WrongState(state=self._items.get(id).state.value, trigger="delete")
        self._items.remove(id)
        self.deleted.append(id)

    def of_patient(self, patient: p.PatientId) -> Sequence[m.Consultation]:
        return [x for x in self._items.all() if x.patient == patient]

    def next_number(self, day: date) -> int:
        self._numbers[day] += 1
        return self._numbers[day]

    def _matching(self, query: WorklistQuery) -> Sequence[m.Consultation]:
        return [x for x in self._items.all() if self._in_scope(x, query) and self._passes(x, query)]

    def _in_scope(self, x: m.Consultation, query: WorklistQuery) -> bool:
        offers = [f for f in self._uow.offers.of(x.id) if f.outcome is m.OfferOutcome.OPEN]
        return (
            (query.organisation is not None and x.organisation == query.organisation)
            or (
                query.participant is not None
                and any(y.membership == query.participant for y in self.participants(x.id))
            )
            or (query.offered_to is not None and any(f.membership == query.offered_to for f in offers))
            or (
                query.pool is not None
                and any(
                    f.membership is None
                    and f.organisation == query.pool
                    and (not f.specialty or f.specialty in query.pool_specialties)
                    for f in offers
                )
            )
            or (
                query.centre is not None
                and x.state is not m.State.DRAFT
                and (x.target_organisation == query.centre or any(f.organisation == query.centre for f in offers))
            )
        )

    def _passes(self, x: m.Consultation, query: WorklistQuery) -> bool:
        patient = self._uow.patients.get(x.patient)
        return (
            (not query.states or x.state in query.states)
            and (query.service is None or x.service is query.service)
            and (query.urgency is None or x.urgency is query.urgency)
            and (
                query.other_organisation is None
                or query.other_organisation in {x.organisation, x.target_organisation}
            )
            and (query.since is None or x.created_at >= query.since)
            and (query.until is None or x.created_at < query.until)
            and (query.due_before is None or (x.due_at is not None and x.due_at < query.due_before))
            and (not query.text or query.text in x.number or query.text in patient.name)
        )

    def worklist(self, query: WorklistQuery, *, viewer: o.Actor) -> Sequence[WorklistRow]:
        rows = [self._row(x, viewer) for x in self._matching(query)]
        keys: Mapping[str, Any] = {
            "urgency": lambda r: (_URGENCY[r.consultation.urgency], r.consultation.state_since),
            "waiting": lambda r: r.consultation.state_since,
            "updated": lambda r: (-r.consultation.state_since.timestamp(), r.consultation.number),
        }
        rows.sort(key=keys[query.sort])
        return rows[query.offset : query.offset + query.limit]

    def _row(self, x: m.Consultation, viewer: o.Actor) -> WorklistRow:
        people = self._uow.people
        parts = self.participants(x.id)
        experts = [y for y in parts if y.part in _EXPERTS]
        request = self.request(x.id)
        offers = [f for f in self._uow.offers.of(x.id) if f.outcome is m.OfferOutcome.OPEN]
        return WorklistRow(
            consultation=x,
            patient=self._uow.patients.get(x.patient),
            requesting_name=people.organisation(x.organisation).short_name,
            target_name=people.organisation(x.target_organisation).short_name if x.target_organisation else "",
            expert_name=people.staff(people.membership(experts[0].membership).staff).name if experts else "",
            purpose=str(request.content.get("purpose", "")) if request else "",
            questions=len(self.questions(x.id)),
            studies=len(self.shares(x.id)),
            documents=len([d for d in self.documents(x.id) if d.voided_at is None]),
            unread=self._read.get((x.id, viewer.membership), datetime.min.replace(tzinfo=x.created_at.tzinfo))
            < x.state_since,
            offer=offers[0] if offers else None,
            part=min(
                (y.part for y in parts if y.membership == viewer.membership), key=lambda y: y is m.Part.GUEST, default=None
            ),
        )

    def counts(self, query: WorklistQuery) -> Mapping[m.State, int]:
        return Counter(x.state for x in self._matching(query))

    def due_before(self, moment: datetime, *, limit: int = 100) -> Sequence[m.Consultation]:
        late = [
            x
            for x in self._items.all()
            if x.due_at is not None and x.due_at <= moment and x.state is not m.State.FEEDBACK
        ]
        return sorted(late, key=lambda x: x.due_at or moment)[:limit]

    def resting(self, state: m.State, since: datetime, *, limit: int = 100) -> Sequence[m.Consultation]:
        found = [x for x in self._items.all() if x.state is state and x.state_since <= since]
        return sorted(found, key=lambda x: (x.state_since, x.id))[:limit]

    def request(self, id: m.ConsultationId) -> m.RequestVersion | None:
        return next(iter(reversed(self.requests(id))), None)

    def requests(self, id: m.ConsultationId) -> Sequence[m.RequestVersion]:
        return sorted((x for (c, _), x in self._requests.items() if c == id), key=lambda x: x.n)

    def put_request(self, request: m.RequestVersion) -> None:
        key = (request.consultation, request.n)
        if key in self._requests and self._items.get(request.consultation).state is not m.State.DRAFT:
            raise Conflict(field="n")
        self._requests[key] = request

    def questions(self, id: m.ConsultationId) -> Sequence[m.Question]:
        return self._questions.get(id, ())

    def put_questions(self, id: m.ConsultationId, questions: Sequence[m.Question]) -> None:
        self._questions[id] = tuple(questions)

    def consents(self, id: m.ConsultationId) -> Sequence[m.Consent]:
        return [x for x in self._consents.values() if x.consultation == id]

    def add_consent(self, consent: m.Consent) -> None:
        self._consents[consent.id] = consent

    def withdraw_consent(self, id: str, *, at: datetime, reason: str) -> None:
        if id not in self._consents:
            raise NotFound
        self._consents[id] = replace(self._consents[id], withdrawn_at=at, withdrawn_reason=reason)

    def documents(self, id: m.ConsultationId) -> Sequence[m.Document]:
        return [x for x in self._documents.all() if x.consultation == id]

    def document(self, id: m.DocumentId) -> m.Document:
        return self._documents.get(id)

    def add_document(self, document: m.Document) -> None:
        self._documents.add(document.id, document)

    def void_document(self, id: m.DocumentId, *, at: datetime, reason: str) -> None:
        self._documents.put(id, replace(self._documents.get(id), voided_at=at, voided_reason=reason))

    def participants(self, id: m.ConsultationId, *, past: bool = False) -> Sequence[m.Participant]:
        return [x for x in self._participants if x.consultation == id and (past or x.until is None)]

    def add_participant(self, participant: m.Participant) -> None:
        for x in self.participants(participant.consultation):
            if x.membership == participant.membership and x.part is participant.part:
                raise Conflict(field="participant")
        self._participants.append(participant)

    def end_participant(
        self, id: m.ConsultationId, membership: o.MembershipId, part: m.Part, *, at: datetime
    ) -> None:
        for n, x in enumerate(self._participants):
            if (x.consultation, x.membership, x.part, x.until) == (id, membership, part, None):
                self._participants[n] = replace(x, until=at)

    def invitations(
        self, *, membership: o.MembershipId | None = None, before: datetime | None = None
    ) -> Sequence[m.Participant]:
        found = [
            x for x in self._participants
            if x.until is None and x.expires_at is not None
            and (membership is None or x.membership == membership)
            and (before is None or x.expires_at <= before)
        ]
        return sorted(found, key=lambda x: (x.expires_at, x.consultation, x.membership))

    def shares(self, id: m.ConsultationId, *, past: bool = False) -> Sequence[m.StudyShare]:
        return [x for x in self._shares if x.consultation == id and (past or x.until is None)]

    def add_share(self, share: m.StudyShare) -> None:
        if any(x.study_uid == share.study_uid for x in self.shares(share.consultation)):
            raise Conflict(field="study")
        self._shares.append(share)

    def end_share(self, id: m.ConsultationId, study_uid: str, *, at: datetime) -> None:
        for n, x in enumerate(self._shares):
            if (x.consultation, x.study_uid, x.until) == (id, study_uid, None):
                self._shares[n] = replace(x, until=at)

    def sharing(self, study_uid: str) -> Sequence[m.Consultation]:
        ids = dict.fromkeys(x.consultation for x in self._shares if x.study_uid == study_uid and x.until is None)
        return [self._items.get(x) for x in ids]

    def as_guest(self, membership: o.MembershipId) -> Sequence[m.Consultation]:
        return [
            self._items.get(x.consultation) for x in self._participants
            if x.membership == membership and x.part is m.Part.GUEST and x.until is None
        ]

    def mark_read(self, id: m.ConsultationId, membership: o.MembershipId, *, at: datetime) -> None:
        self._read[id, membership] = at

    def mark_unread(self, id: m.ConsultationId, membership: o.MembershipId) -> None:
        self._read.pop((id, membership), None)
