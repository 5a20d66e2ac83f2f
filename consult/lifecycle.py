"""The life of a consultation (DOMAIN §3) as one table: (state, trigger) → state, who may pull it, under which guard.

`step` is the only function that changes `Consultation.state`. Who a person is to a consultation is decided by
consult/access.py; this table says what that part may do in which state.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from consult.errors import Invalid, NotAllowed, WrongState
from consult.model import Consultation, State, Urgency


class Puller(StrEnum):
    """The part in which somebody pulls a trigger."""

    REFERRING = "referring"
    CLINIC_COLLEAGUE = "clinic_colleague"
    ASSIGNED = "assigned"            # an expert, reviewer or chair who takes part now
    OFFERED = "offered"              # an open offer names them or their pool
    DISPATCHER = "dispatcher"
    TECHNICIAN = "technician"
    SYSTEM = "system"
    ADMIN = "admin"                  # of the requesting organisation


class Trigger(StrEnum):
    SUBMIT = "submit"
    RECEIVE = "receive"
    RETURN = "return"
    RESUBMIT = "resubmit"
    REJECT = "reject"
    OFFER = "offer"
    DECLINE = "decline"
    TIME_OUT = "time_out"
    REQUEUE = "requeue"
    ACCEPT = "accept"
    SCHEDULE = "schedule"
    RESCHEDULE = "reschedule"
    CHECK_IN = "check_in"
    START = "start"
    FINISH = "finish"
    UNDO_FINISH = "undo_finish"
    START_REVIEW = "start_review"
    REQUEST_MATERIAL = "request_material"
    PROVIDE_MATERIAL = "provide_material"
    CONTINUE_WITHOUT = "continue_without"
    START_REPORT = "start_report"
    SIGN = "sign"
    DELIVER = "deliver"
    ACKNOWLEDGE = "acknowledge"
    ASK_FEEDBACK = "ask_feedback"
    GIVE_FEEDBACK = "give_feedback"
    ARCHIVE = "archive"
    RELEASE = "release"
    REASSIGN = "reassign"
    TAKE_OVER = "take_over"
    WITHDRAW = "withdraw"
    CANCEL = "cancel"
    MARK_NO_SHOW = "mark_no_show"
    EXPIRE = "expire"
    ESCALATE = "escalate"
    CONVERT = "convert"
    ENTER_IN_ERROR = "enter_in_error"


class Guard(StrEnum):
    COMPLETE = "complete"            # the request holds everything required (the service proves it)
    OPEN_OFFER = "open_offer"        # the puller's offer is open and not past its time (the service proves it)
    ANSWERED = "answered"            # every question has an answer (the service proves it)
    REASON = "reason"                # a reason is given
    ITEMS = "items"                  # a list of missing items is given
    FAULT = "fault"                  # a reason and the side it lies with are given
    STAT = "stat"                    # only an emergency may skip the appointment


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`after` None goes back to `resume_to`. `remember` keeps the present state there."""

    before: State
    trigger: Trigger
    after: State | None
    by: frozenset[Puller]
    guard: Guard | None = None
    remember: bool = False


TERMINAL: frozenset[State] = frozenset(
    {
        State.ARCHIVED,
        State.WITHDRAWN,
        State.CANCELLED,
        State.REJECTED,
        State.CONVERTED,
        State.ENTERED_IN_ERROR,
    }
)

# The clinical part is over; the expert's access runs out some days later.
CLOSED: frozenset[State] = TERMINAL | {State.ACKNOWLEDGED, State.FEEDBACK}

# Waiting for an expert: whose queue rows the pool sees.
WAITING: frozenset[State] = frozenset({State.SUBMITTED, State.TRIAGE, State.OFFERED})

# The dispatcher reads the request.
IN_TRIAGE: frozenset[State] = frozenset({State.SUBMITTED, State.TRIAGE})

_S, _T, _P, _G = State, Trigger, Puller, Guard
_REF, _EXP, _DIS, _SYS = _P.REFERRING, _P.ASSIGNED, _P.DISPATCHER, _P.SYSTEM
_BOTH = (_REF, _EXP)


def _rules() -> Iterable[Rule]:
    def rule(
        before: State | tuple[State, ...],
        trigger: Trigger,
        after: State | None,
        by: Puller | tuple[Puller, ...],
        guard: Guard | None = None,
        *,
        remember: bool = False,
    ) -> Iterable[Rule]:
        pullers = frozenset(by if isinstance(by, tuple) else (by,))
        for state in before if isinstance(before, tuple) else (before,):
            yield Rule(before=state, trigger=trigger, after=after, by=pullers, guard=guard, remember=remember)

    # the request
    yield from rule(_S.DRAFT, _T.SUBMIT, _S.SUBMITTED, _REF, _G.COMPLETE)
    yield from rule(_S.SUBMITTED, _T.RECEIVE, _S.TRIAGE, (_DIS, _SYS))
    yield from rule(_S.TRIAGE, _T.RETURN, _S.RETURNED, _DIS, _G.ITEMS, remember=True)
    yield from rule((_S.ACCEPTED, _S.SCHEDULED), _T.RETURN, _S.RETURNED, _EXP, _G.ITEMS, remember=True)
    yield from rule(_S.RETURNED, _T.RESUBMIT, None, _REF, _G.COMPLETE)
    yield from rule(_S.TRIAGE, _T.REJECT, _S.REJECTED, _DIS, _G.REASON)
    yield from rule((_S.SUBMITTED, _S.TRIAGE, _S.RETURNED, _S.OFFERED), _T.WITHDRAW, _S.WITHDRAWN, _REF)

    # finding an expert
    yield from rule((_S.TRIAGE, _S.OFFERED), _T.OFFER, _S.OFFERED, (_DIS, _SYS))
    yield from rule(_S.OFFERED, _T.DECLINE, _S.OFFERED, _P.OFFERED, _G.REASON)
    yield from rule(_S.OFFERED, _T.TIME_OUT, _S.OFFERED, _SYS)
    yield from rule(_S.OFFERED, _T.REQUEUE, _S.TRIAGE, (_DIS, _SYS))
    yield from rule(_S.OFFERED, _T.ACCEPT, _S.ACCEPTED, _P.OFFERED, _G.OPEN_OFFER)
    leaving = (_S.ACCEPTED, _S.SCHEDULED, _S.ASYNC_REVIEW, _S.REPORTING)
    yield from rule(leaving, _T.RELEASE, _S.OFFERED, _EXP, _G.REASON)
    yield from rule(leaving, _T.REASSIGN, _S.OFFERED, _DIS, _G.REASON)

    # meeting
    yield from rule(_S.ACCEPTED, _T.SCHEDULE, _S.SCHEDULED, _EXP)
    yield from rule(_S.SCHEDULED, _T.RESCHEDULE, _S.SCHEDULED, _BOTH)
    yield from rule(_S.NO_SHOW, _T.RESCHEDULE, _S.SCHEDULED, _BOTH)
    yield from rule((_S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN), _T.CHECK_IN, _S.CHECKED_IN, _BOTH)
    yield from rule((_S.SCHEDULED, _S.CHECKED_IN), _T.MARK_NO_SHOW, _S.NO_SHOW, (_SYS, *_BOTH))
    yield from rule(_S.ACCEPTED, _T.START, _S.IN_SESSION, _BOTH, _G.STAT)
    yield from rule((_S.CHECKED_IN, _S.ASYNC_REVIEW, _S.REPORTING), _T.START, _S.IN_SESSION, _BOTH)
    yield from rule(_S.IN_SESSION, _T.FINISH, _S.REPORTING, _BOTH)
    yield from rule(_S.REPORTING, _T.UNDO_FINISH, _S.IN_SESSION, _BOTH)

    # reading and writing
    yield from rule((_S.ACCEPTED, _S.IN_SESSION, _S.REPORTING), _T.START_REVIEW, _S.ASYNC_REVIEW, _EXP)
    waiting = (_S.IN_SESSION, _S.ASYNC_REVIEW)
    yield from rule(waiting, _T.REQUEST_MATERIAL, _S.AWAITING_MATERIAL, _EXP, _G.ITEMS, remember=True)
    yield from rule(_S.AWAITING_MATERIAL, _T.PROVIDE_MATERIAL, None, (_REF, _P.TECHNICIAN))
    yield from rule(_S.AWAITING_MATERIAL, _T.CONTINUE_WITHOUT, None, _EXP, _G.REASON)
    yield from rule(_S.ASYNC_REVIEW, _T.START_REPORT, _S.REPORTING, _EXP)
    yield from rule(_S.REPORTING, _T.SIGN, _S.SIGNED, _EXP, _G.ANSWERED)

    # the loop closes
    yield from rule(_S.SIGNED, _T.DELIVER, _S.DELIVERED, _SYS)
    yield from rule(_S.DELIVERED, _T.ACKNOWLEDGE, _S.ACKNOWLEDGED, _REF)
    yield from rule(_S.ACKNOWLEDGED, _T.ASK_FEEDBACK, _S.FEEDBACK, (_REF, _SYS))
    yield from rule(_S.FEEDBACK, _T.GIVE_FEEDBACK, _S.ARCHIVED, _REF)
    yield from rule(_S.FEEDBACK, _T.ARCHIVE, _S.ARCHIVED, _SYS)

    # off the path
    accepted = (
        _S.ACCEPTED, _S.SCHEDULED, _S.CHECKED_IN, _S.ASYNC_REVIEW, _S.AWAITING_MATERIAL, _S.REPORTING,
        _S.NO_SHOW,
    )  # fmt: skip
    yield from rule(accepted, _T.CANCEL, _S.CANCELLED, _BOTH, _G.FAULT)
    yield from rule((*accepted, _S.IN_SESSION), _T.CONVERT, _S.CONVERTED, _BOTH, _G.REASON)
    yield from rule(_S.TRIAGE, _T.CONVERT, _S.CONVERTED, _DIS, _G.REASON)
    yield from rule(_S.RETURNED, _T.EXPIRE, _S.EXPIRED, _SYS)
    yield from rule(_S.EXPIRED, _T.ESCALATE, _S.TRIAGE, (_DIS, _SYS))
    yield from rule(_S.EXPIRED, _T.RESUBMIT, None, _REF, _G.COMPLETE)   # late, but complete at last
    yield from rule(_S.EXPIRED, _T.WITHDRAW, _S.WITHDRAWN, _REF)
    for state in State:
        if state is not _S.DRAFT and state not in TERMINAL:
            yield from rule(state, _T.TAKE_OVER, state, _P.CLINIC_COLLEAGUE, _G.REASON)
            yield from rule(state, _T.ENTER_IN_ERROR, _S.ENTERED_IN_ERROR, _P.ADMIN, _G.REASON)


TABLE: Mapping[tuple[State, Trigger], Rule] = {(rule.before, rule.trigger): rule for rule in _rules()}


def deletable(consultation: Consultation) -> bool:
    """A draft is the only thing that may be deleted; everything else is voided."""
    return consultation.state is State.DRAFT


def steps(consultation: Consultation, pullers: Iterable[Puller]) -> tuple[Trigger, ...]:
    """The triggers open to these parts now, in the table's order: what a page may offer as the next action."""
    who = frozenset(pullers)
    return tuple(
        rule.trigger
        for (state, _), rule in TABLE.items()
        if state is consultation.state
        and rule.by & who
        and (rule.guard is not Guard.STAT or consultation.urgency is Urgency.STAT)
    )


def destination(consultation: Consultation, rule: Rule) -> State:
    if rule.after is not None:
        return rule.after
    return consultation.resume_to or State.TRIAGE


def step(
    consultation: Consultation,
    trigger: Trigger,
    *,
    now: datetime,
    by: Puller,
    reason: str = "",
    fault: str = "",
    missing: tuple[Mapping[str, Any], ...] = (),
    given: frozenset[Guard] = frozenset(),
) -> Consultation:
    """The consultation after one trigger. `given` holds the guards which the service has proven itself.

    Raises WrongState (no such step from here, or a guard not met), NotAllowed (not this part's to pull) and
    Invalid (a reason, a list of items or a fault side is missing). Version and deadline are the caller's.
    """
    rule = TABLE.get((consultation.state, trigger))
    if rule is None:
        raise WrongState(state=consultation.state.value, trigger=trigger.value)
    if by not in rule.by:
        raise NotAllowed(state=consultation.state.value, trigger=trigger.value)
    _check(rule, consultation, reason=reason, fault=fault, missing=missing, given=given)
    after = destination(consultation, rule)
    moved = after is not consultation.state
    resume_to = consultation.state if rule.remember else (consultation.resume_to if not moved else None)
    if trigger is Trigger.EXPIRE:
        resume_to = consultation.resume_to     # a late completion still goes back to whoever asked
    return replace(
        consultation,
        state=after,
        resume_to=resume_to,
        state_since=now if moved else consultation.state_since,
        missing=missing if rule.guard is Guard.ITEMS else (consultation.missing if not moved else ()),
    )


def _check(
    rule: Rule,
    consultation: Consultation,
    *,
    reason: str,
    fault: str,
    missing: tuple[Mapping[str, Any], ...],
    given: frozenset[Guard],
) -> None:
    match rule.guard:
        case None:
            return
        case Guard.REASON if not reason.strip():
            raise Invalid(("reason", "required"))
        case Guard.FAULT if not reason.strip() or fault not in FAULTS:
            absent = [] if reason.strip() else [("reason", "required")]
            raise Invalid(*absent, *([] if fault in FAULTS else [("fault", "required")]))
        case Guard.ITEMS if not missing:
            raise Invalid(("items", "required"))
        case Guard.STAT if consultation.urgency is not Urgency.STAT:
            raise WrongState(state=consultation.state.value, trigger=rule.trigger.value)
        case Guard.COMPLETE | Guard.OPEN_OFFER | Guard.ANSWERED if rule.guard not in given:
            raise WrongState(state=consultation.state.value, trigger=rule.trigger.value)


# Whose side a cancellation lies with; figures are counted by it.
FAULTS: tuple[str, ...] = ("requesting", "invited", "patient", "technical")
