"""The patient: demographics and identifiers. Rules for identity numbers live in consult/identity.py."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType

from consult.people import OrganisationId

PatientId = NewType("PatientId", str)


class Sex(StrEnum):
    MALE = "M"
    FEMALE = "F"
    OTHER = "O"
    UNKNOWN = "U"


class IdentifierSystem(StrEnum):
    RESIDENT_ID = "resident_id"        # 居民身份证, check digit verified (GB 11643)
    PASSPORT = "passport"
    OTHER_DOCUMENT = "other_document"
    CARD = "card"                      # health card of the region
    LOCAL = "local"                    # PatientID of one organisation's devices (issuer = organisation id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    id: PatientId
    name: str
    sex: Sex
    birth_date: date | None
    pinyin: str = ""                   # "zhang xiao ming|zxm": full and initials, readings joined by '|'
    phone: str = ""
    guardian: str = ""
    payer: str = ""
    allergies: str = ""
    unknown: bool = False              # registered in an emergency without identity
    birth_estimated: bool = False      # made from a guessed age: shown as 约 60 岁, never as a date
    mother: PatientId | None = None    # newborn of a mother
    registered_by: OrganisationId
    created_at: datetime
    merged_into: PatientId | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientIdentifier:
    """unique(system, issuer, value)."""

    patient: PatientId
    system: IdentifierSystem
    issuer: str
    value: str
