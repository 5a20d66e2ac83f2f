"""Where received images go on to: destinations, rules, and the queue with one row per instance and destination."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Text, UniqueConstraint

from server.storage.columns import JsonTuple, key, moment, number, ref, table, text, version

forward_destination = table(
    "forward_destination",
    key(),
    ref("organisation", "organisation.id", index=True),
    text("name"),
    ref("device", "device.id", null=True),
    text("url"),
    text("token"),           # sealed (server/sealing.py)
    text("ca"),
    text("compression"),
    moment("created_at"),
    moment("ended_at", null=True),
    version(),
    # How the way there is: told by attempts, not by people, and not under the version.
    number("failures"),
    moment("next_at"),
    text("last_error"),
    CheckConstraint("(device IS NULL) <> (url = '')", name="one_way"),
    CheckConstraint("compression IN ('', 'jpeg-ls', 'htj2k')", name="compression"),
    info={"upgrade": 7},
)

forward_rule = table(
    "forward_rule",
    key(),
    ref("organisation", "organisation.id", index=True),
    ref("destination", "forward_destination.id"),
    Column("modalities", JsonTuple, nullable=False),
    text("source"),
    text("description"),
    Column("earlier", Boolean, nullable=False),
    number("mark"),          # of the archive's changes: everything before it was looked at
    text("mark_name"),
    moment("created_at"),
    moment("ended_at", null=True),
    version(),
    info={"upgrade": 7},
)

forward_item = table(
    "forward_item",
    key(),
    ref("destination", "forward_destination.id"),
    number("n"),             # in the order of arrival
    text("study_uid"),
    text("sop_uid"),
    text("digest"),
    text("state"),
    number("attempts"),
    moment("created_at"),
    moment("next_at"),
    moment("ended_at", null=True),
    text("last_error"),
    # The address whose own answer named the instance as stored; '' where a bare success, or a device, took it.
    Column("named_by", Text, nullable=False, server_default="", info={"upgrade": 17}),
    UniqueConstraint("destination", "sop_uid", "digest"),
    CheckConstraint("state IN ('waiting', 'sent', 'dropped')", name="state"),
    Index("ix_forward_item_waiting", "destination", "state", "n"),
    Index("ix_forward_item_study", "destination", "study_uid", info={"upgrade": 17}),
    info={"upgrade": 7},
)
