"""The report: draft, sign, amend, deliver, acknowledge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.people import Actor, MembershipId, StaffId
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    membership: MembershipId
    staff: StaffId
    part: m.Part
    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningPlan:
    """Everything the paper and the signer need; nothing is written yet. `record_signed` takes it back unchanged."""

    consultation: m.ConsultationId
    consultation_version: int
    report: m.ReportId
    report_version: int  # of the draft
    n: int
    status: m.ReportStatus
    code: str
    content: Mapping[str, Any]  # frozen: draft, questions, header
    content_digest: str
    signers: tuple[Signer, ...]
    replaces: m.ReportVersionId | None
    reason: str
    signed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    membership: MembershipId
    certificate: str  # fingerprint, SHA-256 hex


def open_report(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Report:
    raise NotImplementedError


def save_report(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int, content: Mapping[str, Any]
) -> m.Report:
    raise NotImplementedError


def prepare_signing(uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int | None = None) -> SigningPlan:
    raise NotImplementedError


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
    raise NotImplementedError


def amend_report(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str) -> m.Report:
    raise NotImplementedError


def append_report(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str) -> m.Report:
    raise NotImplementedError


def read_report_version(uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId) -> tuple[m.ReportVersion, bytes]:
    raise NotImplementedError


def mark_report_read(uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId) -> None:
    raise NotImplementedError


def acknowledge_report(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    raise NotImplementedError
