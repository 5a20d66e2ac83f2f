"""QIDO-RS parameters as a `Query` (PS3.18 §8.3.4, §10.6), and what each level can be matched by and returns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dicom.errors import BadQueryError
from dicom.model import Query

Level = Literal["study", "series", "instance"]
Matching = Literal["text", "date", "time", "uid", "name", "modalities", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One attribute that can be matched: its tag and VR, the level it belongs to, how it is matched."""

    tag: str
    vr: str
    level: Level
    matching: Matching
    column: str


def _k(tag: str, vr: str, level: Level, matching: Matching, column: str) -> Key:
    return Key(tag=tag, vr=vr, level=level, matching=matching, column=column)


KEYS: dict[str, Key] = {
    "StudyDate": _k("00080020", "DA", "study", "date", "study_date"),
    "StudyTime": _k("00080030", "TM", "study", "time", "study_time"),
    "AccessionNumber": _k("00080050", "SH", "study", "text", "accession"),
    "ModalitiesInStudy": _k("00080061", "CS", "study", "modalities", "modalities"),
    "InstitutionName": _k("00080080", "LO", "study", "text", "institution"),
    "ReferringPhysicianName": _k("00080090", "PN", "study", "name", "referring_search"),
    "StudyDescription": _k("00081030", "LO", "study", "text", "description"),
    "PatientName": _k("00100010", "PN", "study", "name", "name_search"),
    "PatientID": _k("00100020", "LO", "study", "text", "patient_id"),
    "IssuerOfPatientID": _k("00100021", "LO", "study", "text", "issuer_of_patient_id"),
    "PatientBirthDate": _k("00100030", "DA", "study", "date", "birth_date"),
    "PatientSex": _k("00100040", "CS", "study", "text", "sex"),
    "StudyInstanceUID": _k("0020000D", "UI", "study", "uid", "study_uid"),
    "StudyID": _k("00200010", "SH", "study", "text", "study_id"),
    "Modality": _k("00080060", "CS", "series", "text", "modality"),
    "SeriesDescription": _k("0008103E", "LO", "series", "text", "description"),
    "SeriesDate": _k("00080021", "DA", "series", "date", "series_date"),
    "BodyPartExamined": _k("00180015", "CS", "series", "text", "body_part"),
    "SeriesInstanceUID": _k("0020000E", "UI", "series", "uid", "series_uid"),
    "SeriesNumber": _k("00200011", "IS", "series", "number", "number"),
    "SOPClassUID": _k("00080016", "UI", "instance", "uid", "sop_class"),
    "SOPInstanceUID": _k("00080018", "UI", "instance", "uid", "sop_uid"),
    "InstanceNumber": _k("00200013", "IS", "instance", "number", "number"),
}
_BY_TAG = {key.tag: name for name, key in KEYS.items()}


def _tags(text: str) -> frozenset[str]:
    return frozenset(text.split())


LEVELS: tuple[Level, ...] = ("study", "series", "instance")
RETURNED: dict[Level, frozenset[str]] = {
    "study": _tags(
        "00080005 00080020 00080030 00080050 00080056 00080061 00080080 00080090 00081030 00081190 00100010 00100020"
        " 00100021 00100030 00100040 0020000D 00200010 00201206 00201208"
    ),
    "series": _tags(
        "00080005 00080021 00080031 00080060 0008103E 00081090 00081190 00180015 0020000D 0020000E 00200011 00200060"
        " 00201209"
    ),
    "instance": _tags(
        "00080005 00080016 00080018 00080056 00080060 00081190 00083002 0020000D 0020000E 00200013 00280008 00280010"
        " 00280011 00280100"
    ),
}
"""What the index answers at each level (`dicom.web`), asked for or not."""
_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")
_UID_LIST = re.compile(r"[0-9.]+(?:[,\\][0-9.]+)*\Z")
_DATE_PART = re.compile(r"\d{8}\Z")
_TIME_PART = re.compile(r"\d{2,6}(?:\.\d{1,6})?\Z")
_MAX_VALUE = 1024
_MAX_UIDS = 1000


def parse(parameters: Iterable[tuple[str, str]]) -> Query:
    """A query from URL parameters, names or tags. Raises BadQueryError for what cannot be read.

    Sequence paths, private and unknown attributes are not matched; they come back in `ignored`, so that the answer
    can carry a Warning (PS3.18 §8.3.4.1).
    """
    matches: dict[str, str] = {}
    include: set[str] = set()
    ignored: list[str] = []
    limit: int | None = None
    offset, fuzzy = 0, False
    for name, value in parameters:
        if len(value) > _MAX_VALUE * 64:
            raise BadQueryError(code="query_too_long")
        if name == "limit":
            limit = _whole(value)
        elif name == "offset":
            offset = _whole(value)
        elif name == "fuzzymatching":
            if value not in {"true", "false"}:
                raise BadQueryError(code="bad_fuzzymatching")
            fuzzy = value == "true"
        elif name in {"accept", "lang"}:
            continue  # how to answer, not what to find
        elif name == "includefield":
            include.update(part for part in value.split(",") if part)
        else:
            key = _BY_TAG.get(name.upper()) if _TAG.match(name) else name
            if key in KEYS:
                if value:
                    if key in matches and KEYS[key].matching == "uid":
                        value = f"{matches[key]},{value}"
                    matches[key] = value
                else:
                    include.add(key)  # universal matching: returned, not restricted (PS3.4 §C.2.2.2.3)
            else:
                ignored.append(name[:64])
    for key, value in matches.items():
        check(key, value)
    return Query(
        matches=matches,
        limit=limit,
        offset=offset,
        fuzzy=fuzzy,
        include=frozenset(include),
        ignored=tuple(ignored),
    )


def unknown_fields(query: Query, level: Level) -> list[str]:
    """Requested return fields that an answer of this level never has."""
    known = RETURNED[level] | _above(level)
    return [field for field in sorted(query.include) if field != "all" and _tag(field) not in known]


def from_above(query: Query, level: Level) -> frozenset[str]:
    """The tags of higher levels that an answer of this level carries too: what was asked for, and what was matched."""
    above = _above(level) - RETURNED[level]
    if "all" in query.include:
        return above
    return above & {_tag(field) for field in (*query.include, *query.matches)}


def _above(level: Level) -> frozenset[str]:
    return frozenset().union(*(RETURNED[one] for one in LEVELS[: LEVELS.index(level)]))


def _tag(field: str) -> str:
    return KEYS[field].tag if field in KEYS else field.upper()


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise BadQueryError(code="bad_number")
    return int(text)


def check(key: str, value: str) -> None:
    """Raises BadQueryError if the value cannot be matched against this key."""
    matching = KEYS[key].matching
    if matching == "uid":
        if not _UID_LIST.match(value) or value.count(",") + value.count("\\") >= _MAX_UIDS:
            raise BadQueryError(code="bad_uid")
    elif len(value) > _MAX_VALUE:
        raise BadQueryError(code="query_too_long")
    elif matching == "date":
        span(value, _DATE_PART, "bad_date")
    elif matching == "time":
        span(value, _TIME_PART, "bad_time")
    elif matching == "number" and not value.lstrip("-").isdecimal():
        raise BadQueryError(code="bad_number")


def span(value: str, part: re.Pattern[str], code: str) -> tuple[str, str]:
    """(low, high) of a single value or a range `a-b`, `-b`, `a-` (PS3.4 §C.2.2.2.5); '' is open."""
    low, dash, high = value.partition("-")
    if not dash:
        high = low
    for side in (low, high):
        if side and not part.match(side):
            raise BadQueryError(code=code)
    if not low and not high:
        raise BadQueryError(code=code)
    return low, high


def date_span(value: str) -> tuple[str, str]:
    """The two ends of a date or date range."""
    return span(value, _DATE_PART, "bad_date")


def time_span(value: str) -> tuple[str, str]:
    """The two ends of a time or time range; the upper end covers everything it is a prefix of."""
    low, high = span(value, _TIME_PART, "bad_time")
    return low, high + "\x7f" if high else ""


def uid_list(value: str) -> list[str]:
    """The UIDs of a list (comma or backslash)."""
    return value.replace("\\", ",").split(",")


def glob(value: str) -> str:
    """DICOM's `*` and `?` as an SQLite GLOB pattern."""
    return value.replace("[", "[[]")


def is_wildcard(value: str) -> bool:
    """Whether the value has a wildcard."""
    return "*" in value or "?" in value
