"""The report's draft: open, autosave, revise. Signing stands in consult/signing.py, the way back to the clinic in
consult/delivering.py; both are named here too, so that callers need one module.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from consult import model as m
from consult.access import Action, Opened, open_consultation
from consult.access import open_report as open_draft
from consult.delivering import (
    Genuine,
    acknowledge_report,
    describe_code,
    mark_report_read,
    read_report_version,
)
from consult.errors import Conflict, Invalid, NotAllowed, NotFound, Stale, WrongState
from consult.events import record_note
from consult.forms import REPORT_FIELDS, clean_content
from consult.lifecycle import Trigger
from consult.moving import move
from consult.people import Actor
from consult.phrases import Phrase, phrases
from consult.ports import UnitOfWork
from consult.requesting import take_over_consultation
from consult.reviewing import approve_report, ask_reviewer, withdraw_reviewer
from consult.revising import DRAFTING, REVISABLE, REVISIONS, draft_content, newest_version, pending_revision
from consult.signing import (
    SignedBy,
    Signer,
    SigningPlan,
    prepare_preview,
    prepare_signing,
    record_signed,
)

__all__ = [
    "REPORT_FIELDS", "Genuine", "Phrase", "SignedBy", "Signer", "SigningPlan", "acknowledge_report", "add_key_image",
    "amend_report", "append_report", "approve_report", "ask_reviewer", "check_key_image", "describe_code",
    "drop_revision", "mark_report_read",
    "open_report", "phrases", "prepare_preview", "prepare_signing", "read_report_version", "record_signed",
    "save_report", "take_over_consultation", "withdraw_reviewer",
]  # fmt: skip

_BEFORE_READING = frozenset({m.State.ACCEPTED})


def open_report(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Report:
    """The actor's draft, made on first opening. A store-and-forward consultation that was just accepted goes to
    asynchronous review by it. A reviewer gets the draft of the expert whom they review.

    Raises NotFound, NotAllowed, WrongState where nothing is to be written (yet, or any more).
    """
    opened = open_consultation(uow, actor, consultation, Action.DRAFT_WRITE)
    stored = opened.consultation
    part = part_of(uow, actor, consultation)
    drafts = uow.reports.of(consultation)
    if part is m.Part.REVIEWER:
        current = [x for x in drafts if is_current(uow, x)]
        if not current:
            raise WrongState(state=stored.state.value, trigger="open_report")
        return current[0]
    for draft in drafts:
        if draft.author == actor.membership and draft.part is part:
            return draft
    if stored.state not in DRAFTING:
        raise WrongState(state=stored.state.value, trigger="open_report")
    if stored.state in _BEFORE_READING and stored.mode is m.Mode.STORED:
        move(uow, actor, opened, Trigger.START_REVIEW)
    draft = m.Report(
        id=m.ReportId(uow.new_id()),
        consultation=consultation,
        part=part,
        author=actor.membership,
        content={},
        saved_at=uow.now,
    )
    uow.reports.add(draft)
    return draft


def part_of(uow: UnitOfWork, actor: Actor, consultation: m.ConsultationId) -> m.Part:
    """In which part the actor writes: chair before expert before reviewer."""
    parts = {x.part for x in uow.consultations.participants(consultation) if x.membership == actor.membership}
    for part in (m.Part.CHAIR, m.Part.EXPERT, m.Part.REVIEWER):
        if part in parts:
            return part
    raise NotAllowed(action=Action.DRAFT_WRITE.value)


def is_current(uow: UnitOfWork, report: m.Report) -> bool:
    """Does its author still take part in the part it was written in?"""
    return any(
        x.membership == report.author and x.part is report.part
        for x in uow.consultations.participants(report.consultation)
    )


def save_report(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int, content: Mapping[str, Any]
) -> m.Report:
    """Autosave of the draft (keys forms.REPORT_FIELDS). The first words move asynchronous review to reporting.

    Raises Stale (params `version`: the newer one, which the page fetches), Invalid, WrongState once it is signed.
    """
    draft, opened = open_draft(uow, actor, report, Action.DRAFT_WRITE)
    stored = opened.consultation
    if draft.version != version:
        raise Stale(version=draft.version)
    revising = pending_revision(uow, stored) is not None
    if stored.state not in DRAFTING and not revising:
        raise WrongState(state=stored.state.value, trigger="save_report")
    clean = clean_content(content, REPORT_FIELDS)
    if clean == dict(draft.content):
        return draft
    saved = uow.reports.save(replace(draft, content=clean, saved_at=uow.now))
    if stored.state is m.State.ASYNC_REVIEW:
        move(uow, actor, opened, Trigger.START_REPORT)
    elif bool(draft.content.get("released")) != bool(clean.get("released")):
        record_note(uow, actor, stored, "release_draft", payload={"released": bool(clean.get("released"))})
    return saved


def amend_report(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Report:
    """Opens the signed report for an amendment: the draft holds the newest version again; signing makes the next.

    Raises Invalid without a reason, WrongState, Conflict(reason="revision_open").
    """
    return _revise(uow, actor, consultation, reason, m.ReportStatus.AMENDED)


def append_report(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Report:
    """Opens the signed report for an addendum (field `addendum`); everything else stays as it was signed."""
    return _revise(uow, actor, consultation, reason, m.ReportStatus.APPENDED)


def _revise(
    uow: UnitOfWork, actor: Actor, consultation: m.ConsultationId, reason: str, status: m.ReportStatus
) -> m.Report:
    opened = open_consultation(uow, actor, consultation, Action.REPORT_APPEND)
    stored = opened.consultation
    if not reason.strip():
        raise Invalid(("reason", "required"))
    newest = newest_version(uow, consultation)
    if stored.state not in REVISABLE or newest is None:
        raise WrongState(state=stored.state.value, trigger=f"revise_{status.value}")
    if pending_revision(uow, stored) is not None:
        raise Conflict(reason="revision_open")
    content = draft_content(newest)
    content.pop("addendum", None)
    draft = _own_draft(uow, actor, opened)
    saved = uow.reports.save(replace(draft, content=content, saved_at=uow.now))
    record_note(
        uow, actor, stored, REVISIONS[status], reason=reason,
        payload={"status": status.value, "report": saved.id, "replaces": newest.id},
    )  # fmt: skip
    return saved


def _own_draft(uow: UnitOfWork, actor: Actor, opened: Opened) -> m.Report:
    consultation = opened.consultation.id
    part = part_of(uow, actor, consultation)
    for draft in uow.reports.of(consultation):
        if draft.author == actor.membership and draft.part is part:
            return draft
    draft = m.Report(
        id=m.ReportId(uow.new_id()),
        consultation=consultation,
        part=part,
        author=actor.membership,
        content={},
        saved_at=uow.now,
    )
    uow.reports.add(draft)
    return draft


def drop_revision(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> None:
    """Gives up an amendment or addendum that was opened and not signed."""
    opened = open_consultation(uow, actor, consultation, Action.REPORT_APPEND)
    if pending_revision(uow, opened.consultation) is None:
        raise WrongState(state=opened.consultation.state.value, trigger="drop_revision")
    record_note(uow, actor, opened.consultation, "drop_revision")


def check_key_image(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str) -> None:
    """Whether a picture of that study may go into the actor's draft. Raises NotFound, NotAllowed."""
    opened = open_consultation(uow, actor, consultation, Action.DRAFT_WRITE)
    shared = {x.study_uid for x in uow.consultations.shares(consultation)}
    if study_uid not in shared - set(opened.consultation.hidden_studies):
        raise NotFound(kind="study")


def add_key_image(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, entry: Mapping[str, Any]
) -> m.Report:
    """Appends a picture to the actor's draft, once. Raises WrongState while only an addendum may be written."""
    stored = uow.consultations.get(consultation)
    revision = pending_revision(uow, stored)
    if revision is not None and revision.status is m.ReportStatus.APPENDED:
        raise WrongState(state=stored.state.value, trigger="key_image")
    draft = open_report(uow, actor=actor, consultation=consultation)
    present = list(draft.content.get("key_images", ()))
    if any(x.get("document") == entry["document"] for x in present):
        return draft
    content = {**draft.content, "key_images": [*present, entry]}
    saved = save_report(uow, actor=actor, report=draft.id, version=draft.version, content=content)
    uow.publish(f"consultation:{consultation}", {"consultation": consultation, "report": draft.id})
    return saved
