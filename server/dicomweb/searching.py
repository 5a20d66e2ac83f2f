"""QIDO-RS (PS3.18 §10.6): studies, series, instances."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from aiohttp import web

from dicom import query as qido
from dicom.errors import NotAcceptableError
from dicom.model import Query
from dicom.web import instance_json, series_json, study_json
from server.dicomweb.answers import accepts_gzip, base_url, dumps, guarded, not_modified, send_text, validator
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from server.dicomweb.targets import accepted

Level = Literal["study", "series", "instance"]


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
            out: Sequence[dict[str, Any]]
            if level == "study":
                out = [study_json(row, base) for row in archive.studies(scope, probe)]
            elif level == "series":
                out = [series_json(row, base) for row in archive.series(scope, study_uid, probe)]
            else:
                out = [instance_json(row, base) for row in archive.instances(scope, study_uid, series_uid, probe)]
            return len(out), dumps(list(out[:wanted]))

        found, body = await asyncio.to_thread(run)
        headers = _warnings(query, capped=found > wanted and (query.limit is None or query.limit > most))
        if not found or not wanted:
            return web.Response(status=204, headers={**headers, "Cache-Control": "private, no-cache"})
        etag = validator("search", content_type, accepts_gzip(request), hashlib.sha256(body).hexdigest(), headers)
        if unchanged := not_modified(request, etag):
            return unchanged
        return await send_text(request, body, content_type=content_type, etag=etag, **headers)

    return handler


def _warnings(query: Query, *, capped: bool) -> dict[str, str]:
    """Warning header (PS3.18 §8.3.4.4 and §10.6.3.3). It names no value of the query."""
    texts = []
    if capped:
        texts.append('299 huizhen "The number of results exceeded the maximum; use limit and offset"')
    if query.ignored:
        texts.append('299 huizhen "Some of the keys cannot be matched and were ignored"')
    if qido.unknown_fields(query):
        texts.append('299 huizhen "Some of the requested fields are not returned"')
    return {"Warning": ", ".join(texts)} if texts else {}


search_studies = _search("study")
search_series = _search("series")
search_instances = _search("instance")
