"""The first administrator of an empty installation, proved by the code on the server's console."""

from __future__ import annotations

import secrets
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from consult.people import (
    Membership,
    MembershipId,
    Organisation,
    OrganisationId,
    OrganisationKind,
    Role,
    Staff,
    StaffId,
    Tier,
)
from server import keys
from server.api.common import InvalidBody, body, settings, work
from server.api.session import opened_response
from server.auth import signin
from server.auth.audit import audit
from server.problems import Refused
from server.settings import Session as Rules
from server.storage.accounts import Account
from server.storage.unit import SqlUnitOfWork


class Setup(msgspec.Struct):
    code: Annotated[str, Meta(max_length=64)]
    organisation: Annotated[str, Meta(min_length=1, max_length=100)]
    name: Annotated[str, Meta(min_length=1, max_length=60)]
    login: Annotated[str, Meta(min_length=1, max_length=32)]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


async def first_admin(request: web.Request) -> web.Response:
    """POST /api/setup: the platform administrator and their organisation; signed in at once. Once only."""
    given = await body(request, Setup)
    codes = request.app[keys.SETUP_CODE]
    if not codes:
        raise Refused("setup_done")
    if not secrets.compare_digest(given.code.strip().lower().encode(), codes[0].encode()):
        refused = Refused("setup_code")
        refused.fields = (("code", "setup_code"),)
        raise refused
    least = settings(request).session.password_length
    if len(given.password) < least:
        raise InvalidBody(("password", "weak_password", {"min": least}))
    login = given.login.strip().lower()
    if not signin.LOGIN_NAME.fullmatch(login):
        raise InvalidBody(("login", "login_form"))
    hashed = await request.app[keys.PASSWORDS].hash(given.password)
    opened = await work(request).run(
        create_first_admin,
        organisation=given.organisation.strip(),
        name=given.name.strip(),
        login=login,
        password_hash=hashed,
        rules=settings(request).session,
    )
    codes.clear()
    return opened_response(request, opened)


def create_first_admin(
    uow: SqlUnitOfWork, *, organisation: str, name: str, login: str, password_hash: str, rules: Rules
) -> signin.Opened:
    """Organisation, person, platform and organisation administration, account and login, in one commit."""
    if uow.accounts.any():
        raise Refused("setup_done")
    place = OrganisationId(uow.new_id())
    person = StaffId(uow.new_id())
    uow.people.add_organisation(
        Organisation(
            id=place, name=organisation, short_name=organisation, tier=Tier.CITY, kind=OrganisationKind.HOSPITAL
        )
    )
    uow.people.add_staff(Staff(id=person, login=login, name=name))
    first = MembershipId(uow.new_id())
    for membership, role in ((first, Role.PLATFORM_ADMIN), (MembershipId(uow.new_id()), Role.ORG_ADMIN)):
        uow.people.add_membership(
            Membership(id=membership, staff=person, organisation=place, role=role, since=uow.now)
        )
    uow.accounts.put(Account(staff=person, password_hash=password_hash, changed_at=uow.now))
    signin.remember_place(uow, person, first)
    audit(uow, None, "setup", f"staff:{person}", staff=person)
    return signin.open_login(uow, person, first, rules)
