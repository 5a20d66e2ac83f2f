"""The keys with which reports are signed: one certificate per person, from the installation's own authority.

A key is sealed with the installation's wrapping key and lies in `signers/` of the folder; the root in `root.crt`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from consult.people import StaffId
from server.paper.authority import CertificateAuthority, SignerIdentity, open_key, seal_key
from server.paper.signer import LocalSigner
from server.storage.faults import fault

RENEW_BEFORE = timedelta(days=30)


class Keyring:
    """The authority and the signers' keys in `folder`. Thread-safe."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime]) -> None:
        self._signers = folder / "signers"
        self._signers.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clock = clock
        self._lock = Lock()
        self._open: dict[StaffId, tuple[SignerIdentity, LocalSigner]] = {}
        self.authority = CertificateAuthority.open(folder, clock=clock)
        self._wrap = _secret(folder / "wrap.key")

    def signer(
        self, staff: StaffId, *, name: str, licence: str, organisation: str
    ) -> tuple[SignerIdentity, LocalSigner]:
        """The person's certificate and hand; a new certificate at the first signature and a month before it ends."""
        with self._lock:
            held = self._open.get(staff) or self._load(staff)
            if held is None or held[0].expires - RENEW_BEFORE < self._clock():
                held = self._issue(staff, name=name, licence=licence, organisation=organisation)
            self._open[staff] = held
            return held

    def _path(self, staff: StaffId) -> Path:
        return self._signers / f"{hashlib.sha256(staff.encode()).hexdigest()}.json"

    def _load(self, staff: StaffId) -> tuple[SignerIdentity, LocalSigner] | None:
        path = self._path(staff)
        if not path.exists():
            return None
        stored = json.loads(path.read_bytes())
        identity = SignerIdentity(
            staff_id=staff,
            certificate=stored["certificate"].encode(),
            key=open_key(base64.b64decode(stored["key"]), wrap=self._wrap, staff_id=staff),
            chain=tuple(x.encode() for x in stored["chain"]),
        )
        return identity, LocalSigner(identity)

    def _issue(self, staff: StaffId, **who: str) -> tuple[SignerIdentity, LocalSigner]:
        identity = self.authority.issue_signer(staff, **who)
        sealed = seal_key(identity.key, wrap=self._wrap, staff_id=staff)
        stored = {
            "certificate": identity.certificate.decode(),
            "key": base64.b64encode(sealed).decode(),
            "chain": [x.decode() for x in identity.chain],
        }
        _write(self._path(staff), json.dumps(stored).encode())
        return identity, LocalSigner(identity)


def _secret(path: Path) -> bytes:
    if not path.exists():
        _write(path, secrets.token_bytes(32))
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by the service alone."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        fault("key_before_fsync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fault("key_before_rename")
    part.replace(path)
    fault("key_before_directory_fsync")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
