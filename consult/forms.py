"""The fields of the two clinical forms (DOMAIN §5) as data: pages, storage of drafts and the paper share them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consult.errors import Invalid, Wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """`kind`: text (many lines), line, choice, flag, codes, vitals, windows, answers, studies, images, date."""

    key: str
    part: str
    kind: str
    limit: int = 20_000            # characters of a text; entries of a list


def _fields(part: str, *items: tuple[str, str] | tuple[str, str, int]) -> tuple[FormField, ...]:
    return tuple(
        FormField(key=x[0], part=part, kind=x[1], limit=x[2] if len(x) > 2 else _LIMITS[x[1]])
        for x in items
    )


_LIMITS = {
    "text": 20_000, "line": 200, "choice": 40, "flag": 1, "codes": 40, "vitals": 60, "windows": 10,
    "answers": 50, "studies": 200, "images": 40, "date": 10,
}  # fmt: skip

# The five parts of the request page: patient, purpose, condition, material, consent.
FORM_FIELDS: tuple[FormField, ...] = (
    *_fields(
        "patient",
        ("patient_present", "flag"),
    ),
    *_fields(
        "purpose",
        ("purpose", "text", 2000),
        ("urgency_reason", "text", 1000),
        ("wanted_title", "line"),
        ("windows", "windows"),            # candidate times: [{"start": iso, "end": iso}]
        ("recording_wanted", "flag"),
    ),
    *_fields(
        "condition",
        ("department", "line"),
        ("complaint", "text", 2000),
        ("history", "text"),               # present illness
        ("past_history", "text"),
        ("personal_history", "text"),
        ("family_history", "text"),
        ("allergies", "text", 2000),
        ("examination", "text"),
        ("vitals", "vitals"),              # [{"at": iso, "temperature", "pulse", "respiration", "systolic", …}]
        ("diagnosis", "codes"),            # provisional: [{"code": ICD-10, "name"}]
        ("diagnosis_text", "text", 4000),
        ("treatment", "text"),             # so far, and the response
        ("medication", "text"),
        ("laboratory", "text"),
        ("imaging", "text"),
    ),
    *_fields("material", ("material_note", "text", 2000)),
)

# The report (DOMAIN §5). `answers` holds one entry per numbered question: {"n": 1, "text": …}.
REPORT_FIELDS: tuple[FormField, ...] = (
    *_fields(
        "report",
        ("materials", "text", 4000),       # materials reviewed
        ("findings", "text"),
        ("diagnosis", "codes"),            # [{"code": ICD-10, "name", "certainty": confirmed|probable|possible}]
        ("diagnosis_text", "text", 4000),
        ("answers", "answers"),
        ("advice", "text"),
        ("further_tests", "text"),
        ("referral_advice", "text", 4000),
        ("follow_up", "date"),
        ("critical", "flag"),
        ("limits", "text", 4000),          # limits of the opinion
        ("key_images", "images"),          # [{"study_uid", "series_uid", "sop_uid", "frame", "caption", "document"}]
        ("addendum", "text"),              # of an appended version: what is added, the rest unchanged
        ("released", "flag"),              # the clinic may read the draft
    ),
)

VITAL_KEYS = ("at", "temperature", "pulse", "respiration", "systolic", "diastolic", "spo2", "glucose", "weight", "note")
CERTAINTIES = ("confirmed", "probable", "possible", "excluded")


def clean_content(content: Mapping[str, Any], fields: Sequence[FormField], *, path: str = "content") -> dict[str, Any]:
    """The content with known keys of the right kind within their limits; empty values are dropped.

    Raises Invalid with one entry per wrong field: unknown_field, wrong_kind, too_long.
    """
    known = {x.key: x for x in fields}
    wrong: list[Wrong] = []
    clean: dict[str, Any] = {}
    for key, value in content.items():
        field = known.get(key)
        if field is None:
            wrong.append((f"{path}.{key}", "unknown_field"))
        elif value in (None, "", [], ()):
            continue
        elif not _fits(field, value):
            wrong.append((f"{path}.{key}", "wrong_kind"))
        elif isinstance(value, str | list | tuple) and len(value) > field.limit:
            wrong.append((f"{path}.{key}", "too_long", {"max": field.limit}))
        else:
            clean[key] = list(value) if isinstance(value, tuple) else value
    if wrong:
        raise Invalid(*wrong)
    return clean


def _fits(field: FormField, value: Any) -> bool:
    match field.kind:
        case "flag":
            return isinstance(value, bool)
        case "text" | "line" | "choice" | "date":
            return isinstance(value, str)
        case "studies":
            return isinstance(value, list | tuple) and all(isinstance(x, str) for x in value)
        case _:
            return isinstance(value, list | tuple) and all(isinstance(x, Mapping) for x in value)


def clean_questions(questions: Sequence[str]) -> tuple[str, ...]:
    """Without blanks, in order. Raises Invalid (too_long, too_many)."""
    kept = tuple(x.strip() for x in questions if x.strip())
    if len(kept) > 20:
        raise Invalid(("questions", "too_many", {"max": 20}))
    long: list[Wrong] = [(f"questions.{n}", "too_long", {"max": 1000}) for n, x in enumerate(kept) if len(x) > 1000]
    if long:
        raise Invalid(*long)
    return kept
