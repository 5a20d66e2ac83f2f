"""What was made and may be asked for again: in memory, and pictures on disk. Losing it costs time and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MADE_BY = "4"  # raise it when the same request would yield other bytes than the last release made
_OWN = f"-{MADE_BY}"


class Memory:
    """Bytes by key, the least used forgotten first; `limit` bytes in all. A key must name the exact bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._size = 0
        self._under_way: dict[tuple[Any, ...], asyncio.Future[bytes]] = {}

    async def once(self, key: tuple[Any, ...], make: Callable[[], Awaitable[bytes]]) -> bytes:
        """From memory, or from one call of `make` that all who ask meanwhile share."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        shared = self._under_way.get(key)
        if shared is None:
            shared = asyncio.ensure_future(self._make(key, make))
            self._under_way[key] = shared
            shared.add_done_callback(lambda future: self._done(key, future))
        return await asyncio.shield(shared)

    def _done(self, key: tuple[Any, ...], future: asyncio.Future[bytes]) -> None:
        self._under_way.pop(key, None)
        if not future.cancelled():
            future.exception()  # taken, even if every caller went away

    async def _make(self, key: tuple[Any, ...], make: Callable[[], Awaitable[bytes]]) -> bytes:
        data = await make()
        if len(data) <= self._limit // 4:
            self._kept[key] = data
            self._size += len(data)
            while self._size > self._limit:
                _, old = self._kept.popitem(last=False)
                self._size -= len(old)
        return data


class Thumbnails:
    """Those on disk, by the digest of their instance and the number of their frame."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._keeping: set[asyncio.Future[None]] = set()

    async def find(self, digest: str, number: int) -> bytes | None:
        """What is kept; None where nothing is."""
        return await asyncio.to_thread(read_or_none, path_of(self._root, digest, number))

    def keep(self, digest: str, number: int, data: bytes) -> None:
        """Written while its first reader has it already; nobody waits for it."""
        path = path_of(self._root, digest, number)
        keeping = asyncio.ensure_future(asyncio.to_thread(keep, path, data))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)

    async def settled(self) -> None:
        """Wait until all that was given is on disk."""
        await asyncio.gather(*self._keeping)


def read_or_none(path: Path) -> bytes | None:
    """What is kept there; None where nothing is."""
    try:
        return path.read_bytes() or None
    except OSError:
        return None


def keep(path: Path, data: bytes) -> None:
    """A cache: failing to keep is no failure, and half a file is never seen."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def path_of(root: Path, digest: str, number: int) -> Path:
    """Where the thumbnail of a frame is kept: what another release drew has another name."""
    return root / "cache" / digest[:2] / f"{digest}-{number}{_OWN}"


def trim_cache(root: Path, limit: int) -> None:
    """Remove what other releases left, and the oldest thumbnails beyond `limit` bytes. Blocks."""
    files = []
    for path in (root / "cache").glob("*/*"):
        with suppress(OSError):  # it may be replaced at this moment
            about = path.stat()
            files.append((path.name.endswith(_OWN), about.st_mtime, about.st_size, path))
    total = sum(size for _, _, size, _ in files)
    for own, _, size, path in sorted(files):
        if own and total <= limit:
            return
        with suppress(OSError):
            path.unlink(missing_ok=True)
        total -= size
