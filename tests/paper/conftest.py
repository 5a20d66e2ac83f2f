from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from server.paper.authority import CertificateAuthority
from server.paper.render import PaperPress
from server.paper.signer import LocalSigner
from tests.paper.samples import ISSUED, full_report


@pytest.fixture(scope="session")
def press() -> PaperPress:
    return PaperPress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """One installation with two people who may sign, and one paper in its three stages."""

    folder: Path
    authority: CertificateAuthority
    expert: LocalSigner
    reviewer: LocalSigner
    expert_serial: int
    unsigned: bytes
    signed_once: bytes
    signed_twice: bytes


@pytest.fixture(scope="session")
def office(tmp_path_factory, press) -> Office:
    folder = tmp_path_factory.mktemp("paper") / "ca"
    authority = CertificateAuthority.open(folder, clock=lambda: ISSUED)
    who = {"organisation": "市第一人民医院"}
    expert = authority.issue_signer("staff-1", name="王海涛", licence="110310100012345", **who)
    reviewer = authority.issue_signer("staff-2", name="陈思远", licence="110310100054321", **who)
    hands = LocalSigner(expert), LocalSigner(reviewer)
    unsigned = press.render(full_report(key_images=()))
    once = hands[0].sign(unsigned, reason="HZ20261122-0042", location="市第一人民医院", at=ISSUED)
    twice = hands[1].sign(once, reason="HZ20261122-0042", location="市第一人民医院", at=ISSUED)
    return Office(
        folder=folder,
        authority=authority,
        expert=hands[0],
        reviewer=hands[1],
        expert_serial=expert.serial,
        unsigned=unsigned,
        signed_once=once,
        signed_twice=twice,
    )
