"""Who signs: the port, and the signer whose key this installation keeps.

PAdES baseline B-B (ETSI EN 319 142-1 §6): detached CMS with the signing certificate's digest among the signed
attributes, one incremental update and one field per signer. No time-stamp authority is asked, nothing leaves the
machine; the time is the installation's own.
"""

import asyncio
import io
from datetime import datetime
from typing import Protocol

from asn1crypto import keys, pem
from asn1crypto import x509 as asn1_x509
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.signers import PdfSigner, SimpleSigner
from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata
from pyhanko_certvalidator.registry import SimpleCertificateStore

from server.paper.authority import SignerIdentity

# Hexadecimal digits kept free for the CMS container; ours has about 2 kB (two certificates, long names included).
_RESERVED = 12_288


class Signer(Protocol):
    """A person's hand. A key device or a hospital's signing service implements the same call."""

    def sign(self, pdf: bytes, *, reason: str, location: str, at: datetime) -> bytes:
        """The file with one signature more; `at` is aware. Earlier signatures stay valid. May take tens of ms."""
        ...


class LocalSigner:
    """Signs with a key from the installation's own authority. Thread-safe; holds the opened key in memory."""

    def __init__(self, identity: SignerIdentity) -> None:
        self._certificate = _certificate(identity.certificate)
        self._key = keys.PrivateKeyInfo.load(identity.key)
        self._chain = tuple(_certificate(item) for item in identity.chain)

    def sign(self, pdf: bytes, *, reason: str, location: str, at: datetime) -> bytes:
        """See `Signer.sign`. Call it outside the event loop. Raises ValueError for a time without zone."""
        if at.tzinfo is None:
            raise ValueError("the signing time carries its zone")
        registry = SimpleCertificateStore()
        registry.register_multiple(self._chain)
        signer = SimpleSigner(
            signing_cert=self._certificate, signing_key=self._key, cert_registry=registry, embed_roots=True
        )
        writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
        field = f"Signature{len(writer.prev.embedded_signatures) + 1}"
        metadata = PdfSignatureMetadata(
            field_name=field,
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            reason=reason,
            location=location,
        )
        pdf_signer = PdfSigner(metadata, signer, new_field_spec=SigFieldSpec(field))
        return asyncio.run(_sign(pdf_signer, writer, at.replace(microsecond=0)))


async def _sign(pdf_signer: PdfSigner, writer: IncrementalPdfFileWriter, at: datetime) -> bytes:
    """The steps of PdfSigner.async_sign_pdf with our own clock in place of the system's."""
    session = pdf_signer.init_signing_session(writer)
    session.system_time = at
    document = session.prepare_tbs_document(validation_info=None, bytes_reserved=_RESERVED)
    prepared, output = document.digest_tbs_document()
    await document.perform_signature(
        document_digest=prepared.document_digest,
        pdf_cms_signed_attrs=PdfCMSSignedAttributes(signing_time=at),
    )
    return bytes(output.getvalue())


def _certificate(data: bytes) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(pem.unarmor(data)[2])
