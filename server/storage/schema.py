"""The schema as SQL text, rendered from the tables. The files of `migrations/` are this text, kept; a test compares.

A table, column or index that came later says so: `info={"upgrade": n}`; without it, it belongs to the first upgrade.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Index, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from server.storage import (  # noqa: F401 fill the metadata
    tables,
    tables_corrections,
    tables_devices,
    tables_forwards,
    tables_quality,
    tables_recordings,
    tables_removals,
    tables_tokens,
)
from server.storage.columns import metadata
from server.storage.tables_more import INSERT_ONLY

UPGRADES = {
    1: "initial", 2: "feedback", 3: "estimated_birth", 4: "devices", 6: "tokens", 7: "forwards", 8: "corrections",
    9: "removals", 10: "line_quality",
    11: "invitations",
    12: "recordings",
    13: "pictures",
    15: "recording_moments", 16: "place_limits", 17: "acknowledged",
}  # fmt: skip
"""Number → name. Numbers are given out before the work begins, so some may stay unused."""
END = "\n;;\n"  # between statements: triggers hold semicolons of their own

_PG_FUNCTION = """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = '23001';
END $$"""


def _upgrade(item: Table | Column[Any] | Index) -> int:
    return int(item.info.get("upgrade", 1))


def render(engine: str, n: int = 1) -> str:
    """The statements of upgrade `n`, for "sqlite" or "postgresql": its tables, its indexes, its guards."""
    dialect = sqlite.dialect() if engine == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    statements: list[str] = []
    for table in metadata.sorted_tables:
        whole = _upgrade(table) == n
        later = [x for x in table.columns if _upgrade(x) > _upgrade(table)]
        if whole:
            create = str(CreateTable(table).compile(dialect=dialect)).splitlines()
            ours = [x for x in create if not any(x.startswith(f"\t{column.name} ") for column in later)]
            statements.append("\n".join(ours))
        for column in later:
            if _upgrade(column) == n:
                spelt = CreateColumn(column).compile(dialect=dialect)
                statements.append(f"ALTER TABLE {table.name} ADD COLUMN {spelt}")
        for index in sorted(table.indexes, key=lambda i: str(i.name)):
            if (whole and not index.info) or index.info.get("upgrade") == n:
                statements.append(str(CreateIndex(index).compile(dialect=dialect)))
    names = [x for x in INSERT_ONLY if _upgrade(metadata.tables[x]) == n]
    if engine == "sqlite":
        statements += _guards_sqlite(names)
    else:
        statements += [*([_PG_FUNCTION] if n == 1 else []), *_guards_postgres(names)]
    tidy = ["\n".join(line.rstrip() for line in s.strip().splitlines()) for s in statements]
    return END.join(tidy) + "\n"


def _guards_sqlite(names: Sequence[str]) -> list[str]:
    return [
        f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
        f"BEGIN SELECT RAISE(ABORT, '{name} is insert-only'); END"
        for name in names
        for verb in ("UPDATE", "DELETE")
    ]


def _guards_postgres(names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        found.append(
            f"CREATE TRIGGER {name}_insert_only BEFORE UPDATE OR DELETE ON {name} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        found.append(
            f"CREATE TRIGGER {name}_no_truncate BEFORE TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    return found


def main() -> None:
    """Write each upgrade's rendering into `migrations/` (only until the first release)."""
    from pathlib import Path

    folder = Path(__file__).parent / "migrations"
    for n, name in UPGRADES.items():
        for engine in ("sqlite", "postgresql"):
            (folder / f"{n:04}_{name}.{engine}.sql").write_text(render(engine, n), encoding="utf-8")


if __name__ == "__main__":
    main()
