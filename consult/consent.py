"""Consent: versioned texts, given and withdrawn, append-only."""

from dataclasses import dataclass

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenConsent:
    text_version: str
    signer: str
    relation: str = "self"
    mode: m.ConsentMode
    scopes: tuple[str, ...] = ("consultation", "record_reading", "image_sharing")
    witnesses: tuple[str, ...] = ()
    document: m.DocumentId | None = None


def record_consent(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, given: GivenConsent) -> m.Consent:
    raise NotImplementedError


def withdraw_consent(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, consent: str, reason: str
) -> m.Consent:
    raise NotImplementedError
