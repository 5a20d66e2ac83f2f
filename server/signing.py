"""Signing a report: plan, print, sign, file. Only the first and the last are transactions; paper and keys lie between.

Each signer has a certificate of their own from the installation's authority, made at the first signature
(server/keyring.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.signing import SignedBy, SigningPlan, prepare_preview, prepare_signing, record_signed
from server.auth.audit import audit
from server.paper.content import ReportContent, SignerLine, content_digest
from server.printing import report_content, signer_line
from server.storage.blobs import Blobs
from server.storage.faults import fault
from server.work import Work

if TYPE_CHECKING:
    # Typesetter and signature library take a second to load: `warm` does it in the background.
    from server.keyring import Keyring
    from server.paper.render import PaperPress


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
        from server.paper.render import PaperPress

        with self._lock:
            self._press = self._press or PaperPress()
            return self._press

    def keys(self) -> Keyring:
        from server.keyring import Keyring

        with self._lock:
            self._keys = self._keys or Keyring(self._folder, clock=self._clock)
            return self._keys

    async def preview(
        self, actor: Actor, report: m.ReportId, *, verify_url: Callable[[str], str], version: int | None = None
    ) -> tuple[bytes, tuple[str, ...]]:
        """The draft as it would be printed now, unsigned, and the paths of what is still missing, which the page marks;
        raises what prepare_preview raises.
        """
        plan, lines, missing = await self._work.read(_preview, actor=actor, report=report, version=version)
        content = self._content(plan, lines, verify_url, missing=missing)
        return await asyncio.to_thread(self.press().render, content), missing

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
        self,
        plan: SigningPlan,
        lines: tuple[SignerLine, ...],
        verify_url: Callable[[str], str],
        missing: tuple[str, ...] = (),
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
            missing=missing,
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
    plan = _whole_seconds(prepare_signing(uow, actor=actor, report=report, version=version))
    return plan, _lines(uow, plan)


def _whole_seconds(plan: SigningPlan) -> SigningPlan:
    """PAdES times and the press have whole seconds; what is filed says the same as what is signed."""
    return replace(plan, signed_at=plan.signed_at.replace(microsecond=0))


def _lines(uow: UnitOfWork, plan: SigningPlan) -> tuple[SignerLine, ...]:
    return tuple(signer_line(uow, x.membership, x.part) for x in plan.signers)


def _preview(
    uow: UnitOfWork, *, actor: Actor, report: m.ReportId, version: int | None
) -> tuple[SigningPlan, tuple[SignerLine, ...], tuple[str, ...]]:
    plan, missing = prepare_preview(uow, actor=actor, report=report, version=version)
    plan = _whole_seconds(plan)
    return plan, _lines(uow, plan), missing


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
