# ruff: noqa: S608 - values are always parameters; only our own fragments are put together
"""Reading the index, always through a Scope: it is part of every statement, so that neither rows nor counts leak."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicom.corrections import Correction
from dicom.index.conditions import above, below, conditions, is_exact, numbered, shown, sole, visible
from dicom.index.corrections import corrections_of, shown_attributes
from dicom.index.grams import candidates
from dicom.index.named import place
from dicom.index.rows import instance_row, instance_rows, quarantined_row, series_row, study_row
from dicom.index.schema import connect_reader
from dicom.model import (
    InstanceRow,
    QuarantineRow,
    Query,
    Scope,
    SeriesRow,
    StudyRow,
)

_MAX_IDLE = 16
_INSTANCE = (
    "SELECT i.*, b.digest, b.pack, b.offset, b.prefix_length, b.body_length, b.transfer_syntax, b.pixel_kind,"
    " b.pixel_offset, b.pixel_length, b.pixel_frames, b.frame_length, b.pixel_keyword, b.ranges, b.metadata_pack,"
    " b.metadata_offset, b.metadata_length, o.value AS overlay_value FROM instance i JOIN blob b ON b.id = i.blob"
    " LEFT JOIN overlay o ON o.id = i.overlay"
)

_INSTANCE_ORDER = "i.study_uid, i.series_uid, i.number IS NULL, i.number, i.sop_uid"


class IndexReader:
    """A pool of read-only connections. Methods block; call them off the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or connect_reader(self._path)
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def studies(self, scope: Scope, query: Query, limit: int) -> list[StudyRow]:
        """At most `limit` studies, newest first; a study held by several visible organisations comes once."""
        where, values = visible(scope, "s")
        more, parameters = conditions(query, "study", "s", fuzzy=query.fuzzy)
        inner, inner_values = below(query, "s", scope)
        organisation = sole(scope)
        if organisation is not None:
            where, values = shown(scope, "s")
        with self.connection() as connection:
            named = None if is_exact(query) else candidates(connection, query)
            among, among_values = place(connection, scope, query, "s")
            if named is not None:
                among, among_values = " AND s.id IN (SELECT value FROM json_each(?))", [json.dumps(named)]
            if organisation is None:
                page = (
                    "SELECT max(s.study_date) AS d, max(s.study_time) AS t, min(s.id) AS first, s.study_uid AS uid"
                    f" FROM study s WHERE {where}{among}{more}{inner} GROUP BY s.study_uid ORDER BY d DESC, t DESC, uid"
                )
            else:  # in the order of the index, without looking at all of them
                column = "+s.organisation" if among or is_exact(query) else "s.organisation"
                page = (
                    "SELECT s.study_date AS d, s.study_time AS t, s.id AS first, s.study_uid AS uid FROM study s"
                    f" WHERE {where}{among} AND {column} = ?{more}{inner}"
                    " ORDER BY s.study_date DESC, s.study_time DESC, s.study_uid"
                )
                among_values = [*among_values, organisation]
            rows = connection.execute(
                f"SELECT s.* FROM ({page} LIMIT ? OFFSET ?) page JOIN study s ON s.id = page.first"
                " ORDER BY page.d DESC, page.t DESC, page.uid",
                [*values, *among_values, *parameters, *inner_values, limit, query.offset],
            ).fetchall()
            uids = [row["study_uid"] for row in rows]
            shared = _merged(connection, scope, uids) if organisation is None else {}
        return [study_row(row, shared.get(row["study_uid"])) for row in rows]

    def series(self, scope: Scope, query: Query, limit: int) -> list[SeriesRow]:
        """At most `limit` series, by study, number, UID."""
        where, values = visible(scope, "r")
        more, parameters = conditions(query, "series", "r", fuzzy=query.fuzzy)
        upper, above_values = above(query, "r", scope)
        inner, inner_values = below(query, "r", scope)
        columns, once = "r.*, min(r.id)", " GROUP BY r.study_uid, r.series_uid"
        if sole(scope) is not None:
            columns, once = "r.*", ""
        with self.connection() as connection:
            among, among_values = place(connection, scope, query, "r")
            rows = connection.execute(
                f"SELECT {columns} FROM series r WHERE {where}{among}{more}{upper}{inner}{once}"
                " ORDER BY r.study_uid, r.number IS NULL, r.number, r.series_uid LIMIT ? OFFSET ?",
                [*values, *among_values, *parameters, *above_values, *inner_values, limit, query.offset],
            ).fetchall()
            out = []
            for row in rows:
                within, more_values = visible(scope, "i")
                count, sop = connection.execute(
                    "SELECT count(DISTINCT sop_uid), (SELECT sop_uid FROM instance i WHERE i.study_uid = ?1 AND"
                    f" i.series_uid = ?2 AND {numbered(within, 3)} ORDER BY number IS NULL, number, sop_uid LIMIT 1)"
                    f" FROM instance i WHERE i.study_uid = ?1 AND i.series_uid = ?2 AND {numbered(within, 3)}",
                    (row["study_uid"], row["series_uid"], *more_values),
                ).fetchone()
                out.append(series_row(row, count, sop or ""))
        return out

    def instances(self, scope: Scope, query: Query, limit: int) -> list[InstanceRow]:
        """At most `limit` instances, by series and number."""
        where, values = visible(scope, "i")
        more, parameters = conditions(query, "instance", "i", fuzzy=query.fuzzy)
        upper, above_values = above(query, "i", scope)
        with self.connection() as connection:
            among, among_values = place(connection, scope, query, "i")
            sql = (
                f"{_INSTANCE} JOIN (SELECT min(i.id) AS first FROM instance i WHERE {where}{among}{more}{upper}"
                " GROUP BY i.study_uid, i.sop_uid) page ON page.first = i.id"
                f" ORDER BY {_INSTANCE_ORDER} LIMIT ? OFFSET ?"
            )
            if (organisation := sole(scope)) is not None:
                where, values = shown(scope, "i")
                values = [organisation, *values]
                sql = (
                    f"{_INSTANCE} JOIN (SELECT i.id AS first FROM instance i WHERE +i.organisation = ?"
                    f" AND {where}{among}{more}{upper} ORDER BY {_INSTANCE_ORDER} LIMIT ? OFFSET ?) page"
                    f" ON page.first = i.id ORDER BY {_INSTANCE_ORDER}"
                )
            rows = connection.execute(
                sql, [*values, *among_values, *parameters, *above_values, limit, query.offset]
            ).fetchall()
        return instance_rows(rows)

    def instance(
        self, scope: Scope, study_uid: str, series_uid: str | None, sop_uid: str
    ) -> InstanceRow | None:
        """One instance; the first stored where several visible organisations hold the UID."""
        where, values = visible(scope, "i")
        sql = f"{_INSTANCE} WHERE i.study_uid = ? AND i.sop_uid = ? AND (? IS NULL OR i.series_uid = ?) AND {where}"
        with self.connection() as connection:
            row = connection.execute(
                sql + " ORDER BY i.id LIMIT 1", [study_uid, sop_uid, series_uid, series_uid, *values]
            ).fetchone()
        return instance_row(row) if row else None

    def within(
        self, scope: Scope, study_uid: str, series_uid: str | None, limit: int, *, first: int = 0
    ) -> list[InstanceRow]:
        """The instances of a study or series as `instances` gives them; `first`: only from this number on."""
        where, values = visible(scope, "i")
        inner, keys = "i.study_uid = ?", [study_uid]
        if series_uid is not None:
            inner, keys = f"{inner} AND i.series_uid = ?", [study_uid, series_uid]
        sql = (
            f"{_INSTANCE} JOIN (SELECT min(i.id) AS first FROM instance i WHERE {inner} AND {where}"
            " GROUP BY i.sop_uid) page ON page.first = i.id WHERE (? = 0 OR i.number >= ?)"
            " ORDER BY i.series_uid, i.number IS NULL, i.number, i.sop_uid LIMIT ?"
        )
        with self.connection() as connection:
            rows = connection.execute(sql, [*keys, *values, first, first, limit]).fetchall()
        return instance_rows(rows)

    def quarantine(self, organisations: frozenset[str], *, state: str | None = "open") -> list[QuarantineRow]:
        """What waits for these organisations' technicians; None: what is settled too."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT * FROM quarantine WHERE (?1 IS NULL OR state = ?1)"
                " AND organisation IN (SELECT value FROM json_each(?2)) ORDER BY id",
                (state, json.dumps(sorted(organisations))),
            ).fetchall()
        return [quarantined_row(row) for row in rows]

    def quarantined(self, organisation: str, id: int) -> QuarantineRow | None:
        """One quarantined file of the organisation."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT * FROM quarantine WHERE id = ? AND organisation = ?", (id, organisation)
            ).fetchone()
        return quarantined_row(row) if row else None

    def held(self, organisation: str, sop_uid: str) -> InstanceRow | None:
        """The instance that an organisation holds under a SOP Instance UID."""
        with self.connection() as connection:
            row = connection.execute(
                f"{_INSTANCE} WHERE i.organisation = ? AND i.sop_uid = ?", (organisation, sop_uid)
            ).fetchone()
        return instance_row(row) if row else None

    def corrections(self, organisation: str) -> list[Correction]:
        """Every correction of the organisation, the undone ones too, in the order they were made."""
        with self.connection() as connection:
            return corrections_of(connection, organisation)

    def stored_series(self, organisation: str, studies: Iterable[str]) -> list[tuple[str, str]]:
        """(study it is stored in, series) of what an organisation shows under these studies."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT coalesce(stored_study, study_uid), series_uid FROM instance"
                " WHERE +organisation = ? AND study_uid IN (SELECT value FROM json_each(?))",
                (organisation, json.dumps(sorted(studies))),
            )
            return [(row[0], row[1]) for row in rows]

    def shown_attributes(self, organisation: str, study_uid: str) -> dict[str, Any] | None:
        """The attributes of a study as it is shown now, by column."""
        with self.connection() as connection:
            return shown_attributes(connection, organisation, study_uid)

    def holders(self, study_uid: str) -> list[str]:
        """Every organisation that holds the study (system use: matching, permission)."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT organisation FROM study WHERE study_uid = ? ORDER BY id", (study_uid,)
            )
            return [row[0] for row in rows]

    def wanting_metadata(self, limit: int) -> list[InstanceRow]:
        """Instances whose metadata is still to be made."""
        with self.connection() as connection:
            rows = connection.execute(
                f"{_INSTANCE} WHERE b.id IN (SELECT id FROM blob WHERE metadata_state = 0 ORDER BY id LIMIT ?)"
                " GROUP BY b.id",
                (limit,),
            ).fetchall()
        return instance_rows(rows)

    def totals(self) -> dict[str, int]:
        """Figures for the operator."""
        with self.connection() as connection:
            return {
                name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("study", "series", "instance", "blob", "quarantine")
            }


def _merged(connection: sqlite3.Connection, scope: Scope, uids: list[str]) -> dict[str, dict[str, Any]]:
    """Counts and modalities of studies that several visible organisations hold."""
    where, values = visible(scope, "s")
    several = [
        row[0]
        for row in connection.execute(
            f"SELECT s.study_uid FROM study s WHERE s.study_uid IN (SELECT value FROM json_each(?)) AND {where}"
            " GROUP BY s.study_uid HAVING count(*) > 1",
            [json.dumps(uids), *values],
        )
    ]
    out: dict[str, dict[str, Any]] = {}
    where, values = visible(scope, "i")
    for uid in several:
        instances, series, modalities = connection.execute(
            "SELECT count(DISTINCT i.sop_uid), count(DISTINCT i.series_uid), group_concat(DISTINCT i.modality)"
            f" FROM instance i WHERE i.study_uid = ? AND {where}",
            [uid, *values],
        ).fetchone()
        out[uid] = {
            "instances": instances,
            "series": series,
            "modalities": sorted(filter(None, modalities.split(","))),
        }
    return out
