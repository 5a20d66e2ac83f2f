"""Puts the rooms into the application: notes of the hub, revocation, the sweep, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from aiohttp import web

from consult.model import ConsultationId
from consult.people import MembershipId
from server import keys
from server.auth.sessions import SignedIn
from server.hub import SNAPSHOT, Note, Subscription
from server.signalling.rooms import Rooms
from server.signalling.socket import Socket

ROOMS: web.AppKey[Rooms] = web.AppKey("rooms")
SWEEP_SECONDS = 1.0
LOGIN_CHECK = timedelta(seconds=10)      # a socket that is used keeps its login alive, and notices that it expired


def install(app: web.Application) -> None:
    """Called once by the composition root, after storage."""
    app[ROOMS] = Rooms(services=app[keys.WORK], settings=app[keys.SETTINGS], clock=app[keys.CLOCK])
    app.cleanup_ctx.append(live_rooms)
    app.on_shutdown.append(stop_rooms)


async def live_rooms(app: web.Application) -> AsyncIterator[None]:
    """Listen to the hub while the application runs."""
    rooms, hub, tasks = app[ROOMS], app[keys.HUB], app[keys.TASKS]
    subscription = hub.subscribe((), size=1024)
    rooms.follow = subscription.topics.add
    rooms.unfollow = subscription.topics.discard

    def revoked(memberships: frozenset[MembershipId], consultation: ConsultationId) -> None:
        tasks.once("rooms_revoke", rooms.revoked(memberships, consultation))

    forget = hub.on_revoke(revoked)
    listening = asyncio.create_task(listen(rooms, subscription))
    if app[keys.BACKGROUND]:
        tasks.every("rooms_sweep", SWEEP_SECONDS, rooms.sweep)
    yield
    forget()
    subscription.close()
    await listening


async def listen(rooms: Rooms, subscription: Subscription) -> None:
    """Every note about a consultation with a room; after dropped notes everything is read again."""
    async for note in subscription:
        await rooms.noted(None if note is SNAPSHOT else consultation_of(note), chat="message" in note.payload)


def consultation_of(note: Note) -> ConsultationId:
    """The consultation of a topic `consultation:<id>`."""
    return ConsultationId(note.topic.partition(":")[2])


async def stop_rooms(app: web.Application) -> None:
    """Before the handlers are waited for: browsers are told to come back to the next process."""
    app[ROOMS].close()
    await asyncio.sleep(0)


async def socket(request: web.Request) -> web.StreamResponse:
    """GET /socket. The login is checked again while the socket lives; its end closes the socket at once."""
    login = request[keys.LOGIN]
    clock, sessions = request.app[keys.CLOCK], request.app[keys.SESSIONS]
    checked = clock()

    async def alive() -> bool:
        nonlocal checked
        now = clock()
        if now - checked < LOGIN_CHECK:
            return True
        checked = now
        found: SignedIn | None = await sessions.find(login.digest)
        return found is not None and found.actor.membership == login.actor.membership

    served = Socket(
        request.app[ROOMS], actor=login.actor, login=login.digest, token=login.csrf, remote=request.remote,
        alive=alive,
    )
    forget = request.app[keys.STREAMS].add(login, served.revoke)
    try:
        return await served.serve(request)
    finally:
        forget()
