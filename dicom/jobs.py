"""What waits for the writer: one job per instance, per piece of metadata, per command on the index."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dicom.errors import DicomError, StorageError
from dicom.model import Header, Place
from dicom.packs.append import Buffer, storage_error
from dicom.packs.record import Kind
from dicom.packs.staging import Staging


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A record without a body: a correction, or a decision on a quarantined file."""

    kind: Kind
    label: dict[str, Any]
    check: Callable[[sqlite3.Connection], None]  # raises DicomError where it does not fit what is held
    apply: Callable[[sqlite3.Connection, dict[str, Any]], Any]  # enters it by the record's whole label


@dataclass(slots=True, eq=False)
class Job:
    """Something to be made durable. Exactly one of `body`, `staged`, `metadata`, `settling` or `command` is set."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    size: int
    organisation: str = ""
    source: str = ""
    at: datetime | None = None
    digest: str = ""
    header: Header | None = None
    prefix: bytes = b""
    body: Buffer | None = None
    staged: Staging | None = None
    dataset_start: int = 0
    metadata: bytes | None = None
    settling: Settling | None = None
    command: Callable[[sqlite3.Connection], Any] | None = None
    outcome: Any = None
    plan: str = ""
    generation: int = 0
    place: Place | None = None
    same_as: Job | None = None
    error: DicomError | None = field(default=None)
    alters: bool = False  # existing rows may say something else once it is entered

    def __post_init__(self) -> None:
        self.alters = self.settling is not None or self.command is not None


def public_error(error: Exception) -> DicomError:
    """The form of a failure that a sender is told."""
    if isinstance(error, DicomError):
        return error
    if isinstance(error, OSError):
        return storage_error(error)
    full = isinstance(error, sqlite3.Error) and "full" in str(error)
    return StorageError(code="disk_full" if full else "io_error")


def resolve(jobs: list[Job]) -> None:
    """Give the callers their answers. Runs on their loop."""
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.outcome)
