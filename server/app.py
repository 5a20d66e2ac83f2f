"""The composition root: everything the application consists of is put together here, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from aiohttp import web

from server import keys
from server.auth.grants import Grants
from server.auth.passwords import Passwords, UnknownLogins
from server.auth.sessions import Sessions
from server.auth.streams import Streams
from server.i18n import english, zone
from server.metrics import Metrics
from server.middleware import MIDDLEWARES, add_headers
from server.pages import environment
from server.pages.assets import ASSETS, Assets
from server.routes import install
from server.settings import Settings, clinical_rules
from server.signalling.setup import install as install_rooms
from server.tasks import Tasks
from server.work import Hub, Work

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
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(storage)
    app.cleanup_ctx.append(jobs)
    install_rooms(app)
    install(app)
    english()
    return app


def open_storage(app: web.Application) -> None:
    """Open and upgrade the database. Here and not in a cleanup context, so that a failure is told before listening."""
    from server.storage import engine, migrations
    from server.storage.blobs import Blobs

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
    app[keys.BLOBS] = Blobs(settings.data / "blobs")
    app[keys.WORK] = work
    app[keys.SESSIONS] = Sessions(work, clock, settings.session)
    app[keys.GRANTS] = Grants(work, clock)


async def storage(app: web.Application) -> AsyncIterator[None]:
    """Bind the hub to the loop; at the end close streams first, then the database."""
    hub, work, grants = app[keys.HUB], app[keys.WORK], app[keys.GRANTS]
    hub.bind(asyncio.get_running_loop())
    hub.on_revoke(grants.on_revoke)
    if not await work.read(lambda uow: uow.accounts.any()):
        app[keys.SETUP_CODE].append(secrets.token_hex(4))
    yield
    await grants.flush()
    await asyncio.to_thread(work.close)


async def jobs(app: web.Application) -> AsyncIterator[None]:
    """Periodic work, supervised."""
    from server.jobs import plan

    tasks = app[keys.TASKS]
    if app[keys.BACKGROUND]:
        plan(app)
    yield
    app[keys.HUB].close()
    await tasks.close()
