"""Numbers that go up by one inside the transaction, so that they have no gaps."""

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from server.storage.repository import Link
from server.storage.tables_more import counter


def next_value(link: Link, name: str) -> int:
    """The next number of the counter `name`, beginning with 1."""
    dialect: Any = postgresql if link.postgres else sqlite
    statement = (
        dialect.insert(counter)
        .values(name=name, value=1)
        .on_conflict_do_update(index_elements=["name"], set_={"value": counter.c.value + 1})
        .returning(counter.c.value)
    )
    return int(link.execute(statement).scalar_one())
