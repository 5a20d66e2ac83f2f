"""A file at rest that is read from anywhere: AES-256-GCM in pieces of 64 KB, each with its place authenticated.

Header: magic, version, salt, size of the plain file, and a tag over these. Then the pieces: nonce, ciphertext, tag. The
file's key comes from the given one by HKDF with the salt; a piece written anew gets a new nonce. A file cut short does
not have the size that its header proves.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC, VERSION = b"HZRV", 1
PIECE = 64 << 10
NONCE, TAG = 12, 16
_HEADER = struct.Struct("!4sBxxx16sQ")
_START = _HEADER.size + NONCE + TAG
_STORED = NONCE + PIECE + TAG
_INFO = b"huizhen recording vault"


class Damaged(Exception):
    """The file is not what was written, or the key is another one."""


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=_INFO).derive(key))


def _open(file: int, key: bytes) -> tuple[AESGCM, int]:
    """The cipher and the plain size."""
    head = os.pread(file, _START, 0)
    try:
        magic, version, salt, size = _HEADER.unpack_from(head)
        if (magic, version) != (MAGIC, VERSION):
            raise Damaged("header")
        cipher = _cipher(key, salt)
        cipher.decrypt(head[_HEADER.size : _HEADER.size + NONCE], head[_HEADER.size + NONCE :], head[: _HEADER.size])
    except (struct.error, InvalidTag) as error:
        raise Damaged("header") from error
    return cipher, size


def _piece(file: int, cipher: AESGCM, number: int, size: int) -> bytes:
    """A piece's plain bytes; it must have as many as the file's size says."""
    stored = os.pread(file, _STORED, _START + number * _STORED)
    wanted = min(PIECE, size - number * PIECE)
    if len(stored) != NONCE + wanted + TAG:
        raise Damaged("piece")
    try:
        return cipher.decrypt(stored[:NONCE], stored[NONCE:], number.to_bytes(8))
    except InvalidTag as error:
        raise Damaged("piece") from error


def size(path: Path, key: bytes) -> int:
    """Bytes of the plain file; Damaged, OSError."""
    with path.open("rb") as file:
        return _open(file.fileno(), key)[1]


def read(path: Path, key: bytes, start: int, length: int) -> bytes:
    """At most `length` plain bytes from `start`, none beyond the end; Damaged, OSError."""
    with path.open("rb") as opened:
        file = opened.fileno()
        cipher, whole = _open(file, key)
        end = min(whole, start + length)
        if start >= end:
            return b""
        first = start // PIECE
        data = b"".join(_piece(file, cipher, x, whole) for x in range(first, (end - 1) // PIECE + 1))
        return data[start - first * PIECE : end - first * PIECE]


class Writer(io.RawIOBase):
    """A new vault as a file to write, to seek in and to read back; whole once `close` has returned.

    FileExistsError where there is one; OSError.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._salt = secrets.token_bytes(16)
        self._cipher = _cipher(key, self._salt)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._at = self.size = 0
        self._number, self._piece, self._changed = 0, bytearray(), False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if not 0 <= base + offset <= self.size:
            raise OSError("outside of the file")
        self._at = base + offset
        return self._at

    def write(self, data: Buffer, /) -> int:
        left = memoryview(data).cast("B")
        total = len(left)
        while left:
            self._turn(self._at // PIECE)
            place = self._at % PIECE
            part = left[: PIECE - place]
            self._piece[place : place + len(part)] = part
            self._changed = True
            self._at += len(part)
            self.size = max(self.size, self._at)
            left = left[len(part) :]
        return total

    def readinto(self, into: Buffer, /) -> int:
        target = memoryview(into).cast("B")
        self._turn(self._at // PIECE)
        place = self._at % PIECE
        part = self._piece[place : place + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _turn(self, number: int) -> None:
        """Make this the piece at hand."""
        if number == self._number:
            return
        self._store()
        known = self.size > number * PIECE
        self._piece = bytearray(_piece(self._file, self._cipher, number, self.size)) if known else bytearray()
        self._number = number

    def _store(self) -> None:
        if not self._changed:
            return
        nonce = secrets.token_bytes(NONCE)
        sealed = self._cipher.encrypt(nonce, self._piece, self._number.to_bytes(8))
        self._write(nonce + sealed, _START + self._number * _STORED)
        self._changed = False

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written

    def close(self) -> None:
        """Write what is left and the header, and sync; without effect the second time."""
        if self.closed:
            return
        try:
            self._store()
            head = _HEADER.pack(MAGIC, VERSION, self._salt, self.size)
            nonce = secrets.token_bytes(NONCE)
            self._write(head + nonce + self._cipher.encrypt(nonce, b"", head), 0)
            os.fsync(self._file)
        finally:
            os.close(self._file)
            super().close()
