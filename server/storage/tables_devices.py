"""The DICOM network's own tables: registered devices, and what they told of procedure steps."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index
from sqlalchemy import text as sql

from server.storage.columns import JsonTuple, key, moment, number, ref, table, text, version

device = table(
    "device",
    key(),
    ref("organisation", "organisation.id", index=True),
    text("name"),
    text("called"),
    text("calling"),
    text("address"),
    text("certificate"),
    text("host"),
    number("port"),
    Column("tls", Boolean, nullable=False),
    text("coding"),
    number("conflict_status"),
    Column("modalities", JsonTuple, nullable=False),
    moment("created_at"),
    moment("ended_at", null=True),
    version(),
    CheckConstraint("port BETWEEN 0 AND 65535", name="port"),
    CheckConstraint("coding IN ('utf-8', 'gb18030', 'gbk', 'iso58', 'pinyin')", name="coding"),
    # Whoever knows two titles must not be a device: an address or a certificate says so too.
    CheckConstraint("address <> '' OR certificate <> ''", name="proof"),
    info={"upgrade": 4},
)
# Titles, address and certificate decide whose images these are: never two answers.
Index("ux_device_in_force", device.c.called, device.c.calling, device.c.address, device.c.certificate, unique=True,
      sqlite_where=sql("ended_at IS NULL"), postgresql_where=sql("ended_at IS NULL"))

performed_step = table(
    "performed_step",
    key(),
    ref("device", "device.id"),
    ref("organisation", "organisation.id"),
    text("status"),
    text("accession"),
    text("study_uid"),
    number("series"),
    number("instances"),
    moment("created_at"),
    moment("changed_at"),
    CheckConstraint("status IN ('IN PROGRESS', 'COMPLETED', 'DISCONTINUED')", name="status"),
    Index("ix_performed_step_accession", "organisation", "accession"),
    info={"upgrade": 4},
)
