"""A signed report as part of the patient's study: Encapsulated PDF Storage (PS3.3 §A.45.1), the PDF byte for byte.

A DICOM value has even length: a PDF of odd length is followed by one zero byte, and Encapsulated Document Length
(0042,0015) says where the PDF ends, so the extracted document is identical and its signature stays valid.
"""

from __future__ import annotations

import struct
import uuid
from datetime import datetime

from dicom.elements import LONG_VRS
from dicom.part10 import build_prefix
from dicom.syntaxes import EXPLICIT_LE

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_MAX_PDF = 64 << 20


def new_uid() -> str:
    """A UID from a random UUID (PS3.5 §B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def make_encapsulated_pdf(
    pdf: bytes,
    *,
    study_uid: str,
    patient_id: str,
    patient_name: str,
    title: str,
    at: datetime,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    issuer_of_patient_id: str = "",
    birth_date: str = "",
    sex: str = "",
    accession: str = "",
    study_date: str = "",
    study_time: str = "",
    study_id: str = "",
    referring_physician: str = "",
    institution: str = "",
    series_number: int = 9000,
    instance_number: int = 1,
    series_description: str = "",
) -> bytes:
    """A part-10 file in explicit little endian, text in UTF-8. `at` is when the document was made, with its zone.

    Give the demographics as the study in the archive has them. `birth_date`, `study_date` are YYYYMMDD; names are in
    DICOM form ("张^三"). Raises ValueError for what is no PDF.
    """
    if not pdf.startswith(b"%PDF-"):
        raise ValueError("not a PDF")
    if len(pdf) > _MAX_PDF:
        raise ValueError("the PDF is too large")
    sop = sop_uid or new_uid()
    date, time = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    zone = at.strftime("%z") or "+0000"
    body = b"".join(
        (
            _text(0x0008, 0x0005, "CS", "ISO_IR 192"),
            _text(0x0008, 0x0012, "DA", date),
            _text(0x0008, 0x0013, "TM", time),
            _text(0x0008, 0x0016, "UI", ENCAPSULATED_PDF),
            _text(0x0008, 0x0018, "UI", sop),
            _text(0x0008, 0x0020, "DA", study_date),
            _text(0x0008, 0x0023, "DA", date),
            _text(0x0008, 0x002A, "DT", f"{date}{time}{zone}"),
            _text(0x0008, 0x0030, "TM", study_time),
            _text(0x0008, 0x0033, "TM", time),
            _text(0x0008, 0x0050, "SH", accession),
            _text(0x0008, 0x0060, "CS", "DOC"),
            _text(0x0008, 0x0064, "CS", "WSD"),
            _text(0x0008, 0x0070, "LO", "Huizhen"),
            _text(0x0008, 0x0080, "LO", institution),
            _text(0x0008, 0x0090, "PN", referring_physician),
            _text(0x0008, 0x0201, "SH", zone),
            _text(0x0008, 0x103E, "LO", series_description or title),
            _text(0x0010, 0x0010, "PN", patient_name),
            _text(0x0010, 0x0020, "LO", patient_id),
            *((_text(0x0010, 0x0021, "LO", issuer_of_patient_id),) if issuer_of_patient_id else ()),
            _text(0x0010, 0x0030, "DA", birth_date),
            _text(0x0010, 0x0040, "CS", sex),
            _text(0x0020, 0x000D, "UI", study_uid),
            _text(0x0020, 0x000E, "UI", series_uid or new_uid()),
            _text(0x0020, 0x0010, "SH", study_id),
            _text(0x0020, 0x0011, "IS", str(series_number)),
            _text(0x0020, 0x0013, "IS", str(instance_number)),
            _text(0x0028, 0x0301, "CS", "YES"),  # burned-in annotation: a report names its patient
            _element(0x0040, 0xA043, b"SQ", b""),
            _text(0x0042, 0x0010, "ST", title),
            _element(0x0042, 0x0011, b"OB", pdf + b"\x00" * (len(pdf) % 2)),
            _text(0x0042, 0x0012, "LO", "application/pdf"),
            _element(0x0042, 0x0015, b"UL", struct.pack("<I", len(pdf))),
        )
    )
    return build_prefix(sop_class=ENCAPSULATED_PDF, sop_uid=sop, transfer_syntax=EXPLICIT_LE) + body


_LIMITS = {"SH": 16, "LO": 64, "CS": 16, "ST": 1024, "PN": 64 * 3 + 2}


def _text(group: int, number: int, vr: str, value: str) -> bytes:
    value = "".join(c for c in value if c >= " ")
    if vr in {"SH", "LO"}:
        value = value.replace("\\", "/")
    value = value[: _LIMITS.get(vr, 64)]
    data = value.encode("utf-8")
    if len(data) % 2:
        data += b"\x00" if vr == "UI" else b" "
    return _element(group, number, vr.encode(), data)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", group, number) + vr
    if vr in LONG_VRS:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value
