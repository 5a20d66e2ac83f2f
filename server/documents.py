"""Documents from outside (PDF, JPEG, PNG, photographs of paper ECG and film) are re-encoded or refused, never trusted.

The untrusted bytes are decoded in a child process with limits on memory and time (server/documents_worker.py). What is
stored are pages: fresh JPEG or PNG files made from pixels alone, so scripts, links, embedded files and metadata of the
original are gone. A document's blob is a small JSON manifest that names the blobs of its pages.
"""

import asyncio
import contextlib
import hashlib
import json
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

MAX_BYTES = 30 * 1024 * 1024
MAX_PAGES = 60
TIME_LIMIT_S = 30.0
MEMORY_LIMIT = 1 << 30


_T = TypeVar("_T")


class Budget(Protocol):
    """Bytes that may be held in memory, all who ask together; dicom.ingest.MemoryBudget is one."""

    async def acquire(self, size: int) -> int:
        """Wait for room; give back what it returns."""

    def release(self, size: int) -> None:
        """Give back."""


class DocumentRefused(Exception):
    """The bytes are no document that we take. `reason` is one of REASONS."""

    code: ClassVar[str] = "document_refused"
    REASONS: ClassVar[tuple[str, ...]] = (
        "empty",
        "too_large",
        "not_supported",
        "damaged",
        "too_many_pages",
        "encrypted",
        "too_many_pixels",
        "took_too_long",
    )

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.params = {"reason": reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page as a fresh picture; width and height in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    pages: tuple[Page, ...]
    source: str                # pdf | jpeg | png | webp | tiff …: what the bytes really were

    def manifest(self) -> bytes:
        """The document's own blob: deterministic JSON that names its pages in order."""
        pages = [
            {"digest": page.digest, "media_type": page.media_type, "width": page.width, "height": page.height}
            for page in self.pages
        ]
        return json.dumps({"pages": pages}, separators=(",", ":"), sort_keys=True).encode()


def store(encoded: Encoded, put: Callable[[bytes], str]) -> tuple[str, int]:
    """Puts the pages, then the manifest (the last write names the others); returns (manifest digest, total bytes)."""
    for page in encoded.pages:
        put(page.data)
    manifest = encoded.manifest()
    return put(manifest), sum(len(page.data) for page in encoded.pages)


def pages_of(manifest: bytes) -> list[dict[str, Any]]:
    """The page entries of a stored manifest."""
    pages: list[dict[str, Any]] = json.loads(manifest)["pages"]
    return pages


async def reencode(data: bytes, *, max_side: int = 4096) -> Encoded:
    """Decodes `data` (the type is read off the bytes, never off a name or a header) and returns fresh pages.

    Raises DocumentRefused with a reason for the user.
    """
    if not data:
        raise DocumentRefused("empty")
    if len(data) > MAX_BYTES:
        raise DocumentRefused("too_large")
    child = await _child(asyncio.subprocess.PIPE, max_side)
    try:
        out, _ = await asyncio.wait_for(child.communicate(data), TIME_LIMIT_S)
    except TimeoutError:
        raise DocumentRefused("took_too_long") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return _parse(out)


@contextlib.asynccontextmanager
async def reencoding(path: Path, budget: Budget, *, max_side: int = 4096) -> AsyncIterator[Encoded]:
    """`reencode` for a file: its bytes go to the child without passing through here, and the fresh pages come when
    `budget` has room for them, which they keep up to the end of the block. Raises DocumentRefused.
    """
    size = (await asyncio.to_thread(path.stat)).st_size
    if not size:
        raise DocumentRefused("empty")
    if size > MAX_BYTES:
        raise DocumentRefused("too_large")
    with path.open("rb") as file:
        child = await _child(file.fileno(), max_side)
    held = 0
    try:
        out = child.stdout
        assert out is not None
        head = await _in_time(_head(out))
        held = await budget.acquire(sum(entry["size"] for entry in head["pages"]))
        pages = await _in_time(_pages(out, head["pages"]))
        yield Encoded(pages=tuple(pages), source=head["source"])
    finally:
        budget.release(held)
        if child.returncode is None:
            child.kill()
            await child.wait()


async def _child(stdin: int, max_side: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "server.documents_worker", str(max_side), str(MAX_PAGES), str(MEMORY_LIMIT),
        stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def _in_time(work: Awaitable[_T]) -> _T:
    try:
        return await asyncio.wait_for(work, TIME_LIMIT_S)
    except TimeoutError:
        raise DocumentRefused("took_too_long") from None
    except (asyncio.IncompleteReadError, ValueError, KeyError, TypeError) as error:
        raise DocumentRefused("damaged") from error  # killed by a limit, or crashed in a decoder


async def _head(out: asyncio.StreamReader) -> dict[str, Any]:
    (length,) = struct.unpack(">I", await out.readexactly(4))
    head: dict[str, Any] = json.loads(await out.readexactly(length))
    if "refused" in head:
        raise DocumentRefused(head["refused"])
    return head


async def _pages(out: asyncio.StreamReader, entries: list[dict[str, Any]]) -> list[Page]:
    return [_page(entry, await out.readexactly(entry["size"])) for entry in entries]


def _page(entry: dict[str, Any], data: bytes) -> Page:
    return Page(data=data, media_type=entry["media_type"], width=entry["width"], height=entry["height"])


def _parse(out: bytes) -> Encoded:
    # The child may have been killed by a limit or crashed in a decoder: anything short is "damaged".
    if len(out) < 4:
        raise DocumentRefused("damaged")
    (length,) = struct.unpack_from(">I", out)
    try:
        head = json.loads(out[4 : 4 + length])
        if "refused" in head:
            raise DocumentRefused(head["refused"])
        pages, offset = [], 4 + length
        for page in head["pages"]:
            data = out[offset : offset + page["size"]]
            if len(data) != page["size"]:
                raise DocumentRefused("damaged")
            offset += page["size"]
            pages.append(_page(page, data))
    except (ValueError, KeyError) as error:
        raise DocumentRefused("damaged") from error
    return Encoded(pages=tuple(pages), source=head["source"])
