"""The one way a service moves a consultation: lifecycle step, deadline, save, event, telling."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Opened
from consult.deadlines import PAUSED, due_at, feedback_due
from consult.errors import NotAllowed
from consult.events import record, tell
from consult.feedback_entry import DAYS
from consult.lifecycle import TABLE, Guard, Puller, Trigger, step
from consult.people import Actor
from consult.permission import Relation
from consult.ports import UnitOfWork

_PULLERS: Mapping[Relation, tuple[Puller, ...]] = {
    Relation.REFERRING: (Puller.REFERRING,),
    Relation.COLLEAGUE: (Puller.CLINIC_COLLEAGUE,),
    Relation.ASSIGNED: (Puller.ASSIGNED, Puller.OFFERED),
    Relation.CENTRE: (Puller.OFFERED,),
    Relation.DISPATCHER: (Puller.DISPATCHER,),
    Relation.TECHNICIAN: (Puller.TECHNICIAN,),
    Relation.ORG_ADMIN: (Puller.ADMIN,),
}
_CLOCK_GOES_ON = frozenset({m.State.SUBMITTED, m.State.TRIAGE, m.State.OFFERED})
_WORK = frozenset({m.State.ACCEPTED, m.State.SCHEDULED, m.State.CHECKED_IN, m.State.ASYNC_REVIEW})


def pullers_of(opened: Opened) -> tuple[Puller, ...]:
    """The parts in which the opener may pull triggers, the granting relation first."""
    relations = (opened.relation, *sorted(opened.relations - {opened.relation}))
    return tuple(x for relation in relations for x in _PULLERS.get(relation, ()))


def move(
    uow: UnitOfWork,
    actor: Actor,
    opened: Opened,
    trigger: Trigger,
    *,
    reason: str = "",
    fault: str = "",
    missing: tuple[Mapping[str, Any], ...] = (),
    given: frozenset[Guard] = frozenset(),
    payload: Mapping[str, Any] | None = None,
    change: Mapping[str, Any] | None = None,
) -> m.Consultation:
    """One step by a person. `change` holds further fields of the consultation that change with it.

    Raises WrongState, NotAllowed, Invalid (consult/lifecycle.py) and Stale.
    """
    rule = TABLE.get((opened.consultation.state, trigger))
    mine = pullers_of(opened)
    by = next((x for x in mine if rule is None or x in rule.by), mine[0] if mine else None)
    if by is None:
        raise NotAllowed(trigger=trigger.value)
    return _move(
        uow, actor, opened.consultation, trigger,
        by=by, reason=reason, fault=fault, missing=missing, given=given, payload=payload, change=change,
    )  # fmt: skip


def move_by_system(
    uow: UnitOfWork,
    consultation: m.Consultation,
    trigger: Trigger,
    *,
    reason: str = "",
    payload: Mapping[str, Any] | None = None,
    change: Mapping[str, Any] | None = None,
    critical: bool = False,
) -> m.Consultation:
    """One step that no person pulls: receiving a direct request, a time-out, delivery."""
    return _move(
        uow, None, consultation, trigger,
        by=Puller.SYSTEM, reason=reason, payload=payload, change=change, critical=critical,
    )  # fmt: skip


def _move(
    uow: UnitOfWork,
    actor: Actor | None,
    before: m.Consultation,
    trigger: Trigger,
    *,
    by: Puller,
    reason: str = "",
    fault: str = "",
    missing: tuple[Mapping[str, Any], ...] = (),
    given: frozenset[Guard] = frozenset(),
    payload: Mapping[str, Any] | None = None,
    change: Mapping[str, Any] | None = None,
    critical: bool = False,
) -> m.Consultation:
    after = step(
        before, trigger, now=uow.now, by=by, reason=reason, fault=fault, missing=missing, given=given
    )
    after = replace(after, **dict(change or {}))
    after = replace(
        after,
        due_at=due_at(after, uow.rules, uow.now, kept=_kept(uow, before, after), critical=critical),
    )
    saved = uow.consultations.save(after)
    facts = dict(payload or {})
    if saved.state in PAUSED and before.due_at is not None:
        facts["paused_due"] = before.due_at.isoformat()
    if missing:
        facts["items"] = [dict(x) for x in missing]
    if fault:
        facts["fault"] = fault
    record(
        uow, actor, f"consultation:{saved.id}", trigger,
        before=before.state, after=saved.state, reason=reason, payload=facts,
    )  # fmt: skip
    tell(uow, saved)
    return saved


def _kept(uow: UnitOfWork, before: m.Consultation, after: m.Consultation) -> datetime | None:
    """The deadline that runs on, or (after a pause) runs on later by the time the clock stood still."""
    if before.urgency is not after.urgency:
        return None
    if before.state in PAUSED:
        for event in reversed(uow.events.of(f"consultation:{before.id}")):
            if event.after == before.state and event.before != event.after:
                paused = event.payload.get("paused_due")
                return datetime.fromisoformat(paused) + (uow.now - event.at) if paused else None
        return None
    if after.state is before.state:
        return before.due_at
    if after.state is m.State.FEEDBACK:
        return feedback_due(before.state_since, DAYS[0], uow.rules)
    if before.state in _CLOCK_GOES_ON and after.state in _CLOCK_GOES_ON:
        return before.due_at
    if before.state in _WORK and after.state in _WORK | {m.State.REPORTING}:
        return before.due_at
    return None
