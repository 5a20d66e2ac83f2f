"""The command line: `huizhen serve`, `user`, `check`, `audit verify`, `report verify`, `version`.

Commands that change data ask the running server through its local socket; without one they open the data folder
themselves. Two processes never write one database.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from consult.people import Role
from server.cli_archive import add_archive_commands
from server.cli_import import add_import
from server.cli_network import add_network_commands
from server.settings import Settings, SettingsError
from server.settings_reading import load_settings

EXIT_REFUSED = 1
EXIT_USAGE = 2


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    top = argparse.ArgumentParser(prog="huizhen", description="会诊 · remote consultation")
    top.add_argument("--version", action="version", version=f"huizhen {own_version()}")
    top.add_argument("--config", type=Path, default=None, help="TOML settings file (default: HUIZHEN_CONFIG)")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("--data", type=Path, help="data folder")
    serve.add_argument("--host", help="address to listen on (0.0.0.0: all)")
    serve.add_argument("--port", type=int, help="port to listen on")
    serve.add_argument("--demo", action="store_true", default=None, help="a demo city with fictional people")
    serve.add_argument(
        "--tls", metavar="off|lan|CERT,KEY", help="off; lan: local CA with an installable root; or two PEM files"
    )
    serve.add_argument("--proxy", metavar="ADDRESS[,…]", help="believe forwarded headers from these proxies")
    serve.set_defaults(run=run_serve)

    user = commands.add_parser("user", help="accounts of staff")
    actions = user.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="a person in a role at an organisation")
    add.add_argument("login", help="2 to 32 lower-case letters, digits, dots, underscores or hyphens")
    add.add_argument("--name", required=True, help="as it stands on paper")
    add.add_argument("--organisation", required=True, help="its id, name or short name")
    add.add_argument("--role", required=True, metavar="ROLE", help=", ".join(Role))
    add.add_argument("--new-organisation", action="store_true", help="make the organisation when there is none")
    passwd = actions.add_parser("passwd", help="set a new password; every login of the person ends")
    passwd.add_argument("login")
    disable = actions.add_parser("disable", help="close the account at once")
    disable.add_argument("login")
    listing = actions.add_parser("list", help="everyone with an account")
    for command in (add, passwd, disable, listing):
        command.add_argument("--data", type=Path, help="data folder")
        command.set_defaults(run=run_user)

    check = commands.add_parser("check", help="settings, database, archive, disk, clock")
    check.add_argument("--data", type=Path, help="data folder")
    check.set_defaults(run=run_check)

    audit = commands.add_parser("audit", help="the audit chain")
    audits = audit.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = audits.add_parser("verify", help="recompute every link of the chain")
    verify.add_argument("--data", type=Path, help="data folder")
    verify.set_defaults(run=run_audit)

    report = commands.add_parser("report", help="signed reports")
    reports = report.add_subparsers(dest="action", required=True, metavar="ACTION")
    check_file = reports.add_parser("verify", help="is this PDF genuine and unchanged? Works offline")
    check_file.add_argument("file", type=Path)
    check_file.add_argument("--data", type=Path, help="data folder, for this installation's certificates")
    check_file.set_defaults(run=run_report)

    add_import(commands)
    add_archive_commands(commands)
    add_network_commands(commands)

    version = commands.add_parser("version", help="version of Huizhen and its parts")
    version.set_defaults(run=run_version)
    return top


def own_version() -> str:
    """The version of the installed distribution."""
    from importlib import metadata

    return metadata.version("huizhen")


def run(arguments: Sequence[str]) -> int:
    """Parse and run; prints a sentence, never a traceback, for what a person can mend."""
    from server.storage.errors import StorageUnavailable

    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except SettingsError as error:
        return fail(str(error))
    except StorageUnavailable as error:
        return fail(f"database: {error.code} {error}".rstrip())
    except KeyboardInterrupt:
        return 130


def fail(text: str) -> int:
    """A sentence on standard error, and the status for "refused"."""
    print(f"huizhen: {text}", file=sys.stderr)
    return EXIT_REFUSED


def settings_of(options: argparse.Namespace) -> Settings:
    """File, then environment, then options."""
    override: dict[str, Any] = {}
    for name in ("data", "host", "port", "demo"):
        value = getattr(options, name, None)
        if value is not None:
            override[name] = str(value) if name == "data" else value
    if tls := getattr(options, "tls", None):
        override["tls"] = tls_option(tls)
    if proxy := getattr(options, "proxy", None):
        override["trusted_proxies"] = [part.strip() for part in proxy.split(",") if part.strip()]
    given = options.config or os.environ.get("HUIZHEN_CONFIG")
    return load_settings(Path(given) if given else None, override=override)


def installation_of(options: argparse.Namespace) -> Settings:
    """Settings of an installation that exists: a mistyped folder must not pass for an empty one."""
    settings = settings_of(options)
    if not settings.database.url and not Path(settings.database_url.removeprefix("sqlite:///")).is_file():
        raise SettingsError(f"{settings.data} holds no installation; name its folder with --data")
    return settings


def tls_option(text: str) -> dict[str, str]:
    """`off`, `lan` or `CERT,KEY`."""
    if text in {"off", "lan"}:
        return {"mode": text}
    certificate, comma, key = text.partition(",")
    if not comma:
        raise SettingsError("--tls takes off, lan, or certificate and key with a comma between them")
    return {"mode": "files", "certificate": certificate, "key": key}


def run_serve(options: argparse.Namespace) -> int:
    """Serve until the signal to stop."""
    from server.serving import serve

    return serve(settings_of(options), partial(print, flush=True))


def run_user(options: argparse.Namespace) -> int:
    """Add, list, disable, new password: in the running server or in the data folder."""
    from server.control import CommandRefused, execute

    settings = settings_of(options) if options.action == "add" else installation_of(options)
    request: dict[str, Any] = {"command": f"user_{options.action}"}
    if options.action != "list":
        request["login"] = options.login
    if options.action == "add":
        request |= {
            "name": options.name,
            "organisation": options.organisation,
            "role": options.role,
            "new_organisation": options.new_organisation,
        }
    if options.action in {"add", "passwd"}:
        request["password"] = ask_password()
    try:
        answer = execute(settings, request)
    except CommandRefused as error:
        return fail(str(error))
    for line in answer.get("lines", ()):
        print(line)
    return 0


def ask_password() -> str:
    """Twice from a terminal; one line from a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise SettingsError("the two passwords differ")
    return first


def run_check(options: argparse.Namespace) -> int:
    """One line per part; status 1 when anything is wrong."""
    from server.checking import check_installation

    ok = True
    for finding in check_installation(settings_of(options)):
        ok = ok and finding.ok
        print(f"{'ok ' if finding.ok else 'BAD'} {finding.part:<9} {finding.text}")
    return 0 if ok else EXIT_REFUSED


def run_audit(options: argparse.Namespace) -> int:
    """The number of rows, or the first broken one."""
    from server.checking import verify_audit_chain

    rows, broken = verify_audit_chain(installation_of(options))
    if broken is not None:
        return fail(f"the audit chain is broken at row {broken} of {rows}")
    print(f"{rows} audit rows, the chain is whole")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """What server/paper/verify.py finds in the file."""
    try:
        data = options.file.read_bytes()
    except OSError as error:
        return fail(f"{options.file}: {error.strerror}")
    from server.checking import verify_report_file

    settings = settings_of(options)
    try:
        genuine, lines = verify_report_file(settings, data)
    except FileNotFoundError:
        return fail(f"{settings.key_folder} holds no root certificate; name this installation's folder with --data")
    for line in lines:
        print(line)
    return 0 if genuine else EXIT_REFUSED


def run_version(options: argparse.Namespace) -> int:
    """As JSON, for bug reports."""
    del options
    import platform
    import sqlite3
    from importlib import metadata

    names = ("huizhen", "aiohttp", "sqlalchemy", "pydicom", "typst", "pyhanko")
    parts = {}
    for name in names:
        try:
            parts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            parts[name] = "not installed"
    print(json.dumps(parts | {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}))
    return 0
