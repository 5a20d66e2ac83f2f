"""docs/dimse.md says what the DICOM network does, row by row."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from dicom.network import store
from dicom.network.services import SERVICES
from dicom.network.terms import NetworkLimits
from dicom.part10 import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from tests.architecture.test_conformance import rows_under

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "dimse.md"
MESSAGES = {0x0020: "C-FIND", 0x0021: "C-MOVE", 0x0010: "C-GET", 0x0030: "C-ECHO", 0x0130: "N-ACTION",
            0x0140: "N-CREATE", 0x0120: "N-SET"}  # fmt: skip
"""PS3.7 Table E.1-1, requests."""


def test_every_service_that_is_offered_stands_there_and_no_other():
    told = {
        (uid, message)
        for name, uid, role in rows_under(PAGE, "| service | SOP class | role |")
        for message in re.findall(r"[CN]-[A-Z]+(?:-[A-Z]+)?", name)
        if uid[0].isdigit() and "SCP" in role and message != "N-EVENT-REPORT"
    }
    assert told == {(uid, MESSAGES[message]) for uid, message in SERVICES}


def test_every_status_of_a_store_stands_there():
    told = {word for _, status in rows_under(PAGE, "| what happened | status |") for word in re.findall(r"[0-9AC][0-9]{3}", status)}
    given = {store.SUCCESS, store._NOT_UNDERSTOOD, store._MISMATCH, *store._STATUS.values()}
    assert told == {f"{status:04X}" for status in given}


def test_the_limits_and_who_we_say_we_are():
    told = {what.split("`")[0].split(",")[0]: float(value) for what, value in rows_under(PAGE, "| limit | by default |")}
    assert told == {name: float(value) for name, value in asdict(NetworkLimits()).items()}
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{IMPLEMENTATION_UID}`" in text
    assert f"`{IMPLEMENTATION_NAME}`" in text
