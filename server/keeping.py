"""Keeping the data: the scrub in the background, and long commands (scrub, backup) inside the running server.

A long command is begun through the local socket and then asked how far it has come; one runs at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from dicom.archive import Archive
from dicom.index import life
from dicom.life.backup import BackupError, BackupReport, Sources, backup
from dicom.life.compact import compact
from dicom.life.scrub import ScrubReport, repair, scrub
from server import keys
from server.control import CommandRefused, text_of
from server.dicomweb.ports import ARCHIVE
from server.settings import Settings

log = logging.getLogger("huizhen.keeping")
LOOK_SECONDS = 60.0
LONG = "/long"
Tell = Callable[[int, int], None]
Body = Callable[[Tell], Awaitable["Outcome"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a long command says at its end; not `ok` is exit status 1."""

    ok: bool
    lines: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a long command has come, in bytes."""

    name: str
    done: int = 0
    total: int = 0
    outcome: Outcome | None = None


class Keeping:
    """One per application."""

    def __init__(self, settings: Settings, archive: Archive) -> None:
        self._settings = settings
        self._archive = archive
        self._slow: asyncio.Task[ScrubReport] | None = None
        self._running: asyncio.Task[None] | None = None
        self.progress: Progress | None = None

    async def look(self) -> None:
        """Begin, or go on with, the scrub in the background when it is due. Returns when the round is finished."""
        rate = self._settings.archive.scrub_mb_per_second << 20
        busy = self._running is not None and not self._running.done()
        if not rate or busy or not self._due(await self._archive.read_index(life.scrub_state)):
            return
        self._slow = asyncio.ensure_future(scrub(self._archive, rate=float(rate), resume=True))
        try:
            await asyncio.wait({self._slow})  # cancelled alone, by a command that scrubs at once, it is no failure
        finally:
            self._slow.cancel()
        if not self._slow.cancelled():
            log.info("scrub finished", extra={"damaged": self._slow.result().damaged})

    def _due(self, state: dict[str, Any]) -> bool:
        if not state.get("finished"):
            return True
        last = datetime.fromisoformat(state["finished"])
        return self._archive.now() - last >= timedelta(days=self._settings.archive.scrub_days)

    async def begin(self, name: str, body: Body) -> None:
        """Start a long command. Raises CommandRefused while another runs."""
        if self._running is not None and not self._running.done():
            name = self.progress.name if self.progress else "a command"
            raise CommandRefused(f"{name} is still running; wait for it")
        if self._slow is not None and not self._slow.done():
            self._slow.cancel()
            await asyncio.wait({self._slow})
        progress = self.progress = Progress(name=name)

        def tell(done: int, total: int) -> None:
            progress.done, progress.total = done, total

        async def run() -> None:
            try:
                progress.outcome = await body(tell)
            except (BackupError, OSError) as error:
                progress.outcome = Outcome(ok=False, lines=(sentence(error),))
            except Exception:
                log.exception("long command failed", extra={"command": name})
                progress.outcome = Outcome(ok=False, lines=("it failed; the server's log says why",))

        self._running = asyncio.ensure_future(run())

    async def close(self) -> None:
        """End what runs; a scrub goes on where it was, a backup leaves the former one whole."""
        for task in (self._running, self._slow):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


KEEPING: web.AppKey[Keeping] = web.AppKey("keeping", Keeping)


def sentence(error: Exception) -> str:
    """What a console is told."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def sources(settings: Settings) -> Sources:
    """What a backup of this installation consists of. PostgreSQL is backed up by its own tools, before."""
    data = settings.data
    url = settings.database_url
    database = {"huizhen.sqlite3": Path(url.removeprefix("sqlite:///"))} if url.startswith("sqlite:///") else {}
    return Sources(
        archive=data / "archive",
        databases=database,
        growing={"blobs": data / "blobs"},
        lasting={"recordings": settings.recording_folder},
        small={name: data / name for name in ("keys", "tls") if (data / name).is_dir()},
    )


async def run_scrub(archive: Archive, copy: Path | None, tell: Tell) -> Outcome:
    """Read everything now, as fast as the disk gives it; with `copy` (a backup) mend what can be mended."""
    report = await scrub(archive, tell=tell)
    damaged, lines = report.damaged, []
    if copy is not None and damaged:
        mended, damaged = await repair(archive, copy)
        lines.append(f"{mended} stored anew from {copy}")
    lines.insert(0, f"{report.packs} packs, {report.records} records, {report.bytes >> 20} MB read")
    if report.gaps:
        places = ", ".join(f"pack {pack} at {offset}" for pack, offset in report.gaps[:10])
        lines.append(f"{len(report.gaps)} places hold no valid record: {places}")
    lines.append(f"{damaged} images damaged: `huizhen dicom stats` names them" if damaged else "nothing is damaged")
    return Outcome(ok=damaged == 0, lines=tuple(lines))


def said(report: BackupReport, target: Path) -> Outcome:
    """A finished backup in words."""
    lines = [f"{target}: {report.packs} packs, {report.total >> 20} MB, {report.copied >> 20} MB of them new"]
    if report.wrong:
        lines.append("already wrong in the archive: " + ", ".join(report.wrong[:10]) + "; run `huizhen scrub`")
    return Outcome(ok=not report.wrong, lines=tuple(lines))


async def scrub_command(app: web.Application, request: dict[str, Any]) -> None:
    """`{"command": "scrub", "copy": folder or ""}`."""
    archive = app[ARCHIVE]
    copy = Path(text_of(request, "copy", longest=4000)) if request.get("copy") else None
    await app[KEEPING].begin("scrub", lambda tell: run_scrub(archive, copy, tell))


async def run_compact(archive: Archive, keep_days: int, tell: Tell) -> Outcome:
    """Copy what still counts of packs with much dead weight; drop those that were compacted `keep_days` ago."""
    report = await compact(archive, keep=timedelta(days=keep_days), tell=tell)
    waiting = f"{report.waiting >> 20} MB wait {keep_days} days after their compaction"
    lines = [
        f"{report.compacted} packs compacted, {report.copied >> 20} MB copied",
        f"{report.dropped} packs dropped, {report.freed >> 20} MB free again; {waiting}",
    ]
    if report.skipped:
        names = ", ".join(str(pack) for pack in report.skipped[:10])
        lines.append(f"left as they are because they hold damage: pack {names}; run `huizhen scrub`")
    return Outcome(ok=not report.skipped, lines=tuple(lines))


async def compact_command(app: web.Application, request: dict[str, Any]) -> None:
    """`{"command": "compact"}`."""
    del request
    archive, days = app[ARCHIVE], app[keys.SETTINGS].archive.retired_days
    await app[KEEPING].begin("compaction", lambda tell: run_compact(archive, days, tell))


async def backup_command(app: web.Application, request: dict[str, Any]) -> None:
    """`{"command": "backup", "target": folder}`."""
    target = Path(text_of(request, "target", longest=4000))
    settings, archive = app[keys.SETTINGS], app[ARCHIVE]

    async def body(tell: Tell) -> Outcome:
        return said(await asyncio.to_thread(backup, sources(settings), target, now=archive.now(), tell=tell), target)

    await app[KEEPING].begin("backup", body)


LONG_COMMANDS = {"scrub": scrub_command, "backup": backup_command, "compact": compact_command}


def add_long_routes(app: web.Application, control: web.Application) -> None:
    """POST begins a long command, GET tells how far it is."""

    async def begin(request: web.Request) -> web.Response:
        value = await request.json()
        try:
            await LONG_COMMANDS[str(value["command"])](app, value)
        except CommandRefused as error:
            return web.json_response({"refused": str(error)}, status=409)
        return web.json_response({})

    async def look(request: web.Request) -> web.Response:
        del request
        found = app[KEEPING].progress
        if found is None:
            return web.json_response({"refused": "no command was begun"}, status=409)
        value: dict[str, Any] = {"name": found.name, "done": found.done, "total": found.total}
        if found.outcome is not None:
            value |= {"ok": found.outcome.ok, "lines": list(found.outcome.lines)}
        return web.json_response(value)

    control.router.add_post(LONG, begin)
    control.router.add_get(LONG, look)


def prepare(app: web.Application) -> None:
    """Put the keeping into the application; at its end it stops before the archive closes."""
    keeping = app[KEEPING] = Keeping(app[keys.SETTINGS], app[ARCHIVE])

    async def life_of(app: web.Application) -> Any:
        if app[keys.BACKGROUND] and app[keys.SETTINGS].archive.scrub_mb_per_second:
            app[keys.TASKS].every("scrub", LOOK_SECONDS, lambda: started_look(app))
        yield
        with contextlib.suppress(Exception):
            await keeping.close()

    app.cleanup_ctx.append(life_of)


async def started_look(app: web.Application) -> None:
    """The scrub waits until the archive has started."""
    await app[keys.ARCHIVE_STARTED].wait()
    await app[KEEPING].look()
