"""Secrets that the server itself must be able to read again (tokens of other systems, keys of recordings), sealed in
the database; and marks that only this installation can make.

The key lies in the key folder, not beside the data: a copy of the database alone opens nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

_MARK = "s1:"


class SealError(Exception):
    """The sealed text is damaged, or was sealed with another key or for another owner."""


def _key(folder: Path) -> bytes:
    """32 bytes, made once: the whole file appears under its name, or the one made first stays."""
    path = folder / "secrets.key"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = folder / f".secrets.{secrets.token_hex(6)}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(32))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return path.read_bytes()


def seal(folder: Path, text: str, *, owner: str) -> str:
    """`text` in a form only this installation opens, and only for `owner`; '' stays ''."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not text:
        return ""
    nonce = secrets.token_bytes(12)
    return _MARK + base64.b64encode(nonce + AESGCM(_key(folder)).encrypt(nonce, text.encode(), owner.encode())).decode()


def unseal(folder: Path, sealed: str, *, owner: str) -> str:
    """The text of `seal`. Raises SealError."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not sealed:
        return ""
    try:
        raw = base64.b64decode(sealed.removeprefix(_MARK), validate=True)
        return AESGCM(_key(folder)).decrypt(raw[:12], raw[12:], owner.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise SealError("the sealed text cannot be opened") from error


def mark(folder: Path, text: str) -> str:
    """HMAC-SHA256 (RFC 2104) of `text` in hex, under a key derived from the installation's: whoever can write the
    database alone cannot make one.
    """
    key = hmac.digest(_key(folder), b"huizhen marks", hashlib.sha256)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
