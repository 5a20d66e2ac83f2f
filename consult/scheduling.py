"""Appointments: windows, picking, moving, check-in, no-show; reading without video."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    start: datetime
    end: datetime


def propose_windows(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, windows: Sequence[Window]
) -> m.Consultation:
    raise NotImplementedError


def proposed_windows(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> Sequence[Window]:
    raise NotImplementedError


def schedule_session(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, at: datetime) -> m.Consultation:
    raise NotImplementedError


def reschedule_session(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, at: datetime, reason: str
) -> m.Consultation:
    raise NotImplementedError


def check_in(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    raise NotImplementedError


def checked_in_sides(uow: UnitOfWork, *, consultation: m.ConsultationId) -> frozenset[str]:
    raise NotImplementedError


def mark_no_show(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = "") -> m.Consultation:
    raise NotImplementedError


def start_review(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    raise NotImplementedError
