"""What a report says, as one frozen value; its canonical bytes and its digest.

The same value is printed (render.py), copied as text (plaintext.py) and digested, so the three can never differ.
Clinical text stays exactly as it was typed; only labels follow `language`.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from consult.errors import Invalid
from consult.model import Part, ReportStatus, Service, Urgency
from consult.patient import Sex

FORMAT = "huizhen.report/1"
Language = Literal["zh", "en"]

# About 80 printed pages. Far above any real opinion; it bounds the time one signature can take.
MAX_CHARACTERS = 100_000
MAX_KEY_IMAGES = 24
MAX_IMAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Institution:
    name: str
    department: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientBlock:
    """Whose report it is. `age` is a text such as 62岁 or 3天; of the document only its last four characters."""

    name: str
    sex: Sex
    age: str = ""
    birth_date: date | None = None
    document_last_four: str = ""
    card: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswer:
    number: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`certainty`: confirmed, probable, possible or excluded is printed translated, anything else as typed."""

    text: str
    icd10: str = ""
    certainty: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyImage:
    """`data`: PNG or JPEG, grey or RGB, ≤ 4096×4096, ≤ 4 MB. `frame` counts from 1 as in DICOM (PS3.3 §C.7.6.16)."""

    caption: str
    data: bytes
    study_uid: str
    sop_uid: str
    frame: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerLine:
    name: str
    title: str = ""
    licence: str = ""
    organisation: str = ""
    part: Part = Part.EXPERT


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """Everything that is printed. Times are aware and already in the zone that shall be printed."""

    number: str
    version: int
    status: ReportStatus
    reason: str = ""
    requesting: Institution
    serving: Institution
    patient: PatientBlock
    service: Service
    urgency: Urgency
    requested_at: datetime
    issued_at: datetime
    clinic_doctor: str = ""
    questions: tuple[QuestionAnswer, ...] = ()
    materials: str = ""
    findings: str = ""
    diagnoses: tuple[Diagnosis, ...] = ()
    advice: str = ""
    further_tests: str = ""
    referral_advice: str = ""
    follow_up: date | None = None
    critical: bool = False
    limits: str = ""
    key_images: tuple[KeyImage, ...] = ()
    signers: tuple[SignerLine, ...] = ()
    code: str
    verify_url: str
    demo: bool = False
    language: Language = "zh"

    def __post_init__(self) -> None:
        if self.requested_at.tzinfo is None or self.issued_at.tzinfo is None:
            raise ValueError("times in a report carry their zone")
        if len(self.key_images) > MAX_KEY_IMAGES:
            raise Invalid(("key_images", "too_many", {"limit": MAX_KEY_IMAGES}))
        for index, image in enumerate(self.key_images):
            if len(image.data) > MAX_IMAGE_BYTES:
                raise Invalid((f"key_images.{index}", "too_large"))


def as_plain(content: ReportContent) -> dict[str, Any]:
    """The content as JSON values: enumerations by value, times in ISO 8601, key images by type and SHA-256."""
    patient = content.patient
    return {
        "format": FORMAT,
        "number": content.number,
        "version": content.version,
        "status": content.status.value,
        "reason": content.reason,
        "requesting": {"name": content.requesting.name, "department": content.requesting.department},
        "serving": {"name": content.serving.name, "department": content.serving.department},
        "patient": {
            "name": patient.name,
            "sex": patient.sex.value,
            "age": patient.age,
            "birth_date": _iso(patient.birth_date),
            "document_last_four": patient.document_last_four,
            "card": patient.card,
        },
        "service": content.service.value,
        "urgency": content.urgency.value,
        "requested_at": _iso(content.requested_at),
        "issued_at": _iso(content.issued_at),
        "clinic_doctor": content.clinic_doctor,
        "questions": [
            {"number": item.number, "question": item.question, "answer": item.answer}
            for item in content.questions
        ],
        "materials": content.materials,
        "findings": content.findings,
        "diagnoses": [
            {"text": item.text, "icd10": item.icd10, "certainty": item.certainty} for item in content.diagnoses
        ],
        "advice": content.advice,
        "further_tests": content.further_tests,
        "referral_advice": content.referral_advice,
        "follow_up": _iso(content.follow_up),
        "critical": content.critical,
        "limits": content.limits,
        "key_images": [
            {
                "caption": image.caption,
                "sha256": hashlib.sha256(image.data).hexdigest(),
                "study_uid": image.study_uid,
                "sop_uid": image.sop_uid,
                "frame": image.frame,
            }
            for image in content.key_images
        ],
        "signers": [
            {
                "name": line.name,
                "title": line.title,
                "licence": line.licence,
                "organisation": line.organisation,
                "part": line.part.value,
            }
            for line in content.signers
        ],
        "code": content.code,
        "verify_url": content.verify_url,
        "demo": content.demo,
        "language": content.language,
    }


def canonical_json(content: ReportContent) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces, no escapes beyond JSON's own: the same content always gives the same bytes.

    Raises Invalid when the text is longer than MAX_CHARACTERS or is not Unicode (a lone surrogate).
    """
    text = json.dumps(as_plain(content), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_CHARACTERS:
        raise Invalid(("report", "too_long", {"limit": MAX_CHARACTERS}))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(("report", "not_text")) from None


def content_digest(content: ReportContent) -> str:
    """SHA-256 of `canonical_json`, 64 hex digits. It stands in the PDF's keywords and so under every signature."""
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _iso(value: date | datetime | None) -> str | None:
    return None if value is None else value.isoformat()
