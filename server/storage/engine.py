"""Opening the database: one writing connection on SQLite, a pool on PostgreSQL; read-only transactions beside it."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.pool import QueuePool, StaticPool

from server.storage.errors import DatabaseInUse, StorageUnavailable, translate
from server.storage.faults import fault

BUSY_SECONDS = 5.0
_LOCK_KEY = 0x6875697A  # "huiz": PostgreSQL's advisory lock of all units of work
_PG_OPTIONS = (
    "-c timezone=UTC -c lock_timeout=10000 -c statement_timeout=60000"
    " -c idle_in_transaction_session_timeout=60000"
)


CHECKPOINT_AFTER = 256
"""Commits; a log that once was large stays so, and is written anew from its beginning."""
LOCK_SECONDS = 2.0
LOCK_PAUSE = 0.05


class Database:
    """Both engines behind `write` and `read`; each yields a connection inside a transaction."""

    def __init__(self, writer: Engine | None, reader: Engine, *, path: Path | None, lock: int | None) -> None:
        self._writer = writer
        self._reader = reader
        self.path = path
        self._lock = lock
        self._asked, self._size = 0, 0  # since the last checkpoint; the log's size then, which a checkpoint leaves
        self.postgres = reader.dialect.name == "postgresql"

    @contextmanager
    def write(self, *, alone: bool = False) -> Iterator[Connection]:
        """A writing transaction; whoever uses it commits, anything else rolls back.

        SQLite: BEGIN IMMEDIATE on the one writing connection, so call it from one thread only.
        PostgreSQL: SERIALIZABLE. Units run beside each other under a shared advisory lock; a repeated one takes the
        lock alone (`alone`), so it cannot lose again.
        """
        if self._writer is None:
            raise StorageUnavailable
        with self._writer.connect() as connection:
            if not self.postgres:
                with connection.begin() as transaction:
                    yield connection
                    if transaction.is_active:
                        transaction.rollback()
                return
            self._advisory(connection, "pg_advisory_lock" if alone else "pg_advisory_lock_shared")
            try:
                with connection.begin() as transaction:
                    yield connection
                    if transaction.is_active:
                        transaction.rollback()
            finally:
                try:
                    self._advisory(connection, "pg_advisory_unlock_all", key=False)
                except Exception:
                    connection.invalidate()

    @staticmethod
    def _advisory(connection: Connection, function: str, *, key: bool = True) -> None:
        connection.execute(text(f"SELECT {function}({_LOCK_KEY if key else ''})"))
        connection.commit()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only snapshot; always rolled back."""
        with self._reader.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    def checkpoint(self, *, above: int = 0) -> None:
        """Move the SQLite log into the file (writer thread only). `above`: asked after each commit, and worth it only
        when the log is larger than so many bytes and there is much in it again.
        """
        if self.path is None or self._writer is None:
            return
        log = self.path.with_name(self.path.name + "-wal")
        try:
            size = log.stat().st_size
        except OSError:
            return
        self._asked += 1
        if size <= above or (above and self._asked < CHECKPOINT_AFTER and size - self._size < above):
            return
        fault("checkpoint")
        self._asked, self._size = 0, size
        with self._raw() as raw:
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)" if above else "PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        assert self._writer is not None
        fairy = self._writer.raw_connection()
        try:
            raw: Any = fairy.driver_connection
            yield raw
        finally:
            fairy.close()

    def close(self) -> None:
        """Readers first, so that the last checkpoint can empty the log."""
        self._reader.dispose()
        if self._writer is not None and self._writer is not self._reader:
            with suppress(sqlite3.Error):
                self.checkpoint()
            self._writer.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def open(url: str, *, readonly: bool = False, readers: int = 4) -> Database:  # noqa: A001 as in io.open
    """`sqlite:///relative`, `sqlite:////absolute` or `postgresql+psycopg://…`. Does not migrate (see migrations).

    `readonly` opens beside a running server. Raises DatabaseInUse when another process writes the SQLite file,
    StorageUnavailable when the database cannot be opened.
    """
    parsed = make_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                msg = "a SQLite database is a file: sqlite:///path"
                raise ValueError(msg)
            return _open_sqlite(Path(parsed.database).absolute(), readonly=readonly, readers=readers)
        if parsed.get_backend_name() == "postgresql":
            return _open_postgres(url, readonly=readonly, readers=readers)
    except Exception as error:
        found = translate(error)
        if found is error:
            raise
        raise found from None
    msg = f"unknown database: {parsed.get_backend_name()}"
    raise ValueError(msg)


def _open_sqlite(path: Path, *, readonly: bool, readers: int) -> Database:
    lock = None
    writer = None
    if not readonly:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(path)
        writer = create_engine(
            "sqlite://", creator=lambda: _connect(f"{path.as_uri()}?mode=rwc"), poolclass=StaticPool,
            hide_parameters=True,
        )
        event.listen(writer, "connect", _writer_pragmas)
        event.listen(writer, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        # The file and its WAL must exist before a reader opens them.
        with writer.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
            connection.rollback()
    reader = create_engine(
        "sqlite://",
        creator=lambda: _connect(f"{path.as_uri()}?mode=ro"),
        poolclass=QueuePool,
        pool_size=readers,
        max_overflow=readers,
        hide_parameters=True,
    )
    event.listen(reader, "connect", _reader_pragmas)
    event.listen(reader, "begin", lambda c: c.exec_driver_sql("BEGIN"))
    return Database(writer, reader, path=path, lock=lock)


def _take_lock(path: Path) -> int:
    """SQLite before 3.51.3 can damage a WAL database that two connections write: one process at a time.

    A server that was killed while it started a worker leaves the lock to that child for a moment, until its exec.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    last_try = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < last_try:
                time.sleep(LOCK_PAUSE)
                continue
            os.close(descriptor)
            raise DatabaseInUse from error
        return descriptor


def _connect(uri: str) -> sqlite3.Connection:
    # isolation_level=None: the driver must not begin transactions of its own; the hooks above do.
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
    )


def _writer_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "wal_autocheckpoint=0",  # server/work.py checkpoints after the acknowledgement
        "cache_size=-16384",
        "temp_store=MEMORY",
        "trusted_schema=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _reader_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    for pragma in ("query_only=ON", "cache_size=-16384", "temp_store=MEMORY", "mmap_size=268435456"):
        connection.execute(f"PRAGMA {pragma}").close()


def _open_postgres(url: str, *, readonly: bool, readers: int) -> Database:
    engine = create_engine(
        url,
        pool_size=readers,
        max_overflow=readers,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"options": _PG_OPTIONS},
        hide_parameters=True,
    )
    writer = None if readonly else engine.execution_options(isolation_level="SERIALIZABLE")
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Database(writer, reader, path=None, lock=None)
