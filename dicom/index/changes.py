"""What happened to studies, in the order of its commits. For the feed that the server keeps; not for an answer."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from dicom.index.arrivals import name_of, newest

Mark = tuple[int, str]
"""How far one has read: a change's number, and what stands there (an index made anew holds something else)."""

_SINCE = """SELECT organisation, study_uid, CASE kind WHEN 'stored' THEN 'stored' ELSE 'corrected' END AS what, max(at)
FROM change WHERE seq > ? AND seq <= ? AND kind <> 'quarantined' GROUP BY organisation, study_uid, what
ORDER BY max(seq)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyNote:
    """Instances of a study were `stored`, or something in it is shown otherwise or is gone (`corrected`)."""

    organisation: str
    study_uid: str
    kind: str
    at: str


def since(connection: sqlite3.Connection, mark: Mark, limit: int) -> tuple[Mark, list[StudyNote]]:
    """The studies touched by at most `limit` changes after `mark`, each once, and the mark to go on from.

    A mark that no longer fits begins again at 0.
    """
    after = mark[0] if mark[0] and name_of(connection, mark[0]) == mark[1] else 0
    until = min(after + limit, newest(connection))
    rows = connection.execute(_SINCE, (after, until)).fetchall()
    notes = [StudyNote(organisation=row[0], study_uid=row[1], kind=row[2], at=row[3]) for row in rows]
    return (until, name_of(connection, until)), notes
