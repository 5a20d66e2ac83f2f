"""Who signs: the port, and the signer whose key this installation keeps.

PAdES baseline B-B (ETSI EN 319 142-1 §6): detached CMS with the signing certificate's digest among the signed
attributes, one incremental update and one field per signer. No time-stamp authority is asked, nothing leaves the
machine; the time is the installation's own.
"""

import io
from datetime import datetime
from typing import Protocol

from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigFieldSpec, SigSeedSubFilter
from pyhanko.sign.signers import PdfSigner
from pyhanko.sign.signers.pdf_cms import ExternalSigner
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata
from pyhanko_certvalidator.registry import SimpleCertificateStore

from server.paper.authority import SignerIdentity
from server.paper.container import sign_digest

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
        key = load_der_private_key(identity.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority issues keys on P-256 only")
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(identity.certificate)
        self._chain = tuple(x509.load_pem_x509_certificate(item) for item in identity.chain)
        self._named = asn1_x509.Certificate.load(pem.unarmor(identity.certificate)[2])

    def sign(self, pdf: bytes, *, reason: str, location: str, at: datetime) -> bytes:
        """See `Signer.sign`. Raises ValueError for a time without zone.

        pyHanko writes field, signature dictionary and byte range; the container is ours.
        """
        if at.tzinfo is None:
            raise ValueError("the signing time carries its zone")
        writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
        field = f"Signature{len(writer.prev.embedded_signatures) + 1}"
        metadata = PdfSignatureMetadata(
            field_name=field,
            md_algorithm="sha256",
            subfilter=SigSeedSubFilter.PADES,
            reason=reason,
            location=location,
        )
        signer = ExternalSigner(signing_cert=self._named, cert_registry=SimpleCertificateStore(), signature_value=None)
        session = PdfSigner(metadata, signer, new_field_spec=SigFieldSpec(field)).init_signing_session(writer)
        session.system_time = at.replace(microsecond=0)
        document = session.prepare_tbs_document(validation_info=None, bytes_reserved=_RESERVED)
        prepared, output = document.digest_tbs_document()
        prepared.fill_with_cms(
            output, sign_digest(prepared.document_digest, self._certificate, self._key, self._chain)
        )
        return bytes(output.getvalue())
