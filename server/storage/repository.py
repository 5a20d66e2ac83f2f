"""What every repository does: add, get, save with a version check, list. All errors leave in our own names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Executable, Select, Table, UniqueConstraint, bindparam, insert, select, update
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


@lru_cache(512)
def _equal(mapper: Mapper[Any], names: tuple[str, ...], nulls: tuple[str, ...], order: tuple[str, ...]) -> Select[Any]:
    """The entities whose columns `names` have the values of the same name; made once, which is most of its cost."""
    c = mapper.table.c
    where = [*(c[name] == bindparam(name) for name in names), *(c[name].is_(None) for name in nulls)]
    return select(*mapper.columns).where(*where).order_by(*(c[name] for name in order))


@lru_cache(256)
def _update(table: Table) -> Executable:
    """The row `the_id` as it was at `read_version`, made once; the columns are those that values are given for."""
    c = table.c
    return update(table).where(c.id == bindparam("the_id"), c.version == bindparam("read_version"))


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

    def update_unique(self, statement: Executable, values: Any = None) -> int:
        """An update that may meet a unique key: rolled back to a savepoint, then Conflict; the unit can go on."""
        try:
            with self.connection.begin_nested():
                result: Any = self.connection.execute(statement, values)
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
        found = self._find_by(mapper, id=id)
        if found is None:
            raise NotFound(kind=mapper.table.name)
        return found

    def _find_by(self, mapper: Mapper[E], **equal: Any) -> E | None:
        """The one entity whose columns equal these values (None: empty)."""
        row = self._rows_by(mapper, (), equal).first()
        return None if row is None else mapper.one(row)

    def _list_by(self, mapper: Mapper[E], order: tuple[str, ...], **equal: Any) -> list[E]:
        """All whose columns equal these values (None: empty)."""
        return [mapper.one(row) for row in self._rows_by(mapper, order, equal)]

    def _rows_by(self, mapper: Mapper[E], order: tuple[str, ...], equal: dict[str, Any]) -> CursorResult[Any]:
        nulls = tuple(name for name, value in equal.items() if value is None)
        values = {name: value for name, value in equal.items() if value is not None}
        return self.link.execute(_equal(mapper, tuple(values), nulls, order), values)

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
        values |= {"the_id": key, "read_version": entity.version}  # type: ignore[attr-defined]
        if _has_uniques(table):
            changed = self.link.update_unique(_update(table), values)
        else:
            changed = self.link.execute(_update(table), values).rowcount
        if changed == 0:
            if self.link.execute(select(table.c.id).where(table.c.id == key)).first() is None:
                raise NotFound(kind=table.name)
            raise Stale(kind=table.name)
        return stored


@lru_cache(256)
def _has_uniques(table: Table) -> bool:
    """Whether there are unique rules besides the primary key."""
    return any(isinstance(c, UniqueConstraint) for c in table.constraints) or any(i.unique for i in table.indexes)
