"""API tokens of organisations, and the feed of what happened to their studies."""

from sqlalchemy import CheckConstraint, Column, PrimaryKeyConstraint

from server.storage.columns import JsonTuple, key, moment, number, ref, table, text

api_token = table(
    "api_token",
    key(),
    ref("organisation", "organisation.id", index=True),
    text("name"),
    Column("digest", text("digest").type, nullable=False, unique=True),
    text("start"),
    Column("rights", JsonTuple, nullable=False),
    ref("membership", "membership.id"),
    moment("created_at"),
    moment("expires_at"),
    moment("last_used", null=True),
    moment("revoked_at", null=True),
    ref("revoked_by", "membership.id", null=True),
    info={"upgrade": 6},
)

study_change = table(
    "study_change",
    # No reference: the archive knows organisations by name alone, and a feed must not stop at one it cannot place.
    text("organisation"),
    number("n"),
    moment("at"),
    text("study_uid"),
    text("kind"),
    PrimaryKeyConstraint("organisation", "n"),
    CheckConstraint("kind IN ('stored', 'corrected', 'matched', 'voided', 'hidden', 'shown')", name="kind"),
    info={"upgrade": 6},
)
