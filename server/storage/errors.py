"""What the database may answer besides a result, and the one place where drivers' errors get our names."""

import sqlite3
from typing import ClassVar

from sqlalchemy import exc

from consult.errors import Conflict, NotFound


class StorageUnavailable(Exception):
    """The database cannot take or give data now. `code` is public (server/problems.py gives status and words)."""

    code: ClassVar[str] = "storage_unavailable"


class DiskFull(StorageUnavailable):
    """Nothing was written; nothing was acknowledged."""

    code = "disk_full"


class DatabaseBusy(StorageUnavailable):
    """Another writer held the database longer than we wait, or the retries were used up."""

    code = "database_busy"


class DatabaseInUse(StorageUnavailable):
    """Another process of ours already writes this SQLite file."""

    code = "database_in_use"


class SchemaMismatch(StorageUnavailable):
    """The database was made by a newer version, or by another build of this one; the text says which."""

    code = "schema_mismatch"


class Retry(Exception):
    """PostgreSQL could not serialise this unit of work: run it again from its beginning."""


class Refused(Exception):
    """The database refused a statement that should never have come: a defect of ours. The text holds no values."""


class Broken(Exception):
    """A statement failed inside this unit and the failure was swallowed; such a unit never commits."""


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PG_RETRY = {"40001", "40P01"}
_PG_BUSY = {"55P03", "57014", "53300"}
_PG_FULL = {"53100", "53200"}
_PG_GONE = {None, "57P01", "57P02", "57P03"}


def is_unique(error: exc.IntegrityError) -> bool:
    """A unique or primary key is already taken."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode in {
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        }
    return getattr(cause, "sqlstate", None) == "23505"


def is_foreign(error: exc.IntegrityError) -> bool:
    """A referenced row does not exist."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return getattr(cause, "sqlstate", None) == "23503"


def translate(error: BaseException) -> BaseException:
    """The error our callers know. Raise it `from None`: a driver's text may quote the row, so the patient.

    Errors that are not the database's come back as they are.
    """
    if isinstance(error, exc.TimeoutError):
        return DatabaseBusy()
    if not isinstance(error, exc.DBAPIError):
        return error
    if isinstance(error, exc.IntegrityError):
        if is_unique(error):
            return Conflict()
        if is_foreign(error):
            return NotFound()
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite(error.orig)
    return _postgres(error)


def _sqlite(cause: sqlite3.Error) -> Exception:
    # The low byte is the primary code (sqlite.org/rescode.html).
    primary = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return DiskFull()
    if primary in _BUSY:
        return DatabaseBusy()
    if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
        return StorageUnavailable()
    # SQLite's texts name tables, columns and constraints, never values.
    return Refused(f"{getattr(cause, 'sqlite_errorname', type(cause).__name__)}: {cause}")


def _postgres(error: exc.DBAPIError) -> Exception:
    state = getattr(error.orig, "sqlstate", None)
    if state in _PG_RETRY:
        return Retry()
    if state in _PG_FULL:
        return DiskFull()
    if state in _PG_BUSY:
        return DatabaseBusy()
    if error.connection_invalidated or (isinstance(error, exc.OperationalError) and state in _PG_GONE):
        return StorageUnavailable()
    diagnosis = getattr(error.orig, "diag", None)
    # Class 22 (data exceptions) quotes the value, DETAIL the row; the primary message of the others does not.
    said = "" if state is None or state.startswith("22") else getattr(diagnosis, "message_primary", None)
    return Refused(f"{type(error.orig).__name__} {state}: {said or ''}")
