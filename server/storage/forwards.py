"""Forwarding: destinations, rules and the queue. An item leaves "waiting" when it was acknowledged, or by a person."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, func, select, update

from consult.people import OrganisationId
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_forwards import forward_destination, forward_item, forward_rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A registered device, or the address of a STOW-RS service."""

    id: str
    organisation: OrganisationId
    name: str
    device: str | None = None
    url: str = ""
    token: str = ""                # sealed; '' none
    ca: str = ""                   # PEM; '' the system's authorities
    compression: str = ""          # '' as stored | jpeg-ls | htj2k
    created_at: datetime
    ended_at: datetime | None = None
    version: int = 0
    failures: int = 0              # attempts in a row that did not reach it
    next_at: datetime
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What goes there. Empty fields mean all; `earlier`: also what came before the rule was made."""

    id: str
    organisation: OrganisationId
    destination: str
    modalities: tuple[str, ...] = ()
    source: str = ""               # "device:<id>", a door ("stow", "upload", …), or ''
    description: str = ""          # of the study, with * and ?
    earlier: bool = False
    mark: int = 0
    mark_name: str = ""
    created_at: datetime
    ended_at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One instance on its way to one destination."""

    id: str
    destination: str
    n: int
    study_uid: str
    sop_uid: str
    digest: str
    state: str = "waiting"
    attempts: int = 0
    created_at: datetime
    next_at: datetime
    ended_at: datetime | None = None
    last_error: str = ""
    named_by: str = ""             # the address whose answer named it as stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """One study's items that wait for one destination, as the queue page shows them."""

    destination: str
    study_uid: str
    waiting: int
    attempts: int
    since: datetime
    last_error: str


_DESTINATION = Mapper(Destination, forward_destination)
_RULE = Mapper(Rule, forward_rule)
_ITEM = Mapper(Item, forward_item)


class Forwards(Repository):
    # -- destinations

    def destination(self, id: str) -> Destination:
        return self._get(_DESTINATION, id)

    def destinations(self, organisation: OrganisationId | None = None) -> Sequence[Destination]:
        """Those in force, by name."""
        equal = {} if organisation is None else {"organisation": organisation}
        return self._list_by(_DESTINATION, ("name", "id"), ended_at=None, **equal)

    def add_destination(self, row: Destination) -> None:
        self._add(_DESTINATION, row)

    def save_destination(self, row: Destination) -> Destination:
        """Stale where another version is stored."""
        return self._save(_DESTINATION, row)

    def reached(self, id: str, *, failures: int, next_at: datetime, error: str) -> None:
        """How the way there is now; beside the version, since nobody edited anything."""
        c = forward_destination.c
        values = {"failures": failures, "next_at": next_at, "last_error": error}
        self.link.execute(update(forward_destination).where(c.id == id).values(values))

    # -- rules

    def rule(self, id: str) -> Rule:
        return self._get(_RULE, id)

    def rules(self, organisation: OrganisationId | None = None) -> Sequence[Rule]:
        """Those in force, the oldest first."""
        equal = {} if organisation is None else {"organisation": organisation}
        return self._list_by(_RULE, ("created_at", "id"), ended_at=None, **equal)

    def add_rule(self, row: Rule) -> None:
        self._add(_RULE, row)

    def save_rule(self, row: Rule) -> Rule:
        return self._save(_RULE, row)

    def move_mark(self, id: str, mark: tuple[int, str]) -> None:
        """Everything before the mark has been looked at."""
        c = forward_rule.c
        self.link.execute(update(forward_rule).where(c.id == id).values(mark=mark[0], mark_name=mark[1]))

    # -- the queue

    def add_item(self, item: Item) -> bool:
        """False where the instance stands in this destination's queue already."""
        return self.link.insert_new(forward_item, _ITEM.values(item))

    def last_number(self, destination: str) -> int:
        """The highest number in a destination's queue, 0 where it is empty."""
        c = forward_item.c
        found = self.link.execute(select(func.max(c.n)).where(c.destination == destination)).scalar()
        return int(found or 0)

    def item(self, id: str) -> Item:
        return self._get(_ITEM, id)

    def due(self, destination: str, moment: datetime, *, limit: int) -> Sequence[Item]:
        """Items of the study whose turn it is, in the order they arrived."""
        c = forward_item.c
        where = (c.destination == destination, c.state == "waiting", c.next_at <= moment)
        first = self.link.execute(select(c.study_uid).where(*where).order_by(c.n).limit(1)).scalar()
        if first is None:
            return ()
        return self._list(_ITEM, *where, c.study_uid == first, order=(c.n,), limit=limit)

    def sent(self, ids: Sequence[str], moment: datetime, *, named_by: str = "") -> None:
        """The receiver has acknowledged them; `named_by`: the address whose answer named each of them."""
        c = forward_item.c
        values = {"state": "sent", "ended_at": moment, "last_error": "", "attempts": c.attempts + 1}
        statement = update(forward_item).where(c.id.in_(ids), c.state == "waiting")
        self.link.execute(statement.values(values | {"named_by": named_by}))

    def drop(self, destination: str, study_uid: str, moment: datetime) -> int:
        """A person gives up what still waits of a study; how many."""
        c = forward_item.c
        where = (c.destination == destination, c.study_uid == study_uid, c.state == "waiting")
        return self.link.execute(update(forward_item).where(*where).values(state="dropped", ended_at=moment)).rowcount

    def refused(self, id: str, *, next_at: datetime, error: str) -> None:
        """The destination did not take this one instance."""
        c = forward_item.c
        values = {"attempts": c.attempts + 1, "next_at": next_at, "last_error": error}
        self.link.execute(update(forward_item).where(c.id == id).values(values))

    def retry(self, destination: str, moment: datetime, *, study_uid: str = "") -> int:
        """What waits for its next attempt may be tried now; how many."""
        c = forward_item.c
        where = [c.destination == destination, c.state == "waiting"]
        if study_uid:
            where.append(c.study_uid == study_uid)
        return self.link.execute(update(forward_item).where(*where).values(next_at=moment)).rowcount

    def lots(self, destinations: Sequence[str], *, limit: int = 200) -> Sequence[Lot]:
        """What waits, by destination and study: the most often tried first, then the oldest."""
        c = forward_item.c
        tried = func.max(c.attempts)
        query = (
            select(
                c.destination, c.study_uid, func.count(), tried, func.min(c.created_at), func.max(c.last_error)
            )
            .where(c.destination.in_(destinations), c.state == "waiting")
            .group_by(c.destination, c.study_uid)
            .order_by(tried.desc(), func.min(c.n))
            .limit(limit)
        )
        rows: Iterable[Any] = self.link.execute(query)
        return [
            Lot(
                destination=row[0], study_uid=row[1], waiting=int(row[2]), attempts=int(row[3]), since=row[4],
                last_error=row[5],
            )
            for row in rows
        ]  # fmt: skip

    def counts(self, destinations: Sequence[str] | None = None) -> Mapping[str, Mapping[str, int]]:
        """Destination → state → how many."""
        c = forward_item.c
        query = select(c.destination, c.state, func.count()).group_by(c.destination, c.state)
        if destinations is not None:
            query = query.where(c.destination.in_(destinations))
        found: dict[str, dict[str, int]] = {}
        rows: Iterable[Any] = self.link.execute(query)
        for row in rows:
            found.setdefault(row[0], {})[row[1]] = int(row[2])
        return found

    def waiting(self) -> int:
        """How many wait, over all destinations in force."""
        c, d = forward_item.c, forward_destination.c
        query = select(func.count()).where(
            c.destination.in_(select(d.id).where(d.ended_at.is_(None))), c.state == "waiting"
        )
        return int(self.link.execute(query).scalar() or 0)

    def sweep(self, *, before: datetime) -> int:
        """Forget what ended before the moment; a repeated arrival would be sent again, and be a duplicate there."""
        c = forward_item.c
        where: Any = and_(c.state != "waiting", c.ended_at < before)
        return self.link.execute(delete(forward_item).where(where)).rowcount

    # -- what a gateway lets go (server/letting_go.py)

    def arrived(self, destination: Destination, before: datetime, *, after: str, limit: int) -> Sequence[str]:
        """Studies of which the destination's address has named everything before the moment; by UID from `after` on."""
        c = forward_item.c
        there = case((and_(c.state == "sent", c.named_by == destination.url), 1), else_=0)
        query = (
            select(c.study_uid)
            .where(c.destination == destination.id, c.study_uid > after)
            .group_by(c.study_uid)
            .having(func.min(there) == 1, func.max(c.ended_at) < before)
            .order_by(c.study_uid)
            .limit(limit)
        )
        return list(self.link.execute(query).scalars())

    def of_study(self, destination: str, study_uid: str) -> Sequence[Item]:
        """Everything of one study, in the order of arrival."""
        c = forward_item.c
        return self._list(_ITEM, c.destination == destination, c.study_uid == study_uid, order=(c.n,))

    def forget_study(self, study_uid: str, *, before: datetime) -> int:
        """Forget, for every destination, what was acknowledged before the moment; how many."""
        c = forward_item.c
        where = (c.study_uid == study_uid, c.state == "sent", c.ended_at < before)
        return self.link.execute(delete(forward_item).where(*where)).rowcount

    def send_again(self, item: Item, *, acknowledged_before: datetime) -> bool:
        """What was acknowledged before the moment waits anew, at the place of `item`; False where nothing was."""
        c = forward_item.c
        same = (c.destination == item.destination, c.sop_uid == item.sop_uid, c.digest == item.digest)
        again = {"state": "waiting", "n": item.n, "next_at": item.next_at, "attempts": 0}
        statement = update(forward_item).where(*same, c.state == "sent", c.ended_at < acknowledged_before)
        return self.link.execute(statement.values(again | {"ended_at": None, "named_by": ""})).rowcount == 1
