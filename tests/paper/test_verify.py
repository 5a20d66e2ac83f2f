"""A genuine paper is known as such, by us and by poppler; anything else is told apart."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.paper.authority import CertificateAuthority
from server.paper.content import content_digest
from server.paper.signer import LocalSigner
from server.paper.verify import Reason, verify_file, verify_pdf
from tests.needs import need_program
from tests.paper.samples import ISSUED, full_report


def judge(office, pdf, **more):
    return verify_pdf(pdf, roots=[office.authority.root], **more)


def test_a_report_of_two_signers_is_genuine(office):
    verdict = judge(office, office.signed_twice)
    assert verdict.genuine
    assert verdict.reason is Reason.GENUINE
    assert [(s.staff_id, s.name, s.licence, s.organisation) for s in verdict.signers] == [
        ("staff-1", "王海涛", "110310100012345", "市第一人民医院"),
        ("staff-2", "陈思远", "110310100054321", "市第一人民医院"),
    ]
    assert verdict.signed_at == ISSUED
    assert not verdict.changed_after_signing
    assert verdict.content_digest == content_digest(full_report(key_images=()))


def test_the_second_signature_leaves_the_first_file_as_it_was(office):
    assert office.signed_twice.startswith(office.signed_once)
    assert office.signed_once.startswith(office.unsigned)
    assert judge(office, office.signed_once).genuine


def test_an_unsigned_page_and_rubbish_are_not_genuine(office):
    assert judge(office, office.unsigned).reason is Reason.UNSIGNED
    for rubbish in (b"", b"not a PDF", b"%PDF-1.7\n", office.signed_once[:-2000], office.signed_once[: len(office.unsigned) // 2]):
        verdict = judge(office, rubbish)
        assert not verdict.genuine
        assert verdict.signers == ()


def test_a_signature_of_another_installation_is_unknown(office, tmp_path):
    stranger = CertificateAuthority.open(tmp_path, clock=lambda: ISSUED)
    identity = stranger.issue_signer("staff-1", name="王海涛", licence="110310100012345", organisation="市第一人民医院")
    forged = LocalSigner(identity).sign(office.unsigned, reason="x", location="y", at=ISSUED)
    assert judge(office, forged).reason is Reason.UNKNOWN_SIGNER
    mixed = LocalSigner(identity).sign(office.signed_once, reason="x", location="y", at=ISSUED)
    verdict = judge(office, mixed)
    assert not verdict.genuine
    assert verdict.reason is Reason.UNKNOWN_SIGNER
    assert verify_pdf(forged, roots=[stranger.root_pem]).genuine


def test_a_signature_dated_outside_the_certificates_life_is_not_genuine(office):
    for at in (ISSUED - timedelta(days=2), ISSUED + timedelta(days=4 * 365)):
        pdf = office.expert.sign(office.unsigned, reason="x", location="y", at=at)
        assert not judge(office, pdf).genuine


def test_revocation_counts_from_its_moment_on(office):
    before = judge(office, office.signed_twice, revoked={office.expert_serial: ISSUED + timedelta(seconds=1)})
    assert before.genuine
    after = judge(office, office.signed_twice, revoked={office.expert_serial: ISSUED})
    assert not after.genuine
    assert after.reason is Reason.REVOKED


@pytest.mark.parametrize("addition", [b"\n", b"x", b"%%EOF\n", b"\0" * 2000, b"\n%%EOF\n%%EOF\n"])
def test_bytes_added_at_the_end_are_found(office, addition):
    verdict = judge(office, office.signed_twice + addition)
    assert verdict.reason is Reason.APPENDED
    assert verdict.changed_after_signing
    assert [signer.name for signer in verdict.signers] == ["王海涛", "陈思远"]


def test_an_incremental_update_after_signing_is_found(office):
    import io

    from pyhanko.pdf_utils import generic
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

    writer = IncrementalPdfFileWriter(io.BytesIO(office.signed_once))
    page = writer.root["/Pages"]["/Kids"][0].get_object()
    page["/Rotate"] = generic.NumberObject(180)
    writer.update_container(page)
    out = io.BytesIO()
    writer.write(out)
    assert judge(office, out.getvalue()).reason is Reason.APPENDED
    # ... even when a genuine signer signs over what somebody slipped in between
    resigned = office.reviewer.sign(out.getvalue(), reason="x", location="y", at=ISSUED)
    verdict = judge(office, resigned)
    assert not verdict.genuine
    assert verdict.changed_after_signing


def gaps(pdf: bytes) -> list[tuple[int, int]]:
    """Where the signature containers stand: the only bytes outside every digest."""
    found = []
    at = 0
    while (start := pdf.find(b"/Contents <", at)) >= 0:
        end = pdf.index(b">", start)
        found.append((start + 10, end + 1))
        at = end
    return found


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_is_found(office, where, change):
    pdf = bytearray(office.signed_twice)
    pdf[int(where * len(pdf))] ^= change
    assert not judge(office, bytes(pdf)).genuine


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_of_the_signature_container_is_found(office, where, change):
    pdf = bytearray(office.signed_once)
    ((start, end),) = gaps(office.signed_once)
    filled = bytes(pdf[start:end]).rstrip(b"0>")
    # two thirds of the examples on the encoded part, the rest on its padding
    span = len(filled) if where < 0.67 else end - start
    pdf[start + int(where / (0.67 if where < 0.67 else 1) * span)] ^= change
    assert not judge(office, bytes(pdf)).genuine


def test_another_spelling_of_the_container_is_found(office):
    pdf = office.signed_once
    ((start, end),) = gaps(pdf)
    digits = pdf[start:end]
    letter = next(i for i, digit in enumerate(digits) if digit in b"ABCDEF")
    for other in (
        digits[:letter] + bytes([digits[letter] | 0x20]) + digits[letter + 1 :],
        digits[:-2] + b"1>",
        digits[:-3] + b" 0>",
    ):
        assert len(other) == len(digits)
        assert not judge(office, pdf[:start] + other + pdf[end:]).genuine


def test_poppler_agrees(office, tmp_path):
    pdfsig = need_program("pdfsig", "poppler-utils")
    path = tmp_path / "report.pdf"

    def says(pdf: bytes) -> str:
        path.write_bytes(pdf)
        done = subprocess.run([pdfsig, "-nocert", str(path)], capture_output=True, check=False, timeout=60)
        return done.stdout.decode()

    answer = says(office.signed_twice)
    assert answer.count("Signature is Valid.") == 2
    assert "Signature Type: ETSI.CAdES.detached" in answer
    assert answer.count("Total document signed") == 1
    assert "王海涛" in answer
    changed = bytearray(office.signed_twice)
    changed[len(office.unsigned) // 2] ^= 1
    assert "Signature is Valid." not in says(bytes(changed))


def test_a_file_is_verified_offline_in_both_languages(office):
    genuine, lines = verify_file(office.signed_once, folder=office.folder)
    assert genuine
    assert lines[0].startswith("真实")
    assert any(line.startswith("Genuine") for line in lines)
    assert "王海涛" in lines[1]
    assert not any("欧阳建国" in line for line in lines)
    genuine, lines = verify_file(office.signed_once + b"x", folder=office.folder, language="en")
    assert not genuine
    assert lines[0] == "Not genuine: something was added after the signature."


def test_the_time_must_carry_its_zone(office):
    with pytest.raises(ValueError, match="zone"):
        office.expert.sign(office.unsigned, reason="x", location="y", at=datetime(2026, 1, 1))


async def test_verifying_inside_the_event_loop_is_refused_not_misjudged(office):
    with pytest.raises(RuntimeError, match="thread"):
        judge(office, office.signed_once)
    verdict = await asyncio.to_thread(judge, office, office.signed_once)
    assert verdict.genuine
