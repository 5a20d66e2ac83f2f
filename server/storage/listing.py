"""Keeps `listing` true: one row for every (scope, consultation), written in the commit that changes either.

A scope is a text: `organisation:<id>` (requesting side), `participant:<membership>`, `offered:<membership>`,
`pool:<organisation>:<specialty>`, `centre:<organisation>` (target or open offer, drafts excluded).
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select

from consult import model as m
from server.storage import tables as t
from server.storage.repository import Link

URGENCY_RANK = {m.Urgency.STAT: 0, m.Urgency.URGENT: 1, m.Urgency.ROUTINE: 2}

_C, _P, _F = t.consultation.c, t.participant.c, t.offer.c
_NAMES = tuple(c.name for c in t.listing.c)
# Built once: this runs in nearly every unit that writes.
_ONE = select(
    _C.organisation, _C.target_organisation, _C.state, _C.urgency, _C.state_since, _C.service, _C.created_at
).where(_C.id == bindparam("key"))
_PARTICIPANTS = select(_P.membership).where(_P.consultation == bindparam("key"), _P.until.is_(None))
_OFFERS = select(_F.organisation, _F.membership, _F.specialty).where(
    _F.consultation == bindparam("key"), _F.outcome == m.OfferOutcome.OPEN
)
_PRESENT = select(t.listing).where(t.listing.c.consultation == bindparam("key"))
_REMOVE = delete(t.listing).where(t.listing.c.consultation == bindparam("key"))


def refresh(link: Link) -> None:
    """Recompute the rows of every consultation this unit touched; unchanged ones are not written."""
    for consultation in sorted(link.relist):
        _refresh_one(link, consultation)
    link.relist.clear()


def _refresh_one(link: Link, consultation: str) -> None:
    wanted = _rows(link, consultation)
    present = {tuple(row) for row in link.execute(_PRESENT, {"key": consultation})}
    keys = {tuple(row[name] for name in _NAMES) for row in wanted}
    if keys == present:
        return
    if present:
        link.execute(_REMOVE, {"key": consultation})
    link.insert_many(t.listing, wanted)


def _rows(link: Link, key: str) -> list[dict[str, Any]]:
    one = link.execute(_ONE, {"key": key}).mappings().first()
    if one is None:
        return []
    values = {name: one[name] for name in _NAMES if name in one}
    values |= {"consultation": key, "urgency_rank": URGENCY_RANK[one["urgency"]]}
    return [{"scope": scope, **values} for scope in sorted(_scopes(link, key, one))]


def _scopes(link: Link, key: str, one: Mapping[Any, Any]) -> set[str]:
    scopes = {f"organisation:{one['organisation']}"}
    for (membership,) in link.execute(_PARTICIPANTS, {"key": key}):
        scopes.add(f"participant:{membership}")
    centres = {one["target_organisation"]} - {None}
    offers: Any = link.execute(_OFFERS, {"key": key})
    for organisation, membership, specialty in offers:
        centres.add(organisation)
        scopes.add(f"pool:{organisation}:{specialty}" if membership is None else f"offered:{membership}")
    if one["state"] is not m.State.DRAFT:
        scopes |= {f"centre:{organisation}" for organisation in centres}
    return scopes
