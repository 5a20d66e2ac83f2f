"""The schema as SQL text, rendered from the tables. `migrations/0001_*.sql` is this text, kept; a test compares."""

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from server.storage import tables  # noqa: F401 fills the metadata
from server.storage.columns import metadata
from server.storage.tables_more import INSERT_ONLY

END = "\n;;\n"  # between statements: triggers hold semicolons of their own

_PG_FUNCTION = """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME USING ERRCODE = '23001';
END $$"""


def render(engine: str) -> str:
    """All statements that make an empty database into the present schema, for "sqlite" or "postgresql"."""
    dialect = sqlite.dialect() if engine == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        for index in sorted(table.indexes, key=lambda i: str(i.name)):
            statements.append(str(CreateIndex(index).compile(dialect=dialect)))
    statements += _guards_sqlite() if engine == "sqlite" else _guards_postgres()
    tidy = ["\n".join(line.rstrip() for line in s.strip().splitlines()) for s in statements]
    return END.join(tidy) + "\n"


def _guards_sqlite() -> list[str]:
    return [
        f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
        f"BEGIN SELECT RAISE(ABORT, '{name} is insert-only'); END"
        for name in INSERT_ONLY
        for verb in ("UPDATE", "DELETE")
    ]


def _guards_postgres() -> list[str]:
    found = [_PG_FUNCTION]
    for name in INSERT_ONLY:
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
    """Write the rendering into `migrations/0001_initial.*.sql` (only until the first release)."""
    from pathlib import Path

    folder = Path(__file__).parent / "migrations"
    for engine in ("sqlite", "postgresql"):
        (folder / f"0001_initial.{engine}.sql").write_text(render(engine), encoding="utf-8")


if __name__ == "__main__":
    main()
