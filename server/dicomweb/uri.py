"""WADO-URI (PS3.18 §9): one object by query parameters, for viewers older than WADO-RS."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from dicom.errors import BadQueryError, NotAcceptableError, NotFoundError
from dicom.model import InstanceRow
from dicom.retrieve import Picture
from dicom.syntaxes import EXPLICIT_LE, VIDEO
from dicom.web import MediaType, parse_accept
from server.dicomweb.answers import guarded, not_modified, send, validator
from server.dicomweb.choosing import ANY, DICOM, choose_files
from server.dicomweb.picturing import number, send_document, send_picture, send_video, window_function, words_wanted
from server.dicomweb.ports import ARCHIVE, SCOPE_FOR
from server.dicomweb.retrieving import file_pieces
from server.dicomweb.targets import disposition, frame_numbers

PATH = "/wado"


@guarded
async def retrieve_by_uri(request: web.Request) -> web.StreamResponse:
    """`?requestType=WADO&studyUID=…&seriesUID=…&objectUID=…[&contentType=…]`: the DICOM file or a picture of it."""
    query = request.query
    if query.get("requestType", "").upper() != "WADO" or any(
        not query.get(name) for name in ("studyUID", "seriesUID", "objectUID")
    ):
        raise BadQueryError(code="bad_wado_request")
    accept = parse_accept(query.get("contentType", "") or "*/*")
    as_file = accept[0].name == DICOM
    scope = await request.app[SCOPE_FOR](request, "download" if as_file else "pixels", query["studyUID"])
    archive = request.app[ARCHIVE]
    row = await archive.recent.instance(scope, query["studyUID"], query["seriesUID"], query["objectUID"])
    if query.get("anonymize", "no") != "no":
        raise NotAcceptableError(code="not_anonymized")
    if as_file:
        return await _file(request, row)
    if row.document_type and accept[0].name in {"application/pdf", *ANY}:
        return await send_document(request, archive, row)
    if row.transfer_syntax in VIDEO:
        return await send_video(request, archive, row, accept)
    (frame,) = frame_numbers(query.get("frameNumber", "1"))[:1]
    return await send_picture(request, archive, row, frame, _wishes(request, row, accept), thumbnail=False)


async def _file(request: web.Request, row: InstanceRow) -> web.StreamResponse:
    archive = request.app[ARCHIVE]
    wanted = request.query.get("transferSyntax", "") or EXPLICIT_LE
    choice = choose_files([MediaType(name=DICOM, parameters={"transfer-syntax": wanted})], [row], one=True)
    etag = validator("file", True, *choice.syntaxes, row.version)
    if unchanged := not_modified(request, etag):
        return unchanged
    pieces = await file_pieces(archive, row, choice.syntaxes[0])
    return await send(request, archive, pieces, DICOM, etag=etag, single=True, **disposition("image.dcm"))


def _wishes(request: web.Request, row: InstanceRow, accept: Sequence[MediaType]) -> Picture:
    query = request.query
    kind = next((entry.name for entry in accept if entry.name in {"image/jpeg", "image/png", "image/*", *ANY}), None)
    if kind is None:
        raise NotAcceptableError
    window = None
    if "windowCenter" in query or "windowWidth" in query:
        center = number(query.get("windowCenter", ""), "bad_window")
        width = number(query.get("windowWidth", ""), "bad_window")
        if width <= 0:
            raise BadQueryError(code="bad_window")
        window = (center, width, window_function(""))
    quality = int(number(query.get("imageQuality", "90"), "bad_quality"))
    if not 1 <= quality <= 100:
        raise BadQueryError(code="bad_quality")
    return Picture(
        format="png" if kind == "image/png" else "jpeg",
        quality=quality,
        window=window,
        viewport=_viewport(request, row),
        annotation=words_wanted(query.get("annotation", "")),
    )


def _viewport(request: web.Request, row: InstanceRow) -> tuple[float, ...] | None:
    """`rows`, `columns` (the largest size) and `region` (fractions of the image) as a viewport (§9.1.2.2)."""
    query = request.query
    if not {"rows", "columns", "region"} & set(query):
        return None
    if not row.rows or not row.columns:
        raise NotFoundError(code="no_dimensions")
    height, width = (number(query[name], "bad_viewport") if name in query else None for name in ("rows", "columns"))
    if any(side is not None and not 1 <= side <= 8192 for side in (height, width)):
        raise BadQueryError(code="bad_viewport")
    left, top, right, bottom = 0.0, 0.0, 1.0, 1.0
    if "region" in query:
        parts = [number(part, "bad_viewport") for part in query["region"].split(",")]
        if len(parts) != 4 or not (0 <= parts[0] < parts[2] <= 1 and 0 <= parts[1] < parts[3] <= 1):
            raise BadQueryError(code="bad_viewport")
        left, top, right, bottom = parts
    region = (
        round(left * row.columns), round(top * row.rows),
        max(1, round((right - left) * row.columns)), max(1, round((bottom - top) * row.rows)),
    )  # fmt: skip
    fill = 8192.0 if width is not None or height is not None else None
    return (width or fill or region[2], height or fill or region[3], *map(float, region))
