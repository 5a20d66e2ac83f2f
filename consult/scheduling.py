"""Appointments: windows, picking, moving, check-in, no-show; and reading without video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consult import model as m
from consult.access import Action, Opened, Relation, open_consultation
from consult.errors import Invalid, Wrong, WrongState
from consult.events import record_note
from consult.lifecycle import CLOSED, Trigger
from consult.moving import move
from consult.people import Actor
from consult.ports import UnitOfWork

REQUESTING, INVITED = "requesting", "invited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    start: datetime
    end: datetime


def propose_windows(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, windows: Sequence[Window]
) -> m.Consultation:
    """The clinic says when the patient can come. Replaces what was proposed before. Raises Invalid, WrongState."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    stored = opened.consultation
    if stored.state in CLOSED or stored.state is m.State.DRAFT:
        raise WrongState(state=stored.state.value, trigger="propose_windows")
    wrong: list[Wrong] = [
        (f"windows.{n}", "not_in_future" if x.end <= uow.now else "end_before_start")
        for n, x in enumerate(windows)
        if x.end <= uow.now or x.end <= x.start
    ]
    if not windows:
        wrong.append(("windows", "required"))
    if len(windows) > 10:
        wrong.append(("windows", "too_many", {"max": 10}))
    if wrong:
        raise Invalid(*wrong)
    payload = {"windows": [{"start": x.start.isoformat(), "end": x.end.isoformat()} for x in windows]}
    record_note(uow, actor, stored, "propose_windows", payload=payload)
    return stored


def proposed_windows(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId
) -> Sequence[Window]:
    """The clinic's newest windows: those proposed on the way, else those of the request form."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_READ)
    for event in reversed(uow.events.of(f"consultation:{opened.consultation.id}")):
        if event.trigger == "propose_windows":
            return _windows(event.payload.get("windows", ()))
    request = uow.consultations.request(consultation)
    return _windows(request.content.get("windows", ())) if request else ()


def _windows(entries: Sequence[Mapping[str, Any]]) -> tuple[Window, ...]:
    found = []
    for x in entries:
        try:
            start, end = datetime.fromisoformat(str(x["start"])), datetime.fromisoformat(str(x["end"]))
        except (KeyError, ValueError):
            continue                   # half-typed on the form
        if start.tzinfo is not None and end.tzinfo is not None:
            found.append(Window(start=start, end=end))
    return tuple(found)


def _check_time(uow: UnitOfWork, at: datetime) -> None:
    if at.tzinfo is None or at <= uow.now:
        raise Invalid(("at", "not_in_future"))


def schedule_session(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, at: datetime
) -> m.Consultation:
    """The expert picks a time (UTC or with zone)."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_SCHEDULE)
    _check_time(uow, at)
    return move(
        uow, actor, opened, Trigger.SCHEDULE, payload={"at": at.isoformat()}, change={"scheduled_at": at}
    )


def reschedule_session(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, at: datetime, reason: str
) -> m.Consultation:
    """Either side moves the appointment; after a no-show it makes a new one."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_SCHEDULE)
    _check_time(uow, at)
    before = opened.consultation.scheduled_at
    payload = {"at": at.isoformat(), "before": before.isoformat() if before else None}
    return move(
        uow, actor, opened, Trigger.RESCHEDULE, reason=reason, payload=payload, change={"scheduled_at": at}
    )


def side_of(opened: Opened) -> str:
    return REQUESTING if Relation.REFERRING in opened.relations else INVITED


def check_in(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    precheck: Mapping[str, Any] | None = None,
) -> m.Consultation:
    """One side is ready: devices tested, patient identified. Checking in twice changes nothing.

    The first side moves the consultation to checked-in; `checked_in_sides` says who is there.
    """
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_SCHEDULE)
    side = side_of(opened)
    stored = opened.consultation
    if stored.state is m.State.CHECKED_IN and side in checked_in_sides(uow, consultation=consultation):
        return stored
    payload: dict[str, Any] = {"side": side}
    if precheck:
        payload["precheck"] = dict(precheck)
    return move(uow, actor, opened, Trigger.CHECK_IN, payload=payload)


def checked_in_sides(uow: UnitOfWork, *, consultation: m.ConsultationId) -> frozenset[str]:
    """The sides that have checked in since the consultation last entered that state: requesting, invited."""
    found: set[str] = set()
    for event in uow.events.of(f"consultation:{consultation}"):
        if event.trigger == Trigger.CHECK_IN:
            found.add(str(event.payload.get("side", "")))
        elif event.before != event.after:
            found.clear()
    return frozenset(found - {""})


def mark_no_show(
    uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId, reason: str = ""
) -> m.Consultation:
    """The other side did not come. Only once the appointed time has passed (WrongState before)."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_SCHEDULE)
    at = opened.consultation.scheduled_at
    if at is not None and uow.now < at:
        raise WrongState(state=opened.consultation.state.value, trigger=Trigger.MARK_NO_SHOW.value)
    missing = INVITED if side_of(opened) == REQUESTING else REQUESTING
    return move(
        uow, actor, opened, Trigger.MARK_NO_SHOW, reason=reason,
        payload={"side": missing}, change={"scheduled_at": None},
    )  # fmt: skip


def start_review(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> m.Consultation:
    """The expert reads without video."""
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_REVIEW)
    return move(uow, actor, opened, Trigger.START_REVIEW)
