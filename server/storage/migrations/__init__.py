"""Numbered upgrades: `NNNN_name.sqlite.sql` and `NNNN_name.postgresql.sql`, statements parted by a line `;;`.

All that are missing are applied at start in one transaction. A database from a newer version, or one whose applied
upgrades differ from ours, is refused untouched.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from sqlalchemy import Connection, text

from server.storage.engine import Database
from server.storage.errors import SchemaMismatch
from server.storage.faults import fault

_TABLE = """CREATE TABLE IF NOT EXISTS schema_version (
  n INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    n: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Sequence[str]:
        return [part.strip() for part in self.sql.split("\n;;\n") if part.strip()]


def known(engine: str) -> Sequence[Upgrade]:
    """Every upgrade for "sqlite" or "postgresql", in order; a number may be missing, none stands twice."""
    ending = f".{engine}.sql"
    found = []
    for entry in resources.files(__name__).iterdir():
        if entry.name.endswith(ending):
            stem = entry.name.removesuffix(ending)
            number, _, name = stem.partition("_")
            found.append(Upgrade(n=int(number), name=name, sql=entry.read_text(encoding="utf-8")))
    found.sort(key=lambda u: u.n)
    if len({u.n for u in found}) != len(found):
        msg = f"two {engine} upgrades have the same number"
        raise SchemaMismatch(msg)
    return found


def apply(database: Database, upgrades: Sequence[Upgrade] | None = None) -> int:
    """Bring the schema up to date; returns its number. Raises SchemaMismatch for a newer or foreign schema."""
    ours = known("postgresql" if database.postgres else "sqlite") if upgrades is None else upgrades
    with database.write(alone=True) as connection:
        done = _applied(connection)
        _check(done, ours)
        for upgrade in (one for one in ours if one.n not in done):
            for statement in upgrade.statements():
                connection.exec_driver_sql(_raw(statement, postgres=database.postgres))
            connection.execute(
                text("INSERT INTO schema_version (n, name, digest) VALUES (:n, :name, :digest)"),
                {"n": upgrade.n, "name": upgrade.name, "digest": upgrade.digest},
            )
        fault("migration_before_commit")
        connection.commit()
    return ours[-1].n


def _applied(connection: Connection) -> dict[int, str]:
    """Number → digest of what the database has."""
    connection.execute(text(_TABLE))
    found = connection.execute(text("SELECT n, digest FROM schema_version ORDER BY n"))
    return {int(n): str(digest) for n, digest in found}


def _check(done: Mapping[int, str], ours: Sequence[Upgrade]) -> None:
    known_ones = {upgrade.n: upgrade.digest for upgrade in ours}
    if max(done, default=0) > ours[-1].n:
        msg = f"the database has schema {max(done)}, this version knows {ours[-1].n}: start the newer version"
        raise SchemaMismatch(msg)
    for n, digest in done.items():
        if known_ones.get(n) != digest:
            msg = f"the database was made by another build (schema {n} differs): it cannot be upgraded by this one"
            raise SchemaMismatch(msg)


def _raw(statement: str, *, postgres: bool) -> str:
    # psycopg reads % as a placeholder only when parameters are given; SQLAlchemy passes an empty tuple.
    return statement.replace("%", "%%") if postgres else statement
