"""What each job of one batch is, judged by the index and by what comes before it in the same batch."""

from __future__ import annotations

import sqlite3

from dicom.errors import CorrectionError, DicomError
from dicom.index import writer as index
from dicom.jobs import Job
from dicom.model import IngestResult


class Judge:
    """Gives every job of one batch its `plan`, and its `outcome` or `error`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: dict[tuple[str, str], Job] = {}
        self._blobs: dict[str, Job] = {}
        self._refused: dict[tuple[str, str, str], Job] = {}
        self._settled: set[str] = set()

    def instance(self, job: Job) -> None:
        """Stored, custody of bytes held by others, a duplicate, or other bytes under a held identity."""
        header = job.header
        assert header is not None
        key = (job.organisation, header.sop_uid)
        earlier = self._seen.get(key)
        held = earlier.digest if earlier else index.digest_of(self._connection, *key)
        result = IngestResult.of
        if held == job.digest and (earlier or index.has_blob(self._connection, job.digest)):
            job.plan, job.same_as = "duplicate", earlier
            job.outcome = result("duplicate", header, job.digest)
        elif held is not None and held != job.digest:
            mark = (*key, job.digest)
            job.outcome = result("conflict", header, job.digest, reason="other_bytes")
            if mark in self._refused or index.is_quarantined(self._connection, *mark):
                job.plan, job.same_as = "duplicate", self._refused.get(mark)
            else:
                job.plan = "quarantine"
                self._refused[mark] = job
        else:
            known = job.digest in self._blobs or index.has_blob(self._connection, job.digest)
            job.plan = "custody" if known else "instance"
            job.outcome = result("stored", header, job.digest, custody=known)
            job.same_as, job.alters = self._blobs.get(job.digest), held is not None
            self._seen[key] = job
            self._blobs.setdefault(job.digest, job)

    def settling(self, job: Job) -> None:
        """One correction or decision of an organisation at a time: the next must be judged by what this one leaves."""
        assert job.settling is not None
        try:
            if job.organisation in self._settled:
                raise CorrectionError(code="changed_meanwhile")
            job.settling.check(self._connection)
        except DicomError as error:
            job.error = error
            return
        job.plan = "settling"
        self._settled.add(job.organisation)
