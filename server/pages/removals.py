"""Removing images after their retention: the technician's page, and what an administrator sees of a proposal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from consult import words
from consult.access import Action, authorize
from consult.people import Actor
from consult.removing import same_person
from dicom.archive import Archive
from dicom.index import due
from dicom.model import Scope, StudyRow
from server import removing
from server.api.common import actor, int_query, settings, work
from server.auth.audit import audit
from server.dicomweb.ports import ARCHIVE
from server.i18n import N_, _
from server.pages import render
from server.storage.removals import Hold, Removal, RemovalStudy
from server.storage.unit import SqlUnitOfWork

PAGE = 50
STATES: Mapping[str, str] = {
    "open": N_("待决定"), "approved": N_("正在移除"), "done": N_("已办理"), "refused": N_("未批准"),
    "expired": N_("已失效"),
}  # fmt: skip


async def gone(request: web.Request, study_uids: Iterable[str]) -> Mapping[str, datetime]:
    """Study → when its images were removed after the retention, of those that nobody holds now."""
    removed = await work(request).read(lambda uow: uow.removals.removed(study_uids))
    held = await _rows(request, removed, Scope(studies=frozenset(removed)))
    return {uid: at for uid, at in removed.items() if uid not in held}


async def _rows(request: web.Request, study_uids: Iterable[str], scope: Scope) -> dict[str, StudyRow]:
    archive: Archive = request.app[ARCHIVE]

    def read() -> dict[str, StudyRow]:
        found = ((uid, archive.study(scope, uid)) for uid in study_uids)
        return {uid: row for uid, row in found if row is not None}

    return await asyncio.to_thread(read)


def _person(uow: SqlUnitOfWork, membership: str | None) -> str:
    return uow.people.staff(uow.people.membership(membership).staff).name if membership else ""  # type: ignore[arg-type]


def proposal_view(
    uow: SqlUnitOfWork, who: Actor, row: Removal, studies: Sequence[RemovalStudy]
) -> dict[str, Any]:
    """A proposal without anything of a patient: how many studies, of which years, what became of them."""
    dates = sorted(x.study_date for x in studies if x.study_date)
    why = Counter(x.why for x in studies if x.state == "kept" and row.state in {"approved", "done"})
    return {
        "id": row.id, "reason": row.reason, "at": row.proposed_at, "by": _person(uow, row.proposed_by),
        "own": same_person(uow, who, row.proposed_by), "expires_at": row.expires_at,
        "state": "expired" if row.state == "open" and row.expires_at <= uow.now else row.state,
        "decided_at": row.decided_at, "decided_by": _person(uow, row.decided_by), "decided_reason": row.decided_reason,
        "studies": len(studies), "instances": sum(x.instances for x in studies),
        "dates": (dates[0], dates[-1]) if dates else None,
        "modalities": sorted({y for x in studies for y in x.modalities}),
        "removed": sum(1 for x in studies if x.state == "removed"),
        "kept": [(n, words.REMOVALS.get(code, "")) for code, n in why.most_common()],
    }  # fmt: skip


def _proposals(uow: SqlUnitOfWork, who: Actor) -> tuple[list[dict[str, Any]], dict[str, Sequence[RemovalStudy]]]:
    rows = [
        *uow.removals.of(who.organisation, "open", "approved"),
        *uow.removals.of(who.organisation, "done", "refused", "expired"),
    ]
    studies = dict(uow.removals.studies(*(row.id for row in rows)))
    audit(uow, who, "removal.list", f"organisation:{who.organisation}")
    return [proposal_view(uow, who, row, studies[row.id]) for row in rows], studies


def _decider(uow: SqlUnitOfWork, *, who: Actor) -> list[dict[str, Any]]:
    authorize(uow, who, Action.REMOVALS_DECIDE, who.organisation)
    return _proposals(uow, who)[0]


def _technician(
    uow: SqlUnitOfWork, *, who: Actor, old: Sequence[due.DueStudy]
) -> tuple[list[dict[str, Any]], dict[str, Sequence[RemovalStudy]], list[dict[str, Any]], list[tuple[Hold, str]]]:
    authorize(uow, who, Action.STUDIES_MATCH, who.organisation)
    proposals, studies = _proposals(uow, who)
    waiting = uow.removals.waiting(who.organisation, [x.study_uid for x in old])
    listed = []
    for x in old:
        why = "quarantine_waits" if x.waits else ""
        why = why or ("proposed_already" if x.study_uid in waiting else "")
        listed.append({"study": x, "why": why or removing.why_not(uow, who.organisation, x.study_uid)})
    holds = [(hold, _person(uow, hold.set_by)) for hold in uow.removals.holds(who.organisation)]
    return proposals, studies, listed, holds


async def page(request: web.Request) -> web.StreamResponse:
    """`GET /studies/removals[?offset=][&study=]`: what is old enough, proposals, holds, history; one study to hold."""
    who = actor(request)
    offset = int_query(request, "offset", 0, low=0, high=10_000_000)
    await work(request).read(lambda uow: authorize(uow, who, Action.STUDIES_MATCH, who.organisation))
    before = removing.before(request.app)
    old = await request.app[ARCHIVE].read_index(
        lambda link: due.due_studies(link, who.organisation, before, limit=PAGE + 1, offset=offset)
    )
    if offset and not old:
        raise web.HTTPSeeOther("/studies/removals")
    proposals, studies, listed, holds = await work(request).run(_technician, who=who, old=old[:PAGE])
    named = {x.study_uid for row in proposals if row["state"] == "open" for x in studies[row["id"]]}
    held = {hold.study_uid for hold, _by in holds}
    asked = request.query.get("study", "")[:64]
    named |= held | {asked}
    rows = await _rows(request, named, Scope(organisations=frozenset({who.organisation})))
    return await render(
        request, "removals.html", page="removals", tab="studies", proposals=proposals, states=STATES,
        years=settings(request).archive.retention_years, due=listed, reasons=words.REMOVALS, offset=offset, step=PAGE,
        asked=None if asked in held else rows.get(asked),
        more=len(old) > PAGE, holds=[(hold, by, rows.get(hold.study_uid)) for hold, by in holds],
        inside={name: [rows[x.study_uid] for x in named if x.study_uid in rows] for name, named in studies.items()},
    )  # fmt: skip


async def decider_page(request: web.Request) -> web.StreamResponse:
    """`GET /admin/removals`: proposals for an administrator to decide; nothing of a patient stands in them."""
    proposals = await work(request).run(_decider, who=actor(request))
    return await render(
        request, "removals.html", page="removals", tab="removals", proposals=proposals, states=STATES,
        years=settings(request).archive.retention_years, due=None, inside={},
        empty=_("没有等待决定的移除申请。技师提出之后会出现在这里。"),
    )  # fmt: skip
