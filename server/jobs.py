"""What happens by itself, by the clock. Each job is one unit of work and can be called alone by a test."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from server import keys
from server.storage.unit import SqlUnitOfWork

KEEP_ENDED = timedelta(days=1)


def plan(app: web.Application) -> None:
    """Start every periodic job."""
    tasks = app[keys.TASKS]
    tasks.every("flush_grants", 10, app[keys.GRANTS].flush)
    tasks.every("sweep_logins", 600, lambda: app[keys.WORK].run(sweep_logins))


def sweep_logins(uow: SqlUnitOfWork) -> int:
    """Remove logins and grants that ended a day ago; the audit rows stay."""
    before = uow.now - KEEP_ENDED
    return uow.logins.sweep(before=before) + uow.grants.sweep(before=before)
