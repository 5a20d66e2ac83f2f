"""The installation's authority: made once, kept whole, keys sealed."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from server.paper.authority import CertificateAuthority, SealBrokenError, open_key, seal_key
from tests.paper.samples import ISSUED


def clock():
    return ISSUED


def test_the_authority_is_made_once_and_opened_again(tmp_path):
    first = CertificateAuthority.open(tmp_path / "ca", clock=clock)
    again = CertificateAuthority.open(tmp_path / "ca", clock=clock)
    assert first.root == again.root
    assert (tmp_path / "ca" / "root.crt").read_bytes() == first.root_pem
    assert os.stat(tmp_path / "ca" / "authority.pem").st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in (tmp_path / "ca" / "root.crt").read_bytes()
    assert first.root.not_valid_after_utc - ISSUED > timedelta(days=20 * 365)
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == ["authority.pem", "root.crt"]


def test_many_openers_at_once_get_one_authority(tmp_path):
    roots = []
    threads = [
        threading.Thread(target=lambda: roots.append(CertificateAuthority.open(tmp_path, clock=clock).root))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(roots) == 6
    assert len({root.serial_number for root in roots}) == 1


def test_a_signer_certificate_names_the_person_and_may_only_sign(tmp_path):
    authority = CertificateAuthority.open(tmp_path, clock=clock)
    identity = authority.issue_signer("staff-1", name="王" * 80, licence="1103", organisation="市第一人民医院")
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    certificate.verify_directly_issued_by(authority.root)
    names = {attribute.oid: attribute.value for attribute in certificate.subject}
    assert names == {
        NameOID.ORGANIZATION_NAME: "市第一人民医院",
        NameOID.COMMON_NAME: "王" * 21,
        NameOID.SERIAL_NUMBER: "1103",
        NameOID.USER_ID: "staff-1",
    }
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.content_commitment
    assert not usage.key_cert_sign
    assert identity.expires == certificate.not_valid_after_utc
    assert "PRIVATE" not in repr(identity)      # three letters alone may stand in the certificate's base64
    with pytest.raises(ValueError, match="person"):
        authority.issue_signer("staff-1", name=" ", licence="", organisation="")


def test_a_sealed_key_opens_only_for_its_person_with_its_wrapping_key():
    wrap = bytes(range(32))
    sealed = seal_key(b"secret key", wrap=wrap, staff_id="staff-1")
    assert b"secret" not in sealed
    assert open_key(sealed, wrap=wrap, staff_id="staff-1") == b"secret key"
    assert seal_key(b"secret key", wrap=wrap, staff_id="staff-1") != sealed
    for broken, key, person in (
        (sealed, wrap, "staff-2"),
        (sealed, bytes(32), "staff-1"),
        (sealed[:-1], wrap, "staff-1"),
        (b"HZK1", wrap, "staff-1"),
        (b"", wrap, "staff-1"),
        (sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:], wrap, "staff-1"),
    ):
        with pytest.raises(SealBrokenError):
            open_key(broken, wrap=key, staff_id=person)
    with pytest.raises(ValueError, match="32"):
        seal_key(b"x", wrap=b"short", staff_id="a")


def test_revocation_is_remembered_with_its_first_moment(tmp_path):
    now = [ISSUED]
    authority = CertificateAuthority.open(tmp_path, clock=lambda: now[0])
    authority.revoke(77)
    now[0] += timedelta(days=1)
    authority.revoke(77)
    authority.revoke(255)
    assert CertificateAuthority.open(tmp_path, clock=clock).revoked() == {
        77: ISSUED, 255: ISSUED + timedelta(days=1),
    }  # fmt: skip
