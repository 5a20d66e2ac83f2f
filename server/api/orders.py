"""Exam orders: made by clinic doctor or technician, with the accession number that devices send back."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web

from consult import model as m
from consult import studying
from consult.access import Action, may
from consult.patient import PatientId
from consult.people import Actor, OrganisationId, Role
from consult.ports import UnitOfWork
from server.api.common import actor, body, json_response, work
from server.api.consultations import Because
from server.auth.audit import audit

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Procedure = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Modality = Annotated[str, msgspec.Meta(min_length=2, max_length=16, pattern="^[A-Z0-9]+$")]


class NewOrder(msgspec.Struct, forbid_unknown_fields=True):
    patient: Id
    procedure: Procedure
    modality: Modality
    performing: Id
    consultation: Id | None = None


def order_view(uow: UnitOfWork, order: m.ExamOrder) -> dict[str, Any]:
    """An order with the names a list shows and the studies that came for it."""
    patient = uow.patients.get(order.patient)
    matches = [x for x in uow.studies.matches(patient=order.patient) if x.order == order.id and x.voided_at is None]
    return {
        "id": order.id,
        "accession": order.accession,
        "procedure": order.procedure,
        "modality": order.modality,
        "at": order.at,
        "voided_at": order.voided_at,
        "consultation": order.consultation,
        "ordering": uow.people.organisation(order.ordering).short_name,
        "performing": uow.people.organisation(order.performing).short_name,
        "patient": {
            "id": patient.id, "name": patient.name, "sex": patient.sex, "birth_date": patient.birth_date,
            "birth_estimated": patient.birth_estimated,
        },
        "studies": [x.study_uid for x in matches],
    }  # fmt: skip


def _create(uow: UnitOfWork, *, actor: Actor, given: NewOrder) -> dict[str, Any]:
    order = studying.create_order(
        uow,
        actor=actor,
        patient=PatientId(given.patient),
        procedure=given.procedure.strip(),
        modality=given.modality,
        performing=OrganisationId(given.performing),
        consultation=m.ConsultationId(given.consultation) if given.consultation else None,
    )
    audit(uow, actor, "order.create", f"order:{order.id}")
    return order_view(uow, order)


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /api/orders`: 201 with the accession number."""
    given = await body(request, NewOrder)
    return json_response(await work(request).run(_create, actor=actor(request), given=given), status=201)


def list_orders(uow: UnitOfWork, *, actor: Actor) -> list[dict[str, Any]]:
    """Orders of the own organisation, newest first; a doctor sees those whose patients are theirs to read."""
    orders = uow.studies.orders(organisation=actor.organisation, limit=200)
    if actor.role is not Role.TECHNICIAN:
        orders = [x for x in orders if may(uow, actor, Action.ORDER_READ, x)]
    audit(uow, actor, "order.list", f"organisation:{actor.organisation}", detail={"rows": len(orders)})
    return [order_view(uow, x) for x in orders]


async def index(request: web.Request) -> web.StreamResponse:
    """`GET /api/orders`."""
    return json_response({"orders": await work(request).run(list_orders, actor=actor(request))})


def _void(uow: UnitOfWork, *, actor: Actor, order: m.OrderId, reason: str) -> dict[str, Any]:
    found = studying.void_order(uow, actor=actor, order=order, reason=reason)
    audit(uow, actor, "order.void", f"order:{order}")
    return order_view(uow, found)


async def void(request: web.Request) -> web.StreamResponse:
    """`POST /api/orders/{id}/void` {reason}."""
    given = await body(request, Because)
    order = m.OrderId(request.match_info["id"])
    return json_response(await work(request).run(_void, actor=actor(request), order=order, reason=given.reason))


def places(uow: UnitOfWork, *, actor: Actor) -> list[dict[str, str]]:
    """Where an exam may be performed: here, and at organisations linked with us, directly or through a parent."""
    linked = {y for x in uow.people.links(actor.organisation) for y in (x.a, x.b)}
    linked |= {y for z in linked for x in uow.people.links(z) for y in (x.a, x.b)}
    found = [uow.people.organisation(x) for x in {actor.organisation, *linked}]
    ordered = sorted((x for x in found if x.active), key=lambda x: (x.id != actor.organisation, x.name))
    return [{"id": x.id, "name": x.name} for x in ordered]
