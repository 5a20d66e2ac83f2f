"""After a crash: what the packs hold beyond the index's mark is entered. And a new index made from the packs alone."""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom.errors import DicomError
from dicom.index import compaction, life
from dicom.index import writer as index
from dicom.index.removal import enter_removal, is_removed
from dicom.index.schema import checkpoint, connect_writer, migrate
from dicom.labels import holding_of
from dicom.packs.append import sync_directory
from dicom.packs.read import PackFile, PackReader, list_packs
from dicom.packs.record import PACK_HEADER, Kind, Record, read_pack_header, read_record, scan
from dicom.settling import enter_correction, enter_decision

log = logging.getLogger(__name__)
_GROUP = 500
_PACK_BITS, _OFFSET_BITS = 32, 48
_PACK_MASK, _OFFSET_MASK = (1 << _PACK_BITS) - 1, (1 << _OFFSET_BITS) - 1
Tell = Callable[[int, int], None]


@dataclass(slots=True, kw_only=True)
class Report:
    """What a replay or a rescan found."""

    packs: int = 0
    records: int = 0
    damaged: list[tuple[int, int]] = None  # type: ignore[assignment]  # (pack, offset)
    missing: list[int] = None  # type: ignore[assignment]  # packs the index knows and the disk does not
    open_pack: tuple[int, int] | None = None  # a pack that may be continued: (id, end)

    def __post_init__(self) -> None:
        self.damaged = self.damaged or []
        self.missing = self.missing or []


def replay(root: Path, connection: sqlite3.Connection, *, pack_limit: int, tell: Tell | None = None) -> Report:
    """Enter every whole record beyond the marks; seal packs whose tail is not whole. Nothing is truncated.

    Records are entered in the order in which they were made, whatever pack they lie in, so that the index becomes the
    one that was. `tell(done, total)` hears how many bytes of the packs have been read.
    """
    report = Report()
    known = index.packs_known(connection)
    packs = list_packs(root)
    report.missing = sorted(set(known) - set(packs) - set(compaction.retired(connection)))
    found: list[int] = []
    marks: list[tuple[int, int, bool]] = []
    sizes = {number: path.stat().st_size for number, path in packs.items()}
    done = 0
    for number, path in packs.items():
        mark, sealed = known.get(number, (0, False))
        size = sizes[number]
        done += size
        if sealed or (mark and size <= mark):
            if number == max(packs) and not sealed and size == mark < pack_limit:
                report.open_pack = (number, mark)
            continue
        end, whole = _read_pack(number, path, mark, size, found, report)
        report.packs += 1
        if whole and number == max(packs) and end == size < pack_limit and not end % 16:
            report.open_pack = (number, end)
        marks.append((number, end, whole))
        if tell is not None:
            tell(done, sum(sizes.values()))
    found.sort()
    generation = int(index.get_fact(connection, "generation") or 0)
    early: list[int] = []  # custody of bytes whose only record left was made later
    for keys, last_round in ((found, False), (early, True)):
        for start in range(0, len(keys), _GROUP):
            with _transaction(connection):
                for key in keys[start : start + _GROUP]:
                    number, offset = key >> _OFFSET_BITS & _PACK_MASK, key & _OFFSET_MASK
                    record = read_record(PackFile(packs[number]).read, offset, sizes[number])
                    if record is None:
                        continue
                    custody = record.kind is Kind.CUSTODY and not last_round
                    if custody and not index.is_known(connection, record.label["of"]):
                        early.append(key)
                        continue
                    _enter(connection, number, record, packs[number])
    with _transaction(connection):
        # Only now: a crash on the way leaves the marks, and everything is entered again.
        for number, end, whole in marks:
            index.set_mark(connection, number, end, sealed=not whole)
        for number in set(packs) & set(index.packs_known(connection)) if pack_limit else ():
            if report.open_pack is None or number != report.open_pack[0]:
                index.set_mark(connection, number, 0, sealed=True)  # nobody will append to it any more
        last = found[-1] >> (_OFFSET_BITS + _PACK_BITS) if found else 0
        index.set_fact(connection, "generation", str(max(generation, last)))
    return report


def note_missing(connection: sqlite3.Connection, missing: list[int], at: str) -> None:
    """What lay in packs that are gone is wrong: not served, and stored anew when it is sent again."""
    for number in missing:
        with _transaction(connection):
            life.set_damage(connection, number, life.entries(connection, number, 0, 1 << 62), at)


def _read_pack(
    number: int, path: Path, mark: int, size: int, found: list[int], report: Report
) -> tuple[int, bool]:
    """Add the whole records behind `mark` to `found`, one number each: generation, pack, offset.

    Returns (end of the last whole record, whether everything was whole).
    """
    file = PackFile(path)
    os.fdatasync(
        file.fd
    )  # complete records may still be in the page cache only; they must outlive the index entry
    end, whole = mark or PACK_HEADER.size, True
    if size < PACK_HEADER.size:
        report.damaged.append((number, 0))
        return size, False
    try:
        read_pack_header(file.read(0, PACK_HEADER.size))
    except DicomError:
        report.damaged.append((number, 0))
        return size, False
    for record in scan(file.read, end, size, resume=not mark):
        if isinstance(record, int):
            report.damaged.append((number, record))
            whole = False
            continue
        generation = int(record.label.get("generation", 0))
        found.append((generation << _PACK_BITS | number) << _OFFSET_BITS | record.offset)
        end = record.end
        report.records += 1
    return end, whole


def _enter(connection: sqlite3.Connection, number: int, record: Record, path: Path) -> None:
    connection.execute("SAVEPOINT one")
    try:
        if record.kind is Kind.METADATA:
            index.apply_metadata(
                connection, record.label["of"], number, record.body_offset, record.body_length
            )
        elif record.kind in {Kind.INSTANCE, Kind.CUSTODY, Kind.QUARANTINE}:
            holding = holding_of(record, number, PackFile(path).read)
            if is_removed(connection, holding):
                if record.kind is Kind.INSTANCE:  # others may hold the same bytes
                    index.move_blob(connection, holding)
            elif record.kind is Kind.QUARANTINE:
                index.apply_quarantine(connection, holding)
            else:
                index.apply_holding(connection, holding)
        elif record.kind is Kind.TOMBSTONE:
            enter_removal(connection, record.label)
        elif record.kind is Kind.CORRECTION:
            enter_correction(connection, record.label)
        elif record.kind is Kind.DECISION:
            packs = PackReader(path.parents[2])
            enter_decision(connection, record.label, None, packs.read)
    except (DicomError, LookupError, ValueError, TypeError, sqlite3.IntegrityError) as error:
        connection.execute("ROLLBACK TO one")
        log.warning(
            "pack record not entered",
            extra={"pack": number, "offset": record.offset, "error": type(error).__name__},
        )
    connection.execute("RELEASE one")


class _transaction:  # noqa: N801 - reads as a statement
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("ROLLBACK" if kind else "COMMIT")


def open_index(root: Path) -> sqlite3.Connection:
    """The writing connection, tables up to date, archive id known."""
    connection = connect_writer(root / "index.sqlite")
    try:
        migrate(connection)
        if index.get_fact(connection, "archive") is None:
            with _transaction(connection):
                index.set_fact(connection, "archive", _archive_id(root))
    except BaseException:
        connection.close()
        raise
    return connection


def _archive_id(root: Path) -> str:
    for path in _pack_paths(root):
        try:
            return read_pack_header(PackFile(path).read(0, PACK_HEADER.size))[1].hex()
        except DicomError:
            continue
    return secrets.token_hex(16)


def _pack_paths(root: Path) -> Iterator[Path]:
    yield from list_packs(root).values()


def rebuild(root: Path, tell: Tell | None = None) -> Report:
    """Make a new index from the packs alone and put it in the old one's place. The archive must be closed."""
    fresh = root / "rebuild"
    fresh.mkdir(exist_ok=True)
    for path in fresh.iterdir():
        path.unlink()
    connection = connect_writer(fresh / "index.sqlite")
    try:
        migrate(connection)
        with _transaction(connection):
            index.set_fact(connection, "archive", _archive_id(root))
        report = replay(root, connection, pack_limit=0, tell=tell)
        checkpoint(connection)
    finally:
        connection.close()
    for suffix in ("-wal", "-shm"):
        (root / f"index.sqlite{suffix}").unlink(missing_ok=True)
    (fresh / "index.sqlite").replace(root / "index.sqlite")
    for path in fresh.iterdir():
        path.unlink()
    fresh.rmdir()
    sync_directory(root)
    return report
