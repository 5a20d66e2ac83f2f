"""The log of changes (ports.Events). Insert-only: the database itself refuses UPDATE and DELETE."""

from collections.abc import Sequence

from sqlalchemy import func, select

from consult import model as m
from server.storage import rows
from server.storage.repository import Repository
from server.storage.tables_more import event


class Events(Repository):
    def append(self, event: m.Event) -> None:
        """Conflict when the aggregate already has this number."""
        self._add(rows.event, event)

    def of(self, aggregate: str) -> Sequence[m.Event]:
        return self._list_by(rows.event, ("n",), aggregate=aggregate)

    def next_n(self, aggregate: str) -> int:
        """1 for the first."""
        last = self.link.execute(select(func.max(event.c.n)).where(event.c.aggregate == aggregate)).scalar()
        return 1 if last is None else int(last) + 1
