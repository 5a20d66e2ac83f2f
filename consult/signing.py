"""Signing in two halves: `prepare_signing` says what stands on the paper, the server prints and signs it outside any
transaction, `record_signed` files it in one commit if nothing has changed in between.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Action, Opened, surviving
from consult.access import open_report as open_draft
from consult.errors import Conflict, Invalid, NotAllowed, Stale, WrongState
from consult.events import record_note
from consult.lifecycle import Guard, Trigger
from consult.moving import move, move_by_system
from consult.patient import IdentifierSystem
from consult.people import Actor, MembershipId, StaffId
from consult.ports import UnitOfWork
from consult.reviewing import SECOND, SIGNABLE, approvals
from consult.revising import (
    DRAFTING,
    REVISABLE,
    Revision,
    draft_content,
    newest_version,
    pending_revision,
)

_OPINION = ("findings", "diagnosis", "diagnosis_text", "advice")
_HEX = re.compile(r"[0-9a-f]{64}")
_DOCUMENTS = (
    IdentifierSystem.RESIDENT_ID, IdentifierSystem.PASSPORT, IdentifierSystem.OTHER_DOCUMENT,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    membership: MembershipId
    staff: StaffId
    part: m.Part
    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningPlan:
    """Everything the paper and the signer need; nothing is written yet. `record_signed` takes it back unchanged.

    `content`: the draft's fields, `questions` [{"n", "text"}] and `header` (number, service, urgency, patient, both
    organisations, referring doctor, times). `content_digest`: SHA-256 of `canonical(content)`, hex.
    """

    consultation: m.ConsultationId
    consultation_version: int
    report: m.ReportId
    report_version: int                    # of the draft
    n: int
    status: m.ReportStatus
    code: str
    content: Mapping[str, Any]
    content_digest: str
    signers: tuple[Signer, ...]            # the author first
    replaces: m.ReportVersionId | None
    reason: str
    signed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    membership: MembershipId
    certificate: str                       # fingerprint, SHA-256 hex


def canonical(content: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: the bytes that are digested."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def new_code() -> str:
    """A verification code for the paper: 80 random bits, base 32, in groups of four."""
    text = base64.b32encode(secrets.token_bytes(10)).decode()
    return "-".join(text[x : x + 4] for x in range(0, 16, 4))


def prepare_signing(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int | None = None
) -> SigningPlan:
    """Checks that the draft may be signed and says what will be. Reads only.

    Raises Stale (the draft was saved since `version`), Invalid (`answers.<n>` without text, `findings` where there
    is no question, `addendum`), WrongState, Conflict(reason="approval_missing" | "reviewer_missing").
    """
    draft, opened = _own_draft(uow, actor, report, version)
    stored = opened.consultation
    revision = pending_revision(uow, stored)
    if revision is None and stored.state not in SIGNABLE:
        raise WrongState(state=stored.state.value, trigger=Trigger.SIGN.value)
    if revision is not None and (stored.state not in REVISABLE or revision.report != report):
        raise WrongState(state=stored.state.value, trigger="sign_revision")
    newest = newest_version(uow, stored.id)
    appending = revision is not None and revision.status is m.ReportStatus.APPENDED
    if missing := missing_fields(uow, stored, draft, appending=appending):
        raise Invalid(*((path, "required") for path in missing))
    if appending and newest is not None:
        _check_appended(draft, newest)
    return _plan(uow, stored, draft, revision, newest, _signers(uow, stored, draft))


def prepare_preview(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int | None = None
) -> tuple[SigningPlan, tuple[str, ...]]:
    """The paper as it stands now, however much is still missing, and the paths of what is. Reads only.

    Raises Stale, NotAllowed for another's draft, WrongState where nothing is to be written (any more).
    """
    draft, opened = _own_draft(uow, actor, report, version)
    stored = opened.consultation
    revision = pending_revision(uow, stored)
    if revision is None and stored.state not in DRAFTING:
        raise WrongState(state=stored.state.value, trigger="preview")
    appending = revision is not None and revision.status is m.ReportStatus.APPENDED
    others = _others(uow, stored, draft)
    plan = _plan(uow, stored, draft, revision, newest_version(uow, stored.id), _lined_up(uow, draft, others))
    return plan, missing_fields(uow, stored, draft, appending=appending)


def _own_draft(
    uow: UnitOfWork, actor: Actor, report: m.ReportId, version: int | None
) -> tuple[m.Report, Opened]:
    draft, opened = open_draft(uow, actor, report, Action.REPORT_SIGN)
    if draft.author != actor.membership:
        raise NotAllowed(action=Action.REPORT_SIGN.value)
    if version is not None and version != draft.version:
        raise Stale(version=draft.version)
    return draft, opened


def _plan(
    uow: UnitOfWork,
    stored: m.Consultation,
    draft: m.Report,
    revision: Revision | None,
    newest: m.ReportVersion | None,
    signers: tuple[Signer, ...],
) -> SigningPlan:
    content = frozen_content(uow, stored, draft)
    digest = hashlib.sha256(canonical(content)).hexdigest()
    return SigningPlan(
        consultation=stored.id,
        consultation_version=stored.version,
        report=draft.id,
        report_version=draft.version,
        n=newest.n + 1 if newest else 1,
        status=revision.status if revision else m.ReportStatus.FINAL,
        code=new_code(),
        content=content,
        content_digest=digest,
        signers=signers,
        replaces=newest.id if newest else None,
        reason=revision.reason if revision else "",
        signed_at=uow.now,
    )


def missing_fields(
    uow: UnitOfWork, stored: m.Consultation, draft: m.Report, *, appending: bool = False
) -> tuple[str, ...]:
    """Paths of what must still be written: `answers.<n>`, `findings` where nothing is asked, `addendum`."""
    questions = uow.consultations.questions(stored.id)
    answers = {x.get("n"): str(x.get("text", "")).strip() for x in draft.content.get("answers", ())}
    missing = [f"answers.{x.n}" for x in questions if not answers.get(x.n)]
    if not questions and not any(draft.content.get(x) for x in _OPINION):
        missing.append("findings")
    if appending and not str(draft.content.get("addendum", "")).strip():
        missing.append("addendum")
    return tuple(missing)


def _check_appended(draft: m.Report, newest: m.ReportVersion) -> None:
    before = draft_content(newest)
    changed = [
        (k, "unchanged_when_appending")
        for k in {*before, *draft.content} - {"addendum", "released"}
        if before.get(k) != draft.content.get(k)
    ]
    if changed:
        raise Invalid(*sorted(changed))


def frozen_content(uow: UnitOfWork, stored: m.Consultation, draft: m.Report) -> dict[str, Any]:
    """The draft with its questions and header as they are now: JSON values only."""
    patient = surviving(uow, uow.patients.get(stored.patient))
    numbers = uow.patients.identifiers(patient.id)
    document = next((x.value for s in _DOCUMENTS for x in numbers if x.system is s), "")
    card = next((x.value for x in numbers if x.system is IdentifierSystem.CARD), "")
    author = uow.people.membership(draft.author)
    referring = uow.people.membership(_referring(uow, stored))
    request = uow.consultations.request(stored.id)
    department = str(request.content.get("department", "")) if request else ""
    header = {
        "number": stored.number,
        "service": stored.service.value,
        "urgency": stored.urgency.value,
        "mode": stored.mode.value,
        "patient": {
            "id": patient.id,
            "name": patient.name,
            "sex": patient.sex.value,
            "birth_date": patient.birth_date.isoformat() if patient.birth_date else None,
            "birth_estimated": patient.birth_estimated,
            "document_last_four": document[-4:],
            "card": card,
        },
        "requesting": {
            "id": stored.organisation,
            "name": uow.people.organisation(stored.organisation).name,
            "department": department or referring.department,
        },
        "serving": {
            "id": author.organisation,
            "name": uow.people.organisation(author.organisation).name,
            "department": author.department,
        },
        "clinic_doctor": uow.people.staff(referring.staff).name,
        "requested_at": (stored.submitted_at or stored.created_at).isoformat(),
    }
    questions = [{"n": x.n, "text": x.text} for x in uow.consultations.questions(stored.id)]
    kept = {k: v for k, v in draft.content.items() if k != "released"}
    return {**kept, "questions": questions, "header": header}


def _referring(uow: UnitOfWork, stored: m.Consultation) -> MembershipId:
    parts = [x for x in uow.consultations.participants(stored.id) if x.part is m.Part.REFERRING]
    if not parts or any(x.membership == stored.requested_by for x in parts):
        return stored.requested_by
    return parts[-1].membership


def _signers(uow: UnitOfWork, stored: m.Consultation, draft: m.Report) -> tuple[Signer, ...]:
    """The author, then every reviewer and the chair, whose approval of this very draft must be recorded."""
    others = _others(uow, stored, draft)
    if stored.service in uow.rules.two_signatures and not others:
        raise Conflict(reason="reviewer_missing")
    approved = approvals(uow, draft)
    if any(x.membership not in approved for x in others):
        raise Conflict(reason="approval_missing")
    return _lined_up(uow, draft, others)


def _others(uow: UnitOfWork, stored: m.Consultation, draft: m.Report) -> list[m.Participant]:
    parts = uow.consultations.participants(stored.id)
    return [x for x in parts if x.part in SECOND and x.membership != draft.author]


def _lined_up(uow: UnitOfWork, draft: m.Report, others: Sequence[m.Participant]) -> tuple[Signer, ...]:
    """As they stand on the paper: the author first."""
    ordered = [(draft.author, draft.part), *((x.membership, x.part) for x in others)]
    return tuple(_signer(uow, membership, part) for membership, part in ordered)


def _signer(uow: UnitOfWork, id: MembershipId, part: m.Part) -> Signer:
    membership = uow.people.membership(id)
    staff = uow.people.staff(membership.staff)
    return Signer(membership=id, staff=staff.id, part=part, name=staff.name, title=staff.title)


def record_signed(
    uow: UnitOfWork,
    *,
    actor: Actor,
    plan: SigningPlan,
    pdf: bytes,
    pdf_digest: str,
    content_digest: str,
    signed_by: Sequence[SignedBy],
) -> m.ReportVersion:
    """Files the signed PDF: version, signatures, filings and the step to delivered, all in this unit.

    `content_digest` is the digest of what was printed (the paper's own canonical form). Raises Stale when the draft,
    the patient or the questions changed since the plan; Invalid when digests or signatures do not fit.
    """
    draft, opened = open_draft(uow, actor, plan.report, Action.REPORT_SIGN)
    if draft.author != actor.membership:
        raise NotAllowed(action=Action.REPORT_SIGN.value)
    stored = opened.consultation
    fresh = prepare_signing(uow, actor=actor, report=plan.report, version=plan.report_version)
    if (fresh.content_digest, fresh.n, fresh.status, fresh.signers, fresh.replaces) != (
        plan.content_digest, plan.n, plan.status, plan.signers, plan.replaces,
    ):  # fmt: skip
        raise Stale(version=draft.version)
    _check_proof(plan, pdf, pdf_digest, content_digest, signed_by)
    version = m.ReportVersion(
        id=m.ReportVersionId(uow.new_id()),
        report=draft.id,
        consultation=stored.id,
        n=plan.n,
        status=plan.status,
        content=plan.content,
        content_digest=content_digest,
        pdf_digest=pdf_digest,
        code=plan.code,
        reason=plan.reason,
        replaces=plan.replaces,
        signed_at=plan.signed_at,
    )
    certificates = {x.membership: x.certificate for x in signed_by}
    signatures = [
        m.Signature(
            report_version=version.id,
            staff=x.staff,
            membership=x.membership,
            part=x.part,
            certificate=certificates[x.membership],
            at=plan.signed_at,
        )
        for x in plan.signers
    ]
    uow.reports.add_version(version, pdf, signatures)
    _file(uow, stored, version)
    _close(uow, actor, opened, version)
    return version


def _check_proof(
    plan: SigningPlan, pdf: bytes, pdf_digest: str, content_digest: str, signed_by: Sequence[SignedBy]
) -> None:
    if hashlib.sha256(pdf).hexdigest() != pdf_digest or not _HEX.fullmatch(content_digest):
        raise Invalid(("pdf", "digest_mismatch"))
    given = {x.membership for x in signed_by if _HEX.fullmatch(x.certificate)}
    if given != {x.membership for x in plan.signers} or len(signed_by) != len(plan.signers):
        raise Invalid(("signed_by", "signature_missing"))


def _file(uow: UnitOfWork, stored: m.Consultation, version: m.ReportVersion) -> None:
    """One row per channel. The inbox has it with this commit; the others deliver on their own."""
    for channel in uow.rules.report_channels:
        inbox = channel == "inbox"
        uow.reports.add_filing(
            m.Filing(
                id=uow.new_id(),
                report_version=version.id,
                consultation=stored.id,
                organisation=stored.organisation,
                channel=channel,
                state="filed" if inbox else "pending",
                filed_at=uow.now if inbox else None,
            )
        )
    uow.publish(f"inbox:{stored.organisation}", {"consultation": stored.id, "report_version": version.id})
    uow.publish("filing", {"report_version": version.id})


def _close(uow: UnitOfWork, actor: Actor, opened: Opened, version: m.ReportVersion) -> None:
    payload = {"version": version.id, "n": version.n, "status": version.status.value}
    stored = opened.consultation
    if version.status is not m.ReportStatus.FINAL:
        record_note(uow, actor, stored, "sign_revision", reason=version.reason, payload=payload)
        return
    if stored.state is m.State.ASYNC_REVIEW:
        stored = move(uow, actor, opened, Trigger.START_REPORT)
    signing = Opened(consultation=stored, relation=opened.relation, relations=opened.relations)
    signed = move(
        uow, actor, signing, Trigger.SIGN, given=frozenset({Guard.ANSWERED}), payload=payload
    )
    move_by_system(uow, signed, Trigger.DELIVER, critical=bool(version.content.get("critical")))
