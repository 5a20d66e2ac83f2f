"""`huizhen check`, `audit verify` and `report verify`: reading, never changing, also beside a running server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dicom.life.stats import stats_of
from server.settings import Settings

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
FREE_BYTES = 1 << 30
AUDIT_AHEAD_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `huizhen check`."""

    part: str
    ok: bool
    text: str


def check_installation(settings: Settings) -> Iterator[Finding]:
    """Settings, data folder, disk, database, archive, clock; each on its own, so one failure hides no other."""
    text = f"data in {settings.data}, listening on {settings.host}:{settings.port}"
    yield Finding(part="settings", ok=True, text=text)
    parts: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("data", check_data),
        ("disk", check_disk),
        ("database", check_database),
        ("archive", check_archive),
        ("clock", check_clock),
    )
    for part, look in parts:
        try:
            yield Finding(part=part, ok=True, text=look(settings))
        except Exception as error:
            yield Finding(part=part, ok=False, text=f"{error}" or type(error).__name__)


class Wrong(Exception):
    """A part is not as it should be; the text says what to do."""


def check_data(settings: Settings) -> str:
    """The folder is there and only its owner can read it."""
    if not settings.data.is_dir():
        raise Wrong(f"{settings.data} does not exist yet; `huizhen serve` makes it")
    mode = settings.data.stat().st_mode & 0o777
    if mode & 0o007:
        raise Wrong(f"{settings.data} can be read by every user of this machine: chmod 700 {settings.data}")
    return f"{settings.data}, mode {mode:o}"


def check_disk(settings: Settings) -> str:
    """At least a gigabyte is free."""
    there = settings.data
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        raise Wrong(f"only {free >> 20} MB free: uploads will be refused; make room or move the data folder")
    return f"{free >> 30} GB free"


def check_database(settings: Settings) -> str:
    """It opens, its schema is ours, and there is an administrator."""
    from server.storage import engine
    from server.work import Work

    if not settings.data.is_dir():
        raise Wrong("nothing to open")
    database = engine.open(settings.database_url, readonly=True)
    work = Work(database)
    try:
        started = time.perf_counter()
        places = work.read_sync(lambda uow: len(uow.people.organisations()))
        took = (time.perf_counter() - started) * 1000
        if not work.read_sync(lambda uow: uow.accounts.any()):
            return "empty: open /setup with the code that `huizhen serve` prints"
        return f"{'PostgreSQL' if database.postgres else 'SQLite'}, {places} organisations, answered in {took:.0f} ms"
    finally:
        work.close()


def check_archive(settings: Settings) -> str:
    """The packs are there and readable."""
    folder = settings.data / "archive" / "packs"
    if (folder.parent / "index.sqlite").is_file() and (found := stats_of(folder.parent)).damaged + len(found.missing):
        raise Wrong(
            f"{found.damaged} images damaged, {len(found.missing)} packs missing: `huizhen dicom stats` names them,"
            " `huizhen scrub --from BACKUP` mends them"
        )
    if not folder.is_dir():
        return "empty"
    packs = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in packs)
    for path in packs:
        with path.open("rb") as file:
            file.read(16)
    return f"{len(packs)} packs, {size >> 20} MB"


def check_clock(settings: Settings) -> str:
    """Not before this software, not behind the last audit row: a clock set back makes deadlines and evidence lie."""
    now = datetime.now(UTC)
    if now < EARLIEST:
        raise Wrong(f"the clock says {now:%Y-%m-%d %H:%M} UTC; set it, best by NTP")
    last = last_audit_moment(settings)
    if last is not None and (last - now).total_seconds() > AUDIT_AHEAD_SECONDS:
        raise Wrong(f"the clock says {now:%H:%M:%S}, but the audit goes on until {last:%Y-%m-%d %H:%M:%S} UTC")
    return f"{now:%Y-%m-%d %H:%M:%S} UTC"


def last_audit_moment(settings: Settings) -> datetime | None:
    """When the newest audit row was written; None without a database or rows."""
    from server.storage import engine
    from server.storage.errors import StorageUnavailable
    from server.storage.unit import SqlUnitOfWork
    from server.work import Work

    def newest(uow: SqlUnitOfWork) -> datetime | None:
        last, after = None, 0
        while page := uow.audit.rows(after=after, limit=2000):
            last, after = page[-1].at, page[-1].n
        return last

    try:
        work = Work(engine.open(settings.database_url, readonly=True))
    except StorageUnavailable:
        return None
    try:
        return work.read_sync(newest)
    finally:
        work.close()


def verify_audit_chain(settings: Settings) -> tuple[int, int | None]:
    """(rows, number of the first broken one or None)."""
    from server.storage import engine
    from server.storage.unit import SqlUnitOfWork, verify_audit
    from server.work import Work

    def count(uow: SqlUnitOfWork) -> int:
        rows, after = 0, 0
        while page := uow.audit.rows(after=after, limit=2000):
            rows, after = rows + len(page), page[-1].n
        return rows

    work = Work(engine.open(settings.database_url, readonly=True))
    try:
        return work.read_sync(count), work.read_sync(verify_audit)
    finally:
        work.close()


def verify_report_file(settings: Settings, data: bytes) -> tuple[bool, list[str]]:
    """Whether the PDF is genuine and unchanged, and what was found, line by line (server/paper/verify.py)."""
    from server.paper import verify

    genuine, lines = verify.verify_file(data, folder=settings.key_folder)
    return bool(genuine), list(lines)
