"""What has arrived, in the order of its commits: for whoever must miss nothing (forwarding)."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from dicom.model import Arrival

_NEXT = """SELECT c.seq, c.at, c.organisation, c.study_uid, c.sop_uid, i.modality, i.source, b.digest, s.description
FROM change c
JOIN instance i ON i.organisation = c.organisation AND i.sop_uid = c.sop_uid
JOIN blob b ON b.id = i.blob JOIN series r ON r.id = i.series JOIN study s ON s.id = r.study
WHERE c.kind = 'stored' AND c.seq > ? AND c.seq <= ? ORDER BY c.seq"""


def newest(connection: sqlite3.Connection) -> int:
    """Number of the last change, 0 where nothing has happened."""
    (number,) = connection.execute("SELECT coalesce(max(seq), 0) FROM change").fetchone()
    return int(number)


def name_of(connection: sqlite3.Connection, number: int) -> str:
    """What change `number` is about; '' where there is none. It differs once the index was made anew."""
    row = connection.execute(
        "SELECT at, kind, organisation, sop_uid FROM change WHERE seq = ?", (number,)
    ).fetchone()
    return " ".join(row) if row else ""


def between(connection: sqlite3.Connection, after: int, until: int) -> list[Arrival]:
    """Instances whose change has a number above `after`, up to `until`, and that are still held."""
    return [
        Arrival(
            number=row[0], at=datetime.fromisoformat(row[1]), organisation=row[2], study_uid=row[3], sop_uid=row[4],
            modality=row[5], source=row[6], digest=row[7].hex(), description=row[8],
        )
        for row in connection.execute(_NEXT, (after, until))
    ]  # fmt: skip
