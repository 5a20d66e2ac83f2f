"""Documents and studies that belong to a consultation."""

from collections.abc import Mapping, Sequence
from typing import Any

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork


def add_document(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    kind: str,
    title: str,
    media_type: str,
    digest: str,
    size: int,
    pages: int = 1,
) -> m.Document:
    raise NotImplementedError


def void_document(uow: UnitOfWork, *, actor: Actor, document: m.DocumentId, reason: str) -> m.Document:
    raise NotImplementedError


def share_study(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str) -> m.StudyShare:
    raise NotImplementedError


def end_share(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, study_uid: str, reason: str) -> None:
    raise NotImplementedError


def request_material(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, items: Sequence[Mapping[str, Any]]
) -> m.Consultation:
    raise NotImplementedError


def provide_material(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, note: str = ""
) -> m.Consultation:
    raise NotImplementedError


def continue_without(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str) -> m.Consultation:
    raise NotImplementedError
