"""The worklist `/`: each role's tabs, the rows of one of them, and what a row may tell whom.

The states of a tab are chosen in worklist_tabs.py; whose consultations they are is decided by consult/access.py. A
patient's name never reaches a row unless the viewer takes part (DOMAIN §6): such a row is built without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo

from aiohttp import web

from consult import access
from consult import model as m
from consult import people as o
from consult.ports import UnitOfWork, WorklistQuery, WorklistRow
from server import keys, labels
from server.api.common import actor, work
from server.i18n import N_
from server.pages import render
from server.pages.worklist_tabs import (
    ACTIONS,
    EMPTY,
    IN_ROOM,
    MOST_COUNTED,
    NEAR,
    NOTHING,
    SORTS,
    SPANS,
    STATES,
    UNCOUNTED,
)

PAGE_SIZE = 30
"""Three screens; a button brings more."""
MOST_ORDERS = 50
_S = m.State


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the person chose. All but `text` (it may be a name) stand in the address."""

    tab: str = ""
    service: m.Service | None = None
    urgency: m.Urgency | None = None
    organisation: o.OrganisationId | None = None
    span: str = ""
    sort: str = "urgency"
    text: str = ""
    offset: int = 0
    limit: int = PAGE_SIZE

    @property
    def narrowed(self) -> bool:
        """Whether any filter hides rows, so that an empty list says so."""
        return bool(self.service or self.urgency or self.organisation or self.span or self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row as it may be shown to this viewer. Hidden: `name` is empty, `band` stands for the birth date and the
    specialty asked for stands for the purpose, which is free text and may say anything (DOMAIN §6, q).
    """

    id: m.ConsultationId
    version: int
    number: str
    href: str
    state: m.State
    urgency: m.Urgency
    service: m.Service
    mode: m.Mode
    shown: bool
    name: str
    sex: str
    birth_date: date | None
    birth_estimated: bool
    band: str
    purpose: str
    questions: int
    studies: int
    documents: int
    sender: str
    receiver: str
    since: datetime
    due: datetime | None
    near: int
    unread: bool
    offer: m.OfferId | None
    may_accept: bool
    may_return: bool
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """An examination a technician still has to perform or upload."""

    id: m.OrderId
    accession: str
    name: str
    sex: str
    birth_date: date | None
    birth_estimated: bool
    procedure: str
    modality: str
    sender: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of one tab. `total` is None where only the store could count it and a name was searched."""

    tab: str
    lines: tuple[Line, ...]
    orders: tuple[OrderLine, ...]
    counts: Mapping[str, int]
    total: int | None
    more: bool


def first_tab(role: o.Role) -> str:
    """Where `/` begins for a role."""
    return labels.TABS[role][0][0]


def line_of(row: WorklistRow, viewer: o.Actor, *, today: date) -> Line:
    """The row as `viewer` may see it."""
    consultation, patient = row.consultation, row.patient
    shown = access.may_show_name(viewer, row)
    offer = row.offer if row.offer is not None and row.offer.outcome is m.OfferOutcome.OPEN else None
    accept = viewer.role is o.Role.EXPERT and consultation.state is _S.OFFERED and offer is not None
    give_back = (viewer.role is o.Role.DISPATCHER and consultation.state is _S.TRIAGE) or (
        viewer.role is o.Role.EXPERT and row.mine and consultation.state in {_S.ACCEPTED, _S.SCHEDULED}
    )
    action = ACTIONS.get((viewer.role, consultation.state), N_("打开"))
    if row.part is m.Part.REVIEWER and consultation.state is _S.REPORTING:
        action = N_("去复核")
    href = f"/consultations/{consultation.id}"
    if row.mine and consultation.state in IN_ROOM and action == "进入":
        href += "/room"
    if row.part is m.Part.GUEST:
        action, href = N_("进入"), f"/consultations/{consultation.id}/room"
    if row.mine and viewer.role is o.Role.EXPERT and consultation.state is _S.REPORTING:
        href += "/report"
    return Line(
        id=consultation.id,
        version=consultation.version,
        number=consultation.number,
        href=href,
        state=consultation.state,
        urgency=consultation.urgency,
        service=consultation.service,
        mode=consultation.mode,
        shown=shown,
        name=patient.name if shown else "",
        sex=labels.SEX[patient.sex],
        birth_date=patient.birth_date if shown else None,
        birth_estimated=patient.birth_estimated,
        band="" if shown else labels.age_band(patient, today),
        purpose=row.purpose if shown else consultation.target_specialty,
        questions=row.questions,
        studies=row.studies,
        documents=row.documents,
        sender=row.requesting_name,
        receiver=" ".join(part for part in (row.target_name, row.expert_name) if part),
        since=consultation.state_since,
        due=offer.expires_at if offer is not None and consultation.state is _S.OFFERED else consultation.due_at,
        near=NEAR[consultation.urgency],
        unread=row.unread,
        offer=offer.id if offer else None,
        may_accept=accept,
        may_return=give_back,
        action=action,
    )


def query_of(uow: UnitOfWork, viewer: o.Actor, filters: Filters) -> WorklistQuery:
    """The scope of the viewer, the states of the tab, the person's filters. Raises NotAllowed for no such tab."""
    states = STATES.get(viewer.role, {}).get(filters.tab)
    scope = access.worklist_query(uow, viewer, "todo" if states else filters.tab)
    if filters.tab == "drafts":
        scope = replace(scope, organisation=None)      # a colleague's draft is nobody else's work
    return replace(
        scope,
        states=states or scope.states,
        service=filters.service,
        urgency=filters.urgency,
        other_organisation=filters.organisation,
        since=uow.now - SPANS[filters.span][1] if filters.span else None,
        due_before=uow.now if filters.tab == "overdue" else None,
        text=filters.text,
        sort=filters.sort,
        limit=filters.limit + 1,
        offset=filters.offset,
    )


def tab_counts(uow: UnitOfWork, viewer: o.Actor) -> dict[str, int]:
    """How many consultations wait on each tab, finished ones left out: those are most of the store."""
    tabs = STATES.get(viewer.role, {})
    if not tabs:
        return {}
    # Whose they are is the same on every tab; which states, each tab says for itself.
    scope = access.worklist_query(uow, viewer, "todo")
    counted = {tab: states for tab, states in tabs.items() if tab not in UNCOUNTED}
    waiting = tuple({state for states in counted.values() for state in states})
    by_state = uow.consultations.counts(replace(scope, states=waiting))
    counts = {tab: sum(by_state.get(state, 0) for state in states) for tab, states in counted.items()}
    if "drafts" in tabs:
        drafts = replace(scope, organisation=None, states=(_S.DRAFT,))
        counts["drafts"] = sum(uow.consultations.counts(drafts).values())
    if "inbox" in tabs:                                # an amended report waits there too, whatever the state
        counts["inbox"] = len(uow.reports.inbox(viewer.organisation, open_only=True, limit=MOST_COUNTED))
    if "overdue" in tabs:
        late = replace(scope, states=tabs["overdue"], due_before=uow.now)
        counts["overdue"] = sum(uow.consultations.counts(late).values())
    if viewer.role is o.Role.TECHNICIAN:
        counts["orders"] = len(open_orders(uow, viewer))
    return counts


def open_orders(uow: UnitOfWork, viewer: o.Actor) -> tuple[OrderLine, ...]:
    """Examinations ordered at the technician's organisation that have no matched study yet, newest first."""
    lines = []
    for order in uow.studies.orders(organisation=viewer.organisation, limit=MOST_ORDERS):
        if order.voided_at is not None or order.performing != viewer.organisation:
            continue
        if any(match.order == order.id for match in uow.studies.matches(patient=order.patient)):
            continue
        patient = uow.patients.get(order.patient)
        lines.append(
            OrderLine(
                id=order.id,
                accession=order.accession,
                name=patient.name,
                sex=labels.SEX[patient.sex],
                birth_date=patient.birth_date,
                birth_estimated=patient.birth_estimated,
                procedure=order.procedure,
                modality=order.modality,
                sender=uow.people.organisation(order.ordering).short_name,
                at=order.at,
            )
        )
    return tuple(lines)


def read_listing(uow: UnitOfWork, viewer: o.Actor, filters: Filters, tz: tzinfo) -> Listing:
    """One page of one tab with the counts of all tabs, in one read."""
    counts = tab_counts(uow, viewer)
    if viewer.role is o.Role.TECHNICIAN and filters.tab == "orders":
        orders = open_orders(uow, viewer)
        return Listing(tab="orders", lines=(), orders=orders, counts=counts, total=len(orders), more=False)
    query = query_of(uow, viewer, filters)
    total: int | None = None
    rows = uow.consultations.worklist(query, viewer=viewer)
    if not filters.narrowed and filters.tab in counts:
        total = counts[filters.tab]
    elif not filters.text:
        total = sum(uow.consultations.counts(query).values())
    today = uow.now.astimezone(tz).date()
    lines = tuple(line_of(row, viewer, today=today) for row in rows[: filters.limit])
    return Listing(
        tab=filters.tab, lines=lines, orders=(), counts=counts, total=total, more=len(rows) > filters.limit
    )


def organisations_of(uow: UnitOfWork, viewer: o.Actor) -> list[tuple[str, str]]:
    """The organisations one may filter by: (id, short name), the own one left out."""
    return [
        (organisation.id, organisation.short_name or organisation.name)
        for organisation in uow.people.organisations()
        if organisation.active and organisation.id != viewer.organisation
    ]


def filters_from(values: Mapping[str, str], role: o.Role) -> Filters:
    """Filters of an address. What is unknown there is left out: an old bookmark still opens."""
    tab = values.get("tab", "")
    known = {*STATES.get(role, {}), *({"orders"} if role is o.Role.TECHNICIAN else ())}
    service, urgency = values.get("service", ""), values.get("urgency", "")
    return Filters(
        tab=tab if tab in known else first_tab(role),
        service=m.Service(service) if service in set(m.Service) else None,
        urgency=m.Urgency(urgency) if urgency in set(m.Urgency) else None,
        organisation=o.OrganisationId(values["organisation"][:64]) if values.get("organisation") else None,
        span=values["span"] if values.get("span") in SPANS else "",
        sort=values["sort"] if values.get("sort") in SORTS else "urgency",
    )


async def worklist(request: web.Request) -> web.StreamResponse:
    """GET /: the role's worklist; roles that see no consultations land on their own first page."""
    viewer = actor(request)
    if viewer.role not in STATES:
        raise web.HTTPSeeOther(labels.TABS[viewer.role][0][2])
    filters = filters_from(request.query, viewer.role)
    if filters.tab == "inbox":
        raise web.HTTPSeeOther("/inbox")                # one way in: there every version stands by itself
    tz = request.app[keys.ZONE]

    def read(uow: UnitOfWork) -> tuple[Listing, list[tuple[str, str]]]:
        return read_listing(uow, viewer, filters, tz), organisations_of(uow, viewer)

    listing, organisations = await work(request).read(read)
    response = await render(
        request,
        "worklist.html",
        page="worklist",
        tab=filters.tab,
        counts=listing.counts,
        listing=listing,
        filters=filters,
        organisations=organisations,
        spans=SPANS,
        sorts=SORTS,
        empty=EMPTY.get((viewer.role, filters.tab), NOTHING),
        data={"tab": filters.tab, "more": listing.more, "limit": PAGE_SIZE},
    )
    response.enable_compression()       # a full list is 200 kB of rows that resemble each other
    return response
