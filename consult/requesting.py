"""The request: draft, autosave, submit, STAT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consult import model as m
from consult.consent import GivenConsent
from consult.patient import PatientId, Sex
from consult.people import Actor, MembershipId, OrganisationId
from consult.ports import UnitOfWork
from consult.registering import Romanise


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom the request is for (DOMAIN §3, addressing). Empty: the site's default centre for the service."""

    addressing: m.Addressing = m.Addressing.POOL
    organisation: OrganisationId | None = None
    specialty: str = ""
    membership: MembershipId | None = None


def start_draft(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId,
    service: m.Service = m.Service.CLINICAL,
    mode: m.Mode = m.Mode.STORED,
    urgency: m.Urgency = m.Urgency.ROUTINE,
    target: Target | None = None,
) -> m.Consultation:
    raise NotImplementedError


def save_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    version: int,
    content: Mapping[str, Any],
    questions: Sequence[str],
    service: m.Service | None = None,
    mode: m.Mode | None = None,
    participation: m.Participation | None = None,
    urgency: m.Urgency | None = None,
    target: Target | None = None,
) -> m.Consultation:
    raise NotImplementedError


def submit_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, version: int | None = None
) -> m.Consultation:
    raise NotImplementedError


def start_stat(
    uow: UnitOfWork,
    *,
    actor: Actor,
    patient: PatientId | None,
    consent: GivenConsent,
    service: m.Service = m.Service.CLINICAL,
    mode: m.Mode = m.Mode.LIVE,
    target: Target | None = None,
    question: str = "",
    unknown_sex: Sex = Sex.UNKNOWN,
    romanise: Romanise,
) -> m.Consultation:
    raise NotImplementedError


def complete_stat(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    version: int,
    content: Mapping[str, Any],
    questions: Sequence[str],
    patient: PatientId | None = None,
) -> m.Consultation:
    raise NotImplementedError


def resubmit_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, version: int | None = None, note: str = ""
) -> m.Consultation:
    raise NotImplementedError


def delete_draft(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> None:
    raise NotImplementedError


def withdraw_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = ""
) -> m.Consultation:
    raise NotImplementedError


def take_over_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    raise NotImplementedError
