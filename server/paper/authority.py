"""The installation's own certificate authority: one root, one certificate per person who signs.

It proves that this installation issued the signature to that person, and nothing about the person to the outside
world; a hospital's CA or key device can take its place behind the `Signer` port. There is no CRL and no OCSP: whoever
verifies has the root and, at the installation, the revocation list below (docs/decisions/0004-signatures.md).
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

ROOT_YEARS = 20
SIGNER_DAYS = 3 * 365
ROOT_FILE = "root.crt"
REVOKED_FILE = "revoked.json"
_AUTHORITY_FILE = "authority.pem"
_SEAL = b"HZK1"
_NAME_LIMIT = 64  # X.520 upper bound of commonName, organizationName and serialNumber


class SealBrokenError(ValueError):
    """A sealed key cannot be opened: another wrapping key, another person's key, or damaged bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerIdentity:
    """One person's certificate (PEM), private key (PKCS #8 DER) and the issuers above it (PEM, root last)."""

    staff_id: str
    certificate: bytes
    key: bytes = field(repr=False)
    chain: tuple[bytes, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate's DER, hexadecimal; what the `signature` row keeps."""
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate).serial_number

    @property
    def expires(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


class CertificateAuthority:
    """Made by `open`; thread-safe."""

    def __init__(
        self,
        folder: Path,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._lock = Lock()

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], datetime]) -> "CertificateAuthority":
        """Opens the authority in `folder`, creating it on first use. Two processes that create at once get the same.

        The root's key and certificate lie in one file (0600), written whole or not at all.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = folder / _AUTHORITY_FILE
        if not secret.exists():
            _write_once(secret, _new_root(clock()), 0o600)
        pem = secret.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the authority's key and certificate do not belong together")
        if not (folder / ROOT_FILE).exists():
            _write_once(folder / ROOT_FILE, certificate.public_bytes(Encoding.PEM), 0o644)
        return cls(folder, certificate, key, clock)

    @property
    def root(self) -> x509.Certificate:
        return self._certificate

    @property
    def root_pem(self) -> bytes:
        """The root certificate to hand to whoever verifies elsewhere; no secret."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue_signer(self, staff_id: str, *, name: str, licence: str, organisation: str) -> SignerIdentity:
        """A new key and a certificate of three years for one person. Store `key` only sealed (`seal_key`)."""
        if not staff_id or not name.strip():
            raise ValueError("a certificate needs a person")
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        attributes = [
            (NameOID.ORGANIZATION_NAME, organisation),
            (NameOID.COMMON_NAME, name),
            (NameOID.SERIAL_NUMBER, licence),
            (NameOID.USER_ID, staff_id),
        ]
        subject = x509.Name([
            x509.NameAttribute(oid, _cut(value.strip(), bytes_too=oid == NameOID.COMMON_NAME))
            for oid, value in attributes
            if value.strip()
        ])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(min(now + timedelta(days=SIGNER_DAYS), self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return SignerIdentity(
            staff_id=staff_id,
            certificate=certificate.public_bytes(Encoding.PEM),
            key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            chain=(self.root_pem,),
        )

    def revoke(self, serial: int) -> None:
        """From now on a signature of this certificate is refused; earlier ones stay genuine. Idempotent."""
        with self._lock:
            known = dict(read_revoked(self._folder))
            known.setdefault(serial, self._clock())
            text = json.dumps({f"{number:x}": at.isoformat() for number, at in sorted(known.items())}, indent=1)
            _replace(self._folder / REVOKED_FILE, text.encode())

    def revoked(self) -> Mapping[int, datetime]:
        return read_revoked(self._folder)


def _cut(value: str, *, bytes_too: bool) -> str:
    """X.520's 64 characters; for commonName the library counts bytes of UTF-8, so 21 Chinese characters."""
    value = value[:_NAME_LIMIT]
    return value.encode()[:_NAME_LIMIT].decode(errors="ignore") if bytes_too else value


def read_revoked(folder: Path) -> Mapping[int, datetime]:
    """Serial number → moment of revocation; empty when nothing was revoked."""
    try:
        entries = json.loads((folder / REVOKED_FILE).read_text())
    except FileNotFoundError:
        return {}
    return {int(number, 16): datetime.fromisoformat(at) for number, at in entries.items()}


def seal_key(key: bytes, *, wrap: bytes, staff_id: str) -> bytes:
    """AES-256-GCM under the installation's 32-byte master key, bound to the person: 4 + 12 + n + 16 bytes."""
    nonce = secrets.token_bytes(12)
    return _SEAL + nonce + AESGCM(_checked(wrap)).encrypt(nonce, key, _SEAL + staff_id.encode())


def open_key(sealed: bytes, *, wrap: bytes, staff_id: str) -> bytes:
    """The private key of `seal_key`. Raises SealBrokenError."""
    if sealed[:4] != _SEAL:
        raise SealBrokenError("not a sealed key")
    try:
        return AESGCM(_checked(wrap)).decrypt(sealed[4:16], sealed[16:], _SEAL + staff_id.encode())
    except (InvalidTag, ValueError):
        raise SealBrokenError("the sealed key cannot be opened") from None


def _checked(wrap: bytes) -> bytes:
    if len(wrap) != 32:
        raise ValueError("the wrapping key has 32 bytes")
    return wrap


def _usage(*, sign: bool) -> x509.KeyUsage:
    """Signers: digitalSignature and nonRepudiation (RFC 5280 §4.2.1.3); the root: certificates and lists."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=sign,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def _new_root(now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Huizhen"),
        x509.NameAttribute(NameOID.COMMON_NAME, f"Huizhen report signing {secrets.token_hex(4)}"),
    ])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=ROOT_YEARS * 365 + ROOT_YEARS // 4))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _write_temporary(beside: Path, data: bytes, mode: int) -> Path:
    temporary = beside.with_name(f".{beside.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """The whole file appears under its name, or the one that another process made first stays."""
    temporary = _write_temporary(path, data, mode)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def _replace(path: Path, data: bytes) -> None:
    _write_temporary(path, data, 0o600).replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
