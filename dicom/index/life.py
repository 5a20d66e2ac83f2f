"""What the life of the data asks of the index: which bytes of a pack are pointed to, and what was found wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from dicom.index import writer

EntryKind = Literal["instance", "metadata", "quarantine"]
_PLACES = (
    "SELECT offset, prefix_length + body_length AS length, digest, 'instance' AS kind FROM blob"
    " WHERE pack = ?1 AND offset >= ?2 AND offset < ?3"
    " UNION ALL SELECT metadata_offset, metadata_length, digest, 'metadata' FROM blob"
    " WHERE metadata_pack = ?1 AND metadata_offset >= ?2 AND metadata_offset < ?3"
    " UNION ALL SELECT offset, prefix_length + body_length, digest, 'quarantine' FROM quarantine"
    " WHERE pack = ?1 AND offset >= ?2 AND offset < ?3 ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Bytes of a pack that a row points to: from `offset`, `length` of them, belonging to dataset `digest` (hex)."""

    offset: int
    length: int
    digest: str
    kind: EntryKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """An instance whose stored bytes are wrong, as an operator and a repair need it."""

    organisation: str
    study_uid: str
    sop_uid: str
    digest: str
    pack: int
    offset: int
    prefix_length: int
    length: int  # prefix and dataset


def entries(connection: sqlite3.Connection, pack: int, start: int, stop: int) -> list[Entry]:
    """The entries of a pack that begin in `start` … `stop`, by offset."""
    rows = connection.execute(_PLACES, (pack, start, stop))
    return [Entry(offset=a, length=b, digest=c.hex(), kind=d) for a, b, c, d in rows]


def set_damage(connection: sqlite3.Connection, pack: int, wrong: Iterable[Entry], at: str) -> None:
    """What is wrong in a pack, instead of what was known of it before. Damaged metadata is simply made again."""
    connection.execute("DELETE FROM damage WHERE pack = ?", (pack,))
    for entry in wrong:
        digest = bytes.fromhex(entry.digest)
        if entry.kind == "metadata":
            connection.execute(
                "UPDATE blob SET metadata_pack = NULL, metadata_offset = NULL, metadata_length = NULL,"
                " metadata_state = 0 WHERE digest = ? AND metadata_pack = ? AND metadata_offset = ?",
                (digest, pack, entry.offset),
            )
            continue
        connection.execute(
            "INSERT OR REPLACE INTO damage VALUES (?, ?, ?, ?, ?, ?)",
            (pack, entry.offset, entry.length, entry.kind, digest, at),
        )
    connection.execute(  # no metadata is made from bytes that are wrong
        "UPDATE blob SET metadata_state = 2 WHERE metadata_state = 0 AND pack = ?"
        " AND EXISTS (SELECT 1 FROM damage d WHERE d.pack = blob.pack AND d.offset = blob.offset)",
        (pack,),
    )


def damaged_places(connection: sqlite3.Connection) -> dict[int, list[tuple[int, int]]]:
    """Pack → (offset, end) of everything that must not be served."""
    out: dict[int, list[tuple[int, int]]] = {}
    for pack, offset, length in connection.execute("SELECT pack, offset, length FROM damage"):
        out.setdefault(pack, []).append((offset, offset + length))
    return out


def damaged_instances(connection: sqlite3.Connection) -> list[Damaged]:
    """Instances (one of each dataset's holders) that have no sound copy here."""
    rows = connection.execute(
        "SELECT i.organisation, i.study_uid, i.sop_uid, b.digest, d.pack, d.offset, b.prefix_length, d.length"
        " FROM damage d JOIN blob b ON b.pack = d.pack AND b.offset = d.offset JOIN instance i ON i.blob = b.id"
        " GROUP BY b.id ORDER BY d.pack, d.offset"
    )
    return [
        Damaged(
            organisation=row[0], study_uid=row[1], sop_uid=row[2], digest=row[3].hex(), pack=row[4], offset=row[5],
            prefix_length=row[6], length=row[7],
        )
        for row in rows
    ]  # fmt: skip


def damaged_count(connection: sqlite3.Connection) -> int:
    """How many datasets, quarantined ones too, have no sound copy."""
    (count,) = connection.execute(
        "SELECT count(*) FROM damage d WHERE"
        " EXISTS (SELECT 1 FROM blob b WHERE b.pack = d.pack AND b.offset = d.offset)"
        " OR EXISTS (SELECT 1 FROM quarantine q WHERE q.pack = d.pack AND q.offset = d.offset)"
    ).fetchone()
    return int(count)


def bytes_held(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Organisation → (instances, bytes of their datasets); what several hold counts for each of them."""
    rows = connection.execute(
        "SELECT i.organisation, count(*), sum(b.prefix_length + b.body_length)"
        " FROM instance i JOIN blob b ON b.id = i.blob GROUP BY i.organisation ORDER BY i.organisation"
    )
    return {organisation: (count, size) for organisation, count, size in rows}


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Studies, series, instances, datasets (`blob`) and quarantined instances that wait (`quarantine`)."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM study), (SELECT count(*) FROM series), (SELECT count(*) FROM instance),"
        " (SELECT count(*) FROM blob), (SELECT count(*) FROM quarantine WHERE state = 'open')"
    ).fetchone()
    return dict(zip(("study", "series", "instance", "blob", "quarantine"), row, strict=True))


def bytes_since(connection: sqlite3.Connection, after: int) -> tuple[int, dict[str, int]]:
    """(id of the newest instance, organisation → bytes of those that came behind instance `after`)."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM instance").fetchone()
    rows = connection.execute(
        "SELECT i.organisation, sum(b.prefix_length + b.body_length)"
        " FROM instance i JOIN blob b ON b.id = i.blob WHERE i.id > ? AND i.id <= ? GROUP BY i.organisation",
        (after, newest),
    )
    return newest, dict(rows.fetchall())


def live_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of all packs that a row points to."""
    (size,) = connection.execute(
        "SELECT (SELECT coalesce(sum(prefix_length + body_length + coalesce(metadata_length, 0)), 0) FROM blob)"
        " + (SELECT coalesce(sum(prefix_length + body_length), 0) FROM quarantine)"
    ).fetchone()
    return int(size)


def series_shown(connection: sqlite3.Connection, organisation: str, study_uid: str) -> set[tuple[str, str]]:
    """(Study, Series Instance UID) as stored of all that is shown under a study."""
    rows = connection.execute(
        "SELECT DISTINCT coalesce(stored_study, study_uid), series_uid FROM instance"
        " WHERE +organisation = ? AND study_uid = ?",
        (organisation, study_uid),
    )
    return {(study, series) for study, series in rows}


def newest_of(connection: sqlite3.Connection, organisation: str, study_uid: str) -> str:
    """When the last of a study's instances was stored; empty where there is none."""
    (found,) = connection.execute(
        "SELECT coalesce(max(stored_at), '') FROM instance WHERE +organisation = ? AND study_uid = ?",
        (organisation, study_uid),
    ).fetchone()
    return str(found)


def scrub_state(connection: sqlite3.Connection) -> dict[str, Any]:
    """How far the present or last scrub came; empty before the first."""
    text = writer.get_fact(connection, "scrub")
    return dict(json.loads(text)) if text else {}


def set_scrub_state(connection: sqlite3.Connection, state: dict[str, Any]) -> None:
    """Keep it over a restart."""
    writer.set_fact(connection, "scrub", json.dumps(state, separators=(",", ":")))
