"""The timeline of a consultation: every step with who, when, why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Action, may, open_consultation
from consult.people import Actor
from consult.ports import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`trigger` is a lifecycle.Trigger or the name of a note; `who` is empty for the system."""

    at: datetime
    trigger: str
    before: str
    after: str
    who: str                           # name and title
    organisation: str
    reason: str
    payload: Mapping[str, Any]


def timeline(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> Sequence[Line]:
    """Oldest first. Who may only see the queue row or the envelope gets the steps without reasons and details."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_STATUS)
    full = may(uow, actor, Action.REQUEST_READ, opened.consultation)
    names: dict[str, str] = {}
    found = []
    for event in uow.events.of(f"consultation:{consultation}"):
        if not full and event.before == event.after:
            continue
        if event.staff is not None and event.staff not in names:
            staff = uow.people.staff(event.staff)
            names[event.staff] = f"{staff.name} {staff.title}".strip()
        organisation = ""
        if event.organisation is not None:
            organisation = uow.people.organisation(event.organisation).short_name
        found.append(
            Line(
                at=event.at,
                trigger=event.trigger,
                before=event.before,
                after=event.after,
                who=names.get(event.staff, "") if event.staff else "",
                organisation=organisation,
                reason=event.reason if full else "",
                payload=event.payload if full else {},
            )
        )
    return found
