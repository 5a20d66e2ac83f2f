"""What compaction asks of the index: which records of a pack still count, where they lie, which packs are retired."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from dicom.errors import StorageError
from dicom.index import life, writer
from dicom.packs.record import Kind, Record


def retired(connection: sqlite3.Connection) -> dict[int, str]:
    """Pack → since when nothing points to it (ISO 8601), of the packs that are kept a while all the same."""
    return dict(connection.execute("SELECT pack, at FROM retired ORDER BY pack").fetchall())


def candidates(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """(pack, mark) of what is sealed and not retired, the oldest first."""
    return [
        (row[0], row[1])
        for row in connection.execute(
            "SELECT id, mark FROM pack WHERE sealed = 1 AND id NOT IN (SELECT pack FROM retired) ORDER BY id"
        )
    ]


def still_counts(connection: sqlite3.Connection, pack: int, record: Record) -> bool:
    """Whether a rescan needs a record that no row points to (its bytes lie elsewhere, or it has none)."""
    label = record.label
    if record.kind in {Kind.CORRECTION, Kind.TOMBSTONE}:
        return True
    if record.kind is Kind.DECISION:
        decision = label["decision"]
        found = connection.execute(
            "SELECT 1 FROM quarantine WHERE organisation = ? AND sop_uid = ? AND digest = ?",
            (decision["organisation"], decision["sop_uid"], bytes.fromhex(decision["digest"])),
        )
        return found.fetchone() is not None
    if record.kind not in {Kind.INSTANCE, Kind.CUSTODY}:
        return False
    row = connection.execute(
        "SELECT i.generation, b.generation, b.pack, b.offset FROM instance i JOIN blob b ON b.id = i.blob"
        " WHERE i.organisation = ? AND i.sop_uid = ?",
        (label["organisation"], label["header"]["sop_uid"]),
    ).fetchone()
    if row is None or row[0] != label["generation"]:
        return False
    # The same record elsewhere is the one that counts; this is what an earlier compaction copied.
    copied = row[1] == label["generation"] and row[2:] != (pack, record.prefix_offset)
    return record.kind is Kind.CUSTODY or not copied


def move(connection: sqlite3.Connection, pack: int, to: int, moves: Iterable[tuple[int, int]]) -> None:
    """Let the rows that point to `pack` point to the copies. Raises StorageError if one still points there after it."""
    for old, new in moves:
        connection.execute("UPDATE blob SET pack = ?, offset = ? WHERE pack = ? AND offset = ?", (to, new, pack, old))
        connection.execute(
            "UPDATE blob SET metadata_pack = ?, metadata_offset = ? WHERE metadata_pack = ? AND metadata_offset = ?",
            (to, new, pack, old),
        )
        connection.execute(
            "UPDATE quarantine SET pack = ?, offset = ? WHERE pack = ? AND offset = ?", (to, new, pack, old)
        )
    if life.entries(connection, pack, 0, 1 << 62):
        raise StorageError(code="io_error")


def retire(connection: sqlite3.Connection, pack: int, at: str) -> None:
    """From now on the pack is only kept for what was read before."""
    connection.execute("INSERT INTO retired VALUES (?, ?) ON CONFLICT DO NOTHING", (pack, at))


def enter_copies(connection: sqlite3.Connection, pack: int, end: int) -> None:
    """What compaction wrote is in the index up to `end`; nobody else appends to it."""
    writer.set_mark(connection, pack, end, sealed=True)


def forget(connection: sqlite3.Connection, pack: int) -> None:
    """A retired pack whose file is gone."""
    for table, column in (("pack", "id"), ("retired", "pack"), ("damage", "pack")):
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (pack,))  # noqa: S608 - our own names
