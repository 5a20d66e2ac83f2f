"""Worklist rows for the browser, and the state of the top bar.

Rows come as HTML made by the template that the page itself uses, so that words, dates and what may be shown are
decided in one place. The search is a POST because it may hold a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult import access
from consult import model as m
from consult import people as o
from consult.ports import UnitOfWork, WorklistRow
from consult.relations import overdue
from consult.ringing import rings, unanswered
from server import keys, labels
from server.api.common import actor, body, json_response, now, work
from server.i18n import N_, _
from server.pages import NOW
from server.pages.worklist import PAGE_SIZE, Filters, Line, line_of, read_listing, tab_counts
from server.pages.worklist_tabs import EMPTY, NOTHING, SPANS, STATES
from server.problems import Refused

_ALERTS = 8
Rung = Mapping[m.OfferId, int]
"""How many times each offer has rung."""
_S = m.State


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /api/worklist."""

    tab: Annotated[str, msgspec.Meta(max_length=20)]
    service: m.Service | None = None
    urgency: m.Urgency | None = None
    organisation: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    span: Annotated[str, msgspec.Meta(max_length=4)] = ""
    sort: Annotated[str, msgspec.Meta(max_length=10)] = "urgency"
    text: Annotated[str, msgspec.Meta(max_length=60)] = ""
    offset: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = PAGE_SIZE


async def worklist_rows(request: web.Request) -> web.Response:
    """POST /api/worklist → {rows: [{id, version, state, html}], counts, total, more, empty}."""
    viewer = actor(request)
    search = await body(request, Search)
    if search.span not in {"", *SPANS} or search.sort not in {"urgency", "waiting", "updated"}:
        raise Refused("bad_request")
    filters = Filters(
        tab=search.tab,
        service=search.service,
        urgency=search.urgency,
        organisation=o.OrganisationId(search.organisation) if search.organisation else None,
        span=search.span,
        sort=search.sort,
        text=search.text.strip(),
        offset=search.offset,
        limit=search.limit,
    )
    listing = await work(request).read(read_listing, viewer, filters, request.app[keys.ZONE])
    macros = templates(request)
    rows = [
        {"id": line.id, "version": line.version, "state": line.state, "html": str(macros.row(line, viewer.role))}
        for line in listing.lines
    ] + [{"id": order.id, "version": 0, "state": "", "html": str(macros.order_row(order))} for order in listing.orders]
    title, text, icon = EMPTY.get((viewer.role, filters.tab), NOTHING)
    if filters.narrowed:
        title, text, icon = N_("没有符合条件的会诊"), N_("请放宽筛选条件，或清除筛选。"), "search"
    response = json_response(
        {
            "rows": rows,
            "counts": listing.counts,
            "total": listing.total,
            "more": listing.more,
            "empty": {"title": _(title), "text": _(text), "icon": icon},
        }
    )
    response.enable_compression()
    return response


def templates(request: web.Request) -> Any:
    """The macros of _worklist_row.html, at the present moment."""
    NOW.set(now(request))
    return request.app[keys.TEMPLATES].get_template("_worklist_row.html").module


ALERT_STATES: dict[o.Role, tuple[str, tuple[m.State, ...]]] = {
    o.Role.CLINIC_DOCTOR: ("todo", (_S.DELIVERED, _S.RETURNED, _S.AWAITING_MATERIAL, _S.CHECKED_IN, _S.IN_SESSION)),
    o.Role.EXPERT: ("todo", (_S.OFFERED, _S.CHECKED_IN, _S.IN_SESSION)),
    o.Role.TECHNICIAN: ("todo", (_S.AWAITING_MATERIAL,)),
    o.Role.DISPATCHER: ("todo", (_S.TRIAGE, _S.SUBMITTED, _S.EXPIRED, _S.OFFERED)),
}
# What was said after the report: told while unread, but asked for apart, so that many of them never hide an offer.
NEWS_STATES: dict[o.Role, tuple[m.State, ...]] = {
    o.Role.CLINIC_DOCTOR: (_S.FEEDBACK,),
    o.Role.EXPERT: (_S.FEEDBACK, _S.ARCHIVED),
}


async def shell_state(request: web.Request) -> web.Response:
    """GET /api/shell → {counts, running, alerts, offers}: everything the top bar shows, in one read."""
    viewer = actor(request)
    tz = request.app[keys.ZONE]
    moment = now(request)

    def read(
        uow: UnitOfWork,
    ) -> tuple[dict[str, int], list[WorklistRow], str | None, Rung, set[str], list[dict[str, Any]]]:
        if viewer.role not in STATES:
            return {}, [], None, {}, set(), []
        sessions = [session for session in uow.meetings.running_for(viewer.membership) if session.ended_at is None]
        running = f"/consultations/{sessions[-1].consultation}/room" if sessions else None
        tab, states = ALERT_STATES[viewer.role]
        query = access.worklist_query(uow, viewer, tab)
        rows = uow.consultations.worklist(replace(query, states=states, limit=_ALERTS * 4), viewer=viewer)
        if news := NEWS_STATES.get(viewer.role):
            query = replace(query, states=news, sort="updated", limit=_ALERTS)
            rows = [*rows, *(x for x in uow.consultations.worklist(query, viewer=viewer) if x.mine)]
        rung: Rung = {row.offer.id: rings(row.offer, uow.rules, uow.now) for row in rows if row.offer is not None}
        late: set[str] = set()
        if viewer.role is o.Role.DISPATCHER:
            # What is offered is the experts' business, until an emergency finds no answer.
            late = {x.consultation.id for x in rows if unanswered(x.consultation, x.offer, uow.rules, uow.now)}
            rows = [x for x in rows if x.consultation.state is not _S.OFFERED or x.consultation.id in late]
        return tab_counts(uow, viewer), list(rows), running, rung, late, invitations_of(uow, viewer)

    counts, rows, running, rung, late, invited = await work(request).read(read)
    today = moment.astimezone(tz).date()
    lines = [line_of(row, viewer, today=today) for row in rows]
    return json_response(
        {
            "counts": counts,
            "running": running,
            "alerts": [
                *invited,
                *(alert_of(line, late=line.id in late)
                for line in sorted(lines, key=lambda x: x.id not in late)
                if line.unread or line.may_accept or line.id in late)
            ][:_ALERTS],
            "offers": [offer_of(line, rung[line.offer]) for line in lines if line.may_accept and line.offer],
        }
    )


def invitations_of(uow: UnitOfWork, viewer: o.Actor) -> list[dict[str, Any]]:
    """Invitations into a room where somebody is waiting, each a line that is heard; nothing of the patient in it."""
    found = []
    for one in uow.consultations.invitations(membership=viewer.membership):
        if overdue(uow, one):
            continue
        consultation = uow.consultations.get(one.consultation)
        sender = uow.people.organisation(consultation.organisation).short_name
        found.append({
            "id": f"{consultation.id}:invited:{one.since.isoformat()}",
            "late": True,
            "href": f"/consultations/{consultation.id}/room",
            "icon": "users",
            "title": _("邀请您参加会诊"),
            "detail": f"{_(labels.SERVICE[consultation.service])} · {sender}",
            "sender": sender,
            "at": one.since.isoformat(),
        })
    return found


def who(line: Line) -> str:
    """The person as the viewer may see them."""
    return " ".join(part for part in (line.name, _(line.sex), line.band) if part)


def alert_of(line: Line, *, late: bool) -> dict[str, Any]:
    """One line under the bell; `late`: an emergency that nobody has accepted for long, which is heard."""
    return {
        "id": f"{line.id}:late" if late else "",
        "late": late,
        "href": line.href,
        "icon": "siren" if late else labels.STATE_ICON[line.state],
        "title": _("急会诊无人接诊") if late else f"{_(labels.STATE[line.state])} · {_(labels.SERVICE[line.service])}",
        "detail": f"{who(line)} · {line.sender}",
        "sender": line.sender,
        "at": line.since.isoformat(),
    }


def offer_of(line: Line, rings: int) -> dict[str, Any]:
    """An offer the viewer may accept; a new STAT one rings, and rings again when `rings` goes up."""
    return {
        "rings": rings,
        "id": line.offer,
        "consultation": line.id,
        "urgency": line.urgency,
        "service": _(labels.SERVICE[line.service]),
        "who": who(line),
        "from": line.sender,
        "href": f"/consultations/{line.id}",
        "expires": line.due.isoformat() if line.due else None,
    }
