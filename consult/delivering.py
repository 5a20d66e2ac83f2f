"""The signed report back in the clinic: read, acknowledged, verified."""

from dataclasses import dataclass, replace
from datetime import datetime

from consult import model as m
from consult.access import Action, Relation, open_consultation, open_report_version
from consult.errors import WrongState
from consult.events import record_note
from consult.lifecycle import Trigger
from consult.moving import move
from consult.people import Actor
from consult.ports import UnitOfWork

INBOX = "inbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Genuine:
    """What anyone holding the paper may know: no patient, nothing clinical."""

    code: str
    number: str
    n: int
    status: m.ReportStatus
    signed_at: datetime
    requesting: str
    serving: str
    signers: tuple[str, ...]
    newest: bool                       # False: a later version stands beside it
    pdf_digest: str


def read_report_version(
    uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId
) -> tuple[m.ReportVersion, bytes]:
    """The signed version and its PDF."""
    found, _ = open_report_version(uow, actor, version)
    return found, uow.reports.pdf(version)


def mark_report_read(uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId) -> None:
    """The clinic has it on screen: the first reading is kept, the expert sees it. Others' reading marks nothing."""
    found, opened = open_report_version(uow, actor, version)
    if opened.relation is not Relation.REFERRING:
        return
    for filing in uow.reports.filings(found.consultation):
        if filing.report_version == version and filing.channel == INBOX and filing.read_at is None:
            uow.reports.save_filing(replace(filing, read_by=actor.membership, read_at=uow.now))
            record_note(uow, actor, opened.consultation, "read_report", payload={"version": version})


def acknowledge_report(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> m.Consultation:
    """The referring doctor has received the report (and every amendment that waits). Raises WrongState if none does.

    A colleague takes the consultation over first (requesting.take_over_consultation).
    """
    opened = open_consultation(uow, actor, consultation, Action.REPORT_ACKNOWLEDGE)
    stored = opened.consultation
    waiting = [
        x
        for x in uow.reports.filings(consultation)
        if x.channel == INBOX and x.acknowledged_at is None
    ]
    if not waiting:
        raise WrongState(state=stored.state.value, trigger=Trigger.ACKNOWLEDGE.value)
    for filing in waiting:
        uow.reports.save_filing(
            replace(
                filing,
                state="acknowledged",
                acknowledged_by=actor.membership,
                acknowledged_at=uow.now,
                read_by=filing.read_by or actor.membership,
                read_at=filing.read_at or uow.now,
            )
        )
    uow.publish(f"inbox:{stored.organisation}", {"consultation": stored.id})
    payload = {"versions": [x.report_version for x in waiting]}
    if stored.state is m.State.DELIVERED:
        return move(uow, actor, opened, Trigger.ACKNOWLEDGE, payload=payload)
    record_note(uow, actor, stored, "acknowledge_revision", payload=payload)
    return stored


def describe_code(uow: UnitOfWork, code: str) -> Genuine | None:
    """For /verify/{code}: what the code on a paper stands for, or None. Spaces, case and hyphens do not matter."""
    bare = "".join(x for x in code.upper() if x.isascii() and x.isalnum())
    if len(bare) != 16:
        return None
    version = uow.reports.by_code("-".join(bare[x : x + 4] for x in range(0, 16, 4)))
    if version is None:
        return None
    consultation = uow.consultations.get(version.consultation)
    signatures = uow.reports.signatures(version.id)
    serving = uow.people.membership(uow.reports.get(version.report).author).organisation
    return Genuine(
        code=version.code,
        number=consultation.number,
        n=version.n,
        status=version.status,
        signed_at=version.signed_at,
        requesting=uow.people.organisation(consultation.organisation).name,
        serving=uow.people.organisation(serving).name,
        signers=tuple(uow.people.staff(x.staff).name for x in signatures),
        newest=all(x.n <= version.n for x in uow.reports.versions(version.consultation)),
        pdf_digest=version.pdf_digest,
    )
