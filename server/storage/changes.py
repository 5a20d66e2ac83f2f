"""The feed of changes: what happened to the studies of an organisation, numbered 1, 2, 3 … for each by itself.

The number is taken from a counter whose row stays locked until the commit, so a number is never seen before a smaller
one, and none is left out. One organisation's numbers tell nothing of how much another one stores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from server.storage.counters import next_value
from server.storage.repository import Link, Repository
from server.storage.rows import Mapper
from server.storage.tables_tokens import study_change

TOPIC = "study:"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyChange:
    """`kind`: stored (instances came), corrected, matched and voided (whose it is, and that it is not),
    hidden and shown (an expert's doubt, and its end).
    """

    organisation: str
    n: int
    at: datetime
    study_uid: str
    kind: str


_CHANGE = Mapper(StudyChange, study_change)


class Changes(Repository):
    def add(self, organisation: str, study_uid: str, kind: str, at: datetime) -> StudyChange:
        """The next row of this organisation."""
        n = next_value(self.link, f"changes:{organisation}")
        row = StudyChange(organisation=organisation, n=n, at=at, study_uid=study_uid, kind=kind)
        self._add(_CHANGE, row)
        return row

    def since(self, organisation: str, n: int, limit: int) -> Sequence[StudyChange]:
        """Rows with a number above `n`, in order."""
        c = study_change.c
        return self._list(_CHANGE, c.organisation == organisation, c.n > n, order=(c.n,), limit=limit)

    def newest(self, organisation: str) -> int:
        """The highest number; 0 without rows."""
        c = study_change.c
        found = self.link.execute(select(func.max(c.n)).where(c.organisation == organisation)).scalar()
        return int(found or 0)


def kind_of(payload: Mapping[str, Any]) -> str | None:
    """What a note to the pages means for the feed; None: nothing that changed, or what the archive itself tells
    (stored, corrected: server/feeding.py), which must not stand there twice.
    """
    match payload:
        case {"matched": bool(matched)}:
            return "matched" if matched else "voided"
        case {"hidden": bool(hidden)}:
            return "hidden" if hidden else "shown"
    return None


def keep_changes(link: Link, now: datetime, notes: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """What the pages of an organisation are told of its studies stands in its feed, in the same commit."""
    changes = Changes(link)
    for topic, payload in notes:
        kind = kind_of(payload)
        if kind is not None and topic.startswith(TOPIC) and isinstance(payload.get("study"), str):
            changes.add(topic.removeprefix(TOPIC), payload["study"], kind, now)
