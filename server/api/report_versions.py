"""What is signed: its pages, its bytes, its text, read and acknowledged; and the public check of a file."""

from __future__ import annotations

import hashlib
from datetime import tzinfo
from typing import Any

from aiohttp import web

from consult import model as m
from consult import reporting
from consult.access import open_report_version
from consult.delivering import Genuine, describe_code
from consult.errors import NotFound
from consult.people import Actor
from consult.ports import UnitOfWork
from server import keys
from server.api.common import actor, body, client_address, json_response, now, read_bounded, work
from server.api.consultations import _audited, consultation_id, consultation_view
from server.api.reports import Empty, verify_url
from server.auth.audit import audit
from server.documents import Page
from server.i18n import LANG
from server.paper.plaintext import plain_text
from server.printing import report_content, signer_line
from server.problems import Refused
from server.sheets import picture
from server.storage.unit import SqlUnitOfWork
from server.verifying import MOST_BYTES


def version_id(request: web.Request) -> m.ReportVersionId:
    return m.ReportVersionId(request.match_info["id"])


def _read(
    uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId, action: str
) -> tuple[m.ReportVersion, bytes]:
    found, pdf = reporting.read_report_version(uow, actor=actor, version=version)
    audit(uow, actor, action, f"consultation:{found.consultation}", detail={"report_version": found.id, "n": found.n})
    return found, pdf


def _check(uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId) -> m.ReportVersion:
    return open_report_version(uow, actor, version)[0]


async def _sheets(request: web.Request, found: m.ReportVersion) -> tuple[Page, ...]:
    async def pdf() -> bytes:
        return await work(request).read(lambda uow: uow.reports.pdf(found.id))

    return await request.app[keys.SHEETS].of(f"version:{found.pdf_digest}", pdf)


async def pages(request: web.Request) -> web.StreamResponse:
    """`POST /api/report-versions/{id}/open` → {pages: [{width, height}]}; audited, the clinic's reading is noted."""
    await body(request, Empty)
    who, version = actor(request), version_id(request)
    found, _pdf = await work(request).run(_read, actor=who, version=version, action="report.read")
    await work(request).run(reporting.mark_report_read, actor=who, version=version)
    sheets = await _sheets(request, found)
    return json_response({"pages": [{"width": x.width, "height": x.height} for x in sheets]})


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /api/report-versions/{id}/pages/{n}`: one page as a picture, n from 1."""
    found = await work(request).read(_check, actor=actor(request), version=version_id(request))
    sheets, n = await _sheets(request, found), int(request.match_info["n"])
    if not 1 <= n <= len(sheets):
        raise NotFound(kind="page")
    return picture(sheets[n - 1])


async def pdf(request: web.Request) -> web.StreamResponse:
    """`GET /api/report-versions/{id}/pdf`: the signed bytes, as a download."""
    found, data = await work(request).run(
        _read, actor=actor(request), version=version_id(request), action="report.download"
    )
    name = f"{found.content['header']['number']}-v{found.n}.pdf"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-store"}
    return web.Response(body=data, content_type="application/pdf", headers=headers)


def version_text(
    uow: UnitOfWork, *, actor: Actor, version: m.ReportVersionId, url: Any, zone: tzinfo, demo: bool
) -> str:
    """The signed version as text for the hospital's own system (server/paper/plaintext.py); audited."""
    found, _pdf = _read(uow, actor=actor, version=version, action="report.copy_text")
    content = report_content(
        found.content,
        n=found.n,
        status=found.status,
        reason=found.reason,
        code=found.code,
        verify_url=url(found.code),
        issued_at=found.signed_at,
        signers=tuple(signer_line(uow, x.membership, x.part) for x in uow.reports.signatures(found.id)),
        read_blob=lambda _digest: b"",
        zone=zone,
        demo=demo,
    )
    return plain_text(content)


async def text(request: web.Request) -> web.StreamResponse:
    """`GET /api/report-versions/{id}/text`."""
    words = await work(request).run(
        version_text,
        actor=actor(request),
        version=version_id(request),
        url=verify_url(request),
        zone=request.app[keys.ZONE],
        demo=request.app[keys.SETTINGS].demo,
    )
    return web.Response(text=words, content_type="text/plain", charset="utf-8", headers={"Cache-Control": "no-store"})


async def acknowledge(request: web.Request) -> web.StreamResponse:
    """`POST /api/consultations/{id}/acknowledge`: the referring doctor has received every version that waits."""
    await body(request, Empty)
    _result, after = await work(request).run(
        _audited, reporting.acknowledge_report, actor(request), "report.acknowledge",
        {"consultation": consultation_id(request)},
    )  # fmt: skip
    return json_response(consultation_view(after))


# ---- anybody who holds the paper -------------------------------------------------------------------------------------


def genuine(uow: SqlUnitOfWork, code: str) -> tuple[Genuine, int] | None:
    """What a code stands for, and the number of the newest version of that report."""
    found = describe_code(uow, code)
    if found is None:
        return None
    version = uow.reports.by_code(found.code)
    newest = max((x.n for x in uow.reports.versions(version.consultation)), default=found.n) if version else found.n
    return found, newest


async def check(request: web.Request) -> web.StreamResponse:
    """`POST /api/verify` and `/api/verify/{code}`, the PDF as the body → {genuine, reason, lines, matches, newest}.

    Nothing of the file is kept. 429 for a caller who asks too often.
    """
    verifying = request.app[keys.VERIFYING]
    if not verifying.limiter.allow(client_address(request), now(request), cost=5):
        raise Refused("too_many", headers={"Retry-After": "60"})
    data = await read_bounded(request, MOST_BYTES)
    verdict = await verifying.check(data, LANG.get())
    code = request.match_info.get("code", "")
    known = await work(request).read(genuine, code) if code else None
    return json_response(
        {
            "genuine": verdict.genuine,
            "reason": verdict.reason,
            "lines": verdict.lines,
            "matches": None if known is None else known[0].pdf_digest == hashlib.sha256(data).hexdigest(),
            "newest": None if known is None else known[0].newest,
        }
    )
