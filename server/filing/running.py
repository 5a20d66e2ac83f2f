"""The filing jobs: at once when the hub says so, and again every so often, whatever was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from server import keys
from server.dicomweb.ports import ARCHIVE
from server.filing.archive import deliver
from server.filing.webhook import page_offers
from server.hub import Hub

ARCHIVE_SECONDS = 30.0
PAGER_SECONDS = 15.0


async def follow(hub: Hub, topic: str, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    """`step` now, after every note of the topic, and at the latest every `seconds`; ends when the hub closes."""
    with hub.subscribe([topic]) as notes:
        while True:
            await step()
            try:
                if await asyncio.wait_for(notes.get(), seconds) is None:
                    return
            except TimeoutError:
                continue


def plan(app: web.Application) -> None:
    """Start the jobs."""
    tasks, work, hub = app[keys.TASKS], app[keys.WORK], app[keys.HUB]
    webhook = app[keys.SETTINGS].webhook

    async def file_reports() -> None:
        await app[keys.ARCHIVE_STARTED].wait()
        while await deliver(work, app[ARCHIVE], app[keys.ZONE]):
            pass

    tasks.keep("file_reports", lambda: follow(hub, "filing", ARCHIVE_SECONDS, file_reports))
    if webhook.url:
        tasks.keep("page_offers", lambda: follow(hub, "offer", PAGER_SECONDS, lambda: page_offers(work, webhook)))
