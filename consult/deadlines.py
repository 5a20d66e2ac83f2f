"""The deadline of a consultation's present state (DOMAIN §4). Pure: the numbers come from consult/rules.py."""

from datetime import UTC, datetime, time, timedelta

from consult import model as m
from consult.rules import Rules

_READS = frozenset({m.Service.IMAGING, m.Service.ECG})
_OPENING = time(8, 0)
PAUSED = frozenset({m.State.RETURNED, m.State.AWAITING_MATERIAL})


def due_at(
    consultation: m.Consultation,
    rules: Rules,
    now: datetime,
    *,
    kept: datetime | None = None,
    critical: bool = False,
) -> datetime | None:
    """When the present state, entered at `now`, is late; None where nobody is waited for.

    `kept` is a deadline that goes on (an offer to the next expert does not restart the clock; a pause shifts it).
    `critical`: the delivered report carries the critical flag.
    """
    match consultation.state:
        case m.State.SUBMITTED | m.State.TRIAGE | m.State.OFFERED:
            return kept or accept_by(consultation, rules, now)
        case m.State.ACCEPTED | m.State.ASYNC_REVIEW:
            return kept or done_by(consultation, rules, now)
        case m.State.SCHEDULED | m.State.CHECKED_IN:
            return consultation.scheduled_at or kept
        case m.State.REPORTING:
            return kept or report_by(consultation, rules, now)
        case m.State.RETURNED | m.State.AWAITING_MATERIAL:
            return min(item_times(consultation), default=now + rules.deadlines.returned)
        case m.State.DELIVERED:
            limit = rules.deadlines.acknowledge_critical if critical else rules.deadlines.acknowledge
            return now + limit
        case m.State.FEEDBACK:
            return kept
        case _:
            return None


def accept_by(consultation: m.Consultation, rules: Rules, now: datetime) -> datetime:
    """By when an expert shall have accepted a request that is submitted (or comes back) now."""
    limits = rules.deadlines
    if consultation.urgency is m.Urgency.STAT:
        return now + limits.stat_accept
    if consultation.urgency is m.Urgency.URGENT:
        return now + (limits.read_accept if consultation.service in _READS else limits.urgent_accept)
    return add_working_days(now, limits.routine_accept_days, rules)


def done_by(consultation: m.Consultation, rules: Rules, now: datetime) -> datetime:
    limits = rules.deadlines
    if consultation.urgency is m.Urgency.STAT:
        return now + limits.stat_done
    if consultation.urgency is m.Urgency.URGENT:
        return now + (limits.read_done if consultation.service in _READS else limits.urgent_done)
    return now + limits.routine_done


def report_by(consultation: m.Consultation, rules: Rules, now: datetime) -> datetime:
    if consultation.urgency is m.Urgency.ROUTINE:
        return now + rules.deadlines.report_after_session
    return done_by(consultation, rules, now)


def offer_until(
    consultation: m.Consultation, rules: Rules, now: datetime, *, named: bool = False
) -> datetime:
    """How long one offer stays open before it goes on to the next; a routine one to a named expert waits longer, an
    emergency until its last step.
    """
    if named and consultation.urgency is m.Urgency.ROUTINE:
        return add_working_days(now, rules.named_offer_days, rules)
    if consultation.urgency is m.Urgency.STAT:
        return now + rules.deadlines.stat_steps[-1]
    return accept_by(consultation, rules, now)


def feedback_due(since: datetime, day: int, rules: Rules) -> datetime:
    """By when the clinic tells the outcome of a day (7 or 30), counted from the acknowledgement at `since`."""
    return since + timedelta(days=day + rules.feedback_within_days)


def item_times(consultation: m.Consultation) -> list[datetime]:
    """The due times of the missing items, as far as they are given."""
    return [datetime.fromisoformat(str(x["due"])) for x in consultation.missing if x.get("due")]


def add_working_days(moment: datetime, days: int, rules: Rules) -> datetime:
    """The same time of day, `days` working days later; from a day off it counts from the next opening."""
    local = moment.astimezone(UTC) + rules.utc_offset
    if not rules.calendar.is_working(local.date()):
        local = datetime.combine(local.date(), _OPENING, tzinfo=UTC)
        while not rules.calendar.is_working(local.date()):
            local += timedelta(days=1)
    for _ in range(days):
        local += timedelta(days=1)
        while not rules.calendar.is_working(local.date()):
            local += timedelta(days=1)
    return local - rules.utc_offset
