"""Bodies and files piece by piece, so that nothing waits in memory that the archive's budget does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

FEED_BYTES = 1 << 20


def head_of(path: Path) -> bytes:
    """The first four bytes. Blocks."""
    with path.open("rb") as file:
        return file.read(4)


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """A file, FEED_BYTES at a time."""
    with path.open("rb") as file:
        while data := await asyncio.to_thread(file.read, FEED_BYTES):
            yield data


async def peeked(body: AsyncIterator[bytes], size: int) -> tuple[bytes, AsyncIterator[bytes]]:
    """What comes first, at least `size` bytes if there are so many; and the whole again."""
    head = b""
    async for data in body:
        head += data
        if len(head) >= size:
            break

    async def again() -> AsyncIterator[bytes]:
        yield head
        async for data in body:
            yield data

    return head, again()
