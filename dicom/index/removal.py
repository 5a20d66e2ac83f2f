"""Removals in the index: a study's rows go, and tombstones keep every older record of its series from coming back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Any

from dicom.errors import CorrectionError
from dicom.index import life
from dicom.index.corrections import is_touched, recount, replay
from dicom.index.removing import remove_instance
from dicom.index.writer import Holding
from dicom.model import Removal

_SERIES = 5000  # of one study; more would not fit into one record


def is_removed(connection: sqlite3.Connection, holding: Holding) -> bool:
    """Whether a tombstone covers a record."""
    h = holding.header
    found = connection.execute(
        "SELECT 1 FROM tombstone WHERE organisation = ? AND study_uid = ? AND series_uid = ? AND generation > ?",
        (holding.organisation, h.study_uid, h.series_uid, holding.generation),
    )
    return found.fetchone() is not None


def is_done(connection: sqlite3.Connection, id: str) -> bool:
    """Whether a removal was made."""
    return connection.execute("SELECT 1 FROM removal WHERE id = ?", (id,)).fetchone() is not None


def held_of(connection: sqlite3.Connection, organisation: str, study_uid: str) -> frozenset[tuple[str, str]]:
    """(SOP Instance UID, digest in hex) of all that is shown under a study."""
    rows = connection.execute(
        "SELECT i.sop_uid, b.digest FROM instance i JOIN blob b ON b.id = i.blob"
        " WHERE +i.organisation = ? AND i.study_uid = ?",
        (organisation, study_uid),
    )
    return frozenset((sop_uid, digest.hex()) for sop_uid, digest in rows)


def is_contested(connection: sqlite3.Connection, organisation: str, study_uid: str) -> bool:
    """Whether a file is, or was, in quarantine that says it is of the study, or takes the place of one of its own."""
    found = connection.execute(
        "SELECT 1 FROM quarantine WHERE organisation = ?1 AND (study_uid = ?2 OR sop_uid IN"
        " (SELECT sop_uid FROM instance WHERE +organisation = ?1 AND study_uid = ?2))",
        (organisation, study_uid),
    )
    return found.fetchone() is not None


def check_removal(connection: sqlite3.Connection, one: Removal) -> None:
    """Raises CorrectionError where a removal does not fit what is held at this moment."""
    if is_done(connection, one.id):
        return
    shown = life.series_shown(connection, one.organisation, one.study_uid)
    if not shown:
        raise CorrectionError(code="no_such_study")
    if shown != set(one.series) or len(shown) > _SERIES:
        raise CorrectionError(code="changed_meanwhile")
    if life.newest_of(connection, one.organisation, one.study_uid) >= one.stored_before:
        raise CorrectionError(code="retention")
    for study_uid, series_uid in one.series:
        waits = connection.execute(
            "SELECT 1 FROM quarantine WHERE organisation = ? AND study_uid = ? AND series_uid = ? AND state = 'open'",
            (one.organisation, study_uid, series_uid),
        )
        if waits.fetchone() is not None:
            raise CorrectionError(code="quarantine_waits")


def enter_removal(connection: sqlite3.Connection, label: dict[str, Any]) -> list[str]:
    """A tombstone record into the index, live or replayed: the digests that nobody holds any more. Idempotent."""
    value = label["removal"]
    one = Removal(**{**value, "series": tuple((study, series) for study, series in value["series"])})
    if is_done(connection, one.id):
        return []
    generation = int(label["generation"])
    text = json.dumps(asdict(one), ensure_ascii=False)
    connection.execute("INSERT INTO removal VALUES (?, ?, ?, ?)", (one.id, one.organisation, generation, text))
    blobs: set[int] = set()
    shown: set[str] = set()
    for study_uid, series_uid in one.series:
        key = (one.organisation, study_uid, series_uid, generation)
        connection.execute(
            "INSERT INTO tombstone VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET generation = max(generation, excluded.generation)",
            key,
        )
        rows = connection.execute(
            "SELECT id, blob, study_uid, sop_uid FROM instance WHERE +organisation = ?1 AND series_uid = ?3"
            " AND generation < ?4 AND ((study_uid = ?2 AND stored_study IS NULL) OR stored_study = ?2)",
            key,
        ).fetchall()
        for instance, blob, study, sop_uid in rows:
            remove_instance(connection, instance)
            connection.execute(
                "INSERT INTO change(at, kind, organisation, study_uid, series_uid, sop_uid)"
                " VALUES (?, 'removed', ?, ?, ?, ?)",
                (one.at, one.organisation, study, series_uid, sop_uid),
            )
            blobs.add(blob)
            shown.add(study)
        connection.execute(
            "DELETE FROM quarantine WHERE organisation = ? AND study_uid = ? AND series_uid = ? AND generation < ?", key
        )
    recount(connection, one.organisation, sorted(shown), one.at)
    touched = {study for study, _ in one.series if is_touched(connection, one.organisation, study)}
    if touched:
        replay(connection, one.organisation, touched, at=one.at)
    return [digest for blob in sorted(blobs) if (digest := _release(connection, one.organisation, blob))]


def _release(connection: sqlite3.Connection, organisation: str, blob: int) -> str | None:
    """The organisation has let go of these bytes; their digest if that leaves nobody."""
    (digest,) = connection.execute("SELECT digest FROM blob WHERE id = ?", (blob,)).fetchone()
    left = {row[0] for row in connection.execute("SELECT organisation FROM instance WHERE blob = ?", (blob,))}
    if organisation not in left:
        connection.execute("DELETE FROM custody WHERE digest = ? AND organisation = ?", (digest, organisation))
    if left:
        return None
    connection.execute("DELETE FROM blob WHERE id = ?", (blob,))
    return str(digest.hex())
