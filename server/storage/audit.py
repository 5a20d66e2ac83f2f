"""Who did what (ports.Audit): insert-only and hash-chained."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from consult import model as m
from consult import people as o
from server.storage import rows
from server.storage.columns import dumps, plain
from server.storage.errors import Retry
from server.storage.repository import Repository
from server.storage.tables_more import audit

_PAGE = 2000
_LAST = select(audit.c.n, audit.c.hash).order_by(audit.c.n.desc()).limit(1)


def chain_hash(previous: str, row: m.AuditRow) -> str:
    """SHA-256 hex of the previous row's hash ("" for the first) and the row's canonical JSON without its own hash."""
    content = dumps(
        {
            "n": row.n,
            "at": row.at.isoformat(timespec="microseconds"),
            "membership": row.membership,
            "staff": row.staff,
            "organisation": row.organisation,
            "action": row.action,
            "object": row.object,
            "outcome": row.outcome,
            "request_id": row.request_id,
            "detail": plain(row.detail),
        }
    )
    return hashlib.sha256((previous + content).encode()).hexdigest()


class Audit(Repository):
    def append(self, row: m.AuditRow) -> m.AuditRow:
        last: Any = self.link.execute(_LAST).first()
        n, previous = (0, "") if last is None else (int(last[0]), str(last[1]))
        numbered = replace(row, n=n + 1, hash="")
        stored = replace(numbered, hash=chain_hash(previous, numbered))
        if not self.link.insert_new(audit, rows.audit.values(stored)):
            # Only PostgreSQL can come here: another unit took the number after our snapshot.
            self.link.broken = True
            raise Retry
        return stored

    def rows(
        self,
        *,
        object: str | None = None,
        staff: o.StaffId | None = None,
        organisation: o.OrganisationId | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = 200,
    ) -> Sequence[m.AuditRow]:
        """Rows that fit every given filter: n > `after`, oldest first; with `before` n < `before`, newest first."""
        c = audit.c
        where = [c.n > after] if before is None else [c.n > after, c.n < before]
        where += [
            column == value
            for column, value in ((c.object, object), (c.staff, staff), (c.organisation, organisation))
            if value is not None
        ]
        return self._list(rows.audit, *where, order=(c.n if before is None else c.n.desc(),), limit=limit)

    def newest(self) -> datetime | None:
        """The latest moment of any row, which is the last one's unless the clock was set back; None without rows."""
        moment: datetime | None = self.link.execute(select(func.max(audit.c.at))).scalar()
        return moment

    def verify(self) -> int | None:
        """The number of the first row that is missing or whose hash is wrong; None when the chain is whole."""
        expected, previous = 1, ""
        while page := self.rows(after=expected - 1, limit=_PAGE):
            for row in page:
                if row.n != expected or row.hash != chain_hash(previous, row):
                    return expected
                expected, previous = expected + 1, row.hash
        return None
