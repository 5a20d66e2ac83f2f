"""`/consultations/{id}/report`: the editor for who writes it, the signed pages for who may read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from consult import model as m
from consult.access import Action
from consult.lifecycle import Trigger
from consult.people import Actor
from consult.revising import DRAFTING, REVISABLE, pending_revision
from server.api.common import actor, work
from server.cases import Case, read_case
from server.pages import render
from server.pages.consultation import FIELDS
from server.storage.unit import SqlUnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A signed version and what became of it in the clinic."""

    version: m.ReportVersion
    signers: tuple[str, ...]
    read_at: Any
    read_by: str
    acknowledged_at: Any
    acknowledged_by: str
    archived: bool


def _versions(uow: SqlUnitOfWork, case: Case) -> list[Version]:
    found = []
    for version in sorted(case.versions, key=lambda x: -x.n):
        filings = [x for x in case.filings if x.report_version == version.id]
        inbox = next((x for x in filings if x.channel == "inbox"), None)
        signatures = uow.reports.signatures(version.id)
        found.append(
            Version(
                version=version,
                signers=tuple(uow.people.staff(x.staff).name for x in signatures),
                read_at=inbox.read_at if inbox else None,
                read_by=_name(uow, inbox.read_by) if inbox else "",
                acknowledged_at=inbox.acknowledged_at if inbox else None,
                acknowledged_by=_name(uow, inbox.acknowledged_by) if inbox else "",
                archived=any(x.channel == "archive" and x.state == "filed" for x in filings),
            )
        )
    return found


def _name(uow: SqlUnitOfWork, membership: Any) -> str:
    return uow.people.staff(uow.people.membership(membership).staff).name if membership else ""


def _read(uow: SqlUnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> dict[str, Any]:
    case = read_case(uow, actor=actor, consultation=consultation)
    stored = case.consultation
    revision = pending_revision(uow, stored)
    writes = Action.DRAFT_WRITE in case.actions and (stored.state in DRAFTING or revision is not None)
    own = revision is not None and uow.reports.get(revision.report).author == actor.membership
    versions = _versions(uow, case)
    return {
        "case": case,
        "versions": versions,
        "writes": writes,
        "revision": revision,
        "may_revise": Action.REPORT_APPEND in case.actions and stored.state in REVISABLE and revision is None,
        "may_drop": own,
        "may_acknowledge": Action.REPORT_ACKNOWLEDGE in case.actions
        and any(x.channel == "inbox" and x.acknowledged_at is None for x in case.filings),
        "may_take_over": Trigger.TAKE_OVER in case.triggers,
        "signed": bool(uow.reports.versions(stored.id)),
    }


async def page(request: web.Request) -> web.StreamResponse:
    """GET /consultations/{id}/report?v=<n>: audited; ?v chooses a version, else the newest."""
    found = await work(request).run(
        _read, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    case, versions = found["case"], found["versions"]
    wanted = request.query.get("v", "")
    shown = next((x for x in versions if str(x.version.n) == wanted), versions[0] if versions else None)
    content = case.request.content if case.request else {}
    return await render(
        request,
        "report.html",
        page="report",
        banner=case.banner,
        shown=shown,
        fields=[(label, content[key]) for key, label in FIELDS.items() if content.get(key)],
        data={
            "consultation": case.consultation.id,
            "state": case.consultation.state,
            "writes": found["writes"],
            "version": shown.version.id if shown else "",
            "studies": [
                x.study_uid for x in case.shares if x.study_uid not in case.consultation.hidden_studies
            ],
        },
        **found,
    )
