"""What every repository does: add, get, save with a version check, list. All errors leave in our own names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Executable, Select, Table, insert, select, update
from sqlalchemy import exc as sa_exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult

from consult.errors import Conflict, NotFound, Stale
from server.storage.errors import is_unique, translate
from server.storage.rows import Mapper

E = TypeVar("E")


def escape(text: str) -> str:
    """For LIKE with a backslash as escape: the user's % and _ are letters."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@lru_cache(256)
def _insert_new(table: Table, *, postgres: bool) -> Executable:
    """Made once for each table: SQLAlchemy then finds its SQL without looking through it again."""
    dialect: Any = postgresql if postgres else sqlite
    # Without the option SQLAlchemy forgets the row count of an INSERT.
    statement: Executable = dialect.insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return statement


class Link:
    """The connection of one unit of work. Remembers a failed statement: such a unit must not commit."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.postgres = connection.dialect.name == "postgresql"
        self.broken = False
        self.relist: set[str] = set()  # consultations whose listing rows may have changed

    def execute(self, statement: Executable, values: Any = None) -> CursorResult[Any]:
        """Run one statement; a failure is translated (server/storage/errors.py) and ends the unit."""
        try:
            return cast("CursorResult[Any]", self.connection.execute(statement, values))
        except sa_exc.SQLAlchemyError as error:
            self.broken = True
            raise translate(error) from None

    def insert_new(self, table: Table, values: Mapping[str, Any]) -> bool:
        """Insert; False when a unique key is taken. Nothing fails inside the transaction, so the unit can go on."""
        return self.execute(_insert_new(table, postgres=self.postgres), values).rowcount == 1

    def insert(self, table: Table, values: Mapping[str, Any]) -> None:
        """Insert, or Conflict when a unique key is taken."""
        if not self.insert_new(table, values):
            raise Conflict(table=table.name)

    def insert_many(self, table: Table, values: Sequence[Mapping[str, Any]]) -> None:
        if values:
            self.execute(insert(table), values)

    def update_unique(self, statement: Executable) -> int:
        """An update that may meet a unique key: rolled back to a savepoint, then Conflict; the unit can go on."""
        try:
            with self.connection.begin_nested():
                result: Any = self.connection.execute(statement)
                return int(result.rowcount)
        except sa_exc.IntegrityError as error:
            if is_unique(error):
                raise Conflict from None
            self.broken = True
            raise translate(error) from None
        except sa_exc.SQLAlchemyError as error:
            self.broken = True
            raise translate(error) from None


class Repository:
    """Base of the repositories: `link` is the unit's connection."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def _add(self, mapper: Mapper[E], entity: E) -> None:
        self.link.insert(mapper.table, mapper.values(entity))

    def _find(self, mapper: Mapper[E], *where: Any) -> E | None:
        row = self.link.execute(select(*mapper.columns).where(*where).limit(1)).first()
        return None if row is None else mapper.one(row)

    def _get(self, mapper: Mapper[E], id: str) -> E:
        found = self._find(mapper, mapper.table.c.id == id)
        if found is None:
            raise NotFound(kind=mapper.table.name)
        return found

    def _list(
        self, mapper: Mapper[E], *where: Any, order: Sequence[Any], limit: int | None = None
    ) -> list[E]:
        query: Select[Any] = select(*mapper.columns).where(*where).order_by(*order)
        if limit is not None:
            query = query.limit(limit)
        return [mapper.one(row) for row in self.link.execute(query)]

    def _save(self, mapper: Mapper[E], entity: E) -> E:
        """Write `entity` whose version is the one that was read; the stored value carries version + 1.

        Raises Stale when the store has another version, NotFound when it has none, Conflict on a taken unique key.
        """
        table = mapper.table
        stored: E = replace(entity, version=entity.version + 1)  # type: ignore[type-var, attr-defined]
        values = mapper.values(stored)
        key = values.pop("id")
        statement = (
            update(table)
            .where(table.c.id == key, table.c.version == entity.version)  # type: ignore[attr-defined]
            .values(values)
        )
        if len(_uniques(table)) > 0:
            changed = self.link.update_unique(statement)
        else:
            changed = self.link.execute(statement).rowcount
        if changed == 0:
            if self.link.execute(select(table.c.id).where(table.c.id == key)).first() is None:
                raise NotFound(kind=table.name)
            raise Stale(kind=table.name)
        return stored


def _uniques(table: Table) -> list[Any]:
    """Unique rules besides the primary key."""
    from sqlalchemy import UniqueConstraint

    constraints = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    return [*constraints, *(i for i in table.indexes if i.unique)]
