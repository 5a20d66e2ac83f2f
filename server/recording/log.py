"""The log of a recording: append-only files of encrypted chunks that are read whatever happened to their writer.

A folder holds one recording; every time that its writer begins anew it begins a new file, 0001.log and so on. A chunk
describes itself: 64 bytes of header, then AES-256-GCM of its entries and the tag. The header and the tag of the chunk
before are authenticated with it, so that none can be changed, moved, or taken out of the middle unnoticed; the last
chunk of a file says that it is the last. The key of a file comes from the recording's by HKDF with the file's salt, and
the nonce is the chunk's number: no nonce is used twice under one key.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC, VERSION = b"HZRL", 1
LAST = 1                                            # flag: the file was ended as it should be
TAG = 16
_HEADER = struct.Struct("!4sBBH16s16sIQQI")         # flags, file's number, recording, salt, chunk, first, last µs, size
_ENTRY = struct.Struct("!BIH")                      # kind, µs since the chunk's first, size
_STREAM = struct.Struct("!H")
_CLOCK = struct.Struct("!HQI")
_MEDIA, _CLOCKS, _STREAMS, _MARKS = 1, 2, 3, 4


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An RTP packet as it arrived (RFC 3550 §5.1), repairs restored, nothing waited for. `at`: µs since 1970."""

    at: int
    stream: int
    data: bytes


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """Of a sender report (RFC 3550 §6.4.1): the stream's RTP clock said `timestamp` when its sender's said `ntp`."""

    at: int
    stream: int
    ntp: int
    timestamp: int


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of a seat; repeated in every chunk. Streams with the same `clock` count NTP by the same clock.

    codecs: payload type → 'opus' | 'red' | 'vp8'.
    """

    at: int
    stream: int
    seat: str
    kind: str
    clock: int
    codecs: dict[int, str]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: 'running', 'paused' and 'ended' with a reason, or 'joined' and 'left' with a seat."""

    at: int
    what: str
    seat: str = ""
    reason: str = ""


Entry = Media | Clock | Stream | Mark


def media(stream: int, data: bytes, *, offset: int) -> bytes:
    """The bytes of a Media entry, `offset` µs after its chunk's first."""
    return _ENTRY.pack(_MEDIA, offset, 2 + len(data)) + _STREAM.pack(stream) + data


def clock(stream: int, ntp: int, timestamp: int, *, offset: int) -> bytes:
    """The bytes of a Clock entry."""
    return _ENTRY.pack(_CLOCKS, offset, _CLOCK.size) + _CLOCK.pack(stream, ntp, timestamp)


def said(value: Stream | Mark, *, offset: int) -> bytes:
    """The bytes of a Stream or Mark entry."""
    body = msgspec.msgpack.encode(value)
    return _ENTRY.pack(_STREAMS if isinstance(value, Stream) else _MARKS, offset, len(body)) + body


def _entries(plain: bytes, first: int) -> Iterator[Entry]:
    at = 0
    while at + _ENTRY.size <= len(plain):
        kind, offset, size = _ENTRY.unpack_from(plain, at)
        body = plain[at + _ENTRY.size : at + _ENTRY.size + size]
        at += _ENTRY.size + size
        moment = first + offset
        match kind:
            case 1:
                yield Media(at=moment, stream=_STREAM.unpack_from(body)[0], data=body[2:])
            case 2:
                stream, ntp, timestamp = _CLOCK.unpack(body)
                yield Clock(at=moment, stream=stream, ntp=ntp, timestamp=timestamp)
            case 3:
                yield msgspec.msgpack.decode(body, type=Stream)
            case 4:
                yield msgspec.msgpack.decode(body, type=Mark)


def _cipher(key: bytes, salt: bytes, recording: bytes) -> AESGCM:
    made = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"huizhen recording log" + recording).derive(key)
    return AESGCM(made)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)


def files(folder: Path) -> list[tuple[int, Path]]:
    """The log's files with their numbers, in order."""
    found = [(int(x.stem), x) for x in folder.glob("*.log") if x.stem.isascii() and x.stem.isdigit()]
    return sorted(found)


class Log:
    """One file, written by one thread; OSError from any call means that it ends here."""

    def __init__(self, folder: Path, *, recording: str, key: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._recording = uuid.UUID(recording).bytes
        self._salt = secrets.token_bytes(16)
        self._cipher = _cipher(key, self._salt, self._recording)
        self.number = max((number for number, _ in files(folder)), default=0) + 1
        self._chunk, self._tag = 0, bytes(TAG)
        self._file = os.open(folder / f"{self.number:04}.log", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def append(self, plain: bytes, *, first: int, last: int, ended: bool = False) -> None:
        """A chunk of entries from `first` to `last` (µs since 1970), on disk when this returns."""
        size = len(plain) + TAG
        flags = LAST if ended else 0
        header = _HEADER.pack(
            MAGIC, VERSION, flags, self.number, self._recording, self._salt, self._chunk, first, last, size
        )
        sealed = self._cipher.encrypt(_nonce(self._chunk), plain, header + self._tag)
        view = memoryview(header + sealed)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)
        self._chunk, self._tag = self._chunk + 1, sealed[-TAG:]

    def close(self) -> None:
        """Nothing more is written."""
        os.close(self._file)


@dataclass(slots=True, kw_only=True)
class Condition:
    """What a reading found: chunks that opened, chunks that did not, and files that are missing or were not ended."""

    chunks: int = 0
    damaged: int = 0
    unended: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    done: int = 0                                   # bytes read so far
    file: int = 0                                   # being read: streams and clocks are numbered per file

    @property
    def whole(self) -> bool:
        return not (self.damaged or self.unended or self.missing)


def read(folder: Path, key: bytes, condition: Condition) -> Iterator[Entry]:
    """Every entry of every chunk that opens, in the order of arrival; `condition` tells what was wrong meanwhile."""
    expected = 1
    for number, path in files(folder):
        condition.missing += range(expected, number)
        expected, condition.file = number + 1, number
        ended = False
        with path.open("rb") as file:
            if not (size := os.fstat(file.fileno()).st_size):
                condition.unended.append(number)
                continue
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
                for entries, last in _chunks(data, number, key, condition):
                    ended = last
                    yield from entries
        if not ended:
            condition.unended.append(number)


def _chunks(data: mmap.mmap, file: int, key: bytes, condition: Condition) -> Iterator[tuple[Iterator[Entry], bool]]:
    """The chunks of a file that open; after a damaged one the next beginning is looked for."""
    at = expected = 0
    began = condition.done
    while at + _HEADER.size <= len(data):
        header = data[at : at + _HEADER.size]
        magic, version, flags, number, recording, salt, chunk, first, _, size = _HEADER.unpack(header)
        end = at + _HEADER.size + size
        plain = None
        if magic == MAGIC and version == VERSION and number == file and end <= len(data):
            before = data[at - TAG : at] if at else bytes(TAG)
            with contextlib.suppress(InvalidTag):
                sealed = data[at + _HEADER.size : end]
                plain = _cipher(key, salt, recording).decrypt(_nonce(chunk), sealed, header + before)
        if plain is None:
            following = data.find(MAGIC + bytes([VERSION]), at + 1)
            if following < 0 and end > len(data):
                break                               # torn at its end, which the file's lack of a last chunk tells
            condition.damaged += 1
            if following < 0:
                break
            at = following
            expected = -1
            continue
        if expected not in {-1, chunk}:
            condition.damaged += 1
        expected = chunk + 1
        condition.chunks += 1
        condition.done = began + end
        yield _entries(plain, first), bool(flags & LAST)
        at = end
    condition.done = began + len(data)
