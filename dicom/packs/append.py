"""Writing packs. Only the writer thread calls this; every write, fsync and rename has its named fault point.

A failed write or fsync ends the pack: what the kernel did with those pages is unknown, so nothing of that batch is
acknowledged and nothing is tried there again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicom.errors import StorageError
from dicom.faults import Fault
from dicom.packs.record import PACK_HEADER, pack_header, padding

Buffer = bytes | memoryview | bytearray
AT_ONCE = 1 << 20  # bytes of one call: Linux looks for larger pages for 4 MB, which takes five times the processor
_IOV_MAX = 512
FULL = {28, 122}  # ENOSPC, EDQUOT


def storage_error(error: OSError) -> StorageError:
    """The public form of a failing disk."""
    return StorageError(code="disk_full" if error.errno in FULL else "io_error")


def pack_path(root: Path, pack: int) -> Path:
    """Where a pack lies: numbered by us, never named after anything received."""
    return root / "packs" / f"{pack // 1000:04d}" / f"{pack:08d}.pack"


def sync_directory(path: Path) -> None:
    """Make a directory entry durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_new_directories(path: Path, top: Path) -> None:
    """Create `path` below `top`, and make every new directory entry on the way durable."""
    missing: list[Path] = []
    current = path
    while not current.exists() and current != top:
        missing.append(current)
        current = current.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def write_at(fd: int, parts: Iterable[Buffer], position: int) -> int:
    """Write the parts one behind the other; returns where they end. Raises OSError, also on a full disk."""
    for call in _calls(parts):
        views = call
        while views:
            done = os.pwritev(fd, views, position)
            if done <= 0:  # a disk that is filling up takes a part and says so only when asked for the rest
                raise OSError(28, "short write")
            position += done
            while views and done >= len(views[0]):
                done -= len(views[0])
                views = views[1:]
            if done:
                views = [views[0][done:], *views[1:]]
    return position


def _calls(parts: Iterable[Buffer]) -> Iterator[list[memoryview]]:
    """What one system call writes."""
    call: list[memoryview] = []
    room = AT_ONCE
    for part in parts:
        view = memoryview(part)
        while view:
            piece = view[:room]
            call.append(piece)
            view, room = view[len(piece) :], room - len(piece)
            if not room or len(call) == _IOV_MAX:
                yield call
                call, room = [], AT_ONCE
    if call:
        yield call


class OpenPack:
    """The one pack that is being appended to."""

    __slots__ = ("_fault", "_fd", "end", "id", "path")

    def __init__(self, pack: int, path: Path, fd: int, end: int, fault: Fault) -> None:
        self.id = pack
        self.path = path
        self.end = end  # everything before it is durable or of the batch being written
        self._fd = fd
        self._fault = fault

    @classmethod
    def create(cls, root: Path, pack: int, archive: bytes, fault: Fault) -> OpenPack:
        """A new pack with its header and directory entry durable. Raises StorageError."""
        path = pack_path(root, pack)
        try:
            fault("pack.create")
            sync_new_directories(path.parent, root)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise storage_error(error) from error
        try:
            header = pack_header(pack, archive)
            if os.pwrite(fd, header, 0) != len(header):
                raise OSError(28, "short write")
            fault("pack.create.fsync")
            os.fsync(fd)
            fault("pack.create.dirsync")
            sync_directory(path.parent)
        except OSError as error:
            os.close(fd)
            raise storage_error(error) from error
        return cls(pack, path, fd, PACK_HEADER.size, fault)

    @classmethod
    def reopen(cls, root: Path, pack: int, end: int, fault: Fault) -> OpenPack:
        """Continue a pack whose tail is known to be whole."""
        path = pack_path(root, pack)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return cls(pack, path, fd, end, fault)

    def append(self, buffers: list[Buffer]) -> int:
        """Write the buffers behind the end; not yet durable. Returns the offset of the first byte."""
        start = self.end
        total = sum(len(part) for part in buffers)
        pad = padding(start + total)
        parts = [*buffers, bytes(pad)]
        try:
            self._fault("pack.write")
            half = len(parts) // 2 or 1
            position = write_at(self._fd, parts[:half], start)
            self._fault("pack.write.half")
            position = write_at(self._fd, parts[half:], position)
            self._fault("pack.write.done")
        except OSError as error:
            raise storage_error(error) from error
        self.end = position
        return start

    def sync(self) -> None:
        """fdatasync: from here on the appended records are durable. Raises StorageError, and the pack must be left."""
        try:
            self._fault("pack.fsync")
            os.fdatasync(self._fd)
            self._fault("pack.fsync.done")
        except OSError as error:
            raise storage_error(error) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
