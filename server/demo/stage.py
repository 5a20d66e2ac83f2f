"""Tells what happened in the demo city through the real services, each step at its own moment of the last days.

Everything is told in one unit of work, so a stop in between leaves nothing half told; steps of different consultations
are told in the order of time, so audit rows and numbers come in the order they would have.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from consult import (
    attending,
    consent,
    emergency,
    feedback,
    matching,
    material,
    registering,
    reporting,
    requesting,
    scheduling,
    studying,
    triage,
)
from consult import model as m
from consult.patient import PatientId
from consult.people import Actor, OrganisationId
from dicom.model import StudyRow
from server.auth.audit import audit
from server.auth.people import actor_of
from server.matching import facts_of
from server.signing import Signing
from server.storage.blobs import Blobs
from server.storage.unit import SqlUnitOfWork
from server.work import Work

P = ParamSpec("P")
T = TypeVar("T")
Moments = Iterator[datetime]

# What the front door writes into the audit for the same steps.
AUDITED: dict[Callable[..., Any], str] = {
    requesting.start_draft: "consultation.start",
    requesting.save_request: "consultation.save",
    requesting.submit_request: "consultation.submit",
    requesting.withdraw_request: "consultation.withdraw",
    emergency.start_stat: "consultation.stat",
    consent.record_consent: "consent.record",
    material.add_document: "document.add",
    material.share_study: "study.share",
    material.request_material: "consultation.request_material",
    triage.receive_request: "consultation.receive",
    triage.return_request: "consultation.return",
    triage.reject_request: "consultation.reject",
    triage.offer_consultation: "consultation.offer",
    triage.accept_offer: "consultation.accept",
    triage.decline_offer: "consultation.decline",
    triage.cancel_consultation: "consultation.cancel",
    scheduling.schedule_session: "consultation.schedule",
    scheduling.check_in: "consultation.check_in",
    scheduling.mark_no_show: "consultation.no_show",
    attending.open_session: "room.open",
    reporting.open_report: "report.open",
    reporting.save_report: "report.save",
    reporting.acknowledge_report: "report.acknowledge",
    feedback.give_feedback: "feedback.give",
    feedback.rate_request: "feedback.rate",
    registering.register_patient: "patient.register",
    studying.create_order: "order.create",
}


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where the tales are told: `now` is the moment of the step being told, `start` the moment the telling began."""

    uow: SqlUnitOfWork
    start: datetime
    now: datetime
    actors: dict[str, Actor] = field(default_factory=dict)
    places: dict[str, OrganisationId] = field(default_factory=dict)
    patients: dict[str, PatientId] = field(default_factory=dict)
    orders: dict[str, m.OrderId] = field(default_factory=dict)
    studies: dict[str, StudyRow] = field(default_factory=dict)

    def ago(self, **span: float) -> datetime:
        """`start` less days, hours, minutes."""
        return self.start - timedelta(**span)

    def do(self, service: Callable[..., T], actor: str, /, **kwargs: Any) -> T:
        """`service(uow, actor=…, **kwargs)` at `now`, with its audit row in the same unit."""
        who = self.actors[actor]

        def audited(uow: SqlUnitOfWork) -> T:
            result = service(uow, actor=who, **kwargs)
            if service in AUDITED:
                audit(uow, who, AUDITED[service], about(result, kwargs))
            return result

        return self.told(audited)

    def told(self, fn: Callable[Concatenate[SqlUnitOfWork, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`fn(uow, …)` on the same transaction, its moment being `now`."""
        past = SqlUnitOfWork(self.uow.link.connection, self.now, self.uow.rules)
        result = fn(past, *args, **kwargs)
        past.finish()
        self.uow.published += past.published
        self.uow.revoked += past.revoked
        return result

    def match(self, study: str) -> str:
        """What an upload does after ingest: match by numbers; the method, or "" where a technician must decide."""
        row = self.studies[study]
        found = self.told(matching.match_automatically, facts=facts_of(row, OrganisationId(row.organisation)))
        return found.method.value if found else ""


def about(result: Any, kwargs: dict[str, Any]) -> str:
    """The audited object of a step."""
    if consultation := kwargs.get("consultation"):
        return f"consultation:{consultation}"
    kinds = {m.Report: "report", m.ExamOrder: "order", m.Consultation: "consultation"}
    return f"{kinds.get(type(result), 'patient')}:{result.id}"


def tell(stage: Stage, tales: Iterable[Callable[[Stage], Moments]]) -> None:
    """Runs all tales, always going on with the one whose next step is the earliest.

    A tale yields the moment of its next step and is resumed when everything before it has been told.
    """
    queue: list[tuple[datetime, int, Moments]] = []

    def go_on(number: int, tale: Moments) -> None:
        moment = next(tale, None)
        if moment is not None:
            heapq.heappush(queue, (moment, number, tale))

    for number, begin in enumerate(tales):
        go_on(number, begin(stage))
    while queue:
        moment, number, tale = heapq.heappop(queue)
        if moment < stage.now:
            msg = f"tale {number} goes back in time"
            raise ValueError(msg)
        stage.now = moment
        go_on(number, tale)


class Signatory:
    """Signs the reports of the tales through the same service as everyone's, inside the telling's own unit."""

    def __init__(self, stage: Stage, blobs: Blobs, folder: Path, *, origin: str, zone: tzinfo) -> None:
        self._origin = origin
        inside = cast("Work", _Inside(stage))
        self._signing = Signing(inside, blobs, folder, clock=lambda: stage.now, zone=zone, demo=True)

    def sign(self, actor: Actor, report: m.Report) -> m.ReportVersion:
        """The signed, filed, delivered version. Runs in a thread that has no event loop."""
        return asyncio.run(
            self._signing.sign(
                actor, report.id, report.version, verify_url=lambda code: f"{self._origin}/verify/{code}"
            )
        )


class _Inside:
    """The part of Work that signing needs, on the unit that is open already (a unit inside a unit would wait)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._stage.told(fn, *args, **kwargs)

    read = run


def actor_at(uow: SqlUnitOfWork, login: str, organisation: OrganisationId, role: str) -> Actor:
    """Somebody in one of their places."""
    staff = uow.people.staff_by_login(login)
    if staff is None:
        raise LookupError(login)
    held = uow.people.memberships(staff=staff.id, organisation=organisation)
    return actor_of(staff, next(x for x in held if x.role == role))
