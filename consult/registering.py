"""Registering, finding, merging patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from consult.patient import IdentifierSystem, Patient, PatientId, Sex
from consult.people import Actor
from consult.ports import UnitOfWork

Romanise = Callable[[str], str]
"""Name → the `pinyin` search text of a patient ("zhang xiao ming|zxm"); the server gives pypinyin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenIdentifier:
    system: IdentifierSystem
    value: str
    issuer: str = ""  # LOCAL: the organisation id; PASSPORT: the country


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    patient: Patient
    score: int  # 100 = the same identifier
    reasons: tuple[str, ...]  # identifier | name | pinyin | birth_date | sex | phone


def find_patients(uow: UnitOfWork, *, actor: Actor, text: str, limit: int = 20) -> Sequence[Patient]:
    raise NotImplementedError


def possible_duplicates(
    uow: UnitOfWork,
    *,
    actor: Actor,
    name: str,
    sex: Sex,
    birth_date: date | None,
    identifiers: Sequence[GivenIdentifier] = (),
    phone: str = "",
    romanise: Romanise,
) -> Sequence[Duplicate]:
    raise NotImplementedError


def register_patient(
    uow: UnitOfWork,
    *,
    actor: Actor,
    name: str,
    sex: Sex = Sex.UNKNOWN,
    birth_date: date | None = None,
    identifiers: Sequence[GivenIdentifier] = (),
    phone: str = "",
    guardian: str = "",
    payer: str = "",
    allergies: str = "",
    unknown: bool = False,
    mother: PatientId | None = None,
    romanise: Romanise,
) -> Patient:
    raise NotImplementedError


def update_patient(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    version: int,
    changes: Mapping[str, Any],
    identifiers: Sequence[GivenIdentifier] | None = None,
    romanise: Romanise,
) -> Patient:
    raise NotImplementedError


def merge_patients(uow: UnitOfWork, *, actor: Actor, source: PatientId, target: PatientId, reason: str) -> Patient:
    raise NotImplementedError


def unmerge_patients(uow: UnitOfWork, *, actor: Actor, source: PatientId, reason: str) -> Patient:
    raise NotImplementedError
