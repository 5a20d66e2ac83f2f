"""What is old enough to be removed: the later of Study Date and the last arrival lies before the retention."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from dicom.index import life

# The index of dates is read from its old end; `stored_at`, the first arrival, spares most looks at the instances.
_DUE = """SELECT s.study_uid, s.study_date, s.patient_name, s.description, s.modalities, s.series_count,
s.instance_count, EXISTS (
  SELECT 1 FROM quarantine q WHERE q.organisation = s.organisation AND q.state = 'open' AND (
    q.study_uid = s.study_uid OR EXISTS (
      SELECT 1 FROM instance i WHERE i.organisation = q.organisation AND i.sop_uid = q.sop_uid
      AND i.study_uid = s.study_uid))
) FROM study s WHERE s.organisation = ?1 AND s.study_date < ?2 AND s.stored_at < ?3 AND NOT EXISTS (
  SELECT 1 FROM instance i WHERE i.study_uid = s.study_uid AND +i.organisation = s.organisation
  AND i.stored_at >= ?3)"""
_PAGE = _DUE + " ORDER BY s.study_date, s.study_time, s.study_uid DESC LIMIT ?4 OFFSET ?5"
_ONE = _DUE + " AND s.study_uid = ?4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The end of the retention: days (DICOM DA, on the site's calendar) and arrivals before it are old enough."""

    day: str
    moment: datetime  # UTC

    @property
    def values(self) -> tuple[str, str]:
        """As the index compares them."""
        return self.day, self.moment.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueStudy:
    """A study whose retention is over, as it is shown. `waits`: something of it lies in quarantine, not settled."""

    study_uid: str
    study_date: str
    patient_name: str
    description: str
    modalities: tuple[str, ...]
    series: int
    instances: int
    waits: bool


def due_studies(
    connection: sqlite3.Connection, organisation: str, before: Before, *, limit: int, offset: int = 0
) -> list[DueStudy]:
    """Studies that an organisation holds and whose retention is over, the oldest first; those without a Study Date
    (their arrivals alone count) before all others.
    """
    found = connection.execute(_PAGE, (organisation, *before.values, limit, offset))
    return [_row(row) for row in found]


def due_study(
    connection: sqlite3.Connection, organisation: str, study_uid: str, before: Before
) -> DueStudy | None:
    """One of them; None where it is not held, or not old enough."""
    row = connection.execute(_ONE, (organisation, *before.values, study_uid)).fetchone()
    return None if row is None else _row(row)


def why_not(connection: sqlite3.Connection, organisation: str, study_uid: str, before: Before) -> str:
    """Why a study may not be removed: `no_such_study`, `retention`, `quarantine_waits`; '' where nothing says so."""
    found = due_study(connection, organisation, study_uid, before)
    if found is not None:
        return "quarantine_waits" if found.waits else ""
    return "retention" if life.series_shown(connection, organisation, study_uid) else "no_such_study"


def _row(row: sqlite3.Row) -> DueStudy:
    return DueStudy(
        study_uid=row[0], study_date=row[1], patient_name=row[2], description=row[3],
        modalities=tuple(x for x in row[4].split("\\") if x), series=row[5], instances=row[6], waits=bool(row[7]),
    )  # fmt: skip
