"""Signing a report: plan, print, sign, file. Only the first and the last are transactions; paper and keys lie between.

Each signer has a certificate of their own from the installation's authority, made at the first signature. Its key is
sealed with the installation's wrapping key and lies in `data/keys/signers/`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from threading import Lock

from consult import model as m
from consult.people import Actor, StaffId
from consult.ports import UnitOfWork
from consult.signing import SignedBy, SigningPlan, prepare_signing, record_signed
from server.auth.audit import audit
from server.paper.authority import CertificateAuthority, SignerIdentity, open_key, seal_key
from server.paper.content import ReportContent, SignerLine, content_digest
from server.paper.render import PaperPress
from server.paper.signer import LocalSigner
from server.printing import report_content, signer_line
from server.storage.blobs import Blobs
from server.storage.faults import fault
from server.work import Work

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
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Signing:
    """Prints and signs. One instance per application; `warm` may run in the background after start."""

    def __init__(
        self, work: Work, blobs: Blobs, folder: Path, *, clock: Callable[[], datetime], zone: tzinfo, demo: bool
    ) -> None:
        self._work = work
        self._blobs = blobs
        self._folder = folder
        self._clock = clock
        self._zone = zone
        self._demo = demo
        self._lock = Lock()
        self._press: PaperPress | None = None
        self._keys: Keyring | None = None

    def warm(self) -> None:
        """Load fonts and the authority, so that nobody's first signature waits for them. Blocks."""
        self.press()
        self.keys()

    def press(self) -> PaperPress:
        with self._lock:
            self._press = self._press or PaperPress()
            return self._press

    def keys(self) -> Keyring:
        with self._lock:
            self._keys = self._keys or Keyring(self._folder, clock=self._clock)
            return self._keys

    async def preview(self, actor: Actor, report: m.ReportId, *, verify_url: Callable[[str], str]) -> bytes:
        """The draft as it would be printed now, unsigned; raises what prepare_signing raises."""
        plan, lines = await self._work.read(_plan, actor=actor, report=report, version=None)
        content = self._content(plan, lines, verify_url)
        return await asyncio.to_thread(self.press().render, content)

    async def sign(
        self, actor: Actor, report: m.ReportId, version: int, *, verify_url: Callable[[str], str]
    ) -> m.ReportVersion:
        """The signed, filed, delivered version. Raises Stale, Invalid, WrongState, Conflict; nothing half is kept."""
        plan, lines = await self._work.read(_plan, actor=actor, report=report, version=version)
        pdf, digest, signed_by = await asyncio.to_thread(self._paper, plan, lines, verify_url)
        fault("report_before_record")
        filed = await self._work.run(
            _record,
            actor=actor,
            plan=plan,
            pdf=pdf,
            content_digest=digest,
            signed_by=signed_by,
        )
        fault("report_after_record")
        return filed

    def _content(
        self, plan: SigningPlan, lines: tuple[SignerLine, ...], verify_url: Callable[[str], str]
    ) -> ReportContent:
        return report_content(
            plan.content,
            n=plan.n,
            status=plan.status,
            reason=plan.reason,
            code=plan.code,
            verify_url=verify_url(plan.code),
            issued_at=plan.signed_at,
            signers=lines,
            read_blob=lambda digest: self._blobs.open(digest).read_bytes(),
            zone=self._zone,
            demo=self._demo,
        )

    def _paper(
        self, plan: SigningPlan, lines: tuple[SignerLine, ...], verify_url: Callable[[str], str]
    ) -> tuple[bytes, str, list[SignedBy]]:
        content = self._content(plan, lines, verify_url)
        pdf = self.press().render(content)
        signed_by = []
        for signer, line in zip(plan.signers, lines, strict=True):
            identity, hand = self.keys().signer(
                signer.staff, name=line.name, licence=line.licence, organisation=line.organisation
            )
            pdf = hand.sign(pdf, reason=content.number, location=line.organisation, at=plan.signed_at)
            signed_by.append(SignedBy(membership=signer.membership, certificate=identity.fingerprint))
        return pdf, content_digest(content), signed_by


def _plan(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int | None
) -> tuple[SigningPlan, tuple[SignerLine, ...]]:
    plan = prepare_signing(uow, actor=actor, report=report, version=version)
    # PAdES times have whole seconds; what is filed says the same as what is signed.
    plan = replace(plan, signed_at=plan.signed_at.replace(microsecond=0))
    return plan, tuple(signer_line(uow, x.membership, x.part) for x in plan.signers)


def _record(
    uow: UnitOfWork, *, actor: Actor, plan: SigningPlan, pdf: bytes, content_digest: str, signed_by: list[SignedBy]
) -> m.ReportVersion:
    version = record_signed(
        uow,
        actor=actor,
        plan=plan,
        pdf=pdf,
        pdf_digest=hashlib.sha256(pdf).hexdigest(),
        content_digest=content_digest,
        signed_by=signed_by,
    )
    detail = {"report_version": version.id, "n": version.n}
    audit(uow, actor, "report.sign", f"consultation:{version.consultation}", detail=detail)
    return version
