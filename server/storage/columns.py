"""Column types that mean the same on both engines, and the helper that turns a column list into a table."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """An aware UTC moment to the microsecond: whole microseconds since 1970 on SQLite, timestamptz on PostgreSQL."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Integer())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a moment without a time zone"
            raise ValueError(msg)
        return value if dialect.name == "postgresql" else (value - EPOCH) // _MICROSECOND

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002
        if dialect.name == "postgresql":
            return lambda value: None if value is None else value.astimezone(UTC)
        return lambda value: None if value is None else EPOCH + timedelta(microseconds=value)


def dumps(value: Any) -> str:
    """Compact JSON, keys sorted, no NaN: the same value gives the same text (audit and digests rely on it)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Json(TypeDecorator[Any]):
    """JSON as text on SQLite and `json` on PostgreSQL (not jsonb: it would rewrite numbers and key order)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSON(none_as_null=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return plain(value)
        return dumps(plain(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return json.loads(value)


class JsonTuple(Json):
    """A JSON list that comes back as a tuple."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        found = super().process_result_value(value, dialect)
        return None if found is None else tuple(found)


def plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dict and list, so that what is stored is what JSON can say."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v) for v in value]
    return value


class Word(TypeDecorator[StrEnum]):
    """A member of an enumeration, stored as its word; `table` adds the CHECK."""

    impl = Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__()
        self.enum = enum

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(self.enum(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002
        # Lists read thousands of words: a look-up, not a call of the enumeration.
        members: dict[str | None, StrEnum | None] = {str(member): member for member in self.enum}
        members[None] = None
        return members.__getitem__


def key(name: str = "id") -> Column[str]:
    """A primary key of text (ids are UUIDs made by the unit of work)."""
    return Column(name, Text, primary_key=True)


def ref(name: str, target: str, *, null: bool = False, index: bool = False) -> Column[Any]:
    """A foreign key `target` = "table.column"; never cascades, because clinical data is voided, not deleted."""
    return Column(name, Text, ForeignKey(target), nullable=null, index=index)


def text(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=null)


def moment(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, Moment, nullable=null)


def number(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), nullable=null)


def word(name: str, enum: type[StrEnum], *, null: bool = False) -> Column[Any]:
    return Column(name, Word(enum), nullable=null)


def version() -> Column[Any]:
    return number("version")


def table(name: str, *items: SchemaItem, **options: Any) -> Table:
    """A table; every Word column gets its CHECK, so that no engine can hold a word the code does not know."""
    checks: list[SchemaItem] = []
    for item in items:
        if isinstance(item, Column) and isinstance(item.type, Word):
            words = ", ".join(f"'{member}'" for member in item.type.enum)
            quoted = f'"{item.name}"'
            checks.append(CheckConstraint(f"{quoted} IN ({words})", name=item.name))
    return Table(name, metadata, *items, *checks, **options)
