# ruff: noqa: S608 - values are always parameters; only our own fragments are put together
"""A Scope and a Query as SQL conditions with their parameters."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from dicom import query as qido
from dicom.index.names import fold
from dicom.model import Query, Scope

# Columns of a higher level that the lower tables carry too.
_CARRIED: dict[str, set[str]] = {
    "study": set(),
    "series": {"study_uid"},
    "instance": {"study_uid", "series_uid"},
}


def visible(scope: Scope, alias: str) -> tuple[str, list[Any]]:
    """The scope as SQL. Every statement of this module contains it."""
    hidden = f"{alias}.study_uid NOT IN (SELECT value FROM json_each(?))"
    hidden_values = [json.dumps(sorted(scope.hidden))] if scope.hidden else []
    if scope.unlimited:
        return (hidden if scope.hidden else "1"), hidden_values
    parts, values = [], []
    if scope.organisations:
        parts.append(f"{alias}.organisation IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(scope.organisations)))
    if scope.studies:
        parts.append(f"{alias}.study_uid IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(scope.studies)))
    allowed = "(" + " OR ".join(parts) + ")" if parts else "0"
    return (f"{allowed} AND {hidden}" if scope.hidden else allowed), [*values, *hidden_values]


def shown(scope: Scope, alias: str) -> tuple[str, list[Any]]:
    """What of the scope is left to ask where its organisation has been asked already."""
    return visible(replace(scope, unlimited=True), alias)


def sole(scope: Scope) -> str | None:
    """The organisation whose own studies are all that the scope sees: no study or instance of it is there twice."""
    if scope.unlimited or scope.studies or len(scope.organisations) != 1:
        return None
    return next(iter(scope.organisations))


def is_exact(query: Query) -> bool:
    """Whether a key names one study or patient, so that its own index is the way in."""
    return any(
        name in query.matches and not qido.is_wildcard(query.matches[name])
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber", "PatientID")
    )


def numbered(sql: str, start: int) -> str:
    """Number the placeholders, so that one list of values serves several places."""
    out, number = [], start
    for part in sql.split("?")[:-1]:
        out.append(f"{part}?{number}")
        number += 1
    return "".join(out) + sql.rsplit("?", maxsplit=1)[-1]


def conditions(query: Query, level: str, alias: str, *, fuzzy: bool) -> tuple[str, list[Any]]:
    sql, values = "", []
    for name, value in query.matches.items():
        key = qido.KEYS.get(name)
        if key is None or (key.level != level and key.column not in _CARRIED[level]):
            continue
        column = f"{alias}.{key.column}"
        part, more = _condition(key.matching, column, value, fuzzy=fuzzy)
        sql += f" AND {part}"
        values += more
    return sql, values


def _condition(matching: str, column: str, value: str, *, fuzzy: bool) -> tuple[str, list[Any]]:
    if matching == "uid":
        uids = qido.uid_list(value)
        if len(uids) == 1:
            return f"{column} = ?", uids
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(uids)]
    if matching in {"date", "time"}:
        low, high = qido.date_span(value) if matching == "date" else qido.time_span(value)
        parts, values = [f"{column} <> ''"], []
        if low:
            parts.append(f"{column} >= ?")
            values.append(low)
        if high:
            parts.append(f"{column} <= ?")
            values.append(high)
        return " AND ".join(parts), values
    if matching == "number":
        return f"{column} = ?", [int(value)]
    if matching == "modalities":
        options = [part for part in value.replace(",", "\\").split("\\") if part]
        return (
            "(" + " OR ".join([f"{column} GLOB ?"] * len(options)) + ")" if options else "1",
            [f"*\\{qido.glob(part)}\\*" for part in options],
        )
    if matching == "name":
        return _name(column, qido.glob(fold(value)), fuzzy=fuzzy and not qido.is_wildcard(value))
    if qido.is_wildcard(value):
        return f"{column} GLOB ?", [qido.glob(value)]
    return f"{column} = ?", [value]


def _name(column: str, pattern: str, *, fuzzy: bool) -> tuple[str, list[Any]]:
    """A name by its characters and, for a Latin pattern with a wildcard or under `fuzzy`, by how it sounds.

    An exact name and a pattern in Chinese never match by sound: 王小明 is not 汪晓明.
    """
    sound = column.replace("name_search", "name_sound") if column.endswith("name_search") else ""
    if fuzzy:
        # Each word may begin any part of the name (PS3.18 §8.3.4.2 leaves the algorithm to us).
        parts, values = [], []
        for word in pattern.replace("^", " ").replace("=", " ").split():
            either = [(column, f"*={word}*"), (column, f"*^{word}*"), (column, f"* {word}*")]
            if sound and _spoken(word):
                either += [(sound, f"*={word}*"), (sound, f"* {word}*")]
            parts.append("(" + " OR ".join(f"{name} GLOB ?" for name, _ in either) + ")")
            values += [value for _, value in either]
        if parts:
            return " AND ".join(parts), values
    if not sound:
        return f"{column} GLOB ?", [pattern]
    # Against any one representation of the name: they stand between `=` signs.
    if _spoken(pattern) and qido.is_wildcard(pattern):
        by_ear = f"*={pattern.replace('^', ' ')}=*"
        return f"({column} GLOB ? OR {sound} GLOB ?)", [f"*={pattern}=*", by_ear]
    return f"{column} GLOB ?", [f"*={pattern}=*"]


def _spoken(pattern: str) -> bool:
    return pattern.isascii() and any(c.isalpha() for c in pattern)


def above(query: Query, alias: str, scope: Scope) -> tuple[str, list[Any]]:
    """Study and series keys on a lower level (relational queries, PS3.18 §10.6.1.2.1)."""
    sql, values = "", []
    for level, table in (("study", "study"), ("series", "series")):
        if level == "series" and alias == "r":
            continue
        rest = {k: v for k, v in query.matches.items() if k in qido.KEYS and qido.KEYS[k].level == level}
        rest = {k: v for k, v in rest.items() if k not in {"StudyInstanceUID", "SeriesInstanceUID"}}
        if rest:
            more, parameters = conditions(Query(matches=rest), level, "a", fuzzy=query.fuzzy)
            where, allowed_values = visible(scope, "a")
            join = f"a.study_uid = {alias}.study_uid AND a.organisation = {alias}.organisation"
            if level == "series":
                join += f" AND a.series_uid = {alias}.series_uid"
            sql += f" AND EXISTS (SELECT 1 FROM {table} a WHERE {join} AND {where}{more})"
            values += [*allowed_values, *parameters]
    return sql, values


def below(query: Query, alias: str, scope: Scope) -> tuple[str, list[Any]]:
    """Keys of lower levels on a study (s) or a series (r): those that contain such a one."""
    sql, values = "", []
    for level, table in (("series", "series"), ("instance", "instance")):
        if level == "series" and alias == "r":
            continue
        rest = {k: v for k, v in query.matches.items() if k in qido.KEYS and qido.KEYS[k].level == level}
        if rest:
            more, parameters = conditions(Query(matches=rest), level, "b", fuzzy=query.fuzzy)
            where, allowed_values = visible(scope, "b")
            join = f"b.study_uid = {alias}.study_uid AND b.organisation = {alias}.organisation"
            if alias == "r":
                join += " AND b.series_uid = r.series_uid"
            sql += f" AND EXISTS (SELECT 1 FROM {table} b WHERE {join} AND {where}{more})"
            values += [*allowed_values, *parameters]
    return sql, values
