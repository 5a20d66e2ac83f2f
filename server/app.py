"""The composition root: everything the application consists of is put together here, and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from aiohttp import web

from dicom.archive import Archive
from server import keys
from server.auth.bearer import Bearers
from server.auth.grants import Grants
from server.auth.passwords import Passwords, UnknownLogins
from server.auth.scopes import scope_for
from server.auth.sessions import Sessions
from server.auth.streams import Streams
from server.dicomweb.ports import ARCHIVE, LEAVES, SCOPE_FOR
from server.dimse.running import prepare as prepare_dimse
from server.feeding import FEED, Feed
from server.hub import Hub
from server.i18n import english, zone
from server.keeping import prepare as prepare_keeping
from server.metrics import Metrics
from server.middleware import MIDDLEWARES, add_headers
from server.pages import environment
from server.pages.assets import ASSETS, Assets
from server.paper.leaf import Leaves
from server.pictures import Pictures
from server.recording.shelf import Shelf
from server.routes import install
from server.settings import Settings, archive_limits, clinical_rules
from server.sheets import Sheets
from server.signalling.setup import install as install_rooms
from server.signing import Signing
from server.storage import engine, migrations
from server.storage.blobs import Blobs
from server.storage.faults import archive_fault
from server.tasks import Starting, Tasks
from server.timekeeping import ClockWatch
from server.uploading import Uploading
from server.verifying import Verifying
from server.work import Work

LOG = logging.getLogger("huizhen.server")


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = utc_now,
    passwords: Passwords | None = None,
    background: bool = True,
) -> web.Application:
    """The whole application. `background` False leaves out the periodic jobs (tests call them one by one)."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=settings.uploads.json_kb * 1024)
    metrics = Metrics()
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = clock
    app[keys.ZONE] = zone(settings.timezone)
    app[keys.CLOCK_WATCH] = ClockWatch()
    app[keys.METRICS] = metrics
    app[keys.TASKS] = Tasks(metrics)
    app[keys.PASSWORDS] = passwords or Passwords()
    app[keys.UNKNOWN_LOGINS] = UnknownLogins(settings.session)
    app[keys.STREAMS] = Streams()
    app[keys.SETUP_CODE] = []
    app[keys.READY] = {}
    app[keys.BACKGROUND] = background
    app[ASSETS] = Assets()
    app[keys.TEMPLATES] = environment(app[ASSETS], demo=settings.demo, tz=app[keys.ZONE])
    open_storage(app)
    open_archive(app)
    open_reports(app)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(storage)
    app.cleanup_ctx.append(archive)
    app.cleanup_ctx.append(jobs)
    prepare_keeping(app)
    prepare_dimse(app)
    app.on_shutdown.append(end_streams)
    install_rooms(app)
    install(app)
    english()
    return app


def open_storage(app: web.Application) -> None:
    """Open and upgrade the database. Here and not in a cleanup context, so that a failure is told before listening."""
    settings, clock = app[keys.SETTINGS], app[keys.CLOCK]
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = engine.open(settings.database_url)
    try:
        migrations.apply(database)
    except BaseException:
        database.close()
        raise
    hub = Hub()
    work = Work(database, hub, clock=clock, rules=clinical_rules(settings))
    app[keys.HUB] = hub
    app[keys.WORK] = work
    app[keys.SESSIONS] = Sessions(work, clock, settings.session)
    app[keys.BEARERS] = Bearers(work, clock, settings.session, app[keys.METRICS])
    app[keys.GRANTS] = Grants(work, clock)
    app[keys.BLOBS] = Blobs(settings.data / "blobs")


def open_archive(app: web.Application) -> None:
    """Open the archive: what packs hold beyond the index is entered now, before anything is asked of it."""
    settings, clock = app[keys.SETTINGS], app[keys.CLOCK]
    limits = archive_limits(settings)
    opened = Archive.open(settings.data / "archive", clock=clock, limits=limits, fault=archive_fault)
    received = app[keys.METRICS].instances
    opened.told = lambda result: received.labels(result.outcome).inc()
    started = Starting(opened.start)
    app[ARCHIVE] = opened
    app[FEED] = Feed(app[keys.WORK], opened)
    app[SCOPE_FOR] = scope_for
    app[LEAVES] = Leaves()
    pictures = Pictures(app[keys.WORK], app[keys.BLOBS], app[keys.HUB], opened.budget)
    app[keys.UPLOADING] = Uploading(settings.data / "uploads", app[keys.WORK], opened, settings.uploads, pictures)
    app[keys.ARCHIVE_STARTED] = started
    app[keys.READY]["archive"] = lambda: started.done


def open_reports(app: web.Application) -> None:
    """Signing, the pictures of what was printed, and the public check: all on the one folder of keys."""
    settings = app[keys.SETTINGS]
    app[keys.SIGNING] = Signing(
        app[keys.WORK], app[keys.BLOBS], settings.key_folder, clock=app[keys.CLOCK], zone=app[keys.ZONE],
        demo=settings.demo,
    )  # fmt: skip
    app[keys.SHELF] = Shelf(work=app[keys.WORK], folder=settings.recording_folder, keys=settings.key_folder)
    app[keys.SHEETS] = Sheets()
    app[keys.VERIFYING] = Verifying(settings.key_folder)


async def storage(app: web.Application) -> AsyncIterator[None]:
    """Bind the hub to the loop; at the end close streams first, then the database."""
    hub, work, grants = app[keys.HUB], app[keys.WORK], app[keys.GRANTS]
    hub.bind(asyncio.get_running_loop())
    hub.on_revoke(grants.on_revoke)
    app[keys.CLOCK_WATCH].remember(await work.read(lambda uow: uow.audit.newest()))
    if not await work.read(lambda uow: uow.accounts.any()):
        app[keys.SETUP_CODE].append(secrets.token_hex(4))
    yield
    await grants.flush(closing=True)
    await asyncio.to_thread(work.close)


async def archive(app: web.Application) -> AsyncIterator[None]:
    """The archive's workers start in the background: the first page does not wait for them."""
    opened, started = app[ARCHIVE], app[keys.ARCHIVE_STARTED]
    if app[keys.BACKGROUND]:
        app[keys.TASKS].once("archive", started.wait())
        app[keys.TASKS].once("resume_uploads", resume_uploads(app))
    yield
    await app[keys.UPLOADING].close()
    await started.close()
    await opened.close()


async def resume_uploads(app: web.Application) -> None:
    """Uploads that were complete when the last process ended go on into the archive."""
    await app[keys.ARCHIVE_STARTED].wait()
    await app[keys.UPLOADING].resume_interrupted()


async def end_streams(app: web.Application) -> None:
    """Signal on_shutdown: open event streams end, so that stopping does not wait for them."""
    app[keys.HUB].close()


async def warm_signing(app: web.Application) -> None:
    """What is loaded now stays: the collector need not walk through it, holding up everybody (server/serving.py)."""
    await asyncio.to_thread(app[keys.SIGNING].warm)
    gc.freeze()


async def jobs(app: web.Application) -> AsyncIterator[None]:
    """Periodic work, supervised."""
    from server.filing import running as filing
    from server.jobs import plan

    tasks = app[keys.TASKS]
    if app[keys.BACKGROUND]:
        plan(app)
        filing.plan(app)
        tasks.once("warm_signing", warm_signing(app))
    yield
    await tasks.close()
