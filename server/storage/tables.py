"""The clinical tables (docs/architecture.md, The data). Column names are the field names of consult's entities.

Columns that no entity carries are derived for look-ups and written by rows.py: `pinyin_key`, `purpose`.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy import text as sql

from consult import model as m
from consult import patient as p
from consult import people as o
from server.storage.columns import Json, JsonTuple, Moment, key, moment, number, ref, table, text, version, word

organisation = table(
    "organisation",
    key(),
    text("name"),
    text("short_name"),
    word("tier", o.Tier),
    word("kind", o.OrganisationKind),
    text("district"),
    text("phone"),
    Column("room_kbps", Integer, nullable=False, server_default="0", info={"upgrade": 16}),
    Column("active", Boolean, nullable=False),
    version(),
)

org_link = table(
    "org_link",
    Column("a", Text, nullable=False),
    Column("b", Text, nullable=False),
    word("kind", o.LinkKind),
    Column("since", Date, nullable=False),
    Column("until", Date),
    UniqueConstraint("a", "b", "kind", "since"),
    Index("ix_org_link_b", "b"),
)

staff = table(
    "staff",
    key(),
    text("login"),
    text("name"),
    text("title"),
    text("licence"),
    text("phone"),
    Column("active", Boolean, nullable=False),
    version(),
    UniqueConstraint("login"),
)

membership = table(
    "membership",
    key(),
    ref("staff", "staff.id", index=True),
    ref("organisation", "organisation.id", index=True),
    word("role", o.Role),
    text("department"),
    Column("specialties", JsonTuple, nullable=False),
    Column("on_call", Boolean, nullable=False),
    moment("since", null=True),
    moment("until", null=True),
    version(),
)

patient = table(
    "patient",
    key(),
    text("name"),
    word("sex", p.Sex),
    Column("birth_date", Date),
    text("pinyin"),
    text("phone"),
    text("guardian"),
    text("payer"),
    text("allergies"),
    Column("unknown", Boolean, nullable=False),
    ref("mother", "patient.id", null=True, index=True),
    ref("registered_by", "organisation.id"),
    moment("created_at"),
    ref("merged_into", "patient.id", null=True, index=True),
    version(),
    text("pinyin_key"),
    Column("birth_estimated", Boolean, nullable=False, server_default=false(), info={"upgrade": 3}),
)

patient_identifier = table(
    "patient_identifier",
    ref("patient", "patient.id", index=True),
    word("system", p.IdentifierSystem),
    text("issuer"),
    text("value"),
    UniqueConstraint("system", "issuer", "value"),
    Index("ix_patient_identifier_value", "value"),
)

patient_organisation = table(
    "patient_organisation",
    Column("organisation", Text, primary_key=True),
    Column("patient", Text, primary_key=True),
    Index("ix_patient_organisation_patient", "patient"),
)

consultation = table(
    "consultation",
    key(),
    text("number"),
    ref("patient", "patient.id", index=True),
    ref("organisation", "organisation.id"),
    ref("requested_by", "membership.id"),
    word("service", m.Service),
    word("mode", m.Mode),
    word("participation", m.Participation),
    word("addressing", m.Addressing),
    word("urgency", m.Urgency),
    ref("target_organisation", "organisation.id", null=True),
    text("target_specialty"),
    ref("target_membership", "membership.id", null=True),
    word("state", m.State),
    word("resume_to", m.State, null=True),
    moment("state_since"),
    moment("created_at"),
    moment("submitted_at", null=True),
    moment("due_at", null=True),
    moment("scheduled_at", null=True),
    Column("missing", JsonTuple, nullable=False),
    ref("replaces", "consultation.id", null=True, index=True),
    Column("hidden_studies", JsonTuple, nullable=False),
    version(),
    UniqueConstraint("number"),
)

# What the two ticks of the feedback loop look for.
Index("ix_consultation_resting", consultation.c.state, consultation.c.state_since, consultation.c.id,
      sqlite_where=sql("state IN ('acknowledged', 'feedback')"),
      postgresql_where=sql("state IN ('acknowledged', 'feedback')"), info={"upgrade": 2})
Index("ix_consultation_due", consultation.c.due_at, consultation.c.id, sqlite_where=sql("due_at IS NOT NULL"),
      postgresql_where=sql("due_at IS NOT NULL"))

# Who lists which consultation, with every filter and sort column: derived (server/storage/listing.py), so that a page's
# ids come from one index and only the rows shown are read.
listing = table(
    "listing",
    Column("scope", Text, primary_key=True),
    Column("consultation", Text, primary_key=True),
    text("organisation"),
    text("target_organisation", null=True),
    word("state", m.State),
    number("urgency_rank"),
    moment("state_since"),
    word("service", m.Service),
    moment("created_at"),
    Index("ix_listing_consultation", "consultation"),
    Index("ix_listing_page", "scope", "state", "urgency_rank", "state_since", "consultation", "service", "created_at",
          "organisation", "target_organisation"),
    sqlite_with_rowid=False,
)

request_version = table(
    "request_version",
    ref("consultation", "consultation.id"),
    number("n"),
    Column("content", Json, nullable=False),
    ref("saved_by", "membership.id"),
    moment("saved_at"),
    text("purpose"),
    UniqueConstraint("consultation", "n"),
)

question = table(
    "question",
    ref("consultation", "consultation.id"),
    number("n"),
    text("text"),
    UniqueConstraint("consultation", "n"),
)

consent = table(
    "consent",
    key(),
    ref("consultation", "consultation.id", index=True),
    text("text_version"),
    text("signer"),
    text("relation"),
    word("mode", m.ConsentMode),
    Column("scopes", JsonTuple, nullable=False),
    Column("witnesses", JsonTuple, nullable=False),
    ref("document", "document.id", null=True),
    moment("given_at"),
    ref("recorded_by", "membership.id"),
    moment("withdrawn_at", null=True),
    text("withdrawn_reason"),
)

document = table(
    "document",
    key(),
    ref("consultation", "consultation.id", index=True),
    text("kind"),
    text("title"),
    text("media_type"),
    text("digest"),
    number("size"),
    number("pages"),
    ref("added_by", "membership.id"),
    moment("added_at"),
    moment("voided_at", null=True),
    text("voided_reason"),
    Column("original", Text, nullable=False, server_default="", info={"upgrade": 13}),
    Index("ix_document_digest", "digest"),
)

offer = table(
    "offer",
    key(),
    ref("consultation", "consultation.id", index=True),
    ref("organisation", "organisation.id"),
    ref("membership", "membership.id", null=True),
    text("specialty"),
    ref("made_by", "membership.id", null=True),
    moment("made_at"),
    moment("expires_at"),
    word("outcome", m.OfferOutcome),
    ref("closed_by", "membership.id", null=True),
    moment("closed_at", null=True),
    text("reason"),
    version(),
    CheckConstraint("(outcome = 'open') = (closed_at IS NULL)", name="closed"),
)
Index("ix_offer_open", offer.c.expires_at, sqlite_where=sql("outcome = 'open'"),
      postgresql_where=sql("outcome = 'open'"))

participant = table(
    "participant",
    ref("consultation", "consultation.id", index=True),
    ref("membership", "membership.id"),
    word("part", m.Part),
    moment("since"),
    moment("until", null=True),
    Column("invited_by", Text, info={"upgrade": 11}),
    Column("expires_at", Moment, info={"upgrade": 11}),
)
Index("ix_participant_membership", participant.c.membership)
Index("ix_participant_invited", participant.c.expires_at, info={"upgrade": 11},
      sqlite_where=sql("until IS NULL AND expires_at IS NOT NULL"),
      postgresql_where=sql("until IS NULL AND expires_at IS NOT NULL"))
# One open participation of a membership in one part.
Index("ux_participant_open", participant.c.consultation, participant.c.membership, participant.c.part, unique=True,
      sqlite_where=sql("until IS NULL"), postgresql_where=sql("until IS NULL"))

read_mark = table(
    "read_mark",
    Column("consultation", Text, primary_key=True),
    Column("membership", Text, primary_key=True),
    moment("at"),
)

session = table(
    "session",
    key(),
    ref("consultation", "consultation.id"),
    number("n"),
    text("kind"),
    ref("opened_by", "membership.id"),
    moment("opened_at"),
    ref("ended_by", "membership.id", null=True),
    moment("ended_at", null=True),
    Column("locked", Boolean, nullable=False),
    Column("chair", Text, info={"upgrade": 11}),
    Column("wait_text", Text, nullable=False, server_default="", info={"upgrade": 11}),
    Column("wait_until", Moment, info={"upgrade": 11}),
    version(),
    UniqueConstraint("consultation", "n"),
)
# A consultation has at most one running session.
Index("ux_session_running", session.c.consultation, unique=True, sqlite_where=sql("ended_at IS NULL"),
      postgresql_where=sql("ended_at IS NULL"))

seat = table(
    "seat",
    key(),
    ref("session", "session.id"),
    ref("membership", "membership.id", index=True),
    word("part", m.Part),
    word("state", m.SeatState),
    moment("since"),
    Column("precheck", Json),
    version(),
    UniqueConstraint("session", "membership"),
)

attendance = table(
    "attendance",
    ref("seat", "seat.id", index=True),
    moment("entered_at"),
    moment("left_at", null=True),
    text("reason"),
)
# A seat is entered once at a time.
Index("ux_attendance_open", attendance.c.seat, unique=True, sqlite_where=sql("left_at IS NULL"),
      postgresql_where=sql("left_at IS NULL"))

message = table(
    "message",
    key(),
    ref("consultation", "consultation.id"),
    ref("session", "session.id", null=True),
    ref("membership", "membership.id"),
    text("client_id"),
    text("text"),
    moment("at"),
    UniqueConstraint("consultation", "membership", "client_id"),
    Index("ix_message_at", "consultation", "at"),
)

report = table(
    "report",
    key(),
    ref("consultation", "consultation.id"),
    word("part", m.Part),
    ref("author", "membership.id"),
    Column("content", Json, nullable=False),
    moment("saved_at"),
    version(),
    UniqueConstraint("consultation", "part", "author"),
)

report_version = table(
    "report_version",
    key(),
    ref("report", "report.id"),
    ref("consultation", "consultation.id", index=True),
    number("n"),
    word("status", m.ReportStatus),
    Column("content", Json, nullable=False),
    text("content_digest"),
    text("pdf_digest"),
    text("code"),
    text("reason"),
    ref("replaces", "report_version.id", null=True),
    moment("signed_at"),
    UniqueConstraint("report", "n"),
    UniqueConstraint("code"),
)

report_pdf = table(
    "report_pdf",
    Column("report_version", Text, primary_key=True),
    Column("pdf", LargeBinary, nullable=False),
)

signature = table(
    "signature",
    ref("report_version", "report_version.id"),
    ref("staff", "staff.id", index=True),
    ref("membership", "membership.id"),
    word("part", m.Part),
    text("certificate"),
    moment("at"),
    UniqueConstraint("report_version", "staff", "part"),
)

filing = table(
    "filing",
    key(),
    ref("report_version", "report_version.id"),
    ref("consultation", "consultation.id", index=True),
    ref("organisation", "organisation.id"),
    text("channel"),
    text("state"),
    moment("filed_at", null=True),
    ref("read_by", "membership.id", null=True),
    moment("read_at", null=True),
    ref("acknowledged_by", "membership.id", null=True),
    moment("acknowledged_at", null=True),
    number("attempts"),
    version(),
    UniqueConstraint("report_version", "organisation", "channel"),
    CheckConstraint("state IN ('pending', 'filed', 'acknowledged', 'failed')", name="state"),
)
Index("ix_filing_inbox", filing.c.organisation, filing.c.channel, filing.c.acknowledged_at,
      filing.c.filed_at)
Index("ix_filing_pending", filing.c.channel, filing.c.state)
