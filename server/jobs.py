"""What happens by itself, by the clock. Each job is one unit of work and can be called alone by a test."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from consult.feedback import archive_unanswered, ask_for_feedback
from consult.inviting import expire_invitations
from consult.triage import expire_offers, expire_returned
from server import keys
from server.dicomweb.ports import ARCHIVE
from server.letting_go import LETTING_GO
from server.removing import expire_removals, finish
from server.storage.unit import SqlUnitOfWork
from server.watching import Watching

KEEP_ENDED = timedelta(days=1)
OFFERS_SECONDS = 2.0
INVITATIONS_SECONDS = 10.0
RETURNED_SECONDS = 60.0
FEEDBACK_SECONDS = 300.0
GRANTS_SECONDS = 10.0
LOGINS_SECONDS = 600.0
UPLOADS_SECONDS = 3600.0
THUMBNAILS_SECONDS = 3600.0
WATCH_SECONDS = 2.0
REMOVALS_SECONDS = 60.0
RECORDINGS_SECONDS = 30.0
LETTING_GO_SECONDS = 600.0


def plan(app: web.Application) -> None:
    """Start every periodic job."""
    tasks, work, settings = app[keys.TASKS], app[keys.WORK], app[keys.SETTINGS]
    tasks.every("expire_offers", OFFERS_SECONDS, lambda: work.run(expire_offers))
    tasks.every("expire_invitations", INVITATIONS_SECONDS, lambda: work.run(expire_invitations))
    tasks.every("expire_returned", RETURNED_SECONDS, lambda: work.run(expire_returned))
    tasks.every("ask_for_feedback", FEEDBACK_SECONDS, lambda: work.run(ask_for_feedback))
    tasks.every("archive_unanswered", FEEDBACK_SECONDS, lambda: work.run(archive_unanswered))
    tasks.every("flush_grants", GRANTS_SECONDS, app[keys.GRANTS].flush)
    tasks.every("sweep_logins", LOGINS_SECONDS, lambda: work.run(sweep_logins))
    tasks.once("finish_removals", finish(app))
    tasks.every("finish_removals", REMOVALS_SECONDS, lambda: finish(app))
    tasks.every("expire_removals", REMOVALS_SECONDS, lambda: work.run(expire_removals))
    if letting_go := app.get(LETTING_GO):
        async def let_go() -> None:
            await app[keys.ARCHIVE_STARTED].wait()
            await letting_go.step()

        tasks.once("let_go", let_go())
        tasks.every("let_go", LETTING_GO_SECONDS, let_go)
    tasks.every("recordings", RECORDINGS_SECONDS, app[keys.SHELF].step)
    if settings.watch.folders:
        watching = Watching(settings.watch, app[ARCHIVE], work)

        async def watch() -> None:
            await app[keys.ARCHIVE_STARTED].wait()
            await watching.step()

        tasks.every("watch_folders", WATCH_SECONDS, watch)
    tasks.every("sweep_uploads", UPLOADS_SECONDS, app[keys.UPLOADING].sweep)
    tasks.every("trim_thumbnails", THUMBNAILS_SECONDS, app[ARCHIVE].trim_thumbnails)


def sweep_logins(uow: SqlUnitOfWork) -> int:
    """Remove logins and grants that ended a day ago; the audit rows stay."""
    before = uow.now - KEEP_ENDED
    return uow.logins.sweep(before=before) + uow.grants.sweep(before=before)
