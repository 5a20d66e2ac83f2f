"""How an answer's bytes go out: stored ones straight from pack to socket where that can be, else by way of memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from dicom.archive import Archive
from dicom.packs.read import PackFile
from dicom.retrieve import ByteRange
from server.dicomweb.ranges import Later, Made, Piece

Buffer: TypeAlias = "bytes | bytearray"
APART = 64 << 10  # from here on sending the head by itself costs less than copying the body behind it
_CHUNK = 1 << 20
_STRAIGHT = 128 << 10  # from here on a range goes straight from the pack to the socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of an opened pack, in the system's memory when it was looked at."""

    file: PackFile
    range: ByteRange


class Body(Payload):
    """A large body as it lies in memory: aiohttp would copy it once more to put the head before it."""

    def __init__(self, data: Buffer) -> None:
        super().__init__(data, content_type="application/octet-stream")
        self._size = len(data)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """The head, then the body."""
        writer.send_headers()
        await writer.write(memoryview(self._value))


class Straight:
    """The client's socket, written without aiohttp in between: nothing waits before us, and the length is said."""

    def __init__(self, transport: asyncio.WriteTransport, number: int) -> None:
        self._transport = transport
        self._number = number
        self._own = -1  # a descriptor to wait on: the transport's is the event loop's

    @classmethod
    def on(cls, transport: asyncio.WriteTransport) -> Straight | None:
        """None where bytes must be encrypted first, or others wait before them."""
        encrypted = transport.get_extra_info("sslcontext") is not None
        found = None if encrypted else transport.get_extra_info("socket")
        if found is None or transport.is_closing() or transport.get_write_buffer_size():
            return None
        return cls(transport, found.fileno())

    async def send(self, data: Buffer) -> None:
        """All of it. Raises ConnectionError."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._open(), rest) :]
            except BlockingIOError:
                await self._room()

    async def send_span(self, span: Span) -> None:
        """All of it, by sendfile(2). ConnectionError also where the pack ends early: the status is out."""
        offset, left = span.range.offset, span.range.length
        while left:
            try:
                sent = os.sendfile(self._open(), span.file.fd, offset, left)
            except BlockingIOError:
                await self._room()
                continue
            if not sent:
                self._transport.abort()
                raise ConnectionResetError
            offset, left = offset + sent, left - sent

    def _open(self) -> int:
        if self._transport.is_closing():
            raise ConnectionResetError
        return self._number

    async def _room(self) -> None:
        """Until the socket takes more."""
        loop = asyncio.get_running_loop()
        if self._own < 0:
            self._own = os.dup(self._number)
        free: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not free.done():
                free.set_result(None)

        loop.add_writer(self._own, tell)
        try:
            await free
        finally:
            loop.remove_writer(self._own)

    def close(self) -> None:
        """The transport goes on by itself."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1


class Laid(Payload):
    """A body of which large parts lie in packs, all of them opened."""

    def __init__(self, archive: Archive, parts: Sequence[bytes | Span], size: int) -> None:
        super().__init__(parts, content_type="application/octet-stream")
        self._archive = archive
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text; it is read for it."""
        read = self._archive.read
        parts = (part if isinstance(part, bytes) else read(part.range) for part in self._value)
        return b"".join(parts).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """The head, then one part after the other."""
        first, *parts = self._value
        if isinstance(first, bytes):
            await writer.write(first)  # with the head, in one call of the system
        else:
            writer.send_headers()
            parts = self._value
        transport = writer.transport
        straight = Straight.on(transport) if transport is not None else None
        if straight is None:  # others wait before it: a slow client
            for part in parts:
                data = part if isinstance(part, bytes) else await _read(self._archive, [part.range])
                await writer.write(memoryview(data))
            return
        try:
            for part in parts:
                await (straight.send(part) if isinstance(part, bytes) else straight.send_span(part))
        finally:
            straight.close()


def body_of(data: Buffer) -> Body | Buffer:
    """The body for a response."""
    return Body(data) if len(data) > APART else data


async def joined(request: web.Request, archive: Archive, pieces: list[Piece], total: int) -> Payload | Buffer:
    """A body of known length, so that no piece of it is still to be found. DicomError comes before a byte of it."""
    ready = [await piece.make() if isinstance(piece, Made) else piece for piece in pieces]
    parts = [piece for piece in ready if isinstance(piece, bytes | ByteRange)]
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return body_of(parts[0])
    transport = request.transport
    laid = _lay(archive, parts) if transport is not None and Straight.on(transport) is not None else None
    return body_of(await _read(archive, parts)) if laid is None else Laid(archive, laid, total)


def _lay(archive: Archive, parts: Sequence[bytes | ByteRange]) -> list[bytes | Span] | None:
    """The parts with their packs opened; None where they are small, or the disk would have to be waited for."""
    if all(isinstance(part, bytes) or part.length < _STRAIGHT for part in parts):
        return None
    laid: list[bytes | Span] = []
    for part in parts:
        if isinstance(part, bytes):
            laid.append(part)
            continue
        file = archive.retriever.opened(part)
        if file is None:
            return None
        laid.append(Span(file=file, range=part))
    return laid


async def stream(
    response: web.StreamResponse, archive: Archive, pieces: list[Piece], transport: asyncio.WriteTransport | None
) -> None:
    """Pieces of any size, made and found in their turn; others are served between two batches."""
    # In a chunked answer every part has its length before it, and is written by those who know.
    straight = Straight.on(transport) if transport is not None and response.content_length is not None else None
    try:
        await _stream(response, archive, pieces, straight)
    finally:
        if straight is not None:
            straight.close()


async def _stream(
    response: web.StreamResponse, archive: Archive, pieces: list[Piece], straight: Straight | None
) -> None:
    batch: list[bytes | ByteRange] = []
    size = unbroken = 0

    async def flush() -> None:
        nonlocal batch, size
        if batch:
            data = await _read(archive, batch)
            batch, size = [], 0
            await (response.write(memoryview(data)) if straight is None else straight.send(data))
            if len(data) >= _CHUNK:
                await asyncio.sleep(0)

    for piece in pieces:
        if isinstance(piece, Made | Later):
            await flush()
            found = [await piece.make()] if isinstance(piece, Made) else await piece.find()
            await _stream(response, archive, [*found], straight)
            continue
        for part in _split(piece):
            file = _straight_from(archive, part) if straight is not None else None
            if straight is not None and file is not None and isinstance(part, ByteRange):
                await flush()
                await straight.send_span(Span(file=file, range=part))
                unbroken += part.length
                if unbroken >= _CHUNK:
                    unbroken = 0
                    await asyncio.sleep(0)
                continue
            batch.append(part)
            size += len(part) if isinstance(part, bytes) else part.length
            if size >= _CHUNK:
                await flush()
    await flush()


def _straight_from(archive: Archive, part: bytes | ByteRange) -> PackFile | None:
    return archive.retriever.opened(part) if isinstance(part, ByteRange) and part.length >= _STRAIGHT else None


def _split(piece: bytes | ByteRange) -> Iterator[bytes | ByteRange]:
    length = len(piece) if isinstance(piece, bytes) else piece.length
    if length <= _CHUNK:
        yield piece
        return
    for start in range(0, length, _CHUNK):
        size = min(_CHUNK, length - start)
        if isinstance(piece, bytes):
            yield piece[start : start + size]
        else:
            yield ByteRange(pack=piece.pack, offset=piece.offset + start, length=size)


async def _read(archive: Archive, batch: Sequence[bytes | ByteRange]) -> Buffer:
    """The pieces as one: at once where they lie in the system's memory, else in a thread that may wait for the disk."""
    found = archive.retriever.read_now(batch)
    if found is not None:
        return found

    def read() -> bytes:
        return b"".join(part if isinstance(part, bytes) else archive.read(part) for part in batch)

    return await asyncio.to_thread(read)
