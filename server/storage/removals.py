"""Proposals to remove studies, and legal holds. A study's row is written before the archive is asked, under the id by
which the archive knows the removal, so that what was begun can be finished.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update

from consult.errors import NotFound
from consult.people import MembershipId, OrganisationId
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_removals import removal, removal_study, study_hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A proposal. States: open → approved → done, when nothing of it waits any more; open → refused | expired."""

    id: str
    organisation: OrganisationId
    reason: str
    state: str = "open"
    proposed_by: MembershipId
    proposed_at: datetime
    expires_at: datetime
    decided_by: MembershipId | None = None
    decided_at: datetime | None = None
    decided_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalStudy:
    """One study of a proposal as it was when proposed. States: waiting → removed | kept (`why`: a reason's code)."""

    id: str
    removal: str
    organisation: OrganisationId
    study_uid: str
    study_date: str
    modalities: tuple[str, ...]
    series: int
    instances: int
    state: str = "waiting"
    why: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold: while it is in force (`lifted_at` None) the organisation does not remove the study."""

    id: str
    organisation: OrganisationId
    study_uid: str
    reason: str
    set_by: MembershipId
    set_at: datetime
    lifted_by: MembershipId | None = None
    lifted_at: datetime | None = None
    lifted_reason: str = ""


_REMOVAL = Mapper(Removal, removal)
_STUDY = Mapper(RemovalStudy, removal_study)
_HOLD = Mapper(Hold, study_hold)


class Removals(Repository):
    def get(self, id: str, organisation: OrganisationId) -> Removal:
        """NotFound also for another organisation's."""
        found = self._find_by(_REMOVAL, id=id, organisation=organisation)
        if found is None:
            raise NotFound(kind="removal")
        return found

    def of(self, organisation: OrganisationId, *states: str, limit: int = 100) -> Sequence[Removal]:
        """The newest first."""
        c = removal.c
        where = (c.organisation == organisation, c.state.in_(states))
        return self._list(_REMOVAL, *where, order=(c.proposed_at.desc(), c.id), limit=limit)

    def approved(self) -> Sequence[Removal]:
        """Of all organisations, the oldest first: what the archive was, or was to be, asked for."""
        c = removal.c
        return self._list(_REMOVAL, c.state == "approved", order=(c.proposed_at, c.id))

    def overdue(self, now: datetime) -> Sequence[Removal]:
        """Open proposals whose time is over, of all organisations."""
        c = removal.c
        return self._list(_REMOVAL, c.state == "open", c.expires_at <= now, order=(c.expires_at, c.id))

    def studies(self, *removals: str) -> Mapping[str, Sequence[RemovalStudy]]:
        """Removal → its studies, the oldest study first."""
        c = removal_study.c
        found: dict[str, list[RemovalStudy]] = {name: [] for name in removals}
        for row in self._list(_STUDY, c.removal.in_(removals), order=(c.study_date, c.id)):
            found[row.removal].append(row)
        return found

    def add(self, row: Removal, studies: Iterable[RemovalStudy]) -> None:
        """Conflict where one of the studies waits in another proposal of the organisation."""
        self._add(_REMOVAL, row)
        for study in studies:
            self._add(_STUDY, study)

    def step(self, row: Removal, state: str, **values: Any) -> None:
        """From the state it was read in to the next; NotFound where somebody was faster."""
        c = removal.c
        statement = update(removal).where(c.id == row.id, c.state == row.state).values(state=state, **values)
        if self.link.execute(statement).rowcount == 0:
            raise NotFound(kind="removal")

    def end_study(self, id: str, state: str, *, at: datetime, why: str = "") -> bool:
        """A waiting study is `removed` or `kept`; False where it did not wait."""
        c = removal_study.c
        statement = update(removal_study).where(c.id == id, c.state == "waiting")
        return self.link.execute(statement.values(state=state, why=why, ended_at=at)).rowcount == 1

    def waiting(self, organisation: OrganisationId, study_uids: Iterable[str]) -> frozenset[str]:
        """Those of the studies that stand in an open or approved proposal."""
        c = removal_study.c
        query = select(c.study_uid).where(
            c.organisation == organisation, c.state == "waiting", c.study_uid.in_(list(study_uids))
        )
        return frozenset(self.link.execute(query).scalars())

    def removed(self, study_uids: Iterable[str]) -> Mapping[str, datetime]:
        """Study → when its images were last removed, by whichever holder; what may have come again is among them."""
        c = removal_study.c
        query = select(c.study_uid, func.max(c.ended_at).label("at")).group_by(c.study_uid)
        query = query.where(c.state == "removed", c.study_uid.in_(list(study_uids)))
        return {row.study_uid: row.at for row in self.link.execute(query)}

    # -- legal holds

    def hold(self, id: str, organisation: OrganisationId) -> Hold:
        """NotFound also for another organisation's."""
        found = self._find_by(_HOLD, id=id, organisation=organisation)
        if found is None:
            raise NotFound(kind="study_hold")
        return found

    def holds(self, organisation: OrganisationId, *, limit: int = 1000) -> Sequence[Hold]:
        """Those in force, the newest first."""
        c = study_hold.c
        where = (c.organisation == organisation, c.lifted_at.is_(None))
        return self._list(_HOLD, *where, order=(c.set_at.desc(), c.id), limit=limit)

    def held(self, organisation: OrganisationId, study_uids: Iterable[str]) -> frozenset[str]:
        """Those of the studies under a hold in force."""
        c = study_hold.c
        query = select(c.study_uid).where(
            c.organisation == organisation, c.lifted_at.is_(None), c.study_uid.in_(list(study_uids))
        )
        return frozenset(self.link.execute(query).scalars())

    def add_hold(self, hold: Hold) -> None:
        """Conflict where one is in force already."""
        self._add(_HOLD, hold)

    def lift_hold(self, id: str, *, by: MembershipId, at: datetime, reason: str) -> None:
        """NotFound where it is not in force."""
        c = study_hold.c
        statement = update(study_hold).where(c.id == id, c.lifted_at.is_(None))
        if self.link.execute(statement.values(lifted_by=by, lifted_at=at, lifted_reason=reason)).rowcount == 0:
            raise NotFound(kind="study_hold")
