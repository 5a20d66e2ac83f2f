"""A large body on its way in: it streams into a staging file which becomes a pack of its own, without a second copy.

The body is written at a fixed offset; once it is whole, pack header and record head are written before it, so that
the file is a valid pack when it is renamed into place.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from dicom.faults import Fault
from dicom.packs.append import Buffer, pack_path, storage_error, sync_directory, sync_new_directories, write_at
from dicom.packs.record import PACK_HEADER, Kind, encode_head, pack_header

RESERVE = 64 << 10  # room for pack header, record head and our own file meta group


class Staging:
    """One staging file. All methods block; callers run them off the event loop."""

    __slots__ = ("_fault", "_fd", "length", "path")

    def __init__(self, root: Path, fault: Fault) -> None:
        self._fault = fault
        self.path = root / "staging" / f"{secrets.token_hex(16)}.part"
        self.length = 0  # of the body received so far
        try:
            fault("stage.create")
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise storage_error(error) from error

    def write(self, data: Buffer) -> None:
        """Append to the body. Raises StorageError."""
        try:
            self._fault("stage.write")
            write_at(self._fd, [data], RESERVE + self.length)
        except OSError as error:
            raise storage_error(error) from error
        self.length += len(data)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the body."""
        return os.pread(self._fd, size, RESERVE + offset)

    def publish(
        self,
        root: Path,
        pack: int,
        archive: bytes,
        kind: Kind,
        label: dict[str, Any],
        prefix: bytes,
        dataset_start: int,
    ) -> tuple[int, int]:
        """Turn the file into pack `pack`. Returns (offset of the record's prefix, size). Raises StorageError."""
        end = RESERVE + dataset_start  # where the dataset starts in the file
        head = encode_head(
            kind, label, prefix, self.length - dataset_start, head_length=end - PACK_HEADER.size
        )
        target = pack_path(root, pack)
        try:
            self._fault("stage.header")
            write_at(self._fd, [pack_header(pack, archive) + head], 0)
            self._fault("stage.fsync")
            os.fsync(self._fd)
            sync_new_directories(target.parent, root)
            self._fault("stage.rename")
            self.path.rename(target)
            self._fault("stage.dirsync")
            sync_directory(target.parent)
        except OSError as error:
            raise storage_error(error) from error
        os.close(self._fd)
        self._fd = -1
        return end - len(prefix), RESERVE + self.length

    def discard(self) -> None:
        """Forget the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.path.unlink(missing_ok=True)


def sweep(root: Path) -> int:
    """Remove what an interrupted upload left behind. Returns how many."""
    count = 0
    for path in (root / "staging").glob("*.part"):
        path.unlink(missing_ok=True)
        count += 1
    return count
