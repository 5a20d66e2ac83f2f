# ruff: noqa: S608 - values are always parameters; only our own fragments are put together
"""Where the instances and series lie that a query names: looked up by their own UIDs before anything else is read.

The answer only narrows the way in. Scope and keys are asked again by the statement it becomes part of.
"""

from __future__ import annotations

import json
import sqlite3

from dicom import query as qido
from dicom.model import Query, Scope

_LIST = "SELECT value FROM json_each(?)"
# Every organisation of the index, by one step each.
_OF_ALL = (
    "WITH RECURSIVE held(name) AS (SELECT min(organisation) FROM study UNION ALL"
    " SELECT (SELECT min(organisation) FROM study WHERE organisation > held.name) FROM held"
    " WHERE held.name IS NOT NULL) SELECT name FROM held WHERE name IS NOT NULL"
)


def place(connection: sqlite3.Connection, scope: Scope, query: Query, alias: str) -> tuple[str, list[str]]:
    """The condition on the table `alias` (s, r or i) that an index answers, and its parameters.

    Nothing where the query names no instance and no series, or the study too, whose own index is the way in.
    """
    matches = query.matches
    if "StudyInstanceUID" in matches:
        return "", []
    if "SOPInstanceUID" in matches:
        organisations, values = _organisations(scope)
        column = "id" if alias == "i" else "study_uid"
        found = connection.execute(
            f"SELECT DISTINCT {column} FROM instance WHERE organisation IN ({organisations})"
            f" AND sop_uid IN ({_LIST})",
            [*values, _uids(matches["SOPInstanceUID"])],
        )
    elif "SeriesInstanceUID" in matches:
        column = "study_uid"
        found = connection.execute(
            f"SELECT DISTINCT study_uid FROM series WHERE series_uid IN ({_LIST})",
            [_uids(matches["SeriesInstanceUID"])],
        )
    else:
        return "", []
    return f" AND {alias}.{column} IN ({_LIST})", [json.dumps([row[0] for row in found])]


def _organisations(scope: Scope) -> tuple[str, list[str]]:
    """Who may hold what the scope sees: an instance is found by its holder and its UID."""
    if scope.unlimited or scope.studies:
        return _OF_ALL, []
    return _LIST, [json.dumps(sorted(scope.organisations))]


def _uids(value: str) -> str:
    return json.dumps(qido.uid_list(value))
