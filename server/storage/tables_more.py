"""Studies, the two logs, and what only the server keeps (accounts, logins, grants, uploads, outbox, settings)."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Text, UniqueConstraint
from sqlalchemy import text as sql

from consult import feedback_entry as f
from consult import model as m
from server.storage.columns import Json, key, moment, number, ref, table, text, version, word

exam_order = table(
    "exam_order",
    key(),
    ref("issuer", "organisation.id"),
    text("accession"),
    ref("patient", "patient.id", index=True),
    ref("ordering", "organisation.id", index=True),
    ref("performing", "organisation.id", index=True),
    ref("ordered_by", "membership.id"),
    text("procedure"),
    text("modality"),
    ref("consultation", "consultation.id", null=True, index=True),
    moment("at"),
    moment("voided_at", null=True),
    text("voided_reason"),
    version(),
    UniqueConstraint("issuer", "accession"),
)

study_match = table(
    "study_match",
    key(),
    text("study_uid"),
    ref("organisation", "organisation.id"),
    ref("patient", "patient.id", index=True),
    ref("order", "exam_order.id", null=True, index=True),
    word("method", m.MatchMethod),
    ref("by", "membership.id", null=True),
    moment("at"),
    moment("voided_at", null=True),
    ref("voided_by", "membership.id", null=True),
    text("voided_reason"),
    Index("ix_study_match_organisation", "organisation", "at"),
)
# One match in force per study and holding organisation; voided ones stay beside it.
Index("ux_study_match_in_force", study_match.c.study_uid, study_match.c.organisation, unique=True,
      sqlite_where=sql("voided_at IS NULL"), postgresql_where=sql("voided_at IS NULL"))

study_share = table(
    "study_share",
    ref("consultation", "consultation.id"),
    text("study_uid"),
    ref("by", "membership.id", null=True),
    moment("since"),
    moment("until", null=True),
    Index("ix_study_share_study", "study_uid", "until"),
    Index("ix_study_share_consultation", "consultation", "until"),
)
Index("ux_study_share_open", study_share.c.consultation, study_share.c.study_uid, unique=True,
      sqlite_where=sql("until IS NULL"), postgresql_where=sql("until IS NULL"))

feedback = table(
    "feedback",
    key(),
    ref("consultation", "consultation.id", index=True),
    word("side", f.Side),
    ref("by", "membership.id"),
    moment("at"),
    number("day", null=True),
    word("adoption", f.Adoption, null=True),
    text("reason"),
    Column("plan_changed", Boolean),
    text("done"),
    word("outcome", f.Outcome, null=True),
    number("rating", null=True),
    text("comment"),
    Column("final", Boolean, nullable=False),
    CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
    info={"upgrade": 2},
)
# The clinic tells of each day once, an expert rates once.
Index("ux_feedback_day", feedback.c.consultation, feedback.c.day, unique=True,
      sqlite_where=sql("side = 'clinic'"), postgresql_where=sql("side = 'clinic'"))
Index("ux_feedback_rating", feedback.c.consultation, feedback.c.by, unique=True,
      sqlite_where=sql("side = 'expert'"), postgresql_where=sql("side = 'expert'"))

# The two logs name their subjects as text and reference nothing: they must take a row whatever else exists.
event = table(
    "event",
    key(),
    text("aggregate"),
    number("n"),
    text("trigger"),
    text("before"),
    text("after"),
    text("membership", null=True),
    text("staff", null=True),
    text("organisation", null=True),
    moment("at"),
    text("reason"),
    Column("payload", Json, nullable=False),
    UniqueConstraint("aggregate", "n"),
    Index("ix_event_at", "at", "trigger"),
)

audit = table(
    "audit",
    Column("n", number("n").type, primary_key=True, autoincrement=False),
    moment("at"),
    text("membership", null=True),
    text("staff", null=True),
    text("organisation", null=True),
    text("action"),
    text("object"),
    text("outcome"),
    text("request_id"),
    Column("detail", Json, nullable=False),
    text("hash"),
    CheckConstraint("outcome IN ('ok', 'denied')", name="outcome"),
    Index("ix_audit_object", "object", "n"),
    Index("ix_audit_staff", "staff", "n"),
    Index("ix_audit_organisation", "organisation", "n"),
)

counter = table("counter", key("name"), number("value"))

account = table(
    "account",
    Column("staff", Text, primary_key=True),
    text("password_hash"),
    number("failed"),
    moment("locked_until", null=True),
    Column("must_change", Boolean, nullable=False),
    moment("changed_at"),
)

login = table(
    "login",
    key("digest"),
    ref("staff", "staff.id", index=True),
    ref("membership", "membership.id", null=True, index=True),
    text("csrf"),
    moment("created_at"),
    moment("last_seen"),
    moment("expires_at"),
    moment("revoked_at", null=True),
    moment("sign_unlocked_until", null=True),
    Index("ix_login_expires", "expires_at"),
)

study_grant = table(
    "study_grant",
    key("digest"),
    ref("membership", "membership.id"),
    text("study_uid"),
    ref("consultation", "consultation.id", null=True),
    moment("created_at"),
    moment("expires_at"),
    moment("revoked_at", null=True),
    number("frames"),
    text("login", null=True),
    Index("ix_study_grant_membership", "membership", "consultation"),
    Index("ix_study_grant_expires", "expires_at"),
    Index("ix_study_grant_login", "login"),
)

upload = table(
    "upload",
    key(),
    ref("organisation", "organisation.id"),
    ref("membership", "membership.id"),
    number("size"),
    number("received"),
    text("state"),
    Column("result", Json),
    moment("created_at"),
    moment("touched_at"),
    version(),
    Column("consultation", Text, info={"upgrade": 13}),
    Column("kind", Text, nullable=False, server_default="", info={"upgrade": 13}),
    Column("title", Text, nullable=False, server_default="", info={"upgrade": 13}),
    CheckConstraint("state IN ('open', 'complete', 'done', 'failed', 'cancelled')", name="state"),
    CheckConstraint("received >= 0 AND received <= size", name="received"),
    Index("ix_upload_touched", "state", "touched_at"),
    Index("ix_upload_membership", "membership", "state"),
)

outbox = table(
    "outbox",
    key(),
    text("kind"),
    text("target"),
    Column("payload", Json, nullable=False),
    text("state"),
    number("attempts"),
    moment("created_at"),
    moment("next_at"),
    text("last_error"),
    CheckConstraint("state IN ('pending', 'sent', 'failed')", name="state"),
    Index("ix_outbox_next", "state", "next_at"),
)

setting = table("setting", key("name"), Column("value", Json, nullable=False))

INSERT_ONLY = ("report_version", "report_pdf", "signature", "event", "audit", "feedback", "recording_event")


