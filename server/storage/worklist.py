"""The worklist: ids from covering indexes first, then one join for the rows that are shown. One statement each.

Order: `urgency` is STAT, urgent, routine, and within each the longest in its state first; `waiting` is the longest in
its state first; `updated` the newest change of state first.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, and_, exists, false, func, literal, or_, select, union

from consult import model as m
from consult import people as o
from consult.ports import WorklistQuery, WorklistRow
from server.storage import rows
from server.storage import tables as t
from server.storage.repository import Link, escape
from server.storage.tables_more import study_share

_C = t.consultation.c
_EXPERTS = (m.Part.EXPERT, m.Part.REVIEWER, m.Part.CHAIR)


def _scopes(query: WorklistQuery) -> list[Any]:
    """Conditions on `consultation`, one per scope; their union is what the asker may list."""
    found: list[Any] = []
    if query.organisation is not None:
        found.append(_C.organisation == query.organisation)
    if query.centre is not None:
        found.append(and_(_C.target_organisation == query.centre, _C.state != m.State.DRAFT))
        c = t.offer.c
        found.append(
            and_(
                _C.id.in_(
                    select(c.consultation).where(
                        c.organisation == query.centre, c.outcome == m.OfferOutcome.OPEN
                    )
                ),
                _C.state != m.State.DRAFT,
            )
        )
    if query.participant is not None:
        c = t.participant.c
        found.append(
            _C.id.in_(
                select(c.consultation).where(c.membership == query.participant, c.until.is_(None))
            )
        )
    c = t.offer.c
    open_offer = c.outcome == m.OfferOutcome.OPEN
    if query.offered_to is not None:
        found.append(
            _C.id.in_(select(c.consultation).where(c.membership == query.offered_to, open_offer))
        )
    if query.pool is not None:
        mine = ("", *query.pool_specialties)
        found.append(
            _C.id.in_(
                select(c.consultation).where(
                    c.organisation == query.pool, open_offer, c.membership.is_(None), c.specialty.in_(mine)
                )
            )
        )
    return found


def _filters(query: WorklistQuery, viewer: o.MembershipId | None) -> list[Any]:
    found: list[Any] = []
    if query.states:
        found.append(_C.state.in_(query.states))
    if query.service is not None:
        found.append(_C.service == query.service)
    if query.urgency is not None:
        found.append(_C.urgency_rank == rows.URGENCY_RANK[query.urgency])
    if query.other_organisation is not None:
        found.append(
            or_(
                _C.organisation == query.other_organisation,
                _C.target_organisation == query.other_organisation,
            )
        )
    if query.since is not None:
        found.append(_C.created_at >= query.since)
    if query.until is not None:
        found.append(_C.created_at < query.until)
    wanted = query.text.strip()
    if wanted:
        by_number = func.lower(_C.number).like(f"%{escape(wanted.lower())}%", escape="\\")
        found.append(by_number if viewer is None else or_(by_number, _named(wanted, viewer)))
    return found


def _named(wanted: str, viewer: o.MembershipId) -> Any:
    """Found by the patient's name, but only where the viewer may see it: a search must not tell what a row hides."""
    p = t.patient.c
    letters = "".join(wanted.lower().split())
    named = select(p.id).where(
        or_(
            func.lower(p.name).like(f"%{escape(wanted.lower())}%", escape="\\"),
            p.pinyin_key.like(f"%|{escape(letters)}%", escape="\\"),
        )
    )
    return and_(_mine(_C.id, viewer), _C.patient.in_(named))


def _mine(consultation: Any, viewer: o.MembershipId) -> Any:
    c = t.participant.c
    return exists(
        select(literal(1)).where(
            c.consultation == consultation, c.membership == viewer, c.until.is_(None)
        )
    )


def _chosen(query: WorklistQuery, viewer: o.MembershipId | None, *columns: Any) -> Select[Any]:
    """Scope ∩ filters. Several scopes are a UNION of indexed selects, which also removes doubles."""
    filters = _filters(query, viewer)
    scopes = _scopes(query) or [false()]
    branches = [select(*columns).where(scope, *filters) for scope in scopes]
    if len(branches) == 1:
        return branches[0]
    together = union(*branches).subquery("together")
    return select(*together.c)


def _order(columns: Any, sort: str) -> list[Any]:
    if sort == "waiting":
        return [columns.state_since, columns.id]
    if sort == "updated":
        return [columns.state_since.desc(), columns.id]
    return [columns.urgency_rank, columns.state_since, columns.id]


def count_states(link: Link, query: WorklistQuery) -> Mapping[m.State, int]:
    """Consultations per state; states without any are absent."""
    chosen = _chosen(query, query.participant, _C.id, _C.state).subquery("chosen")
    found: Any = link.execute(select(chosen.c.state, func.count()).group_by(chosen.c.state))
    return {state: int(n) for state, n in found}


def read_worklist(link: Link, query: WorklistQuery, viewer: o.Actor) -> list[WorklistRow]:
    """The page's rows in order, each with what a list shows, in one statement."""
    keys = (_C.id, _C.urgency_rank, _C.state_since)
    chosen = _chosen(query, viewer.membership, *keys)
    page = (
        chosen.order_by(*_order(chosen.selected_columns, query.sort))
        .limit(query.limit)
        .offset(query.offset)
        .subquery("page")
    )
    statement = _row_query(page, viewer).order_by(*_order(page.c, query.sort))
    return [_row(row) for row in link.execute(statement)]


_REQUESTING = t.organisation.alias("requesting")
_TARGET = t.organisation.alias("target")
_OFFER = t.offer.alias("open_offer")
_AT_PATIENT = rows.consultation.width
_AT_OFFER = _AT_PATIENT + rows.patient.width
_AT_REST = _AT_OFFER + rows.offer.width


def _row_query(page: Any, viewer: o.Actor) -> Select[Any]:
    key = page.c.id
    return (
        select(
            *rows.consultation.labelled("c"),
            *rows.patient.labelled("p"),
            *rows.offer.labelled("o", _OFFER),
            _REQUESTING.c.short_name.label("requesting_name"),
            func.coalesce(_TARGET.c.short_name, "").label("target_name"),
            func.coalesce(_expert(key), "").label("expert_name"),
            func.coalesce(_purpose(key), "").label("purpose"),
            _count(t.question, t.question.c.consultation == key).label("questions"),
            _count(study_share, study_share.c.consultation == key, study_share.c.until.is_(None)).label("studies"),
            _count(t.document, t.document.c.consultation == key, t.document.c.voided_at.is_(None)).label("documents"),
            (~_read(key, page.c.state_since, viewer)).label("unread"),
            _mine(key, viewer.membership).label("mine"),
        )
        .select_from(page)
        .join(t.consultation, _C.id == key)
        .join(t.patient, t.patient.c.id == _C.patient)
        .join(_REQUESTING, _REQUESTING.c.id == _C.organisation)
        .outerjoin(_TARGET, _TARGET.c.id == _C.target_organisation)
        .outerjoin(_OFFER, _OFFER.c.id == _offer(key, viewer))
    )


def _count(table: Any, *where: Any) -> Any:
    return select(func.count()).select_from(table).where(*where).scalar_subquery()


def _read(id: Any, since: Any, viewer: o.Actor) -> Any:
    c = t.read_mark.c
    return exists(
        select(literal(1)).where(c.consultation == id, c.membership == viewer.membership, c.at >= since)
    )


def _expert(id: Any) -> Any:
    """The name of the expert, reviewer or chair who has been assigned longest."""
    p = t.participant.c
    return (
        select(t.staff.c.name)
        .join(t.membership, t.membership.c.staff == t.staff.c.id)
        .join(t.participant, p.membership == t.membership.c.id)
        .where(p.consultation == id, p.part.in_(_EXPERTS), p.until.is_(None))
        .order_by(p.since, p.part, p.membership)
        .limit(1)
        .scalar_subquery()
    )


def _purpose(id: Any) -> Any:
    c = t.request_version.c
    return select(c.purpose).where(c.consultation == id).order_by(c.n.desc()).limit(1).scalar_subquery()


def _offer(id: Any, viewer: o.Actor) -> Any:
    """The open offer to the viewer, else to the pool of the viewer's organisation, else the newest open one."""
    c = t.offer.c
    to_me = func.coalesce(c.membership == viewer.membership, False)
    to_us = and_(c.membership.is_(None), c.organisation == viewer.organisation)
    return (
        select(c.id)
        .where(c.consultation == id, c.outcome == m.OfferOutcome.OPEN)
        .order_by(to_me.desc(), to_us.desc(), c.made_at.desc(), c.id)
        .limit(1)
        .scalar_subquery()
    )


def _row(row: Any) -> WorklistRow:
    rest = row[_AT_REST:]
    return WorklistRow(
        consultation=rows.consultation.one(row),
        patient=rows.patient.one(row, _AT_PATIENT),
        offer=None if row[_AT_OFFER] is None else rows.offer.one(row, _AT_OFFER),
        requesting_name=rest[0],
        target_name=rest[1],
        expert_name=rest[2],
        purpose=rest[3],
        questions=rest[4],
        studies=rest[5],
        documents=rest[6],
        unread=bool(rest[7]),
        mine=bool(rest[8]),
    )
