"""`huizhen forward` inside the running server or gateway: what waits for which destination, tried now or given up."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from server import keys
from server.auth.audit import audit
from server.control import CommandRefused
from server.dimse.running import FORWARDER
from server.storage.forwards import Destination
from server.storage.unit import SqlUnitOfWork


def add_forward_routes(app: web.Application, control: web.Application) -> None:
    """GET /forward, POST /forward/retry and /forward/drop {"destination", "study"}."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(await app[keys.WORK].read(_shown))

    async def retry(request: web.Request) -> web.Response:
        answer = await _answer(app, request, _retry)
        app[FORWARDER].look()
        return answer

    async def drop(request: web.Request) -> web.Response:
        return await _answer(app, request, _drop)

    control.router.add_get("/forward", show)
    control.router.add_post("/forward/retry", retry)
    control.router.add_post("/forward/drop", drop)


async def _answer(app: web.Application, request: web.Request, step: Any) -> web.Response:
    try:
        value = await request.json()
        count = await app[keys.WORK].run(step, str(value["destination"]), str(value.get("study", "")))
    except CommandRefused as error:
        return web.json_response({"refused": str(error)}, status=409)
    except (json.JSONDecodeError, KeyError, TypeError):
        return web.json_response({"refused": "the command was not understood"}, status=400)
    return web.json_response({"instances": count})


def _shown(uow: SqlUnitOfWork) -> dict[str, Any]:
    found = [row for row in uow.forwards.destinations() if row.ended_at is None]
    counts = uow.forwards.counts([row.id for row in found])
    names = {row.id: row.name for row in found}
    return {
        "destinations": [
            {"name": row.name, "counts": dict(counts.get(row.id, {})), "failures": row.failures,
             "error": row.last_error}
            for row in found
        ],
        "waiting": [
            {"destination": names[lot.destination], "study": lot.study_uid, "instances": lot.waiting,
             "attempts": lot.attempts, "since": lot.since.isoformat(timespec="seconds"), "error": lot.last_error}
            for lot in uow.forwards.lots(list(names))
        ],
    }  # fmt: skip


def _destination(uow: SqlUnitOfWork, wanted: str) -> Destination:
    found = [row for row in uow.forwards.destinations() if row.ended_at is None and wanted in {row.id, row.name}]
    if len(found) != 1:
        raise CommandRefused("there is no one destination of this name; huizhen forward list shows them")
    return found[0]


def _retry(uow: SqlUnitOfWork, destination: str, study: str) -> int:
    row = _destination(uow, destination)
    uow.forwards.reached(row.id, failures=row.failures, next_at=uow.now, error=row.last_error)
    detail = {"by": "console"} | ({"study": study} if study else {})
    audit(uow, None, "forward.retry", f"destination:{row.id}", organisation=row.organisation, detail=detail)
    return uow.forwards.retry(row.id, uow.now, study_uid=study)


def _drop(uow: SqlUnitOfWork, destination: str, study: str) -> int:
    row = _destination(uow, destination)
    dropped = uow.forwards.drop(row.id, study, uow.now)
    if not dropped:
        raise CommandRefused("nothing of this study waits for that destination")
    detail = {"by": "console", "destination": row.id, "instances": dropped}
    audit(uow, None, "forward.drop", f"study:{study}", organisation=row.organisation, detail=detail)
    return dropped
