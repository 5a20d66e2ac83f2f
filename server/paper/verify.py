"""Is this paper genuine? Any changed byte, anything added later, any foreign certificate must show.

pyHanko judges digest, signature, certificate path and what later revisions did. Two places lie outside every PDF
signature's digest, and we hold those to the letter ourselves: the container's hexadecimal digits must be exactly
what a signer writes, and its fields must be the only encoding of what was verified.
"""

import asyncio
import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from asn1crypto import cms, pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.validation import EmbeddedPdfSignature, async_validate_pdf_signature
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko.sign.validation.status import PdfSignatureStatus, SignatureCoverageLevel
from pyhanko_certvalidator import ValidationContext

from server.paper.authority import ROOT_FILE, read_revoked
from server.paper.content import Language

MAX_BYTES = 64 * 1024 * 1024
_KEYWORD = re.compile(r"huizhen-content-sha256:([0-9a-f]{64})")
_END = re.compile(rb"%%EOF\r?\n?")

# It would write the names on refused certificates into our log.
logging.getLogger("pyhanko").setLevel(logging.CRITICAL)
logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)

Root = x509.Certificate | Path | bytes


class Reason(StrEnum):
    GENUINE = "genuine"
    UNREADABLE = "unreadable"
    UNSIGNED = "unsigned"
    ALTERED = "altered"
    APPENDED = "appended"
    UNKNOWN_SIGNER = "unknown_signer"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerFound:
    """From the certificate, not from the page. `at` is the time the signer's machine wrote."""

    staff_id: str
    name: str
    licence: str
    organisation: str
    fingerprint: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`signers`: those whose signature holds, in order; `content_digest`: of the canonical content, "" if unknown."""

    genuine: bool
    reason: Reason
    signers: tuple[SignerFound, ...] = ()
    signed_at: datetime | None = None
    changed_after_signing: bool = False
    content_digest: str = ""


class _RefusedError(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def verify_pdf(pdf: bytes, *, roots: Sequence[Root], revoked: Mapping[int, datetime] | None = None) -> Verdict:
    """Judges the file as it is; never raises on what it holds. Call it outside the event loop (20–60 ms a signature).

    roots: certificates trusted as issuers (objects, PEM bytes or files of them). revoked: serial number → moment.
    """
    if _inside_loop():
        raise RuntimeError("verify_pdf is synchronous: call it in a thread")
    trusted = [_load_root(root) for root in roots]
    verdict = _judge(pdf, trusted, revoked or {})
    if verdict.reason not in {Reason.APPENDED, Reason.UNREADABLE, Reason.UNSIGNED}:
        return verdict
    # Something may have been put behind a genuine file: look whether an earlier end makes it whole again.
    ends = [found.end() for found in _END.finditer(pdf) if found.end() < len(pdf)]
    for end in reversed(ends[-8:]):
        earlier = _judge(pdf[:end], trusted, revoked or {})
        if earlier.genuine:
            return Verdict(
                genuine=False,
                reason=Reason.APPENDED,
                signers=earlier.signers,
                signed_at=earlier.signed_at,
                changed_after_signing=True,
                content_digest=earlier.content_digest,
            )
    return verdict


def verify_file(
    data: bytes, *, folder: Path, language: Language | None = None
) -> tuple[bool, list[str]]:
    """(genuine, lines to print) of a file's bytes, offline, against the authority in `folder` (its root.crt is enough).

    Without `language` every sentence comes in Chinese and in English. Raises FileNotFoundError without a root.
    """
    from server.paper.verify_words import describe

    verdict = verify_pdf(data, roots=[folder / ROOT_FILE], revoked=read_revoked(folder))
    languages: Sequence[Language] = ("zh", "en") if language is None else (language,)
    return verdict.genuine, [line for each in languages for line in describe(verdict, each)]


def _judge(pdf: bytes, trusted: Sequence[asn1_x509.Certificate], revoked: Mapping[int, datetime]) -> Verdict:
    found: list[SignerFound] = []
    appended = False
    try:
        if len(pdf) > MAX_BYTES or not pdf.startswith(b"%PDF-"):
            raise _RefusedError(Reason.UNREADABLE)
        reader = PdfFileReader(io.BytesIO(pdf))
        signatures = sorted(reader.embedded_signatures, key=_signed_end)
        if not signatures:
            raise _RefusedError(Reason.UNSIGNED)
        last = signatures[-1]
        appended = _signed_end(last) < len(pdf)
        for signature in signatures:
            found.append(_check_one(pdf, signature, trusted, revoked, last=signature is last))
        digest = _content_digest(reader)
    except _RefusedError as refused:
        return _refusal(Reason.APPENDED if appended else refused.reason, found)
    except Exception:  # a changed file may break any parser anywhere; whatever broke, the file is not genuine
        return _refusal(Reason.APPENDED if appended else Reason.UNREADABLE, found)
    return Verdict(
        genuine=True, reason=Reason.GENUINE, signers=tuple(found), signed_at=found[-1].at, content_digest=digest
    )


def _signed_end(signature: EmbeddedPdfSignature) -> int:
    """Offset behind the last byte under this signature's digest (ISO 32000-1 §12.8.1, ByteRange)."""
    return int(signature.byte_range[2]) + int(signature.byte_range[3])


def _refusal(reason: Reason, found: list[SignerFound]) -> Verdict:
    return Verdict(
        genuine=False,
        reason=reason,
        signers=tuple(found),
        signed_at=found[-1].at if found else None,
        changed_after_signing=reason in {Reason.ALTERED, Reason.APPENDED},
    )


def _check_one(
    pdf: bytes,
    signature: EmbeddedPdfSignature,
    trusted: Sequence[asn1_x509.Certificate],
    revoked: Mapping[int, datetime],
    *,
    last: bool,
) -> SignerFound:
    at = signature.self_reported_timestamp
    if at is None or at.tzinfo is None or str(signature.sig_object["/SubFilter"]) != "/ETSI.CAdES.detached":
        raise _RefusedError(Reason.ALTERED)
    # A signature is judged at its own moment: a report stays genuine after its signer's certificate has run out.
    context = ValidationContext(
        trust_roots=trusted, allow_fetching=False, moment=at, best_signature_time=at, revocation_mode="soft-fail"
    )
    status: PdfSignatureStatus = asyncio.run(
        async_validate_pdf_signature(
            signature,
            signer_validation_context=context,
            key_usage_settings=KeyUsageConstraints(key_usage={"non_repudiation"}),
            skip_diff=last,
        )
    )
    if not (status.intact and status.valid):
        raise _RefusedError(Reason.ALTERED)
    if not status.trusted:
        raise _RefusedError(Reason.UNKNOWN_SIGNER)
    if last:
        if status.coverage is not SignatureCoverageLevel.ENTIRE_FILE:
            raise _RefusedError(Reason.APPENDED)
    elif (
        status.coverage is not SignatureCoverageLevel.ENTIRE_REVISION
        or status.modification_level is None
        or status.modification_level > ModificationLevel.FORM_FILLING
    ):
        raise _RefusedError(Reason.ALTERED)
    _check_container(pdf, signature, status)
    certificate = signature.signer_cert
    if certificate.serial_number in revoked and at >= revoked[certificate.serial_number]:
        raise _RefusedError(Reason.REVOKED)
    return _signer(certificate, at)


def _check_container(pdf: bytes, signature: EmbeddedPdfSignature, status: PdfSignatureStatus) -> None:
    """The bytes between the two signed ranges are `<`, digits of the one DER encoding in one case, zeros, `>`."""
    start, end = int(signature.byte_range[1]), int(signature.byte_range[2])
    digits = _only_encoding(signature, status).hex().ljust(end - start - 2, "0")
    if pdf[start:end] not in {f"<{digits}>".encode(), f"<{digits.upper()}>".encode()}:
        raise _RefusedError(Reason.ALTERED)


def _only_encoding(signature: EmbeddedPdfSignature, status: PdfSignatureStatus) -> bytes:
    """The SignedData (RFC 5652 §5) rebuilt from what was verified; unverified room to hide in is left out.

    The signature algorithm follows from the key and the digest, so its identifier leaves no choice either.
    """
    info = signature.signer_info
    signer = signature.signer_cert
    path = {each.dump() for each in status.validation_path or ()} | {signer.dump()}
    embedded = [each.chosen.dump() for each in signature.signed_data["certificates"]]
    if not set(embedded) <= path:
        raise _RefusedError(Reason.ALTERED)
    digest = str(info["digest_algorithm"]["algorithm"].native)
    algorithm = {"ec": f"{digest}_ecdsa", "rsa": f"{digest}_rsa"}[signer.public_key.algorithm]
    signed_data: dict[str, Any] = {
        "version": "v1",
        "digest_algorithms": [{"algorithm": digest}],
        "encap_content_info": {"content_type": "data"},
        "certificates": [
            cms.CertificateChoices(name="certificate", value=asn1_x509.Certificate.load(each)) for each in embedded
        ],
        "signer_infos": [
            {
                "version": "v1",
                "sid": cms.SignerIdentifier({
                    "issuer_and_serial_number": cms.IssuerAndSerialNumber({
                        "issuer": signer.issuer,
                        "serial_number": signer.serial_number,
                    })
                }),
                "digest_algorithm": {"algorithm": digest},
                "signature_algorithm": {"algorithm": algorithm},
                "signed_attrs": info["signed_attrs"],
                "signature": info["signature"].native,
            }
        ],
    }
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed_data)}).dump())


def _signer(certificate: asn1_x509.Certificate, at: datetime) -> SignerFound:
    subject = certificate.subject.native

    def text(key: str) -> str:
        value = subject.get(key, "")
        return value if isinstance(value, str) else "/".join(map(str, value))

    return SignerFound(
        staff_id=text("user_id"),
        name=text("common_name"),
        licence=text("serial_number"),
        organisation=text("organization_name"),
        fingerprint=certificate.sha256.hex(),
        at=at,
    )


def _content_digest(reader: PdfFileReader) -> str:
    """From the document information's keywords, where render.py put it."""
    found = _KEYWORD.search(str(reader.trailer["/Info"].get("/Keywords", "")))
    return found[1] if found else ""


def _load_root(root: Root) -> asn1_x509.Certificate:
    if isinstance(root, x509.Certificate):
        return asn1_x509.Certificate.load(root.public_bytes(Encoding.DER))
    data = root.read_bytes() if isinstance(root, Path) else root
    return asn1_x509.Certificate.load(pem.unarmor(data)[2] if pem.detect(data) else data)


def _inside_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
