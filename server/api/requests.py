"""What the request form asks for beside the steps: whom it may go to, and the form as it is stored now."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from consult import model as m
from consult.access import Action, open_consultation
from consult.offering import pools
from consult.people import Actor, OrganisationId, Role
from consult.ports import UnitOfWork
from consult.timeline import timeline
from server.api.common import ENCODER, actor, json_response, work
from server.problems import Refused


def page_data(value: Any) -> Any:
    """`value` as plain JSON values, for the data script of a page (dates as text, enumerations as their value)."""
    return msgspec.json.decode(ENCODER.encode(value))


def place_view(uow: UnitOfWork, place: OrganisationId) -> dict[str, Any]:
    """A serving organisation with the experts who still work there."""
    experts = []
    for x in uow.people.memberships(organisation=place, role=Role.EXPERT):
        staff = uow.people.staff(x.staff)
        if (x.until is None or x.until > uow.now) and staff.active:
            experts.append(
                {
                    "membership": x.id, "name": staff.name, "title": staff.title, "department": x.department,
                    "specialties": x.specialties, "on_call": x.on_call,
                }
            )  # fmt: skip
    return {"id": place, "name": uow.people.organisation(place).name, "experts": experts}


def serving_places(uow: UnitOfWork, *, actor: Actor, service: m.Service) -> list[dict[str, Any]]:
    """Where a clinic may send a request of this service, the default first."""
    return [place_view(uow, x) for x in pools(uow, actor.organisation, service)]


async def targets(request: web.Request) -> web.StreamResponse:
    """`GET /api/targets?service=ecg`: centres, their specialties and experts; the first is the default."""
    try:
        service = m.Service(request.query.get("service", "clinical"))
    except ValueError as error:
        raise Refused("bad_request") from error
    found = await work(request).read(serving_places, actor=actor(request), service=service)
    return json_response({"places": found})


def form_view(uow: UnitOfWork, consultation: m.Consultation) -> dict[str, Any]:
    """The form's content as the page collects it, with the version it belongs to."""
    newest = uow.consultations.request(consultation.id)
    return {
        "version": consultation.version,
        "content": {
            "content": dict(newest.content) if newest else {},
            "questions": [x.text for x in uow.consultations.questions(consultation.id)],
            "service": consultation.service,
            "mode": consultation.mode,
            "urgency": consultation.urgency,
            "target": {
                "addressing": consultation.addressing,
                "organisation": consultation.target_organisation,
                "specialty": consultation.target_specialty,
                "membership": consultation.target_membership,
            },
        },
    }


def _read(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> dict[str, Any]:
    opened = open_consultation(uow, actor, consultation, Action.REQUEST_WRITE)
    return form_view(uow, opened.consultation)


async def read(request: web.Request) -> web.StreamResponse:
    """`GET /api/consultations/{id}/request`: what the server holds, for the choice after a conflict."""
    found = await work(request).read(
        _read, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    return json_response(found)


def _timeline(uow: UnitOfWork, *, actor: Actor, consultation: m.ConsultationId) -> list[dict[str, Any]]:
    return [
        {
            "at": x.at, "trigger": x.trigger, "before": x.before, "after": x.after, "who": x.who,
            "organisation": x.organisation, "reason": x.reason,
        }
        for x in timeline(uow, actor=actor, consultation=consultation)
    ]  # fmt: skip


async def steps(request: web.Request) -> web.StreamResponse:
    """`GET /api/consultations/{id}/timeline`: who did what, when and why; a queue row's steps without the reasons."""
    found = await work(request).read(
        _timeline, actor=actor(request), consultation=m.ConsultationId(request.match_info["id"])
    )
    return json_response({"timeline": found})
