"""One consultation as one person may see it, read in one unit of work: what pages and the JSON view are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Action, Opened, allowed_actions, may, open_consultation, surviving
from consult.feedback import RATEABLE, due_day, has_rated, last_day_from
from consult.feedback_entry import FeedbackEntry, Side
from consult.lifecycle import Trigger, deletable, steps
from consult.moving import pullers_of
from consult.patient import IdentifierSystem, Patient, Sex
from consult.people import Actor, MembershipId
from consult.ports import UnitOfWork
from consult.ringing import Phone, phone_list
from consult.timeline import Line, timeline
from server.auth.audit import audit

DOCUMENT_SYSTEMS = (IdentifierSystem.RESIDENT_ID, IdentifierSystem.PASSPORT, IdentifierSystem.OTHER_DOCUMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A participant as others see them."""

    membership: MembershipId
    name: str
    title: str
    organisation: str
    department: str
    part: m.Part
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the clinic's feedback dialog begins with. `before`: its earlier entry; `last_from`: see last_day_from."""

    day: int
    last_from: datetime
    before: FeedbackEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`full`: the request, the patient and the material are there; else only the queue row's facts (DOMAIN §6, q)."""

    consultation: m.Consultation
    opened: Opened
    actions: frozenset[Action]
    triggers: tuple[Trigger, ...]
    full: bool
    may_delete: bool
    requesting_name: str
    target_name: str
    sex: Sex
    age_band: str
    patient: Patient | None
    banner: Mapping[str, Any] | None
    request: m.RequestVersion | None
    questions: Sequence[m.Question]
    consents: Sequence[m.Consent]
    documents: Sequence[m.Document]
    shares: Sequence[m.StudyShare]
    people: Sequence[Person]
    offer: m.Offer | None
    session: m.Session | None
    messages: Sequence[m.Message]
    versions: Sequence[m.ReportVersion]
    filings: Sequence[m.Filing]
    lines: Sequence[Line]
    feedback: Sequence[FeedbackEntry]
    asking: Asking | None
    may_rate: bool
    phones: Sequence[Phone]

    def can(self, action: str) -> bool:
        """`case.can("room.enter")` in a template."""
        return Action(action) in self.actions

    def next(self, trigger: str) -> bool:
        """Whether the lifecycle lets this person pull `trigger` now."""
        return Trigger(trigger) in self.triggers

    def name_of(self, membership: MembershipId) -> str:
        """The name of a participant; empty for somebody who is none."""
        return next((x.name for x in self.people if x.membership == membership), "")


def age_band(birth: Any, today: Any) -> str:
    """Ten-year band such as `50–59`, for rows that may not show more; empty when unknown."""
    if birth is None:
        return ""
    years = today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
    low = max(0, years // 10 * 10)
    return f"{low}–{low + 9}"


def patient_banner(uow: UnitOfWork, patient: Patient) -> dict[str, Any]:
    """What base.html's patient banner takes."""
    identifiers = uow.patients.identifiers(patient.id)
    document = next((x.value for s in DOCUMENT_SYSTEMS for x in identifiers if x.system is s), "")
    card = next((x.value for x in identifiers if x.system is IdentifierSystem.CARD), "")
    return {
        "patient": patient,
        "document": document[-4:],
        "card": card,
        "organisation": uow.people.organisation(patient.registered_by).short_name,
    }


def _people(uow: UnitOfWork, consultation: m.Consultation) -> list[Person]:
    found = []
    for x in uow.consultations.participants(consultation.id, past=True):
        membership = uow.people.membership(x.membership)
        staff = uow.people.staff(membership.staff)
        found.append(
            Person(
                membership=x.membership,
                name=staff.name,
                title=staff.title,
                organisation=uow.people.organisation(membership.organisation).short_name,
                department=membership.department,
                part=x.part,
                since=x.since,
                until=x.until,
            )
        )
    return found


_FEEDBACK = {Trigger.ASK_FEEDBACK, Trigger.GIVE_FEEDBACK}


def _asking(uow: UnitOfWork, consultation: m.Consultation, entries: Sequence[FeedbackEntry]) -> Asking:
    return Asking(
        day=due_day(entries),
        last_from=last_day_from(uow, consultation),
        before=next((x for x in reversed(entries) if x.side is Side.CLINIC), None),
    )


def read_case(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, note: bool = True) -> Case:
    """The consultation as far as `actor` may see it; NotFound for a stranger. `note`: audit it and mark it read."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_STATUS)
    found = opened.consultation
    actions = allowed_actions(uow, actor, found)
    full = Action.REQUEST_READ in actions
    patient = surviving(uow, uow.patients.get(found.patient))
    if note:
        what = "consultation.read" if full else "consultation.queue"
        audit(uow, actor, what, f"consultation:{found.id}")
        if full:
            uow.consultations.mark_read(found.id, actor.membership, at=uow.now)
    offers = [x for x in uow.offers.of(found.id) if x.outcome is m.OfferOutcome.OPEN]
    target = found.target_organisation
    reports = Action.REPORT_READ in actions
    entries = uow.feedback.of(found.id) if Action.FEEDBACK_READ in actions else ()
    triggers = steps(found, pullers_of(opened))
    return Case(
        consultation=found,
        opened=opened,
        actions=actions,
        triggers=triggers,
        full=full,
        may_delete=deletable(found) and Action.REQUEST_WRITE in actions,
        requesting_name=uow.people.organisation(found.organisation).short_name,
        target_name=uow.people.organisation(target).short_name if target else "",
        sex=patient.sex,
        age_band=age_band(patient.birth_date, uow.now.date()),
        patient=patient if full else None,
        banner=patient_banner(uow, patient) if full else None,
        request=uow.consultations.request(found.id) if full else None,
        questions=uow.consultations.questions(found.id) if full else (),
        consents=uow.consultations.consents(found.id) if full else (),
        documents=uow.consultations.documents(found.id) if Action.DOCUMENT_READ in actions else (),
        shares=uow.consultations.shares(found.id) if Action.STUDIES_LIST in actions else (),
        people=_people(uow, found),
        offer=offers[-1] if offers else None,
        session=uow.meetings.running(found.id),
        messages=uow.meetings.messages(found.id) if Action.ROOM_HISTORY in actions else (),
        versions=uow.reports.versions(found.id) if reports else (),
        filings=uow.reports.filings(found.id) if reports else (),
        lines=timeline(uow, actor=actor, consultation=found.id) if full else (),
        feedback=entries,
        asking=_asking(uow, found, entries) if set(triggers) & _FEEDBACK else None,
        phones=phone_list(uow, found) if Action.REQUEST_WRITE in actions else (),
        may_rate=Action.FEEDBACK_RATE in actions and found.state in RATEABLE and not has_rated(entries, actor),
    )


def may_register(uow: UnitOfWork, actor: Actor) -> bool:
    """Whether this person may register patients where they are now."""
    return may(uow, actor, Action.PATIENT_REGISTER, actor.organisation)
