"""`huizhen scrub`, `rescan`, `backup`, `restore`, `dicom stats`: the life of the data, from the console."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.cli_deidentify import add_deidentify
from server.settings import Settings, SettingsError

if TYPE_CHECKING:
    from dicom.archive import Archive
    from dicom.life.stats import Stats
    from server.keeping import Outcome, Tell

ASK_SECONDS = 0.5
NAMED = 20  # damaged images that are listed


def add_archive_commands(commands: Any) -> None:
    """The commands and their options."""
    scrub = commands.add_parser("scrub", help="read every stored byte again and compare it with its digest")
    scrub.add_argument("--from", dest="copy", type=Path, metavar="BACKUP", help="store damaged images anew from there")
    scrub.set_defaults(run=run_scrub)
    rescan = commands.add_parser("rescan", help="make the archive's index anew from the packs alone (server stopped)")
    rescan.set_defaults(run=run_rescan)
    backup = commands.add_parser("backup", help="copy everything into a folder, also while the server runs")
    backup.add_argument("folder", type=Path, help="an empty folder, or an earlier backup of this installation")
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser("restore", help="put a backup into a new data folder, every byte checked")
    restore.add_argument("folder", type=Path, help="the backup")
    restore.add_argument("--keep-going", action="store_true", help="take damaged packs too; then run scrub")
    restore.set_defaults(run=run_restore)
    dicom = commands.add_parser("dicom", help="figures of the image archive")
    actions = dicom.add_subparsers(dest="action", required=True, metavar="ACTION")
    stats = actions.add_parser("stats", help="studies, sizes, shares of the organisations, what is damaged")
    stats.add_argument("--json", action="store_true", help="as JSON, for programs")
    stats.set_defaults(run=run_stats)
    compact = actions.add_parser("compact", help="give back the space of what nobody holds any more")
    compact.set_defaults(run=run_compact)
    deidentify = add_deidentify(actions)
    for command in (scrub, rescan, backup, restore, stats, compact, deidentify):
        command.add_argument("--data", type=Path, help="data folder")


def progress(done: int, total: int) -> None:
    """One line that is written over, for a person who watches."""
    if sys.stderr.isatty() and total:
        print(f"\r{done * 100 // total:3} %  {done >> 20} of {total >> 20} MB ", end="", file=sys.stderr, flush=True)


def finish(outcome: Outcome) -> int:
    """Print the end of a long command; its status."""
    from server.cli import EXIT_REFUSED

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    for line in outcome.lines:
        print(line)
    return 0 if outcome.ok else EXIT_REFUSED


def run_scrub(options: argparse.Namespace) -> int:
    """In the running server, else with the archive opened here."""
    from server import keeping
    from server.cli import installation_of

    settings = installation_of(options)
    copy = options.copy.resolve() if options.copy else None
    if copy is not None and not (copy / "packs").is_dir():
        raise SettingsError(f"{options.copy} holds no backup")
    outcome = asked(settings, {"command": "scrub", "copy": str(copy or "")})
    if outcome is None:
        outcome = in_archive(settings, lambda archive: keeping.run_scrub(archive, copy, progress))
    return finish(outcome)


def run_compact(options: argparse.Namespace) -> int:
    """In the running server, else with the archive opened here."""
    from server import keeping
    from server.cli import installation_of

    settings = installation_of(options)
    outcome = asked(settings, {"command": "compact"})
    if outcome is None:
        days = settings.archive.retired_days
        outcome = in_archive(settings, lambda archive: keeping.run_compact(archive, days, progress))
    return finish(outcome)


def run_backup(options: argparse.Namespace) -> int:
    """In the running server, else of the folder that nobody uses."""
    from server import keeping
    from server.cli import installation_of

    settings = installation_of(options)
    target = options.folder.resolve()
    if target.is_relative_to(settings.data.resolve()):
        raise SettingsError("a backup does not belong into the data folder: name a folder on another disk")
    outcome = asked(settings, {"command": "backup", "target": str(target)})
    if outcome is None:
        outcome = backup_here(settings, target, progress)
    if settings.database.url.startswith("postgresql"):
        outcome = keeping.Outcome(
            ok=outcome.ok, lines=(*outcome.lines, "PostgreSQL is not in it: pg_dump must have run before this backup")
        )
    return finish(outcome)


def backup_here(settings: Settings, target: Path, tell: Tell) -> Outcome:
    """With the data folder locked, so that no server starts meanwhile."""
    from datetime import UTC, datetime

    from dicom.life.backup import BackupError, backup
    from server import keeping

    if not (settings.data / "archive" / "index.sqlite").is_file():
        raise SettingsError(f"{settings.data} holds no archive yet")
    with locked(settings):
        try:
            found = backup(keeping.sources(settings), target, now=datetime.now(UTC), tell=tell)
        except (BackupError, OSError) as error:
            return keeping.Outcome(ok=False, lines=(keeping.sentence(error),))
    return keeping.said(found, target)


def run_restore(options: argparse.Namespace) -> int:
    """Into a folder that is empty, then what the packs hold beyond the index is entered."""
    from dicom.archive import Archive
    from dicom.life.backup import BackupError, restore
    from server.cli import fail, settings_of
    from server.keeping import Outcome, sentence

    settings = settings_of(options)
    try:
        report = restore(options.folder, settings.data, keep_going=options.keep_going, tell=progress)
    except (BackupError, OSError) as error:
        return fail(sentence(error))
    archive = Archive.open(settings.data / "archive", worker_count=0)
    totals = archive.totals()
    asyncio.run(archive.close())
    lines = [
        f"{settings.data}: {report.packs} packs, {report.total >> 20} MB, every byte as it was backed up",
        f"{totals['study']} studies, {totals['instance']} images",
    ]
    if report.wrong:
        lines[0] = f"{settings.data}: damaged in the backup: {', '.join(report.wrong[:10])}; run `huizhen scrub` now"
    return finish(Outcome(ok=not report.wrong, lines=tuple(lines)))


def run_rescan(options: argparse.Namespace) -> int:
    """The archive must not be open: with a server running it is refused."""
    from dicom.archive import Archive
    from server.cli import fail, installation_of
    from server.keeping import Outcome

    settings = installation_of(options)
    if answer(settings, "GET", None) is not None:
        return fail("the server is running; stop it, then make the index anew")
    with locked(settings):
        report = Archive.rescan(settings.data / "archive", progress)
    lines = [f"{report.packs} packs, {report.records} records: the index is made anew"]
    lines += [f"pack {pack}: no valid record at {offset}" for pack, offset in report.damaged[:NAMED]]
    return finish(Outcome(ok=not report.damaged, lines=tuple(lines)))


def run_stats(options: argparse.Namespace) -> int:
    """Read beside a running server."""
    from dicom.life.stats import stats_of
    from server.cli import installation_of

    settings = installation_of(options)
    root = settings.data / "archive"
    if not (root / "index.sqlite").is_file():
        raise SettingsError(f"{settings.data} holds no archive yet")
    found = stats_of(root)
    names = names_of(settings)
    if options.json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return 0
    for line in stats_lines(found, names, settings):
        print(line)
    return 0


def names_of(settings: Settings) -> dict[str, str]:
    """Short names of the organisations."""
    from server.storage import engine
    from server.work import Work

    work = Work(engine.open(settings.database_url, readonly=True))
    try:
        return work.read_sync(lambda uow: {str(x.id): x.short_name for x in uow.people.organisations()})
    finally:
        work.close()


def stats_lines(found: Stats, names: dict[str, str], settings: Settings) -> Iterator[str]:
    """The figures for a person."""
    from server.settings import archive_limits

    limits = archive_limits(settings)
    yield f"{found.studies} studies, {found.series} series, {found.instances} images ({found.datasets} kept once)"
    yield f"{found.quarantined} in quarantine"
    yield f"{found.packs} packs, {found.sealed} sealed, {found.pack_bytes >> 20} MB, {found.dead >> 20} MB of them dead"
    for organisation, (count, size) in found.held.items():
        quota = limits.quotas.get(organisation, limits.quota_bytes)
        share = f" of {quota >> 20} MB" if quota else ""
        yield f"  {names.get(organisation, organisation):<20} {count:>9} images {size >> 20:>9} MB{share}"
    state = found.scrub
    if state:
        end = f"finished {state['finished']}" if state.get("finished") else f"under way, pack {state.get('after')} done"
        yield f"scrub begun {state.get('began')}, {end}, {len(state.get('gaps', ()))} places without a valid record"
    else:
        yield "never scrubbed"
    for pack in found.missing:
        yield f"pack {pack} is missing"
    yield f"{found.damaged} damaged" if found.damaged else "nothing known to be damaged"
    for one in found.damaged_instances[:NAMED]:
        place = names.get(one.organisation, one.organisation)
        yield f"  {place}  study {one.study_uid}  image {one.sop_uid}  (pack {one.pack} at {one.offset})"


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """The data folder's lock: DatabaseInUse while a server has it."""
    from server.storage import engine

    database = engine.open(settings.database_url)
    try:
        yield
    finally:
        database.close()


def in_archive(settings: Settings, body: Callable[[Archive], Awaitable[Outcome]]) -> Outcome:
    """Run `body` with the archive opened in this process."""
    from dicom.archive import Archive
    from server.settings import archive_limits

    async def work() -> Outcome:
        archive = Archive.open(settings.data / "archive", worker_count=0, limits=archive_limits(settings))
        await archive.start()
        try:
            return await body(archive)
        finally:
            await archive.close()

    with locked(settings):
        return asyncio.run(work())


def asked(settings: Settings, request: dict[str, Any]) -> Outcome | None:
    """The running server's outcome, with progress on the way; None where no server runs."""
    from server.keeping import Outcome

    if answer(settings, "POST", request) is None:
        return None
    while True:
        found = answer(settings, "GET", None)
        if found is None:
            raise SettingsError("the server has stopped; nothing is lost, begin again")
        progress(int(found["done"]), int(found["total"]))
        if "ok" in found:
            return Outcome(ok=bool(found["ok"]), lines=tuple(found["lines"]))
        time.sleep(ASK_SECONDS)


def answer(settings: Settings, method: str, request: dict[str, Any] | None) -> dict[str, Any] | None:
    """One exchange over the local socket; None where nobody listens. Raises SettingsError where it is refused."""
    from server.control import SocketConnection
    from server.keeping import LONG

    if not settings.control_socket.exists():
        return None
    connection = SocketConnection(str(settings.control_socket))
    try:
        body = json.dumps(request).encode() if request is not None else None
        connection.request(method, LONG, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())
    except (ConnectionRefusedError, FileNotFoundError, http.client.RemoteDisconnected):
        return None
    finally:
        connection.close()
    if response.status != 200:
        if method == "GET":
            return {}
        raise SettingsError(str(value.get("refused", "the server refused")))
    return dict(value)
