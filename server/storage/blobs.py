"""Re-encoded documents as files named by the SHA-256 of their bytes (`blobs/ab/<digest>`), never by anything else."""

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from consult.errors import NotFound
from server.storage.faults import fault

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".part-"
_PIECE = 1 << 20


class Blobs:
    """Written once, whole or not at all, on disk before `put` returns."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock
        root.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store and return the digest (hex). OSError (disk full) leaves nothing behind."""
        return self._put(hashlib.sha256(data).hexdigest(), lambda file: file.write(data))

    def put_file(self, source: Path) -> str:
        """The same for the bytes of a file that nobody changes meanwhile; they never stand in memory as a whole."""
        with source.open("rb") as given:
            digest = hashlib.file_digest(given, "sha256").hexdigest()
            given.seek(0)
            return self._put(digest, lambda file: shutil.copyfileobj(given, file, _PIECE))

    def _put(self, digest: str, write: Callable[[BinaryIO], object]) -> str:
        final = self._path(digest)
        # The new time keeps a sweep that runs now from taking an old orphan that is wanted again.
        with suppress(FileNotFoundError):
            os.utime(final, (self._clock(), self._clock()))
            return digest
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            _sync_directory(self._root)
        temporary = final.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                fault("blob_before_fsync")
                os.fsync(file.fileno())
            os.utime(temporary, (self._clock(), self._clock()))
            fault("blob_before_rename")
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fault("blob_before_directory_fsync")
        _sync_directory(final.parent)
        return digest

    def open(self, digest: str) -> Path:
        """The file's path; NotFound when it is not here (or the digest is none)."""
        path = self._path(digest)
        if not path.is_file():
            raise NotFound(kind="blob")
        return path

    def read(self, digest: str) -> bytes:
        """All bytes; NotFound when absent, ValueError when the disk changed them."""
        data = self.open(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            msg = "stored bytes do not match their digest"
            raise ValueError(msg)
        return data

    def sweep(self, known: Container[str], *, older_than: float = 86400.0) -> int:
        """Remove files that no record names and half-written ones, if older than so many seconds; returns how many.

        The grace time covers a document that is stored but not yet committed.
        """
        limit = self._clock() - older_than
        removed = 0
        for path in sorted(self._root.glob("??/*")):
            if path.name in known or path.stat().st_mtime > limit:
                continue
            if path.name.startswith(_TEMPORARY) or _DIGEST.fullmatch(path.name):
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFound(kind="blob")
        return self._root / digest[:2] / digest


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
