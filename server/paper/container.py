"""The CMS container of a PAdES signature, written straight in DER.

Our container has one shape, so it takes forty lines instead of the general ASN.1 model, which spends more time on it
than on the rest of the signature. verify.py does not use this file: it parses, judges and rebuilds by other means.
"""

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

_DATA = bytes.fromhex("06092a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
_SHA256 = bytes.fromhex("300d06096086480165030402010500")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_SEQUENCE, _SET, _OCTETS, _INTEGER = 0x30, 0x31, 0x04, 0x02
_VERSION_1 = b"\x02\x01\x01"


def sign_digest(
    digest: bytes, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]
) -> bytes:
    """ContentInfo with SignedData (RFC 5652 §5) over a document's SHA-256 digest of 32 bytes.

    Signed attributes: content-type, message-digest, signing-certificate-v2 (RFC 5035), as ETSI EN 319 142-1 §6.3
    asks for B-B; the signing time stands in the PDF's signature dictionary.
    """
    der = certificate.public_bytes(Encoding.DER)
    issuer = certificate.issuer.public_bytes()
    serial = _integer(certificate.serial_number)
    reference = _tlv(_SEQUENCE, _tlv(_SEQUENCE, _tlv(0xA4, issuer)), serial)
    certificate_id = _tlv(_SEQUENCE, _tlv(_OCTETS, hashlib.sha256(der).digest()), reference)
    attributes = _set(
        _attribute(_CONTENT_TYPE, _DATA),
        _attribute(_MESSAGE_DIGEST, _tlv(_OCTETS, digest)),
        _attribute(_SIGNING_CERTIFICATE_V2, _tlv(_SEQUENCE, _tlv(_SEQUENCE, certificate_id))),
    )
    # What is signed has the tag of a SET; inside SignerInfo the same bytes carry [0] (RFC 5652 §5.4).
    signature = key.sign(attributes, ec.ECDSA(hashes.SHA256()))
    signer_info = _tlv(
        _SEQUENCE,
        _VERSION_1,
        _tlv(_SEQUENCE, issuer, serial),
        _SHA256,
        b"\xa0" + attributes[1:],
        _ECDSA_SHA256,
        _tlv(_OCTETS, signature),
    )
    certificates = _set(der, *(each.public_bytes(Encoding.DER) for each in chain))
    signed_data = _tlv(
        _SEQUENCE,
        _VERSION_1,
        _set(_SHA256),
        _tlv(_SEQUENCE, _DATA),
        b"\xa0" + certificates[1:],
        _set(signer_info),
    )
    return _tlv(_SEQUENCE, _SIGNED_DATA, _tlv(0xA0, signed_data))


def _tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, definite length in its shortest form, contents (ITU-T X.690 §10.1)."""
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _set(*items: bytes) -> bytes:
    """SET OF in ascending order of encodings (ITU-T X.690 §11.6)."""
    return _tlv(_SET, *sorted(items))


def _attribute(kind: bytes, value: bytes) -> bytes:
    return _tlv(_SEQUENCE, kind, _set(value))


def _integer(value: int) -> bytes:
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
