"""Events: one insert-only row per change, in the same commit; and telling the browsers, ids only."""

from collections.abc import Mapping
from typing import Any

from consult import model as m
from consult.people import Actor
from consult.ports import UnitOfWork


def record(
    uow: UnitOfWork,
    actor: Actor | None,
    aggregate: str,
    trigger: str,
    *,
    before: str = "",
    after: str = "",
    reason: str = "",
    payload: Mapping[str, Any] | None = None,
) -> m.Event:
    """Appends the aggregate's next event (actor None: the system). `payload` holds JSON values."""
    event = m.Event(
        id=uow.new_id(),
        aggregate=aggregate,
        n=uow.events.next_n(aggregate),
        trigger=str(trigger),
        before=str(before),
        after=str(after),
        membership=actor.membership if actor else None,
        staff=actor.staff if actor else None,
        organisation=actor.organisation if actor else None,
        at=uow.now,
        reason=reason.strip(),
        payload=dict(payload or {}),
    )
    uow.events.append(event)
    return event


def record_note(
    uow: UnitOfWork,
    actor: Actor | None,
    consultation: m.Consultation,
    trigger: str,
    *,
    reason: str = "",
    payload: Mapping[str, Any] | None = None,
    told: Mapping[str, str] | None = None,
) -> m.Event:
    """An event of a consultation that changes no state (a document added, a report amended, a seat removed).

    `told`: ids that the browsers hear besides.
    """
    state = consultation.state.value
    event = record(
        uow, actor, f"consultation:{consultation.id}", trigger,
        before=state, after=state, reason=reason, payload=payload,
    )  # fmt: skip
    tell(uow, consultation, told)
    return event


def tell(uow: UnitOfWork, consultation: m.Consultation, more: Mapping[str, str] | None = None) -> None:
    """After the commit, pages that show the consultation, and every worklist, fetch it anew."""
    payload = {"consultation": consultation.id, "state": consultation.state.value}
    uow.publish(f"consultation:{consultation.id}", {**payload, **(more or {})})
    uow.publish("worklist", payload)
