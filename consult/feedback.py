"""The loop closes: the clinic tells what became of the advice and of the patient, both sides rate each other.

acknowledged → feedback → archived (DOMAIN §3). Entries are never changed. `ask_for_feedback` and `archive_unanswered`
are the system's ticks (server/jobs.py); each handles what is due now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from consult import model as m
from consult.access import Action, open_consultation
from consult.deadlines import feedback_due
from consult.drafting import check_version
from consult.errors import Conflict, Invalid, Stale, Wrong, WrongState
from consult.events import record_note
from consult.feedback_entry import DAYS, LAST_DAY, RATINGS, Adoption, FeedbackEntry, Outcome, Side
from consult.lifecycle import Trigger
from consult.moving import move, move_by_system
from consult.people import Actor
from consult.ports import UnitOfWork
from consult.relations import EXPERT_PARTS, closed_since

RATEABLE = frozenset({m.State.DELIVERED, m.State.ACKNOWLEDGED, m.State.FEEDBACK, m.State.ARCHIVED})
ASKED = frozenset({m.State.ACKNOWLEDGED, m.State.FEEDBACK})
MOST_REASON, MOST_DONE, MOST_COMMENT = 500, 2000, 1000
LAST_DAY_FROM = timedelta(days=21)
"""So long after the acknowledgement the 30-day outcome may be told; before, it is a guess while anybody follows up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFeedback:
    """What the clinic's form holds, unchecked. `final`: no further follow-up."""

    day: int | None = None
    adoption: Adoption | None = None
    reason: str = ""
    plan_changed: bool | None = None
    done: str = ""
    outcome: Outcome | None = None
    rating: int | None = None
    comment: str = ""
    final: bool = False


def read_feedback(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> Sequence[FeedbackEntry]:
    """Everything said so far, oldest first: for the referring doctor and the experts."""
    opened = open_consultation(uow, actor, consultation, Action.FEEDBACK_READ)
    return uow.feedback.of(opened.consultation.id)


def give_feedback(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    given: GivenFeedback,
    version: int | None = None,
) -> m.Consultation:
    """The referring doctor's entry for one day; asked for or not yet. The last day's, or one that says that nobody
    will follow up any more, archives the consultation; after any other the next day's stays due.

    Raises Stale, WrongState, Invalid (every field at once) and Conflict (`feedback_given`).
    """
    opened = open_consultation(uow, actor, consultation, Action.FEEDBACK_GIVE)
    stored = opened.consultation
    check_version(stored, version)
    if stored.state not in ASKED:
        raise WrongState(state=stored.state.value, trigger=Trigger.GIVE_FEEDBACK.value)
    since = closed_since(uow, stored) or uow.now
    before = [x for x in uow.feedback.of(consultation) if x.side is Side.CLINIC]
    entry = _entry(uow, actor, consultation, given, since=since, first=not before)
    if any(x.day == entry.day for x in before):
        raise Conflict(reason="feedback_given")
    if stored.state is m.State.ACKNOWLEDGED:
        stored = move(uow, actor, opened, Trigger.ASK_FEEDBACK)
        opened = replace(opened, consultation=stored)
    uow.feedback.add(entry)
    if entry.final:
        return move(uow, actor, opened, Trigger.GIVE_FEEDBACK, payload=_facts(entry))
    saved = uow.consultations.save(replace(stored, due_at=feedback_due(since, LAST_DAY, uow.rules)))
    _record(uow, actor, saved, "record_feedback", entry)
    return saved


def rate_request(
    uow: UnitOfWork,
    *,
    actor: Actor,
    consultation: m.ConsultationId,
    rating: int | None,
    comment: str = "",
) -> m.Consultation:
    """An expert's rating of the request, once, from the delivery of the report on.

    Raises WrongState before that, Invalid, and Conflict (`already_rated`).
    """
    opened = open_consultation(uow, actor, consultation, Action.FEEDBACK_RATE)
    stored = opened.consultation
    if stored.state not in RATEABLE:
        raise WrongState(state=stored.state.value, trigger="rate_request")
    wrong = [*_rating(rating, required=True), *_long("comment", comment, MOST_COMMENT)]
    if wrong:
        raise Invalid(*wrong)
    if has_rated(uow.feedback.of(consultation), actor):
        raise Conflict(reason="already_rated")
    entry = FeedbackEntry(
        id=uow.new_id(), consultation=consultation, side=Side.EXPERT, by=actor.membership, at=uow.now,
        rating=rating, comment=comment.strip(),
    )  # fmt: skip
    uow.feedback.add(entry)
    _record(uow, actor, stored, "rate_request", entry)
    return stored


def has_rated(entries: Sequence[FeedbackEntry], actor: Actor) -> bool:
    return any(x.side is Side.EXPERT and x.by == actor.membership for x in entries)


def due_day(entries: Sequence[FeedbackEntry]) -> int:
    """The day whose outcome the clinic tells next."""
    told = {x.day for x in entries if x.side is Side.CLINIC}
    return next((x for x in DAYS if x not in told), LAST_DAY)


def last_day_from(uow: UnitOfWork, consultation: m.Consultation) -> datetime:
    """From when on the last day's outcome may be told."""
    return (closed_since(uow, consultation) or uow.now) + LAST_DAY_FROM


def ask_for_feedback(uow: UnitOfWork, *, limit: int = 100) -> int:
    """Asks the clinic once a report has been acknowledged for `rules.feedback_days`; returns how many."""
    return _tick(uow, m.State.ACKNOWLEDGED, uow.rules.feedback_days, Trigger.ASK_FEEDBACK, limit)


def archive_unanswered(uow: UnitOfWork, *, limit: int = 100) -> int:
    """Archives what has been asked for `rules.archive_days` without a last answer; returns how many.

    Nobody has said anything, so it is news to nobody: it does not turn unread.
    """
    return _tick(uow, m.State.FEEDBACK, uow.rules.archive_days, Trigger.ARCHIVE, limit)


def _tick(uow: UnitOfWork, state: m.State, days: int, trigger: Trigger, limit: int) -> int:
    done = 0
    for consultation in uow.consultations.resting(state, uow.now - timedelta(days=days), limit=limit):
        try:
            move_by_system(uow, consultation, trigger)
        except Stale:
            continue  # answered in this very moment
        if trigger is Trigger.ARCHIVE:
            for x in uow.consultations.participants(consultation.id):
                uow.consultations.mark_read(consultation.id, x.membership, at=uow.now)
        done += 1
    return done


def _entry(
    uow: UnitOfWork,
    actor: Actor,
    consultation: m.ConsultationId,
    given: GivenFeedback,
    *,
    since: datetime,
    first: bool,
) -> FeedbackEntry:
    """The entry, or Invalid with every field that is wrong. The first one rates the opinion, later ones may."""
    wrong: list[Wrong] = []
    if given.day is None:
        wrong.append(("day", "required"))
    elif given.day not in DAYS:
        wrong.append(("day", "unknown_choice"))
    elif given.day == LAST_DAY and uow.now < since + LAST_DAY_FROM and not _ends(given):
        date = (since + LAST_DAY_FROM + uow.rules.utc_offset).date()
        wrong.append(("day", "outcome_too_early", {"day": LAST_DAY, "date": date.isoformat()}))
    wrong += [(name, "required") for name in ("adoption", "plan_changed", "outcome") if getattr(given, name) is None]
    if given.adoption not in {None, Adoption.ADOPTED} and not given.reason.strip():
        wrong.append(("reason", "required"))
    wrong += _long("reason", given.reason, MOST_REASON)
    wrong += _long("done", given.done, MOST_DONE)
    wrong += _rating(given.rating, required=first)
    wrong += _long("comment", given.comment, MOST_COMMENT)
    if wrong:
        raise Invalid(*wrong)
    return FeedbackEntry(
        id=uow.new_id(),
        consultation=consultation,
        side=Side.CLINIC,
        by=actor.membership,
        at=uow.now,
        day=given.day,
        adoption=given.adoption,
        reason="" if given.adoption is Adoption.ADOPTED else given.reason.strip(),
        plan_changed=given.plan_changed,
        done=given.done.strip(),
        outcome=given.outcome,
        rating=given.rating,
        comment=given.comment.strip(),
        final=given.day == LAST_DAY or _ends(given),
    )


def _ends(given: GivenFeedback) -> bool:
    """Nothing will change any more: what is told now is also the last day's outcome."""
    return given.final or given.outcome is Outcome.DIED


def _long(name: str, text: str, most: int) -> list[Wrong]:
    return [(name, "too_long", {"max": most})] if len(text.strip()) > most else []


def _rating(rating: int | None, *, required: bool) -> list[Wrong]:
    if rating is None:
        return [("rating", "required")] if required else []
    return [] if rating in RATINGS else [("rating", "unknown_choice")]


def _facts(entry: FeedbackEntry) -> Mapping[str, Any]:
    """What figures are counted from (DOMAIN §7, 12); no free text."""
    facts = {
        "feedback": entry.id,
        "day": entry.day,
        "adoption": entry.adoption,
        "plan_changed": entry.plan_changed,
        "outcome": entry.outcome,
        "rating": entry.rating,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _record(uow: UnitOfWork, actor: Actor, consultation: m.Consultation, trigger: str, entry: FeedbackEntry) -> None:
    """A note, which changes no state: the other side finds the consultation unread, an open page fetches it anew."""
    record_note(uow, actor, consultation, trigger, payload=_facts(entry))
    parts = EXPERT_PARTS if entry.side is Side.CLINIC else {m.Part.REFERRING}
    for x in uow.consultations.participants(consultation.id):
        if x.part in parts and x.membership != actor.membership:
            uow.consultations.mark_unread(consultation.id, x.membership)
    uow.publish(
        f"consultation:{consultation.id}",
        {"consultation": consultation.id, "state": consultation.state.value, "feedback": entry.id},
    )
