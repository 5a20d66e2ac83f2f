"""What the signed versions of a consultation say, and whether a revision is being written."""

from dataclasses import dataclass
from typing import Any

from consult import model as m
from consult.forms import REPORT_FIELDS
from consult.ports import UnitOfWork

DRAFTING = frozenset(
    {
        m.State.ACCEPTED, m.State.SCHEDULED, m.State.CHECKED_IN, m.State.IN_SESSION, m.State.ASYNC_REVIEW,
        m.State.AWAITING_MATERIAL, m.State.REPORTING,
    }
)  # fmt: skip
REVISABLE = frozenset(
    {m.State.SIGNED, m.State.DELIVERED, m.State.ACKNOWLEDGED, m.State.FEEDBACK, m.State.ARCHIVED}
)
REVISIONS = {m.ReportStatus.AMENDED: "amend_report", m.ReportStatus.APPENDED: "append_report"}
"""The event that opens a revision, by what it will become."""
_KEYS = frozenset(x.key for x in REPORT_FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    status: m.ReportStatus
    reason: str
    report: m.ReportId
    replaces: m.ReportVersionId


def newest_version(uow: UnitOfWork, consultation: m.ConsultationId) -> m.ReportVersion | None:
    return max(uow.reports.versions(consultation), key=lambda x: x.n, default=None)


def pending_revision(uow: UnitOfWork, consultation: m.Consultation) -> Revision | None:
    """The amendment or addendum that was opened last and neither signed nor dropped."""
    for event in reversed(uow.events.of(f"consultation:{consultation.id}")):
        if event.trigger in {"sign_revision", "drop_revision", "sign"}:
            return None
        if event.trigger in REVISIONS.values():
            return Revision(
                status=m.ReportStatus(event.payload["status"]),
                reason=event.reason,
                report=m.ReportId(event.payload["report"]),
                replaces=m.ReportVersionId(event.payload["replaces"]),
            )
    return None


def draft_content(version: m.ReportVersion) -> dict[str, Any]:
    """The editable fields of a signed version."""
    return {k: v for k, v in version.content.items() if k in _KEYS}
