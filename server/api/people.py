"""Organisations, links, staff and memberships."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from consult.people import LinkKind, MembershipId, OrganisationId, OrganisationKind, Role, StaffId, Tier
from server import keys
from server.api.common import InvalidBody, actor, body, json_response, settings, work
from server.api.session import end_logins
from server.auth import staff as services

Name = Annotated[str, Meta(min_length=1, max_length=60)]
LongName = Annotated[str, Meta(min_length=1, max_length=100)]
Short = Annotated[str, Meta(max_length=60)]
Secret = Annotated[str, Meta(min_length=1, max_length=1024)]
Specialties = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=40)], ...], Meta(max_length=20)]
LoginName = Annotated[str, Meta(min_length=1, max_length=32)]
Version = Annotated[int, Meta(ge=0, le=2**31)]


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """`password` empty: one is made and answered once."""

    login: LoginName
    name: Name
    role: Role
    password: Annotated[str, Meta(max_length=1024)] = ""
    title: Short = ""
    licence: Short = ""
    phone: Short = ""
    department: Short = ""
    specialties: Specialties = ()
    on_call: bool = False


class NewMembership(msgspec.Struct, forbid_unknown_fields=True):
    login: LoginName
    role: Role
    department: Short = ""
    specialties: Specialties = ()
    on_call: bool = False


class ChangeMembership(msgspec.Struct, forbid_unknown_fields=True):
    version: Version
    department: Short = ""
    specialties: Specialties = ()
    on_call: bool = False


class ChangePerson(msgspec.Struct, forbid_unknown_fields=True):
    version: Version
    name: Name
    title: Short = ""
    licence: Short = ""
    phone: Short = ""


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    password: Annotated[str, Meta(max_length=1024)] = ""


class NewOrganisation(msgspec.Struct, forbid_unknown_fields=True):
    name: LongName
    tier: Tier
    kind: OrganisationKind
    short_name: Short = ""
    district: Short = ""
    phone: Short = ""


class ChangeOrganisation(msgspec.Struct, forbid_unknown_fields=True):
    version: Version
    name: LongName | UnsetType = UNSET
    short_name: Name | UnsetType = UNSET
    district: Short | UnsetType = UNSET
    phone: Short | UnsetType = UNSET
    room_kbps: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class NewLink(msgspec.Struct, forbid_unknown_fields=True):
    b: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: LinkKind


def place_of(request: web.Request) -> OrganisationId:
    return OrganisationId(request.match_info["id"])


async def temporary(request: web.Request, given: str) -> tuple[str, str]:
    """(password, its hash): the given one if long enough, else a random one of 80 bits."""
    least = settings(request).session.password_length
    if given and len(given) < least:
        raise InvalidBody(("password", "weak_password", {"min": least}))
    password = given or "-".join(secrets.token_hex(2) for _ in range(5))
    return password, await request.app[keys.PASSWORDS].hash(password)


async def organisations(request: web.Request) -> web.Response:
    """GET /api/organisations: every place, for forms and lists."""
    return json_response(await work(request).read(lambda uow: uow.people.organisations()))


async def add_organisation(request: web.Request) -> web.Response:
    """POST /api/organisations."""
    given = await body(request, NewOrganisation)
    value = await work(request).run(
        services.add_organisation, actor=actor(request), **msgspec.structs.asdict(given)
    )
    return json_response(value, status=201)


async def change_organisation(request: web.Request) -> web.Response:
    """PATCH /api/organisations/{id}."""
    given = await body(request, ChangeOrganisation)
    changes: dict[str, Any] = {
        name: value
        for name, value in msgspec.structs.asdict(given).items()
        if name != "version" and value is not UNSET
    }
    value = await work(request).run(
        services.change_organisation,
        actor=actor(request),
        organisation=place_of(request),
        version=given.version,
        **changes,
    )
    request.app[keys.SESSIONS].forget()
    return json_response(value)


async def link_organisations(request: web.Request) -> web.Response:
    """POST /api/organisations/{id}/links: {id} serves `b`."""
    given = await body(request, NewLink)
    value = await work(request).run(
        services.link_organisations,
        actor=actor(request),
        a=place_of(request),
        b=OrganisationId(given.b),
        kind=given.kind,
    )
    return json_response(value, status=201)


async def staff(request: web.Request) -> web.Response:
    """GET /api/organisations/{id}/staff."""
    value = await work(request).read(services.list_staff, actor=actor(request), organisation=place_of(request))
    return json_response(value)


async def add_person(request: web.Request) -> web.Response:
    """POST /api/organisations/{id}/staff. The temporary password is answered once, here."""
    given = await body(request, NewPerson)
    password, hashed = await temporary(request, given.password)
    values = msgspec.structs.asdict(given)
    values.pop("password")
    values["login"] = values["login"].strip().lower()
    person = await work(request).run(
        services.add_person,
        actor=actor(request),
        organisation=place_of(request),
        password_hash=hashed,
        **values,
    )
    return json_response({"person": person, "password": password}, status=201)


async def add_membership(request: web.Request) -> web.Response:
    """POST /api/organisations/{id}/memberships: somebody with an account serves here too."""
    given = await body(request, NewMembership)
    value = await work(request).run(
        services.add_membership,
        actor=actor(request),
        organisation=place_of(request),
        **msgspec.structs.asdict(given),
    )
    return json_response(value, status=201)


async def change_membership(request: web.Request) -> web.Response:
    """PATCH /api/memberships/{id}."""
    given = await body(request, ChangeMembership)
    membership = MembershipId(request.match_info["id"])
    value = await work(request).run(
        services.change_membership,
        actor=actor(request),
        membership=membership,
        **msgspec.structs.asdict(given),
    )
    request.app[keys.SESSIONS].forget(membership=membership)
    return json_response(value)


async def end_membership(request: web.Request) -> web.Response:
    """POST /api/memberships/{id}/end. Logins in it end at once."""
    membership = MembershipId(request.match_info["id"])
    value = await work(request).run(services.end_membership, actor=actor(request), membership=membership)
    end_logins(request.app, membership=membership)
    return json_response(value)


async def change_person(request: web.Request) -> web.Response:
    """PATCH /api/staff/{id}."""
    given = await body(request, ChangePerson)
    person = StaffId(request.match_info["id"])
    value = await work(request).run(
        services.change_person, actor=actor(request), staff=person, **msgspec.structs.asdict(given)
    )
    request.app[keys.SESSIONS].forget(staff=person)
    return json_response(value)


async def disable(request: web.Request) -> web.Response:
    """POST /api/staff/{id}/disable: every login of the person ends within the second."""
    return await set_active(request, active=False)


async def enable(request: web.Request) -> web.Response:
    """POST /api/staff/{id}/enable."""
    return await set_active(request, active=True)


async def set_active(request: web.Request, *, active: bool) -> web.Response:
    person = StaffId(request.match_info["id"])
    value = await work(request).run(
        services.set_active, actor=actor(request), staff=person, active=active
    )
    end_logins(request.app, staff=person)
    return json_response(value)


async def reset_password(request: web.Request) -> web.Response:
    """POST /api/staff/{id}/password: a temporary password, answered once; every login of the person ends."""
    given = await body(request, Reset)
    person = StaffId(request.match_info["id"])
    password, hashed = await temporary(request, given.password)
    await work(request).run(
        services.reset_password, actor=actor(request), staff=person, password_hash=hashed
    )
    end_logins(request.app, staff=person)
    return json_response({"password": password})
