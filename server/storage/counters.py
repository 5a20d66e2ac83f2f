"""Numbers that go up by one inside the transaction, so that they have no gaps."""

from functools import lru_cache
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql, sqlite

from server.storage.repository import Link
from server.storage.tables_more import counter


def next_value(link: Link, name: str) -> int:
    """The next number of the counter `name`, beginning with 1."""
    return int(link.execute(_next(postgres=link.postgres), {"name": name, "value": 1}).scalar_one())


@lru_cache(2)
def _next(*, postgres: bool) -> Executable:
    dialect: Any = postgresql if postgres else sqlite
    statement: Executable = (
        dialect.insert(counter)
        .on_conflict_do_update(index_elements=["name"], set_={"value": counter.c.value + 1})
        .returning(counter.c.value)
    )
    return statement
