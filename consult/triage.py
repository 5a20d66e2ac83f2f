"""From submitted to accepted, and the ways off the path."""

from collections.abc import Mapping, Sequence
from typing import Any

from consult import model as m
from consult.people import Actor, MembershipId, OrganisationId
from consult.ports import UnitOfWork


def receive_request(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    raise NotImplementedError


def return_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    items: Sequence[Mapping[str, Any]],
    note: str = "",
    version: int | None = None,
) -> m.Consultation:
    raise NotImplementedError


def reject_request(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str, version: int | None = None
) -> m.Consultation:
    raise NotImplementedError


def offer_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    organisation: OrganisationId | None = None,
    membership: MembershipId | None = None,
    specialty: str = "",
    urgency: m.Urgency | None = None,
    version: int | None = None,
) -> m.Offer:
    raise NotImplementedError


def accept_offer(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    raise NotImplementedError


def decline_offer(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str) -> m.Consultation:
    raise NotImplementedError


def release_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    raise NotImplementedError


def reassign_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    reason: str,
    membership: MembershipId | None = None,
    organisation: OrganisationId | None = None,
    specialty: str = "",
) -> m.Consultation:
    raise NotImplementedError


def expire_offers(uow: UnitOfWork, *, limit: int = 100) -> int:
    raise NotImplementedError


def expire_returned(uow: UnitOfWork, *, limit: int = 100) -> int:
    raise NotImplementedError


def escalate_expired(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = ""
) -> m.Consultation:
    raise NotImplementedError


def cancel_consultation(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str, fault: str
) -> m.Consultation:
    raise NotImplementedError


def convert_consultation(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    reason: str,
    participation: m.Participation | None = None,
    urgency: m.Urgency | None = None,
    service: m.Service | None = None,
) -> m.Consultation:
    raise NotImplementedError


def mark_entered_in_error(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str
) -> m.Consultation:
    raise NotImplementedError
