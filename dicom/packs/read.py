"""Reading packs: descriptors of our own, shared by all readers, never moved (pread only)."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom.errors import IntegrityError
from dicom.packs.append import pack_path

_KEEP_OPEN = 64
_LOOK = 64 << 10
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux


class PackFile:
    """One pack opened for reading. `fd` stays valid while a reference is held."""

    __slots__ = ("fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes; IntegrityError if the pack is shorter."""
        data = os.pread(self.fd, size, offset)
        if len(data) < size:
            parts = [data]
            got = len(data)
            while got < size:
                data = os.pread(self.fd, size - got, offset + got)
                if not data:
                    raise IntegrityError(code="pack_short")
                parts.append(data)
                got += len(data)
            return b"".join(parts)
        return data

    def __del__(self) -> None:
        fd, self.fd = getattr(self, "fd", -1), -1
        if fd >= 0:
            os.close(fd)


class PackReader:
    """Opened packs, the least used forgotten first."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: OrderedDict[int, PackFile] = OrderedDict()
        self._lock = threading.Lock()
        self._wrong: Mapping[int, Sequence[tuple[int, int]]] = {}

    def refuse(self, wrong: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """Pack → (offset, end) of what is known to be wrong, instead of what was known before."""
        self._wrong = wrong

    def check(self, pack: int, offset: int, size: int) -> None:
        """Raises IntegrityError (`damaged`) where the bytes are known to be wrong."""
        if pack in self._wrong:
            for start, end in self._wrong[pack]:
                if offset < end and start < offset + size:
                    raise IntegrityError(code="damaged")

    def file(self, pack: int) -> PackFile:
        """The pack's file. Raises IntegrityError (`pack_missing`)."""
        with self._lock:
            found = self._open.get(pack)
            if found is not None:
                self._open.move_to_end(pack)
                return found
            try:
                found = PackFile(pack_path(self._root, pack))
            except OSError as error:
                raise IntegrityError(code="pack_missing") from error
            self._open[pack] = found
            while len(self._open) > _KEEP_OPEN:
                self._open.popitem(last=False)
            return found

    def read(self, pack: int, offset: int, size: int) -> bytes:
        """Bytes of a pack. Raises IntegrityError: what is known to be wrong is not read."""
        self.check(pack, offset, size)
        return self.file(pack).read(offset, size)

    def read_now(self, pack: int, offset: int, into: memoryview) -> bool:
        """Fill `into` without ever waiting for the disk (preadv2(2), RWF_NOWAIT); False where that cannot be.

        Raises IntegrityError for what is known to be wrong.
        """
        self.check(pack, offset, len(into))
        found = self._open.get(pack)
        if found is None or _NOWAIT is None:
            return False
        try:
            return os.preadv(found.fd, [into], offset, _NOWAIT) == len(into)
        except OSError:  # not in memory, or a file system that cannot tell
            return False

    def opened(self, pack: int, offset: int, size: int) -> PackFile | None:
        """The pack's file, where it is open and the bytes seem to lie in the system's memory (one of sixteen pages is
        looked at). None: to read them may mean waiting. Raises IntegrityError for what is known to be wrong.
        """
        self.check(pack, offset, size)
        found = self._open.get(pack)
        if found is None or _NOWAIT is None:
            return None
        last, one = offset + size - 1, [bytearray(1)]
        try:
            for place in (*range(offset, last, _LOOK), last):
                if os.preadv(found.fd, one, place, _NOWAIT) != 1:
                    return None
        except OSError:
            return None
        return found

    def forget(self, pack: int) -> None:
        """Close a pack that is gone, once nobody reads in it any more."""
        with self._lock:
            self._open.pop(pack, None)

    def close(self) -> None:
        with self._lock:
            self._open.clear()


def list_packs(root: Path) -> dict[int, Path]:
    """Every pack file on disk by its number."""
    return {int(path.stem): path for path in sorted((root / "packs").glob("*/*.pack")) if path.stem.isdigit()}
