"""The worklist: ids from the listing's covering index first, then one join for the rows shown; one statement each.

Order: `urgency` is STAT, urgent, routine, and within each the longest in its state first; `waiting` is the longest in
its state first; `updated` the newest change of state first.
Statements are built once per shape (which scopes and filters are given) and kept; only values change.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, exists, func, literal, or_, select, union, union_all

from consult import model as m
from consult import people as o
from consult.ports import WorklistQuery, WorklistRow
from server.storage import rows
from server.storage import tables as t
from server.storage.listing import URGENCY_RANK, refresh
from server.storage.repository import Link, escape
from server.storage.tables_more import study_share

_L = t.listing.c
_C = t.consultation.c
_EXPERTS = (m.Part.EXPERT, m.Part.REVIEWER, m.Part.CHAIR)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What decides the text of the statement."""

    scopes: int
    organisation: bool  # the first scope is the requesting organisation
    filters: frozenset[str]
    sort: str = ""


def _scopes(query: WorklistQuery) -> list[str]:
    found = []
    if query.organisation is not None:
        found.append(f"organisation:{query.organisation}")
    if query.participant is not None:
        found.append(f"participant:{query.participant}")
    if query.centre is not None:
        found.append(f"centre:{query.centre}")
    if query.offered_to is not None:
        found.append(f"offered:{query.offered_to}")
    if query.pool is not None:
        found += [f"pool:{query.pool}:{s}" for s in dict.fromkeys(("", *query.pool_specialties))]
    return found


def _values(query: WorklistQuery, scopes: Sequence[str], viewer: str | None) -> dict[str, Any]:
    """Values of the filters that are given; their names are the shape's filters."""
    values: dict[str, Any] = {}
    if query.states:
        values["states"] = tuple(query.states)
    if query.service is not None:
        values["service"] = query.service
    if query.urgency is not None:
        values["urgency"] = URGENCY_RANK[query.urgency]
    if query.other_organisation is not None:
        values["other"] = query.other_organisation
    if query.since is not None:
        values["since"] = query.since
    if query.until is not None:
        values["until"] = query.until
    if query.due_before is not None:
        values["due_before"] = query.due_before
    wanted = query.text.strip().lower()
    if wanted:
        values["text"] = f"%{escape(wanted)}%"
        values["letters"] = f"%|{escape(''.join(wanted.split()))}%"
    return values | {f"scope_{n}": scope for n, scope in enumerate(scopes)} | {"viewer": viewer}


def _filters(names: frozenset[str]) -> list[Any]:
    every: dict[str, Callable[[], Any]] = {
        "states": lambda: _L.state.in_(bindparam("states", expanding=True)),
        "service": lambda: _L.service == bindparam("service"),
        "urgency": lambda: _L.urgency_rank == bindparam("urgency"),
        "other": lambda: or_(
            _L.organisation == bindparam("other"), _L.target_organisation == bindparam("other")
        ),
        "since": lambda: _L.created_at >= bindparam("since"),
        "until": lambda: _L.created_at < bindparam("until"),
        "due_before": lambda: exists(
            select(literal(1)).where(_C.id == _L.consultation, _C.due_at < bindparam("due_before"))
        ),
        "text": lambda: _L.consultation.in_(_texts()),
    }
    return [make() for name, make in every.items() if name in names]


def _texts() -> Any:
    """By number; by the patient's name only where the row shows it (consult/access.py): a search must not tell what a
    row hides.
    """
    p = t.patient.c
    wanted: Any = bindparam("text")
    letters: Any = bindparam("letters")
    number = select(_C.id).where(func.lower(_C.number).like(wanted, escape="\\"))
    named = (
        select(_C.id)
        .join(t.patient, p.id == _C.patient)
        .where(
            _C.id.in_(_taking_part()),
            or_(func.lower(p.name).like(wanted, escape="\\"), p.pinyin_key.like(letters, escape="\\")),
        )
    )
    return union_all(number, named)


def _taking_part() -> Any:
    c = t.participant.c
    return select(c.consultation).where(
        c.membership == bindparam("viewer"), c.until.is_(None), c.part != m.Part.GUEST
    )


@lru_cache(256)
def _count_query(shape: _Shape) -> Select[Any]:
    """Branches that exclude each other instead of a UNION, which would sort every row."""
    branches = []
    for n in range(shape.scopes):
        where = [_L.scope == bindparam(f"scope_{n}"), *_filters(shape.filters)]
        first = 0
        if shape.organisation and n > 0:
            first = 1
            where.append(_L.organisation != bindparam("requesting"))
        if n > first:
            earlier = t.listing.alias("earlier")
            where.append(
                ~exists(
                    select(literal(1)).where(
                        earlier.c.consultation == _L.consultation,
                        or_(*(earlier.c.scope == bindparam(f"scope_{k}") for k in range(first, n))),
                    )
                )
            )
        branches.append(select(_L.state, func.count().label("n")).where(*where).group_by(_L.state))
    together = union_all(*branches).subquery("together")
    return select(together.c.state, func.sum(together.c.n)).group_by(together.c.state)


def count_states(link: Link, query: WorklistQuery) -> Mapping[m.State, int]:
    """Consultations per state; states without any are absent."""
    refresh(link)
    scopes = _scopes(query)
    if not scopes:
        return {}
    values = _values(query, scopes, query.participant)
    shape = _Shape(len(scopes), query.organisation is not None, _given(values))
    found: Any = link.execute(_count_query(shape), {**values, "requesting": query.organisation})
    return {state: int(n) for state, n in found}


def _given(values: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in values if not name.startswith("scope_") and name != "viewer")


def read_worklist(link: Link, query: WorklistQuery, viewer: o.Actor) -> list[WorklistRow]:
    """The page's rows in order, each with what a list shows, in one statement."""
    refresh(link)
    scopes = _scopes(query)
    if not scopes:
        return []
    values = _values(query, scopes, viewer.membership)
    shape = _Shape(len(scopes), query.organisation is not None, _given(values), query.sort)
    values |= {
        "limit": query.limit,
        "offset": query.offset,
        "reach": query.limit + query.offset,
        "house": viewer.organisation,
    }
    return [_row(row) for row in link.execute(_page_query(shape), values)]


def _order(columns: Any, sort: str) -> list[Any]:
    if sort == "waiting":
        return [columns.state_since, columns.consultation]
    if sort == "updated":
        return [columns.state_since.desc(), columns.consultation]
    return [columns.urgency_rank, columns.state_since, columns.consultation]


@lru_cache(256)
def _page_query(shape: _Shape) -> Select[Any]:
    """The first `reach` of every scope hold the first `reach` of their union, so each branch stops there."""
    branches = []
    for n in range(shape.scopes):
        branch = (
            select(_L.consultation, _L.urgency_rank, _L.state_since)
            .where(_L.scope == bindparam(f"scope_{n}"), *_filters(shape.filters))
            .order_by(*_order(_L, shape.sort))
            .limit(bindparam("reach"))
            .subquery(f"scope_{n}")
        )
        branches.append(select(*branch.c))
    together = union(*branches).subquery("together") if len(branches) > 1 else branches[0].subquery("together")
    page = (
        select(*together.c)
        .order_by(*_order(together.c, shape.sort))
        .limit(bindparam("limit"))
        .offset(bindparam("offset"))
        .subquery("page")
    )
    return _row_query(page).order_by(*_order(page.c, shape.sort))


_REQUESTING = t.organisation.alias("requesting")
_TARGET = t.organisation.alias("target")
_OFFER = t.offer.alias("open_offer")
_AT_PATIENT = rows.consultation.width
_AT_OFFER = _AT_PATIENT + rows.patient.width
_AT_REST = _AT_OFFER + rows.offer.width


def _row_query(page: Any) -> Select[Any]:
    key = page.c.consultation
    d, q, s = t.document.c, t.question.c, study_share.c
    return (
        select(
            *rows.consultation.labelled("c"),
            *rows.patient.labelled("p"),
            *rows.offer.labelled("o", _OFFER),
            _REQUESTING.c.short_name.label("requesting_name"),
            func.coalesce(_TARGET.c.short_name, "").label("target_name"),
            func.coalesce(_expert(key), "").label("expert_name"),
            func.coalesce(_purpose(key), "").label("purpose"),
            _count(t.question, q.consultation == key).label("questions"),
            _count(study_share, s.consultation == key, s.until.is_(None)).label("studies"),
            _count(t.document, d.consultation == key, d.voided_at.is_(None)).label("documents"),
            (~_read(key, page.c.state_since)).label("unread"),
            _part(key).label("part"),
        )
        .select_from(page)
        .join(t.consultation, _C.id == key)
        .join(t.patient, t.patient.c.id == _C.patient)
        .join(_REQUESTING, _REQUESTING.c.id == _C.organisation)
        .outerjoin(_TARGET, _TARGET.c.id == _C.target_organisation)
        .outerjoin(_OFFER, _OFFER.c.id == _offer(key))
    )


def _count(table: Any, *where: Any) -> Any:
    return select(func.count()).select_from(table).where(*where).scalar_subquery()


def _part(key: Any) -> Any:
    """The viewer's part; a guest's only where there is no other."""
    c = t.participant.c
    return (
        select(c.part)
        .where(c.consultation == key, c.membership == bindparam("viewer"), c.until.is_(None))
        .order_by(c.part == m.Part.GUEST, c.since, c.part)
        .limit(1)
        .scalar_subquery()
    )


def _read(key: Any, since: Any) -> Any:
    c = t.read_mark.c
    return exists(
        select(literal(1)).where(c.consultation == key, c.membership == bindparam("viewer"), c.at >= since)
    )


def _expert(key: Any) -> Any:
    """The name of the expert, reviewer or chair who has been assigned longest."""
    p = t.participant.c
    return (
        select(t.staff.c.name)
        .join(t.membership, t.membership.c.staff == t.staff.c.id)
        .join(t.participant, p.membership == t.membership.c.id)
        .where(p.consultation == key, p.part.in_(_EXPERTS), p.until.is_(None))
        .order_by(p.since, p.part, p.membership)
        .limit(1)
        .scalar_subquery()
    )


def _purpose(key: Any) -> Any:
    c = t.request_version.c
    return select(c.purpose).where(c.consultation == key).order_by(c.n.desc()).limit(1).scalar_subquery()


def _offer(key: Any) -> Any:
    """The open offer to the viewer, else to the pool of the viewer's organisation, else the newest open one."""
    c = t.offer.c
    to_me = func.coalesce(c.membership == bindparam("viewer"), False)
    to_us = and_(c.membership.is_(None), c.organisation == bindparam("house"))
    return (
        select(c.id)
        .where(c.consultation == key, c.outcome == m.OfferOutcome.OPEN)
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
        part=None if rest[8] is None else m.Part(rest[8]),
    )
