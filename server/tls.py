"""Encryption for `--tls`: a certificate of ours under a local CA whose root people install, or given files.

Browsers open camera and microphone only in a secure context, so a clinic on its own network needs this. The CA's
key lies in the data folder (mode 0600), signs only this machine's names, and lives ten years; the server's
certificate 397 days (the longest browsers accept), renewed at start when names change or 30 days are left.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.settings import SettingsError

ROOT_DAYS = 3650
LEAF_DAYS = 397
RENEW_DAYS = 30
SIOCGIFADDR = 0x8915      # netdevice(7), Linux


class TlsError(SettingsError):
    """The certificate cannot be used; the text says which file and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCertificate:
    """Paths of what `lan_certificate` made or found."""

    root: Path
    chain: Path
    key: Path


def lan_names() -> tuple[str, ...]:
    """Names and addresses under which this machine is reached: loopback, host name, addresses of its interfaces."""
    names = {"localhost", "clinic.localhost", "expert.localhost", "tech.localhost", "127.0.0.1", "::1"}
    host = socket.gethostname()
    names |= {host, f"{host}.local"}
    try:
        for *_kind, address in socket.getaddrinfo(host, None):
            names.add(str(address[0]).partition("%")[0])
    except OSError:
        pass
    names |= set(network_addresses())
    return tuple(sorted(names))


def network_addresses() -> tuple[str, ...]:
    """IPv4 addresses under which others reach this machine, the one that leads out first."""
    found = [outward] if (outward := outward_address()) else []
    with suppress(ImportError, OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        import fcntl

        for _, name in socket.if_nameindex():
            with suppress(OSError):     # an interface without an address
                answer = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return tuple(dict.fromkeys(text for text in found if not ipaddress.ip_address(text).is_loopback))


def outward_address() -> str | None:
    """The address of the interface that leads out of this machine. No packet is sent: a UDP socket only asks the
    routing table (192.0.2.1 is reserved for documentation, RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def lan_certificate(folder: Path, names: Sequence[str], *, now: datetime | None = None) -> LocalCertificate:
    """The local CA and a server certificate for `names`, made or renewed as needed in `folder`."""
    moment = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root_file, root_key_file = folder / "root.crt", folder / "root.key"
    chain_file, key_file = folder / "server.crt", folder / "server.key"
    if not (root_file.is_file() and root_key_file.is_file()):
        make_root(root_file, root_key_file, moment)
    root = x509.load_pem_x509_certificate(root_file.read_bytes())
    if not still_good(chain_file, key_file, root, names, moment):
        root_key = serialization.load_pem_private_key(root_key_file.read_bytes(), password=None)
        if not isinstance(root_key, ec.EllipticCurvePrivateKey):
            raise TlsError(f"{root_key_file}: not a key of ours; move the folder away and start again")
        make_leaf(chain_file, key_file, root, root_key, names, moment)
    return LocalCertificate(root=root_file, chain=chain_file, key=key_file)


def make_root(root_file: Path, key_file: Path, moment: datetime) -> None:
    """A new CA, P-256, for signing server certificates alone (path length 0)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Huizhen local CA {moment:%Y-%m-%d}")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, pem_of(key))
    root_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def make_leaf(
    chain_file: Path,
    key_file: Path,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
    moment: datetime,
) -> None:
    """A server certificate for `names`, with the root behind it in the chain file."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Huizhen")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(min(moment + timedelta(days=LEAF_DAYS), root.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    write_private(key_file, pem_of(key))
    pem = serialization.Encoding.PEM
    chain_file.write_bytes(certificate.public_bytes(pem) + root.public_bytes(pem))


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """RFC 5280 §4.2.1.3: a CA signs certificates, a server signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(name: str) -> x509.GeneralName:
    """An address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def still_good(
    chain_file: Path, key_file: Path, root: x509.Certificate, names: Sequence[str], moment: datetime
) -> bool:
    """The certificate at hand is this root's, names everything wanted and is not about to end."""
    if not (chain_file.is_file() and key_file.is_file()):
        return False
    try:
        leaf = x509.load_pem_x509_certificates(chain_file.read_bytes())[0]
        leaf.verify_directly_issued_by(root)
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        return False
    wanted = {general_name(name) for name in names}
    return wanted <= set(held) and leaf.not_valid_after_utc > moment + timedelta(days=RENEW_DAYS)


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: the disk is."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> None:
    """Write a file only its owner can read, from its first moment."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def server_context(chain: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and newer with this certificate; TlsError when the files cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(chain, key)
    except ssl.SSLError as error:
        raise TlsError(f"{chain}, {key}: no PEM certificate with its key ({error.reason or error})") from error
    except OSError as error:
        raise TlsError(f"{chain}, {key}: {error.strerror or error}") from error
    return context
