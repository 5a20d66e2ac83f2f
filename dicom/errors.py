"""What can go wrong in the archive. Every error carries a public `code`; `server/dicomweb/` gives it a status.

The text of an error is for developers: it never holds a value read from a dataset.
"""

from __future__ import annotations

from typing import ClassVar


class DicomError(Exception):
    """Base of all archive errors. `code` is stable and public."""

    code: ClassVar[str] = "archive_error"

    def __init__(self, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail or code or self.code)
        self.reason = code or self.code


class RefusedError(DicomError):
    """The bytes sent are not something the archive keeps; `reason` says why (see `REFUSALS`)."""

    code = "refused"


class NotFoundError(DicomError):
    """Not there, or not within the scope: the two look alike."""

    code = "not_found"


class BadQueryError(DicomError):
    """A query or a parameter that cannot be read."""

    code = "bad_query"


class NotAcceptableError(DicomError):
    """None of the representations asked for can be made."""

    code = "not_acceptable"


class UnsupportedError(DicomError):
    """The object is there, but this view of it cannot be made; `reason` says why."""

    code = "unsupported"


class CannotRenderError(UnsupportedError):
    """No picture can be made of it; `reason` says why (`no_pixels`, `pixel_data_short`, …)."""

    code = "cannot_render"


class WorkerError(DicomError):
    """A worker process died, ran out of memory or out of time on this input."""

    code = "worker_failed"


class WorkerTimeoutError(WorkerError):
    """The wall clock ran out."""

    code = "worker_timeout"


class StorageError(DicomError):
    """The disk failed; nothing was kept. `reason` is `disk_full` or `io_error`."""

    code = "io_error"


class IntegrityError(DicomError):
    """Stored bytes are not what was stored. They are never served."""

    code = "integrity"


class BusyError(DicomError):
    """The archive is closing or its queue is full."""

    code = "busy"


class CorrectionError(DicomError):
    """A correction or decision that does not fit what is held now; `reason` says why."""

    code = "correction_refused"


# Why an upload can be refused: machine codes, part of the public surface (texts stand in server/dicomweb/reasons.py).
REFUSALS = (
    "not_dicom",
    "empty",
    "truncated",
    "malformed",
    "too_large",
    "too_deep",
    "too_many_elements",
    "media_directory",
    "missing_uid",
    "invalid_uid",
    "missing_sop_class",
    "wrong_study",
    "inflates_too_large",
    "unreadable",
    "bad_metadata",
    "missing_bulkdata",
    "bulkdata_not_supported",
    "disk_full",
    "over_quota",
    "io_error",
    "busy",
)
