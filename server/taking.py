"""Files of a folder for the archive: found without following links, read piece by piece, zips entry by entry.

Names and folders decide nothing but the order; what a file is and whose it is comes from its bytes and from the caller.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.dicomweb.reasons import NO_ROOM, TEXTS
from server.i18n import N_, translate
from server.unzip_worker import LITTER
from server.unzipping import REASONS, ZIP_BYTES, ZIP_ENTRIES, open_zip
from server.uploading import LATER, ZIP_MAGIC

PIECE_BYTES = 1 << 20
HELD = frozenset({"stored", "duplicate"})
NO_IMAGES = frozenset({"not_dicom", "media_directory", "empty"})
"""What lies beside the images on every disc: said, but no failure."""
UNREADABLE = "file_unreadable"
FILE_REASONS = {UNREADABLE: N_("文件无法读取（没有权限、已被移走或介质损坏）。")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a file, or of one entry of a zip (`entry` counts from 1)."""

    outcome: str
    reason: str = ""
    study: str = ""
    entry: int = 0

    @property
    def held(self) -> bool:
        return self.outcome in HELD

    @property
    def failed(self) -> bool:
        """Needs a person: refused though it is an image, or in quarantine."""
        return not self.held and self.reason not in NO_IMAGES


Store = Callable[[AsyncIterator[bytes]], Awaitable[Taken]]


class TryLaterError(Exception):
    """Nothing can be stored just now (`disk_full`, `over_quota`, `busy`, `io_error`); the file is not the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A regular file, as it was when the folder was read."""

    path: Path
    size: int
    changed: int  # nanoseconds


def find_files(
    folder: Path, *, leave_out: frozenset[str] = frozenset(), closed: list[Path] | None = None
) -> Iterator[Found]:
    """Regular files below `folder` in a stable order; links are not followed, folders named in `leave_out` at the top
    are stepped over, those that cannot be read are added to `closed`. Blocks. Raises OSError for `folder` itself.
    """
    with os.scandir(folder):
        pass

    def note(error: OSError) -> None:
        if closed is not None:
            closed.append(Path(error.filename))

    for root, folders, names in os.walk(folder, onerror=note):
        top = Path(root) == folder
        folders[:] = sorted(name for name in folders if not (top and name in leave_out) and name != "__MACOSX")
        for name in sorted(names):
            path = Path(root) / name
            with suppress(OSError):
                about = path.lstat()
                if stat.S_ISREG(about.st_mode) and name not in LITTER:
                    yield Found(path=path, size=about.st_size, changed=about.st_mtime_ns)


def open_regular(path: Path) -> int:
    """A descriptor of a regular file; OSError for a link, a pipe, a device. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


class _Body:
    """The bytes of a file; `broken` tells that reading, not storing, failed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.broken = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        offset = 0
        while True:
            try:
                data = await asyncio.to_thread(os.pread, self._descriptor, PIECE_BYTES, offset)
            except OSError:
                self.broken = True
                raise
            if not data:
                return
            offset += len(data)
            yield data


async def take_file(path: Path, store: Store) -> list[Taken]:
    """Store a file, or every entry of a zip. Raises TryLaterError, and what `store` raises."""
    try:
        descriptor = await asyncio.to_thread(open_regular, path)
    except OSError:
        return [Taken(outcome="refused", reason=UNREADABLE)]
    body = _Body(descriptor)
    try:
        head = await asyncio.to_thread(os.pread, descriptor, 4, 0)
        if head in ZIP_MAGIC:
            return await _take_zip(path, store)
        return [_final(await store(aiter(body)))]
    except Exception as error:
        if body.broken or (isinstance(error, OSError) and not isinstance(error, ConnectionError)):
            return [Taken(outcome="refused", reason=UNREADABLE)]
        raise
    finally:
        os.close(descriptor)


async def _take_zip(path: Path, store: Store) -> list[Taken]:
    found: list[Taken] = []
    async with open_zip(path) as entries:
        while await entries.more():
            one = _final(await store(entries.body()))
            found.append(Taken(outcome=one.outcome, reason=one.reason, study=one.study, entry=len(found) + 1))
            await entries.drain()
    if entries.reason or not found:
        found.append(Taken(outcome="refused", reason=entries.reason or "zip_empty"))
    return found


def _final(taken: Taken) -> Taken:
    if taken.reason in LATER or taken.reason in NO_ROOM:
        raise TryLaterError(taken.reason)
    return taken


def words(reason: str, lang: str = "en") -> str:
    """The sentence for a reason."""
    text = {**REASONS, **FILE_REASONS}.get(reason) or TEXTS.get(reason, "")
    text = translate(text, lang) if text else ""
    return text.format(entries=ZIP_ENTRIES, bytes=ZIP_BYTES) if "{" in text else text
