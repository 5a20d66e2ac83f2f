"""What both sides say after the report: `/api/consultations/{id}/feedback` and `…/rating`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from consult import feedback
from consult.feedback_entry import Adoption, FeedbackEntry, Outcome
from consult.people import Actor
from consult.ports import UnitOfWork
from server.api.case_bodies import Body, Text
from server.api.common import actor, json_response, work
from server.api.consultations import consultation_id, step


class FeedbackBody(Body):
    """Everything may be absent here: the service says all that is missing at once."""

    version: int | None = None
    day: int | None = None
    adoption: Adoption | None = None
    reason: Text = ""
    plan_changed: bool | None = None
    done: Text = ""
    outcome: Outcome | None = None
    rating: int | None = None
    comment: Text = ""
    final: bool = False


class RatingBody(Body):
    rating: int | None = None
    comment: Text = ""


def _given(body: Any) -> dict[str, Any]:
    values = msgspec.structs.asdict(body)
    version = values.pop("version")
    return {"version": version, "given": feedback.GivenFeedback(**values)}


give = step(feedback.give_feedback, FeedbackBody, "feedback.give", _given)
rate = step(feedback.rate_request, RatingBody, "feedback.rate")


def entry_view(entry: FeedbackEntry, name: str) -> dict[str, Any]:
    """One entry with the name of who said it."""
    return {
        "id": entry.id, "side": entry.side, "by": entry.by, "name": name, "at": entry.at, "day": entry.day,
        "adoption": entry.adoption, "reason": entry.reason, "plan_changed": entry.plan_changed, "done": entry.done,
        "outcome": entry.outcome, "rating": entry.rating, "comment": entry.comment, "final": entry.final,
    }  # fmt: skip


def _read(uow: UnitOfWork, *, actor: Actor, consultation: Any) -> list[dict[str, Any]]:
    entries = feedback.read_feedback(uow, actor=actor, consultation=consultation)
    return [entry_view(x, uow.people.staff(uow.people.membership(x.by).staff).name) for x in entries]


async def read(request: web.Request) -> web.StreamResponse:
    """`GET …/feedback`: {entries}, oldest first."""
    entries = await work(request).read(_read, actor=actor(request), consultation=consultation_id(request))
    return json_response({"entries": entries})
