"""Plain pages for administrators and auditors: staff, organisations, the audit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import web

from consult.errors import NotFound
from consult.people import LinkKind, Organisation, OrganisationId, OrganisationKind, Role, Tier
from server import labels
from server.api.common import actor, int_query, now, work
from server.auth.auditing import AuditPage, read_audit
from server.auth.people import in_force
from server.auth.staff import GIVES, list_staff
from server.i18n import _
from server.pages import render

AUDIT_ROWS = 200


def choices(places: Sequence[Organisation]) -> list[tuple[str, str]]:
    """(id, name) for a select."""
    return [(place.id, place.name) for place in places]


def labelled(values: Iterable[Any], words: Mapping[Any, str]) -> list[tuple[str, str]]:
    """(value, word in the language of the request) for a select."""
    return [(str(value), _(words[value])) for value in values]


async def staff_page(request: web.Request) -> web.StreamResponse:
    """GET /admin/staff?organisation=<id>: who serves here; add, close, new password."""
    who = actor(request)
    wanted = OrganisationId(request.query.get("organisation") or who.organisation)
    places = await work(request).read(lambda uow: uow.people.organisations())
    people = await work(request).read(list_staff, actor=who, organisation=wanted)
    place = next(item for item in places if item.id == wanted)
    choose = who.role is not Role.ORG_ADMIN
    return await render(
        request,
        "admin/staff.html",
        page="staff",
        tab="staff",
        place=place,
        places=places if choose else (place,),
        people=people,
        in_force=lambda held: in_force(held, now(request)),
        gives=sorted(GIVES.get(who.role, ()), key=list(Role).index),
        choices=choices,
        roles_of=lambda given: labelled(given, labels.ROLE),
        role_words={str(role): _(word) for role, word in labels.ROLE.items()},
        specialties=sorted({x for one in people for held in one.memberships for x in held.specialties}),
    )


async def organisations_page(request: web.Request) -> web.StreamResponse:
    """GET /admin/organisations: the places and who serves whom."""
    who = actor(request)
    places = await work(request).read(lambda uow: uow.people.organisations())
    links = await work(request).read(lambda uow: uow.people.links())
    return await render(
        request,
        "admin/organisations.html",
        page="organisations",
        tab="organisations",
        places=places,
        names={place.id: place.short_name or place.name for place in places},
        links=links,
        tiers=tuple(Tier),
        kinds=tuple(OrganisationKind),
        link_kinds=tuple(LinkKind),
        manages=who.role is Role.PLATFORM_ADMIN,
        own=who.organisation if who.role is Role.ORG_ADMIN else "",
        choices=choices,
        labelled=labelled,
    )


async def audit_page(request: web.Request) -> web.StreamResponse:
    """GET /audit?object=&login=&before=: who did what, as far as the caller may know, the newest first."""
    object_ = request.query.get("object") or ""
    login = (request.query.get("login") or "").strip().lower()
    person = await work(request).read(lambda uow: uow.people.staff_by_login(login)) if login else None
    found = AuditPage(rows=(), names={}, next=None)
    if person is not None or not login:
        with suppress(NotFound):        # a name that is unknown and one that is not yours to ask for look alike
            found = await work(request).read(
                read_audit,
                actor=actor(request),
                object=object_ or None,
                staff=person.id if person else None,
                before=int_query(request, "before", 2**53, low=0, high=2**53),
                limit=AUDIT_ROWS,
            )
    return await render(
        request, "admin/audit.html", page="audit", tab="audit", found=found, object=object_, login=login
    )
