"""The second signature: a colleague is asked, reads the draft, and approves exactly this version of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from consult import model as m
from consult.access import Action, open_consultation
from consult.access import open_report as open_draft
from consult.errors import Conflict, Invalid, NotAllowed, Stale, WrongState
from consult.events import record_note
from consult.offering import named_expert, serves_now
from consult.people import Actor, MembershipId, Role
from consult.ports import UnitOfWork
from consult.revising import pending_revision

SIGNABLE = frozenset({m.State.REPORTING, m.State.ASYNC_REVIEW})
SECOND = frozenset({m.Part.REVIEWER, m.Part.CHAIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Colleague:
    """Somebody who may be asked, or was. `approved`: exactly the version of the draft that is stored now."""

    membership: MembershipId
    name: str
    title: str
    department: str
    approved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """`wanted`: the service is never signed by one alone."""

    wanted: bool
    asked: Sequence[Colleague]
    colleagues: Sequence[Colleague]


def review_of(uow: UnitOfWork, actor: Actor, report: m.Report) -> Review:
    """Who is asked to sign this draft too, and which experts of the actor's organisation could be."""
    consultation = uow.consultations.get(report.consultation)
    parts = uow.consultations.participants(consultation.id)
    approved = approvals(uow, report)
    asked = [x.membership for x in parts if x.part in SECOND and x.membership != report.author]
    busy = {x.membership for x in parts if x.part is not m.Part.GUEST}
    busy_people = {uow.people.membership(x).staff for x in busy}
    free = [
        x.id
        for x in uow.people.memberships(organisation=actor.organisation, role=Role.EXPERT)
        if serves_now(x, uow) and x.staff not in busy_people
    ]
    return Review(
        wanted=consultation.service in uow.rules.two_signatures,
        asked=[_colleague(uow, x, approved=x in approved) for x in asked],
        colleagues=sorted((_colleague(uow, x) for x in free), key=lambda x: (x.name, x.membership)),
    )


def _colleague(uow: UnitOfWork, id: MembershipId, *, approved: bool = False) -> Colleague:
    membership = uow.people.membership(id)
    staff = uow.people.staff(membership.staff)
    return Colleague(
        membership=id, name=staff.name, title=staff.title, department=membership.department, approved=approved
    )


def approvals(uow: UnitOfWork, report: m.Report) -> frozenset[MembershipId]:
    """Who approved the draft in the version that is stored now."""
    return frozenset(
        x.membership
        for x in uow.events.of(f"consultation:{report.consultation}")
        if x.trigger == "approve_report"
        and x.membership is not None
        and (x.payload.get("report"), x.payload.get("report_version")) == (report.id, report.version)
    )


def ask_reviewer(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, membership: MembershipId
) -> m.Participant:
    """The expert asks a colleague for the second signature. Raises Invalid, Conflict, WrongState."""
    opened = open_consultation(uow, actor, consultation, Action.DRAFT_WRITE)
    _still_open(uow, opened.consultation, "ask_reviewer")
    named_expert(uow, membership, path="membership")
    parts = uow.consultations.participants(consultation)
    if any(x.membership == membership and x.part is not m.Part.GUEST for x in parts):
        raise Conflict(reason="takes_part_already")
    reviewer = m.Participant(
        consultation=consultation, membership=membership, part=m.Part.REVIEWER, since=uow.now
    )
    uow.consultations.add_participant(reviewer)
    record_note(uow, actor, opened.consultation, "ask_reviewer", payload={"membership": membership})
    return reviewer


def withdraw_reviewer(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, membership: MembershipId
) -> m.Consultation:
    """The invitation is taken back, or the invited person declines it; their access ends at once.

    Raises NotAllowed for another reviewer, Invalid for somebody who was not asked, WrongState once it is signed.
    """
    opened = open_consultation(uow, actor, consultation, Action.DRAFT_WRITE)
    _still_open(uow, opened.consultation, "withdraw_reviewer")
    parts = uow.consultations.participants(consultation)
    own = {x.part for x in parts if x.membership == actor.membership}
    if membership != actor.membership and not own & {m.Part.EXPERT, m.Part.CHAIR}:
        raise NotAllowed(action=Action.DRAFT_WRITE.value)
    if all((x.membership, x.part) != (membership, m.Part.REVIEWER) for x in parts):
        raise Invalid(("membership", "not_found"))
    uow.consultations.end_participant(consultation, membership, m.Part.REVIEWER, at=uow.now)
    uow.revoke(memberships={membership}, consultation=consultation)
    record_note(uow, actor, opened.consultation, "withdraw_reviewer", payload={"membership": membership})
    return opened.consultation


def _still_open(uow: UnitOfWork, stored: m.Consultation, trigger: str) -> None:
    if stored.state not in SIGNABLE | {m.State.IN_SESSION} and pending_revision(uow, stored) is None:
        raise WrongState(state=stored.state.value, trigger=trigger)


def approve_report(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int
) -> m.Consultation:
    """A reviewer or the chair approves exactly this version of the draft; any later change voids the approval.

    The caller has asked for the password: the approval is what that person's certificate signs at the end.
    """
    draft, opened = open_draft(uow, actor, report, Action.REPORT_SIGN)
    if draft.author == actor.membership:
        raise NotAllowed(action=Action.REPORT_SIGN.value)
    if draft.version != version:
        raise Stale(version=draft.version)
    payload = {"report": draft.id, "report_version": draft.version}
    record_note(uow, actor, opened.consultation, "approve_report", payload=payload)
    return opened.consultation
