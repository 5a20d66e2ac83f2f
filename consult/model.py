"""Entities of a consultation (docs/architecture.md, The data). Values only: no behaviour, no storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from consult.patient import PatientId
from consult.people import MembershipId, OrganisationId, StaffId

ConsultationId = NewType("ConsultationId", str)
OfferId = NewType("OfferId", str)
SessionId = NewType("SessionId", str)
SeatId = NewType("SeatId", str)
DocumentId = NewType("DocumentId", str)
OrderId = NewType("OrderId", str)
ReportId = NewType("ReportId", str)
ReportVersionId = NewType("ReportVersionId", str)


class Service(StrEnum):
    CLINICAL = "clinical"
    IMAGING = "imaging"
    ECG = "ecg"
    PATHOLOGY = "pathology"
    LABORATORY = "laboratory"
    CHRONIC = "chronic"
    PRENATAL = "prenatal"
    MATERNAL = "maternal"


class Mode(StrEnum):
    LIVE = "live"
    STORED = "stored"


class Participation(StrEnum):
    SINGLE = "single"
    JOINT = "joint"
    MDT = "mdt"


class Addressing(StrEnum):
    EXPERT = "expert"          # 点名: a direct request, triage is automatic
    SPECIALTY = "specialty"
    POOL = "pool"


class Urgency(StrEnum):
    ROUTINE = "routine"
    URGENT = "urgent"
    STAT = "stat"


class State(StrEnum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    TRIAGE = "triage"
    RETURNED = "returned"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    CHECKED_IN = "checked_in"
    IN_SESSION = "in_session"
    ASYNC_REVIEW = "async_review"
    AWAITING_MATERIAL = "awaiting_material"
    REPORTING = "reporting"
    SIGNED = "signed"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    FEEDBACK = "feedback"
    ARCHIVED = "archived"
    WITHDRAWN = "withdrawn"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    NO_SHOW = "no_show"
    EXPIRED = "expired"
    CONVERTED = "converted"
    ENTERED_IN_ERROR = "entered_in_error"


class Part(StrEnum):
    REFERRING = "referring"
    EXPERT = "expert"
    REVIEWER = "reviewer"
    CHAIR = "chair"
    GUEST = "guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consultation:
    id: ConsultationId
    number: str                                    # printed, e.g. HZ20261122-0042
    patient: PatientId
    organisation: OrganisationId                   # the requesting one
    requested_by: MembershipId
    service: Service
    mode: Mode
    participation: Participation = Participation.SINGLE
    addressing: Addressing = Addressing.POOL
    urgency: Urgency = Urgency.ROUTINE
    target_organisation: OrganisationId | None = None
    target_specialty: str = ""
    target_membership: MembershipId | None = None
    state: State = State.DRAFT
    resume_to: State | None = None                 # where "returned" and "awaiting material" go back to
    state_since: datetime
    created_at: datetime
    submitted_at: datetime | None = None
    due_at: datetime | None = None                 # the deadline of the present state
    scheduled_at: datetime | None = None
    missing: tuple[Mapping[str, Any], ...] = ()    # returned, awaiting material: ({"item": …, "due": iso}, …)
    replaces: ConsultationId | None = None
    hidden_studies: tuple[str, ...] = ()           # an expert's "wrong patient" until a technician settles it
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVersion:
    """The clinical form; content keys are consult/forms.py's FORM_FIELDS. A draft is overwritten, others kept."""

    consultation: ConsultationId
    n: int
    content: Mapping[str, Any]
    saved_by: MembershipId
    saved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    consultation: ConsultationId
    n: int
    text: str


class ConsentMode(StrEnum):
    SIGNATURE = "signature"        # drawn on screen
    SCAN = "scan"
    WITNESSES = "witnesses"        # verbal in rescue, two witnesses


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    id: str
    consultation: ConsultationId
    text_version: str
    signer: str
    relation: str
    mode: ConsentMode
    scopes: tuple[str, ...]        # consultation, record_reading, image_sharing, recording, teaching
    witnesses: tuple[str, ...] = ()
    document: DocumentId | None = None
    given_at: datetime
    recorded_by: MembershipId
    withdrawn_at: datetime | None = None
    withdrawn_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A re-encoded PDF or picture. The bytes lie in the document store under their digest.

    `original` is the digest of the bytes as a camera gave them, where they are kept too.
    """

    id: DocumentId
    consultation: ConsultationId
    kind: str                      # document | paper_ecg | film | consent | signature
    title: str
    media_type: str
    digest: str
    size: int
    pages: int = 1
    original: str = ""
    added_by: MembershipId
    added_at: datetime
    voided_at: datetime | None = None
    voided_reason: str = ""


class OfferOutcome(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """To a named membership, or to the on-call pool of an organisation (and specialty)."""

    id: OfferId
    consultation: ConsultationId
    organisation: OrganisationId
    membership: MembershipId | None = None
    specialty: str = ""
    made_by: MembershipId | None = None            # None: the system (direct request, escalation)
    made_at: datetime
    expires_at: datetime
    outcome: OfferOutcome = OfferOutcome.OPEN
    closed_by: MembershipId | None = None
    closed_at: datetime | None = None
    reason: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    consultation: ConsultationId
    membership: MembershipId
    part: Part
    since: datetime
    until: datetime | None = None
    invited_by: MembershipId | None = None         # a guest's
    expires_at: datetime | None = None             # an invitation that nobody has used yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One meeting. kind: live, or telephone when there was no media path."""

    id: SessionId
    consultation: ConsultationId
    n: int
    kind: str = "live"
    opened_by: MembershipId
    opened_at: datetime
    ended_by: MembershipId | None = None
    ended_at: datetime | None = None
    locked: bool = False
    chair: MembershipId | None = None              # whom the chair was handed; None: whose part it is
    wait_text: str = ""                            # what those in the lobby read
    wait_until: datetime | None = None             # when they may expect to be let in
    version: int = 0


class SeatState(StrEnum):
    LOBBY = "lobby"
    IN = "in"
    LOST = "lost"
    LEFT = "left"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    id: SeatId
    session: SessionId
    membership: MembershipId
    part: Part
    state: SeatState
    since: datetime
    precheck: Mapping[str, Any] | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    seat: SeatId
    entered_at: datetime
    left_at: datetime | None = None
    reason: str = ""               # left | lost | removed | finished | replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A chat line, stored with the consultation, acknowledged after commit; `client_id` makes resends harmless."""

    id: str
    consultation: ConsultationId
    session: SessionId | None
    membership: MembershipId
    client_id: str
    text: str
    at: datetime


class ReportStatus(StrEnum):
    FINAL = "final"
    AMENDED = "amended"
    APPENDED = "appended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The draft of one part. content keys are consult/reporting.py's REPORT_FIELDS."""

    id: ReportId
    consultation: ConsultationId
    part: Part
    author: MembershipId
    content: Mapping[str, Any]
    saved_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportVersion:
    """Signed, insert-only. `code` stands on the paper (/verify/{code}); the PDF lies beside it, same commit."""

    id: ReportVersionId
    report: ReportId
    consultation: ConsultationId
    n: int
    status: ReportStatus
    content: Mapping[str, Any]
    content_digest: str
    pdf_digest: str
    code: str
    reason: str = ""
    replaces: ReportVersionId | None = None
    signed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    report_version: ReportVersionId
    staff: StaffId
    membership: MembershipId
    part: Part
    certificate: str               # fingerprint, SHA-256 hex
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing:
    """One copy of one version for one receiver and channel; unique(report_version, organisation, channel)."""

    id: str
    report_version: ReportVersionId
    consultation: ConsultationId
    organisation: OrganisationId
    channel: str                   # inbox | archive (Encapsulated PDF) | webhook …
    state: str = "filed"           # pending | filed | acknowledged | failed
    filed_at: datetime | None = None
    read_by: MembershipId | None = None
    read_at: datetime | None = None
    acknowledged_by: MembershipId | None = None
    acknowledged_at: datetime | None = None
    attempts: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamOrder:
    """unique(issuer, accession). The issuer is the performing organisation."""

    id: OrderId
    issuer: OrganisationId
    accession: str
    patient: PatientId
    ordering: OrganisationId
    performing: OrganisationId
    ordered_by: MembershipId
    procedure: str
    modality: str
    consultation: ConsultationId | None = None
    at: datetime
    voided_at: datetime | None = None
    voided_reason: str = ""
    version: int = 0


class MatchMethod(StrEnum):
    ACCESSION = "accession"
    PATIENT_ID = "patient_id"      # issuer + PatientID with equal birth date and sex
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMatch:
    id: str
    study_uid: str
    organisation: OrganisationId   # the one that holds it
    patient: PatientId
    order: OrderId | None
    method: MatchMethod
    by: MembershipId | None        # None: automatic
    at: datetime
    voided_at: datetime | None = None
    voided_by: MembershipId | None = None
    voided_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyShare:
    """A study is part of a consultation's material."""

    consultation: ConsultationId
    study_uid: str
    by: MembershipId | None
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Insert-only, written in the same commit as the change. Figures are counted from these alone."""

    id: str
    aggregate: str                 # "consultation:<id>", "patient:<id>", "order:<id>", "study:<uid>" …
    n: int
    trigger: str
    before: str                    # state before
    after: str
    membership: MembershipId | None
    staff: StaffId | None
    organisation: OrganisationId | None
    at: datetime
    reason: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """Hash-chained. `hash` = SHA-256(previous hash + canonical JSON of the row)."""

    n: int
    at: datetime
    membership: MembershipId | None
    staff: StaffId | None
    organisation: OrganisationId | None
    action: str
    object: str                    # "consultation:<id>", "study:<uid>", "report:<id>" …
    outcome: str                   # ok | denied
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""
