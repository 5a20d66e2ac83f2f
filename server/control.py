"""Commands of a second process. With a server running they travel through its local socket (data/control.sock);
without one, the command opens the data folder itself. Either way one process writes.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from consult.errors import ConsultError
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
from consult.ports import UnitOfWork
from server import keys
from server.auth import signin
from server.auth.audit import audit
from server.auth.passwords import Passwords
from server.problems import TABLE, Refused
from server.settings import Settings
from server.storage.accounts import Account
from server.storage.unit import SqlUnitOfWork

SECONDS = 30


class CommandRefused(Exception):
    """The command was understood and refused; the text says why, in words for a console."""


def text_of(request: Mapping[str, Any], name: str, *, longest: int = 200) -> str:
    """A required text of the request."""
    value = request.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise CommandRefused(f"{name}: a text of 1 to {longest} characters is needed")
    return value.strip()


def prepare(request: Mapping[str, Any], settings: Settings, passwords: Passwords) -> dict[str, Any]:
    """The request with its password replaced by the hash (outside any transaction)."""
    values = dict(request)
    if "password" in values:
        password = values.pop("password")
        least = settings.session.password_length
        if not isinstance(password, str) or len(password) < least:
            raise CommandRefused(f"the password needs at least {least} characters")
        values["password_hash"] = passwords.hash_now(password)
    return values


def user_list(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> dict[str, Any]:
    """Everyone: login, active or not, roles and places."""
    del request
    lines = []
    for organisation in uow.people.organisations():
        for person in uow.people.staff_of(organisation.id):
            held = uow.people.memberships(staff=person.id, organisation=organisation.id)
            roles = ",".join(sorted({str(item.role) for item in held if item.until is None}))
            state = "active" if person.active else "disabled"
            lines.append(f"{person.login:<20} {state:<9} {roles:<28} {organisation.short_name}")
    return {"lines": lines}


def user_add(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> dict[str, Any]:
    """A person with an account and one membership."""
    login = text_of(request, "login").lower()
    if not signin.LOGIN_NAME.fullmatch(login):
        raise CommandRefused("login: 2 to 32 lower-case letters, digits, dots, underscores or hyphens")
    try:
        role = Role(text_of(request, "role"))
    except ValueError as error:
        raise CommandRefused("role: one of " + ", ".join(Role)) from error
    wanted = text_of(request, "organisation")
    place = place_of(uow, wanted)
    if place is None:
        if not request.get("new_organisation"):
            raise CommandRefused(f"there is no organisation {wanted}; --new-organisation makes it")
        place = Organisation(
            id=OrganisationId(uow.new_id()),
            name=wanted,
            short_name=wanted,
            tier=Tier.CLINIC,
            kind=OrganisationKind.COMMUNITY_CENTRE,
        )
        uow.people.add_organisation(place)
    person = uow.people.staff_by_login(login)
    if person is not None:
        raise CommandRefused(f"the login {login} is taken")
    person = Staff(id=StaffId(uow.new_id()), login=login, name=text_of(request, "name", longest=60))
    uow.people.add_staff(person)
    membership = Membership(
        id=MembershipId(uow.new_id()), staff=person.id, organisation=place.id, role=role, since=uow.now
    )
    uow.people.add_membership(membership)
    uow.accounts.put(
        Account(staff=person.id, password_hash=str(request["password_hash"]), must_change=True, changed_at=uow.now)
    )
    audit(uow, None, "staff.add", f"staff:{person.id}", detail={"by": "console", "role": str(role)})
    return {"lines": [f"{login} added as {role} at {place.short_name}; the password is to be changed at first sign-in"]}


def place_of(uow: UnitOfWork, wanted: str) -> Organisation | None:
    """An organisation by its id, name or short name."""
    return next((item for item in uow.people.organisations() if wanted in {item.id, item.name, item.short_name}), None)


def user_passwd(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> dict[str, Any]:
    """A new password; all logins of the person end."""
    person = by_login(uow, request)
    ended = signin.set_password(
        uow, staff=person.id, password_hash=str(request["password_hash"]), by=None, must_change=True
    )
    return {"lines": [f"{person.login}: password set, {ended} logins ended"], "ended": str(person.id)}


def user_disable(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> dict[str, Any]:
    """Close the account; all logins end."""
    person = by_login(uow, request)
    if person.active:
        uow.people.save_staff(replace(person, active=False))
    audit(uow, None, "staff.disable", f"staff:{person.id}", detail={"by": "console"})
    ended = signin.sign_out_everywhere(uow, staff=person.id, by=None)
    return {"lines": [f"{person.login}: disabled, {ended} logins ended"], "ended": str(person.id)}


def by_login(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> Staff:
    """The person with the login of the request."""
    login = text_of(request, "login").lower()
    person = uow.people.staff_by_login(login)
    if person is None:
        raise CommandRefused(f"there is no login {login}")
    return person


def deidentify(uow: SqlUnitOfWork, request: Mapping[str, Any]) -> dict[str, Any]:
    """Writes down that a study leaves the house without identity; the console then reads it."""
    study = text_of(request, "study", longest=64)
    detail = {"by": "console", "deidentified": text_of(request, "dates")}
    audit(uow, None, "study.download", f"study:{study}", detail=detail)
    return {}


COMMANDS = {
    "user_list": user_list, "user_add": user_add, "user_passwd": user_passwd, "user_disable": user_disable,
    "deidentify": deidentify,
}  # fmt: skip


def control_app(app: web.Application) -> web.Application:
    """The application behind the local socket: one POST that runs one command, and what an import sends."""
    from server.dimse.console import add_fetch_routes
    from server.dimse.queue_console import add_forward_routes
    from server.importing import add_import_routes
    from server.keeping import add_long_routes

    async def command(request: web.Request) -> web.Response:
        import asyncio

        from server.api.session import end_logins

        try:
            value = await request.json()
            name = value.get("command") if isinstance(value, dict) else None
            if name not in COMMANDS:
                raise CommandRefused(f"unknown command {name}")
            ready = await asyncio.to_thread(prepare, value, app[keys.SETTINGS], app[keys.PASSWORDS])
            answer = await app[keys.WORK].run(COMMANDS[name], ready)
        except CommandRefused as error:
            return web.json_response({"refused": str(error)}, status=409)
        except (ConsultError, Refused) as error:
            return web.json_response({"refused": sentence(error.code)}, status=409)
        except ValueError:
            return web.json_response({"refused": "not JSON"}, status=400)
        if staff := answer.pop("ended", None):
            end_logins(app, staff=StaffId(staff))
        return web.json_response(answer)

    control = web.Application(client_max_size=64 * 1024)
    control.router.add_post("/command", command)
    add_import_routes(app, control)
    add_fetch_routes(app, control)
    add_forward_routes(app, control)
    add_long_routes(app, control)
    return control


def sentence(code: str) -> str:
    """The table's sentence for a code."""
    return TABLE[code].detail if code in TABLE else code


class SocketConnection(http.client.HTTPConnection):
    """HTTP over the local socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


def execute(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """Run a command in the server that is running, else directly; CommandRefused."""
    if settings.control_socket.exists():
        try:
            return ask_server(settings, request)
        except (ConnectionRefusedError, FileNotFoundError):
            pass                                # a socket left behind by a server that was killed
    return run_directly(settings, request)


def ask_server(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """The running server's answer."""
    connection = SocketConnection(str(settings.control_socket))
    try:
        connection.request(
            "POST", "/command", json.dumps(request).encode(), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        value = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200:
        raise CommandRefused(str(value.get("refused", "the server refused")))
    return dict(value)


def run_directly(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """Open the data folder (refused while another process writes it) and run the command in this process."""
    from server.storage import engine, migrations
    from server.work import Work

    ready = prepare(request, settings, Passwords())
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = engine.open(settings.database_url)
    work = Work(database)
    try:
        migrations.apply(database)
        return work.run_sync(COMMANDS[str(request["command"])], ready)
    except (ConsultError, Refused) as error:
        raise CommandRefused(sentence(error.code)) from error
    finally:
        work.close()
