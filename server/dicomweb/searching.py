"""QIDO-RS (PS3.18 §10.6): studies, series, instances."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from dicom import query as qido
from dicom.archive import Archive
from dicom.errors import NotAcceptableError
from dicom.model import InstanceRow, Query, Scope, SeriesRow
from dicom.query import Level
from dicom.web import instance_json, series_json, study_json
from server.dicomweb.answers import accepts_gzip, base_url, dumps, guarded, not_modified, send_text, validator
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from server.dicomweb.targets import accepted


def _json_type(request: web.Request) -> str:
    for entry in accepted(request):
        if entry.name in {"application/dicom+json", "application/json"}:
            return entry.name
        if entry.name in {"*/*", "application/*"}:
            return "application/dicom+json"
    raise NotAcceptableError


def _search(level: Level) -> Callable[[web.Request], Any]:
    @guarded
    async def handler(request: web.Request) -> web.StreamResponse:
        content_type = _json_type(request)
        query = qido.parse(request.query.items())
        study_uid, series_uid = request.match_info.get("study"), request.match_info.get("series")
        scope = await request.app[SCOPE_FOR](request, "search", study_uid)
        archive = request.app[ARCHIVE]
        most = archive.limits.query_rows
        wanted = most if query.limit is None else min(query.limit, most)
        base = base_url(request)

        def run() -> tuple[int, bytes]:
            # One row more than wanted tells whether there are more; it is never shown.
            probe = replace(query, limit=wanted + 1)
            if level == "study":
                studies = archive.studies(scope, probe)
                return len(studies), dumps([study_json(row, base) for row in studies[:wanted]])
            upper = _Upper(archive, scope, base, qido.from_above(query, level))
            if level == "series":
                series = archive.series(scope, study_uid, probe)
                return len(series), dumps(upper.put(series[:wanted], [series_json(x, base) for x in series[:wanted]]))
            rows = archive.instances(scope, study_uid, series_uid, probe)
            return len(rows), dumps(upper.put(rows[:wanted], [instance_json(x, base) for x in rows[:wanted]]))

        found, body = await asyncio.to_thread(run)
        headers = _warnings(query, level, capped=found > wanted and (query.limit is None or query.limit > most))
        if not found or not wanted:
            return web.Response(status=204, headers={**headers, "Cache-Control": "private, no-cache"})
        etag = validator("search", content_type, accepts_gzip(request), hashlib.sha256(body).hexdigest(), headers)
        if unchanged := not_modified(request, etag):
            return unchanged
        return await send_text(request, body, content_type=content_type, etag=etag, **headers)

    return handler


class _Upper:
    """Attributes of the study and the series in answers about what is in them, as the index has them.

    Nothing is read from the datasets: a search neither needs the right to read nor is written down as an opening.
    """

    def __init__(self, archive: Archive, scope: Scope, base: str, tags: frozenset[str]) -> None:
        self._archive = archive
        self._scope = scope
        self._base = base
        self._tags = tags

    def put(self, rows: Sequence[SeriesRow | InstanceRow], values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The values, with what their studies and series say. Blocks."""
        if not self._tags or not rows:
            return values
        keys = {"StudyInstanceUID": ",".join(sorted({row.study_uid for row in rows}))}
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for study in self._archive.studies(self._scope, Query(matches=keys)):
            found[study.study_uid,] = study_json(study, self._base)
        if isinstance(rows[0], InstanceRow) and self._tags & qido.RETURNED["series"]:
            keys["SeriesInstanceUID"] = ",".join(sorted({row.series_uid for row in rows}))
            for series in self._archive.series(self._scope, None, Query(matches=keys)):
                found[series.study_uid, series.series_uid] = series_json(series, self._base)
        out = []
        for row, value in zip(rows, values, strict=True):
            more = {**found.get((row.study_uid,), {}), **found.get((row.study_uid, row.series_uid), {})}
            out.append({**{tag: one for tag, one in more.items() if tag in self._tags}, **value})
        return out


def _warnings(query: Query, level: Level, *, capped: bool) -> dict[str, str]:
    """Warning header (PS3.18 §8.3.4.4 and §10.6.3.3). It names no value of the query."""
    texts = []
    if capped:
        texts.append('299 huizhen "The number of results exceeded the maximum; use limit and offset"')
    if query.ignored:
        texts.append('299 huizhen "Some of the keys cannot be matched and were ignored"')
    if qido.unknown_fields(query, level):
        texts.append('299 huizhen "Some of the requested fields are not returned"')
    return {"Warning": ", ".join(texts)} if texts else {}


search_studies = _search("study")
search_series = _search("series")
search_instances = _search("instance")
