"""`huizhen gateway`, `huizhen fetch` and `huizhen forward`."""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from server.settings import Settings

EVERY_SECONDS = 1.0


def add_network_commands(commands: Any) -> None:
    """The commands and their options."""
    gateway = commands.add_parser("gateway", help="a clinic's box: DICOM ports, archive, and the queue to the city")
    gateway.add_argument("--data", type=Path, help="data folder")
    gateway.set_defaults(run=run_gateway)

    fetch = commands.add_parser("fetch", help="look into another archive, and fetch studies from it")
    fetch.add_argument("device", help="the archive: AE title or name of a registered device with an address")
    fetch.add_argument("--organisation", required=True, help="who asks and holds: id, name or short name")
    for option, what in (
        ("--patient-id", "patient number"), ("--name", "patient's name, * for what is uncertain"),
        ("--accession", "accession number"), ("--date", "YYYYMMDD, or YYYYMMDD-YYYYMMDD"),
    ):
        fetch.add_argument(option, default="", help=what)
    fetch.add_argument("--study", action="append", default=[], metavar="UID", help="fetch this study; repeatable")
    fetch.add_argument("--all", action="store_true", help="fetch everything that was found")
    fetch.add_argument("--data", type=Path, help="data folder")
    fetch.set_defaults(run=run_fetch)

    forward = commands.add_parser("forward", help="what waits to be sent on; try it now, or give it up")
    steps = forward.add_subparsers(dest="step", required=True, metavar="list|retry|drop")
    steps.add_parser("list", help="every destination, and the studies that wait for it")
    again = steps.add_parser("retry", help="try now what waits for a destination, or of one study")
    gone = steps.add_parser("drop", help="give up what waits of one study for a destination")
    for step, needed in ((again, False), (gone, True)):
        step.add_argument("destination", help="its name")
        step.add_argument("--study", required=needed, default="", metavar="UID", help="of this study alone")
    for step in steps.choices.values():
        step.add_argument("--data", type=Path, help="data folder")
    forward.set_defaults(run=run_forward)


def run_gateway(options: argparse.Namespace) -> int:
    """Serve until the signal to stop."""
    from server.cli import settings_of
    from server.gateway import run_gateway as serve

    return serve(settings_of(options), partial(print, flush=True))


def run_fetch(options: argparse.Namespace) -> int:
    """List what is found, or fetch; status 1 when a study did not come whole."""
    from server.cli import fail, installation_of
    from server.control import CommandRefused

    settings = installation_of(options)
    base = {"organisation": options.organisation, "device": options.device}
    try:
        studies = list(options.study)
        if not studies:
            wanted = {
                "patient_id": options.patient_id, "patient_name": options.name, "accession": options.accession,
                "date": options.date,
            }  # fmt: skip
            found = ask(settings, "POST", "/fetch/search", {**base, "wanted": wanted})["studies"]
            for one in found:
                modalities = "/".join(one["modalities"])
                line = f"{one['study']}  {one['date']}  {modalities:<5} {one['instances']:>5}  {one['patient_id']}  "
                print(_printable(f"{line}{one['name']}  {one['description']}"))
            if not options.all or not found:
                print(f"{len(found)} studies found")
                return 0
            studies = [one["study"] for one in found]
        return _fetch(settings, {**base, "studies": studies})
    except CommandRefused as error:
        return fail(str(error))
    except TimeoutError:
        return fail("the server does not answer: the archive may be slow; narrow the search")
    except (ConnectionRefusedError, FileNotFoundError):
        return fail("no server runs on this data folder; start it first (huizhen serve or huizhen gateway)")


def run_forward(options: argparse.Namespace) -> int:
    """Show the queue, or change what waits in it."""
    from server.cli import fail, settings_of
    from server.control import CommandRefused

    settings = settings_of(options)
    try:
        if options.step == "list":
            _show_queue(ask(settings, "GET", "/forward"))
            return 0
        asked = {"destination": options.destination, "study": options.study}
        count = ask(settings, "POST", f"/forward/{options.step}", asked)["instances"]
        print(f"{count} images " + ("are tried now" if options.step == "retry" else "are not sent any more"))
        return 0
    except CommandRefused as error:
        return fail(str(error))
    except (ConnectionRefusedError, FileNotFoundError):
        return fail("no server runs on this data folder; start it first (huizhen serve or huizhen gateway)")


def _show_queue(queue: dict[str, Any]) -> None:
    if not queue["destinations"]:
        print("nothing is sent on: there is no destination")
    for one in queue["destinations"]:
        said = ", ".join(f"{count} {state}" for state, count in sorted(one["counts"].items())) or "nothing yet"
        trouble = f"; not reached {one['failures']} times: {one['error']}" if one["failures"] else ""
        print(_printable(f"{one['name']}: {said}{trouble}"))
    for one in queue["waiting"]:
        line = f"{one['study']}  {one['instances']} images for {one['destination']} since {one['since']}"
        print(_printable(f"{line}, tried {one['attempts']} times  {one['error']}".rstrip()))


def _fetch(settings: Settings, request: dict[str, Any]) -> int:
    job = ask(settings, "POST", "/fetch/start", request)
    said: dict[str, str] = {}
    while True:
        state = ask(settings, "GET", f"/fetch/{job['organisation']}/{job['id']}")
        for one in state["studies"]:
            text = f"{one['state']} {one['error']}".strip()
            if one["state"] not in {"waiting", "running"} and said.get(one["study"]) != text:
                said[one["study"]] = text
                print(f"{one['study']}  {text}  {one['completed']} received, {one['failed']} failed", flush=True)
        if state["over"]:
            return 0 if all(one["state"] == "done" for one in state["studies"]) else 1
        time.sleep(EVERY_SECONDS)


def ask(settings: Settings, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The running server's answer. Raises CommandRefused; FileNotFoundError, ConnectionRefusedError without one."""
    from server.control import CommandRefused, SocketConnection

    connection = SocketConnection(str(settings.control_socket))
    try:
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        raw = response.read()
        value = json.loads(raw) if response.headers.get_content_type() == "application/json" else {}
    finally:
        connection.close()
    if response.status != 200:
        raise CommandRefused(str(value.get("refused", "the server refused")))
    return dict(value)


def _printable(text: str) -> str:
    """What came over the network cannot steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
