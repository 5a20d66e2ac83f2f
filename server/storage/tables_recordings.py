"""Recordings of meetings, and what was said about them: consent is insert-only and signed in a chain."""

from sqlalchemy import Boolean, Column, Index, UniqueConstraint
from sqlalchemy import text as sql

from consult.recording_state import Kind, Stage
from server.storage.columns import JsonTuple, key, moment, number, ref, table, text, version, word

recording = table(
    "recording",
    key(),
    ref("consultation", "consultation.id", index=True),
    ref("session", "session.id"),
    ref("asked_by", "membership.id"),
    moment("asked_at"),
    text("key"),
    word("stage", Stage),
    moment("stopped_at", null=True),
    text("stop_reason"),
    number("milliseconds"),
    number("size"),
    Column("spans", JsonTuple, nullable=False),
    Column("whole", Boolean, nullable=False),
    ref("held_by", "membership.id", null=True),
    moment("held_at", null=True),
    text("held_reason"),
    moment("removed_at", null=True),
    version(),
    Index("ix_recording_stage", "stage", "asked_at"),
    info={"upgrade": 12},
)
# One at a time in a session.
Index("ux_recording_open", recording.c.session, unique=True,
      sqlite_where=sql("stage = 'open'"), postgresql_where=sql("stage = 'open'"))  # fmt: skip

recording_event = table(
    "recording_event",
    key(),
    ref("recording", "recording.id"),
    number("n"),
    moment("at"),
    word("kind", Kind),
    ref("membership", "membership.id", null=True),
    ref("seat", "seat.id", null=True),
    text("person"),
    Column("people", JsonTuple, nullable=False),
    text("words"),
    text("reason"),
    text("mark"),
    UniqueConstraint("recording", "n"),
    info={"upgrade": 12},
)

recording_moment = table(
    "recording_moment",
    key(),
    ref("recording", "recording.id"),
    number("n"),
    moment("at"),
    text("sealed"),
    UniqueConstraint("recording", "n"),
    info={"upgrade": 15},
)
