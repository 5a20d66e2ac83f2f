"""For the people who run it: health, readiness, figures, CSP reports, the local root certificate."""

from __future__ import annotations

import asyncio
import json
import shutil

from aiohttp import web

from server import keys
from server.api.common import json_response, no_content, now, read_bounded
from server.dicomweb.ports import ARCHIVE
from server.metrics import CONTENT_TYPE
from server.problems import Refused
from server.signalling.setup import ROOMS

DIRECTIVES = frozenset(
    {
        "default-src", "script-src", "script-src-elem", "script-src-attr", "style-src", "style-src-elem",
        "style-src-attr", "img-src", "media-src", "worker-src", "connect-src", "font-src", "frame-src", "base-uri",
        "object-src", "frame-ancestors", "form-action", "manifest-src",
    }
)  # fmt: skip


async def healthz(request: web.Request) -> web.Response:
    """The process lives and its loop turns."""
    del request
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Every part is there and the database answers; 503 names what is missing. `warnings` keep nobody from working."""
    parts = {name: ready() for name, ready in request.app[keys.READY].items()}
    try:
        async with asyncio.timeout(2):
            await request.app[keys.WORK].read(lambda uow: uow.people.organisations())
        parts["database"] = True
    except Exception:
        parts["database"] = False
    ready = all(parts.values())
    value = {"status": "ready" if ready else "starting", "parts": parts, "warnings": await warnings(request)}
    return json_response(value, status=200 if ready else 503)


async def warnings(request: web.Request) -> list[str]:
    """What an operator should look at: `clock` stands before the newest record, `disk_low` refuses uploads,
    `archive_damaged` has found stored images wrong.
    """
    archive = request.app[ARCHIVE]
    found = {
        "clock": request.app[keys.CLOCK_WATCH].behind(now(request)),
        "disk_low": archive.room.low,
        "archive_damaged": await asyncio.to_thread(archive.damaged) > 0,
    }
    return [name for name, wrong in found.items() if wrong]


async def metrics(request: web.Request) -> web.Response:
    """Prometheus exposition; this machine alone, or with settings.metrics_token."""
    figures = request.app[keys.METRICS]
    folder = request.app[keys.SETTINGS].data
    if folder.is_dir():
        figures.disk_free.set((await asyncio.to_thread(shutil.disk_usage, folder)).free)
    archive = request.app[ARCHIVE]
    figures.disk_low.set(archive.room.low)
    figures.archive_damaged.set(await asyncio.to_thread(archive.damaged))
    rooms = request.app[ROOMS].rooms.values()
    seated = [sum(live.connected for live in room.seats.values()) for room in rooms]
    figures.rooms.set(sum(count > 0 for count in seated))
    figures.room_sockets.set(sum(seated))
    return web.Response(body=figures.text(), headers={"Content-Type": CONTENT_TYPE})


async def csp_report(request: web.Request) -> web.Response:
    """Counts a Content-Security-Policy report by its directive; nothing of it is kept."""
    raw = await read_bounded(request, 64 * 1024)
    try:
        value = json.loads(raw)
        report = value.get("csp-report", {}) if isinstance(value, dict) else {}
        directive = report.get("effective-directive") or str(report.get("violated-directive", "")).split(" ")[0]
    except (ValueError, AttributeError, RecursionError) as error:
        raise Refused("bad_json") from error
    known = directive if directive in DIRECTIVES else "other"
    request.app[keys.METRICS].csp_reports.labels(known).inc()
    return no_content()


async def root_certificate(request: web.Request) -> web.StreamResponse:
    """GET /root.crt: the local CA's certificate, to be installed on the clinic's machines (--tls lan)."""
    path = request.app[keys.SETTINGS].data / "tls" / "root.crt"
    if not path.is_file():
        raise Refused("not_found")
    return web.Response(
        body=await asyncio.to_thread(path.read_bytes),
        headers={
            "Content-Type": "application/x-x509-ca-cert",
            "Content-Disposition": 'attachment; filename="huizhen-root.crt"',
        },
    )
