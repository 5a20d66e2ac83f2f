"""Deliveries outside (webhooks): written in the commit of their cause, sent later, retried. No patient data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update

from consult.errors import NotFound
from server.storage.repository import Repository
from server.storage.rows import Mapper
from server.storage.tables_more import outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    id: str
    kind: str
    target: str
    payload: Mapping[str, Any]
    state: str = "pending"         # pending | sent | failed
    attempts: int = 0
    created_at: datetime
    next_at: datetime
    last_error: str = ""


_DELIVERY = Mapper(Delivery, outbox)


class Outbox(Repository):
    def get(self, id: str) -> Delivery:
        return self._get(_DELIVERY, id)

    def add(self, delivery: Delivery) -> None:
        self.link.insert(outbox, _DELIVERY.values(delivery))

    def due(self, moment: datetime, *, kind: str | None = None, limit: int = 20) -> Sequence[Delivery]:
        """Pending ones (of one kind) whose turn has come, the longest waiting first."""
        c = outbox.c
        where = [c.state == "pending", c.next_at <= moment]
        if kind is not None:
            where.append(c.kind == kind)
        return self._list(_DELIVERY, *where, order=(c.next_at, c.id), limit=limit)

    def sent(self, id: str) -> None:
        self._set(id, state="sent", attempts=outbox.c.attempts + 1, last_error="")

    def again(self, id: str, *, at: datetime | None, error: str) -> None:
        """A failed attempt; `at` None gives up. `error` is a code, never a body."""
        if at is None:
            self._set(id, state="failed", attempts=outbox.c.attempts + 1, last_error=error)
        else:
            self._set(id, next_at=at, attempts=outbox.c.attempts + 1, last_error=error)

    def _set(self, id: str, **values: Any) -> None:
        if self.link.execute(update(outbox).where(outbox.c.id == id).values(values)).rowcount == 0:
            raise NotFound(kind="delivery")

    def sweep(self, *, before: datetime) -> int:
        """Remove what was sent before the moment; returns how many."""
        c = outbox.c
        return self.link.execute(delete(outbox).where(c.state == "sent", c.next_at < before)).rowcount
