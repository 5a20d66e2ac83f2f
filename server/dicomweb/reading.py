"""Rendered forms of what is no picture (PS3.18 Table 8.7.4-1): a waveform as a clinical sheet, a structured report as a
page. An encapsulated document and a film are their own rendering, see `picturing`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from dicom.archive import Archive
from dicom.errors import NotAcceptableError
from dicom.model import InstanceRow
from dicom.syntaxes import STRUCTURED
from server.dicomweb.answers import PREFIX, not_modified, send, validator
from server.dicomweb.ports import LEAVES
from server.dicomweb.targets import accepted
from server.i18n import LANG, _

# How a sheet is drawn for each media type; on paper its lines stay lines.
_SHEET = {"image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg", "application/pdf": "svg"}
_REPORT = ("text/html", "application/pdf")


def is_report(row: InstanceRow) -> bool:
    """Whether the instance is a structured report or a key object selection."""
    return row.sop_class.startswith(STRUCTURED)


def _chosen(request: web.Request, offers: Iterable[str]) -> str:
    """The media type that suits the client best; the first offer where it takes anything."""
    for entry in accepted(request):
        if entry.name in offers:
            return entry.name
        family = entry.name.removesuffix("*")
        if entry.name.endswith("/*"):
            for name in offers:
                if entry.name == "*/*" or name.startswith(family):
                    return name
    raise NotAcceptableError


async def send_sheet(
    request: web.Request, archive: Archive, row: InstanceRow, *, named: bool, viewport: tuple[float, ...] | None
) -> web.StreamResponse:
    """The waveform as PNG, JPEG, SVG or PDF; with the patient's name and number only if `named`."""
    media = _chosen(request, _SHEET)
    etag = validator("sheet", row.version, media, named, viewport)
    if unchanged := not_modified(request, etag):
        return unchanged
    kind = _SHEET[media]
    size = viewport[:2] if viewport and kind != "svg" else None
    data = await archive.retriever.page(row, "sheet", format=kind, viewport=size, patient=named)
    if media == "application/pdf":
        data = await asyncio.to_thread(request.app[LEAVES].sheet_pdf, data, row.stored_at)
    return await send(request, archive, [data], media, etag=etag, single=True)


async def send_report(request: web.Request, archive: Archive, row: InstanceRow, *, named: bool) -> web.StreamResponse:
    """The structured report as HTML or PDF; with the patient's name and number above it only if `named`."""
    media = _chosen(request, _REPORT)
    lang = LANG.get()
    etag = validator("report", row.version, media, named, lang)
    if unchanged := not_modified(request, etag):
        return unchanged
    tree = json.loads(await archive.retriever.page(row, "structured", patient=named))
    document = readable(tree, lang)
    if media == "application/pdf":
        data = await asyncio.to_thread(request.app[LEAVES].report_pdf, document, row.stored_at)
    else:
        data = await asyncio.to_thread(request.app[LEAVES].html, document)
        media = "text/html; charset=utf-8"
    return await send(request, archive, [data], media, etag=etag, single=True)


def readable(tree: dict[str, Any], lang: str) -> dict[str, Any]:
    """The tree of `dicom.structured` as a page shows it: title, code, facts, and items of name, value, note, link."""
    states = {
        "COMPLETE": _("内容完整"), "PARTIAL": _("内容不完整"),
        "VERIFIED": _("已审核"), "UNVERIFIED": _("未审核"),
    }  # fmt: skip
    said = (states.get(tree["completion"], ""), states.get(tree["verification"], ""), tree["date"])
    facts = [*tree["patient"], " · ".join(part for part in said if part)]
    facts += [_("审核：{who}", who=who) for who in tree["observers"]]
    if tree["cut"]:
        facts.append(_("内容太多，只显示前面一部分；完整内容请下载原始文件。"))
    return {
        "lang": lang,
        "colon": "：" if lang == "zh" else ": ",
        "title": tree["title"] or _("结构化报告"),
        "code": tree["code"],
        "facts": [fact for fact in facts if fact],
        "items": [_shown(item) for item in tree["items"]],
    }


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    link, value = item["link"], " ".join(part for part in (item["text"], item["unit"]) if part)
    if item["type"] == "" and value:
        value = _("见第 {place} 项", place=value)
    href = ""
    if link is not None:
        base = f"{PREFIX}/studies/{link['study']}/series/{link['series']}/instances/{link['instance']}"
        frame = f"/frames/{link['frames'][0]}" if link["frames"] else ""
        href = f"{base}{frame}/rendered"
        value = _("打开引用的影像") if item["type"] == "IMAGE" else _("打开引用的对象")
    note = item["note"]
    if link is not None and link["frames"]:
        note = _("第 {frames} 帧", frames=", ".join(map(str, link["frames"])))
    return {
        "name": item["name"],
        "code": item["code"],
        "value": value,
        "note": note,
        "href": href,
        "items": [_shown(child) for child in item["items"]],
    }
