"""Exam orders and the matching of studies to patients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from consult import model as m
from consult.patient import Patient, PatientId, Sex
from consult.people import Actor, OrganisationId
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the archive says of one study held by one organisation, as written in its files."""

    study_uid: str
    organisation: OrganisationId
    accession: str = ""
    issuer: str = ""  # IssuerOfPatientID; empty: the holding organisation's own numbers
    patient_id: str = ""
    patient_name: str = ""  # shown and ranked, never matched by
    birth_date: date | None = None
    sex: Sex = Sex.UNKNOWN
    study_date: date | None = None
    modality: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    patient: Patient
    order: m.ExamOrder | None
    score: int
    differences: tuple[str, ...]  # name | sex | birth_date | patient_id | accession | modality | date


def create_order(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    procedure: str,
    modality: str,
    performing: OrganisationId,
    consultation: m.ConsultationId | None = None,
) -> m.ExamOrder:
    raise NotImplementedError


def void_order(uow: UnitOfWork, *, actor: Actor, order: m.OrderId, reason: str) -> m.ExamOrder:
    raise NotImplementedError


def match_automatically(uow: UnitOfWork, *, facts: StudyFacts) -> m.StudyMatch | None:
    raise NotImplementedError


def rank_candidates(
    uow: UnitOfWork, *, actor: Actor, facts: StudyFacts, romanise: Callable[[str], str], limit: int = 9
) -> Sequence[Candidate]:
    raise NotImplementedError


def confirm_match(
    uow: UnitOfWork, *, actor: Actor, facts: StudyFacts, patient: PatientId, order: m.OrderId | None = None
) -> m.StudyMatch:
    raise NotImplementedError


def undo_match(uow: UnitOfWork, *, actor: Actor, study_uid: str, reason: str = "") -> None:
    raise NotImplementedError


def report_wrong_patient(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str, reason: str
) -> m.Consultation:
    raise NotImplementedError


def settle_wrong_patient(uow: UnitOfWork, *, actor: Actor, study_uid: str, right: bool, reason: str) -> None:
    raise NotImplementedError


def doubted_studies(uow: UnitOfWork, *, actor: Actor) -> Sequence[str]:
    raise NotImplementedError
