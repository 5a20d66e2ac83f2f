"""Corrections of studies: a row is written before the archive is asked, so that what was begun can be finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import update

from consult.errors import NotFound
from consult.people import MembershipId, OrganisationId
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_corrections import study_correction


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCorrection:
    """`detail`: series, patient, former patient and order by id. States: planned → done | refused; done → undoing →
    undone.
    """

    id: str
    organisation: OrganisationId
    kind: str
    study_uid: str
    target_uid: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    reason: str
    state: str = "planned"
    made_by: MembershipId
    made_at: datetime
    undone_by: MembershipId | None = None
    undone_at: datetime | None = None


_ROW = Mapper(StudyCorrection, study_correction)


class Corrections(Repository):
    def get(self, id: str, organisation: OrganisationId) -> StudyCorrection:
        """NotFound also for another organisation's."""
        found = self._find_by(_ROW, id=id, organisation=organisation)
        if found is None:
            raise NotFound(kind="study_correction")
        return found

    def of(self, organisation: OrganisationId, *, limit: int = 500) -> Sequence[StudyCorrection]:
        """The newest first."""
        c = study_correction.c
        return self._list(_ROW, c.organisation == organisation, order=(c.made_at.desc(), c.id), limit=limit)

    def unfinished(self, organisation: OrganisationId) -> Sequence[StudyCorrection]:
        """Those the archive was, or was to be, asked for, the oldest first."""
        c = study_correction.c
        where = (c.organisation == organisation, c.state.in_(("planned", "undoing")))
        return self._list(_ROW, *where, order=(c.made_at, c.id))

    def add(self, row: StudyCorrection) -> None:
        self._add(_ROW, row)

    def step(self, row: StudyCorrection, state: str, **values: Any) -> None:
        """From the state it was read in to the next; NotFound where somebody was faster."""
        c = study_correction.c
        statement = update(study_correction).where(c.id == row.id, c.state == row.state)
        if self.link.execute(statement.values(state=state, **values)).rowcount == 0:
            raise NotFound(kind="study_correction")
