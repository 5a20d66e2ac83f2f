"""`/inbox`: the reports that wait in the clinic, and those that were received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from consult import model as m
from consult import people as o
from consult.access import Action, authorize, surviving
from consult.patient import Sex
from consult.people import Actor
from server.api.common import actor, work
from server.cases import age_band
from server.pages import render
from server.storage.unit import SqlUnitOfWork

MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One filed version. `name` only for those who take part; others see sex and age band (DOMAIN §6)."""

    filing: m.Filing
    consultation: m.Consultation
    n: int
    status: m.ReportStatus
    signed_at: datetime
    critical: bool
    serving: str
    signer: str
    mine: bool
    name: str
    sex: Sex
    band: str


def read_inbox(uow: SqlUnitOfWork, *, actor: Actor, waiting: bool) -> Sequence[Received]:
    """The newest first. Raises NotFound for who has no inbox."""
    authorize(uow, actor, Action.INBOX_READ, actor.organisation)
    return [_received(uow, actor, x) for x in uow.reports.inbox(actor.organisation, open_only=waiting, limit=MOST)]


def _received(uow: SqlUnitOfWork, actor: Actor, filing: m.Filing) -> Received:
    consultation = uow.consultations.get(filing.consultation)
    version = uow.reports.version(filing.report_version)
    patient = surviving(uow, uow.patients.get(consultation.patient))
    mine = actor.membership in {
        x.membership for x in uow.consultations.participants(consultation.id) if x.part is m.Part.REFERRING
    }
    author: o.MembershipId = uow.reports.get(version.report).author
    membership = uow.people.membership(author)
    return Received(
        filing=filing,
        consultation=consultation,
        n=version.n,
        status=version.status,
        signed_at=version.signed_at,
        critical=mine and bool(version.content.get("critical")),
        serving=uow.people.organisation(membership.organisation).short_name,
        signer=uow.people.staff(membership.staff).name,
        mine=mine,
        name=patient.name if mine else "",
        sex=patient.sex,
        band=age_band(patient.birth_date, uow.now.date()),
    )


async def page(request: web.Request) -> web.StreamResponse:
    """GET /inbox; ?show=all also those acknowledged."""
    waiting = request.query.get("show") != "all"
    rows = await work(request).read(read_inbox, actor=actor(request), waiting=waiting)
    return await render(request, "inbox.html", page="inbox", tab="inbox", rows=rows, waiting=waiting)
