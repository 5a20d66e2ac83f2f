"""Resumable uploads: how much has safely arrived, and what became of it. No file names: they may hold a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete

from consult import model as m
from consult import people as o
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_more import upload

STATES = ("open", "complete", "done", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """`received` bytes of `size` lie in the staging file; `result` is what ingest answered per instance.

    One with a `consultation` is a picture for it (`kind` and `title` of a document); the others are for the archive.
    """

    id: str
    organisation: o.OrganisationId
    membership: o.MembershipId
    consultation: m.ConsultationId | None = None
    kind: str = ""
    title: str = ""
    size: int
    received: int = 0
    state: str = "open"
    result: Mapping[str, Any] | None = None
    created_at: datetime
    touched_at: datetime
    version: int = 0


_UPLOAD = Mapper(Upload, upload)


class Uploads(Repository):
    def get(self, id: str) -> Upload:
        return self._get(_UPLOAD, id)

    def add(self, value: Upload) -> None:
        self.link.insert(upload, _UPLOAD.values(value))

    def save(self, value: Upload) -> Upload:
        """Stale when another request moved it in between."""
        return self._save(_UPLOAD, value)

    def of(
        self, membership: o.MembershipId, *, states: Sequence[str] = STATES, limit: int = 100
    ) -> Sequence[Upload]:
        """The newest first."""
        c = upload.c
        return self._list(
            _UPLOAD, c.membership == membership, c.state.in_(states), order=(c.created_at.desc(), c.id), limit=limit
        )

    def stale(self, *, before: datetime, limit: int = 100) -> Sequence[Upload]:
        """Open uploads nobody has touched since; their staging files can go."""
        c = upload.c
        return self._list(
            _UPLOAD, c.state == "open", c.touched_at < before, order=(c.touched_at, c.id), limit=limit
        )

    def unfinished(self, *, limit: int = 100) -> Sequence[Upload]:
        """Complete but not ingested when the server stopped; taken up again at start."""
        c = upload.c
        return self._list(_UPLOAD, c.state == "complete", order=(c.touched_at, c.id), limit=limit)

    def remove(self, id: str) -> None:
        self.link.execute(delete(upload).where(upload.c.id == id))
