"""The timeline of a consultation: every step with who, when, why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    at: datetime
    trigger: str
    before: str
    after: str
    who: str  # name and title, "" for the system
    organisation: str
    reason: str
    payload: Mapping[str, Any]


def timeline(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> Sequence[Line]:
    raise NotImplementedError
