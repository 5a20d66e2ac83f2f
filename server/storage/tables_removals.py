"""Removals after the retention as the clinical side keeps them: who proposed and decided what; and legal holds."""

from sqlalchemy import CheckConstraint, Column, Index
from sqlalchemy import text as sql

from server.storage.columns import JsonTuple, key, moment, number, ref, table, text

removal = table(
    "removal",
    key(),
    ref("organisation", "organisation.id"),
    text("reason"),
    text("state"),
    ref("proposed_by", "membership.id"),
    moment("proposed_at"),
    moment("expires_at"),
    ref("decided_by", "membership.id", null=True),
    moment("decided_at", null=True),
    text("decided_reason"),
    CheckConstraint("state IN ('open', 'approved', 'done', 'refused', 'expired')", name="state"),
    Index("ix_removal_organisation", "organisation", "proposed_at"),
    info={"upgrade": 9},
)

removal_study = table(
    "removal_study",
    key(),
    ref("removal", "removal.id", index=True),
    ref("organisation", "organisation.id"),
    text("study_uid"),
    text("study_date"),
    Column("modalities", JsonTuple, nullable=False),
    number("series"),
    number("instances"),
    text("state"),
    text("why"),
    moment("ended_at", null=True),
    CheckConstraint("state IN ('waiting', 'removed', 'kept')", name="state"),
    Index("ix_removal_study_uid", "study_uid", "state"),
    info={"upgrade": 9},
)
# A study waits in one proposal of its holder at a time.
Index("ux_removal_study_waiting", removal_study.c.organisation, removal_study.c.study_uid, unique=True,
      sqlite_where=sql("state = 'waiting'"), postgresql_where=sql("state = 'waiting'"))  # fmt: skip

study_hold = table(
    "study_hold",
    key(),
    ref("organisation", "organisation.id"),
    text("study_uid"),
    text("reason"),
    ref("set_by", "membership.id"),
    moment("set_at"),
    ref("lifted_by", "membership.id", null=True),
    moment("lifted_at", null=True),
    text("lifted_reason"),
    info={"upgrade": 9},
)
Index("ux_study_hold_in_force", study_hold.c.organisation, study_hold.c.study_uid, unique=True,
      sqlite_where=sql("lifted_at IS NULL"), postgresql_where=sql("lifted_at IS NULL"))  # fmt: skip
