"""Corrections of studies as the clinical side keeps them: who asked for what, and how far it has come."""

from sqlalchemy import CheckConstraint, Column, Index

from server.storage.columns import Json, key, moment, ref, table, text

study_correction = table(
    "study_correction",
    key(),
    ref("organisation", "organisation.id"),
    text("kind"),
    text("study_uid"),
    text("target_uid"),
    Column("detail", Json, nullable=False),
    text("reason"),
    text("state"),
    ref("made_by", "membership.id"),
    moment("made_at"),
    ref("undone_by", "membership.id", null=True),
    moment("undone_at", null=True),
    CheckConstraint("kind IN ('patient', 'merge', 'move', 'split')", name="kind"),
    # Written before the archive is asked (planned, undoing) and after it has answered.
    CheckConstraint("state IN ('planned', 'done', 'undoing', 'undone', 'refused')", name="state"),
    Index("ix_study_correction_organisation", "organisation", "made_at"),
    info={"upgrade": 8},
)
